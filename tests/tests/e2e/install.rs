//! `lifeboat install` and `uninstall` on real clusters: applied twice, another repository refused, rights tried one by
//! one with the agent's own token, and on a node: the image runs, restricted, and finds names.

use crate::world::{Ran, World, program, shared_s3};
use lifeboat_tests::harness::s3::{self, ROOT, S3Server};
use lifeboat_tests::harness::{Cluster, Node};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

#[path = "install/clock.rs"]
mod clock;
#[path = "install/credentials.rs"]
mod credentials;
#[path = "install/kill.rs"]
mod kill;
#[path = "install/memory.rs"]
mod memory;
#[path = "install/node.rs"]
mod node;
#[path = "install/pods.rs"]
mod pods;
#[path = "install/rights.rs"]
mod rights;

/// An administrator's folder for a repository in this S3 server, made by `lifeboat init`.
pub(crate) struct Prepared {
    pub(crate) world: World,
    pub(crate) folder: PathBuf,
    pub(crate) endpoint: String,
    pub(crate) credentials: PathBuf,
}

impl Prepared {
    pub(crate) fn new(server: &S3Server, bucket: &str, cluster: &str) -> Self {
        let world = World::file();
        let folder = world.folder().join(cluster);
        let endpoint = server.endpoint();
        let credentials = server.credentials_file(ROOT).unwrap();
        let prepared = Self { world, folder, endpoint, credentials };
        let repo = format!("s3://{bucket}/install");
        let vault = format!("file://{}", prepared.world.folder().join("other-vault").display());
        let out = prepared.folder.display().to_string();
        let file = prepared.credentials.display().to_string();
        let init = [
            "init",
            "--repo",
            &repo,
            "--cluster",
            cluster,
            "--vault",
            &vault,
            "--unprotected",
            "--out",
            &out,
        ];
        let store =
            ["--s3-endpoint", &prepared.endpoint, "--credentials-file", &file, "--agent-credentials", &file];
        prepared.world.lifeboat(&[&init[..], &store].concat()).expect(0);
        prepared
    }

    pub(crate) fn install(&self, kubeconfig: &Path, more: &[&str]) -> Ran {
        let (folder, kubeconfig) = (self.folder.display().to_string(), kubeconfig.display().to_string());
        let all = ["install", "--config", &folder, "--kubeconfig", &kubeconfig];
        self.world.lifeboat(&[&all[..], more].concat())
    }

    pub(crate) fn uninstall(&self, kubeconfig: &Path, more: &[&str]) -> Ran {
        let all = ["uninstall", "--kubeconfig", kubeconfig.to_str().unwrap()];
        self.world.lifeboat(&[&all[..], more].concat())
    }

    /// `lifeboat snapshots` of the primary, as its JSON.
    pub(crate) fn snapshots(&self) -> serde_json::Value {
        let identity = self.folder.join("identity.txt").display().to_string();
        let repo = self.folder.join("repository.toml").display().to_string();
        let file = self.credentials.display().to_string();
        let all =
            ["snapshots", "--owner", &repo, "--identity", &identity, "--credentials-file", &file, "--json"];
        self.world.lifeboat(&all).expect(0).json()["snapshots"].clone()
    }
}

/// The image of the agent that was built beside this test.
pub(crate) fn image() -> &'static Path {
    static IMAGE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = IMAGE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lifeboat-agent.oci.tar");
        build_image(&path);
        (folder, path)
    });
    path
}

fn build_image(out: &Path) {
    let mut command = std::process::Command::new(program("lifeboat-image"));
    // An optimized one, where memory is measured.
    let built = std::env::var_os("LIFEBOAT_AGENT").map_or_else(|| program("lifeboat-agent"), PathBuf::from);
    command.arg("--binary").arg(built).arg("--out").arg(out);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_image_is_the_same_twice_and_names_what_is_in_it() {
    let other = tempfile::tempdir().unwrap();
    let again = other.path().join("lifeboat-agent.oci.tar");
    build_image(&again);
    assert!(std::fs::read(image()).unwrap() == std::fs::read(&again).unwrap(), "two builds differ");
    let list = std::fs::read(again.with_extension("").with_extension("cdx.json")).unwrap();
    let list: serde_json::Value = serde_json::from_slice(&list).unwrap();
    let components = list["components"].as_array().unwrap();
    assert!(components.len() > 200);
    for component in components {
        assert!(component["licenses"][0]["expression"].is_string(), "no license: {component}");
    }
    assert!(
        components.iter().any(|c| c["name"] == "ring") && components.iter().any(|c| c["name"] == "glibc")
    );
    assert!(!list.to_string().contains(env!("CARGO_MANIFEST_DIR")), "a path of this machine is in it");
}

#[test]
fn an_installation_is_repeatable_refuses_another_and_goes_without_a_trace_of_harm() {
    let cluster = Cluster::start().unwrap();
    let server = shared_s3();
    let prepared = Prepared::new(server, "shared", "first");
    let k = cluster.kubeconfig();

    let first = prepared
        .install(k, &["--no-wait", "--schedule", "5 3 * * *", "--time-zone", "Europe/Stockholm"])
        .expect(0);
    assert!(first.stdout.contains("Deployment lifeboat-controller: created"), "{}", first.said());
    let key = std::fs::read_to_string(prepared.folder.join("agent.key")).unwrap();
    assert!(!first.said().contains(key.lines().nth(1).unwrap()));
    let get = |what: &[&str]| cluster.kubectl(&[&["-n", "lifeboat", "get"], what].concat()).unwrap();
    let spec = get(&["backupschedule", "daily", "-o=jsonpath={.spec.schedule} {.spec.timeZone}"]);
    assert_eq!(spec, "5 3 * * * Europe/Stockholm");
    let stored = get(&["secret", "lifeboat-agent", "-o=jsonpath={.data.agent\\.key}"]);
    assert!(!stored.is_empty());

    let second = prepared.install(k, &["--no-wait"]).expect(0);
    assert!(
        !second.stdout.contains(": created") && !second.stdout.contains(": changed"),
        "{}",
        second.said()
    );

    // What the agent remembers stays, and a schedule that was deleted does not come back.
    cluster
        .kubectl(&[
            "-n",
            "lifeboat",
            "patch",
            "secret",
            "lifeboat-state",
            "--patch",
            r#"{"stringData":{"x":"y"}}"#,
        ])
        .unwrap();
    cluster.kubectl(&["-n", "lifeboat", "delete", "backupschedule", "daily"]).unwrap();
    prepared.install(k, &["--no-wait"]).expect(0);
    assert_eq!(get(&["secret", "lifeboat-state", "-o=jsonpath={.data.x}"]), "eQ==");
    assert_eq!(get(&["backupschedules", "-o=name"]), "");

    somebody_changed_it(&cluster, &prepared);
    let image = "registry.example.org/lifeboat-agent:7";
    prepared.install(k, &["--no-wait", "--image", image]).expect(0);
    assert!(prepared.install(k, &["--no-wait"]).expect(0).stderr.contains(image), "the image is kept");
    assert_eq!(get(&["deployment", "-o=jsonpath={.items[0].spec.template.spec.containers[0].image}"]), image);

    let other = Prepared::new(server, "shared", "second");
    let refused = other.install(k, &["--no-wait"]).expect(2);
    assert!(
        refused.stderr.contains("cluster first") && refused.stderr.contains("cluster second"),
        "{}",
        refused.stderr
    );
    let bad = prepared.install(k, &["--no-wait", "--schedule", "61 * * * *"]).expect(1);
    assert!(bad.stderr.contains("BackupSchedule daily") && bad.stderr.contains("minute"), "{}", bad.stderr);
    let nobody = cluster.user_kubeconfig("nobody", &[]).unwrap();
    let forbidden = prepared.install(&nobody, &["--no-wait"]).expect(1);
    assert!(forbidden.stderr.contains("forbidden"), "{}", forbidden.stderr);

    goes(&cluster, &prepared);
    kustomize_does_the_same(&cluster, &prepared);
}

/// The files alone, and then `install` over them: only what it fits to the cluster differs, and is named first.
fn kustomize_does_the_same(cluster: &Cluster, prepared: &Prepared) {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy");
    let apply = ["apply", "--server-side", "-k", deploy.to_str().unwrap()];
    let first = cluster.kubectl(&apply); // The definitions are not established yet when the schedule is applied.
    if first.is_err() {
        cluster
            .kubectl(&["wait", "--for=condition=Established", "crd/backupschedules.lifeboat.dev"])
            .unwrap();
    }
    cluster.kubectl(&apply).unwrap();
    let differs = prepared.install(cluster.kubeconfig(), &["--no-wait"]).expect(1);
    assert!(differs.stderr.contains(".spec.egress"), "the store's port: {}", differs.stderr);
    prepared.install(cluster.kubeconfig(), &["--no-wait", "--force-conflicts"]).expect(0);
}

/// A field that an administrator set is not taken from them unless they say so.
fn somebody_changed_it(cluster: &Cluster, prepared: &Prepared) {
    let patch = r#"{"spec":{"replicas":1}}"#;
    let deployment = ["-n", "lifeboat", "patch", "deployment", "lifeboat-controller", "--patch", patch];
    cluster.kubectl(&deployment).unwrap();
    let conflict = prepared.install(cluster.kubeconfig(), &["--no-wait"]).expect(1);
    assert!(
        conflict.stderr.contains("replicas") && conflict.stderr.contains("--force-conflicts"),
        "{}",
        conflict.stderr
    );
    prepared.install(cluster.kubeconfig(), &["--no-wait", "--force-conflicts"]).expect(0);
    prepared.install(cluster.kubeconfig(), &["--no-wait"]).expect(0);
}

fn goes(cluster: &Cluster, prepared: &Prepared) {
    let k = cluster.kubeconfig();
    let asked = prepared.uninstall(k, &[]).expect(2);
    assert!(asked.stderr.contains("--yes"), "{}", asked.stderr);
    let shown = prepared.uninstall(k, &["--dry-run"]).expect(0);
    assert!(shown.stdout.contains("Namespace lifeboat"), "{}", shown.stdout);
    cluster.kubectl(&["get", "namespace", "lifeboat"]).unwrap();
    let objects = crate::world::files(&shared_s3().data_folder().join("shared/install/first"));
    assert!(!objects.is_empty());
    let gone = prepared.uninstall(k, &["--yes"]).expect(0);
    assert!(gone.stdout.contains("Every snapshot is where it was"), "{}", gone.said());
    let left = cluster.kubectl(&[
        "get",
        "customresourcedefinitions,clusterroles,clusterrolebindings,namespaces",
        "-o=name",
        "-l=app.kubernetes.io/part-of=lifeboat",
    ]);
    assert_eq!(left.unwrap(), "");
    assert_eq!(crate::world::files(&shared_s3().data_folder().join("shared/install/first")), objects);
    let nothing = prepared.uninstall(k, &["--yes"]).expect(0);
    assert!(nothing.stdout.contains("There is no agent"), "{}", nothing.stdout);
}
