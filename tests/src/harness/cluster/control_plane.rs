//! How etcd, the API server and the controller manager are called, and the keys they share. Starts nothing.

use crate::harness::kubeconfig::write_private;
use crate::harness::peers::Peers;
use crate::harness::process::Program;
use crate::harness::scratch::private_folder;
use anyhow::{Result, anyhow};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Users with a token of their own, and their groups. They have no rights until a test binds some to them.
const USERS: [(&str, &[&str]); 4] =
    [("nobody", &[]), ("reader", &["readers"]), ("agent", &["agents"]), ("restorer", &["restorers"])];

/// RFC 5480: what comes before the point in the `SubjectPublicKeyInfo` of a P-256 key.
const P256_PUBLIC_KEY: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";

/// Where the programs run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The process whose namespaces they are in; none: the machine's own.
    pub(crate) inside: Option<i32>,
    pub(crate) address: Ipv4Addr,
    pub(crate) etcd: u16,
    pub(crate) etcd_peer: u16,
    pub(crate) api: u16,
    pub(crate) controllers: u16,
}

impl Place {
    fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd)
    }

    pub(crate) fn api_url(&self) -> String {
        format!("https://{}:{}", self.address, self.api)
    }
}

/// The keys and tokens of one cluster.
#[derive(Debug)]
pub(crate) struct Keys {
    folder: PathBuf,
    tokens: Vec<(&'static str, String)>,
}

impl Keys {
    /// Makes them anew.
    pub(crate) fn write(folder: &Path) -> Result<Self> {
        private_folder(folder)?;
        let random = SystemRandom::new();
        let private = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
            .map_err(|_| anyhow!("the machine gives no random numbers"))?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, private.as_ref(), &random);
        let pair = pair.map_err(|error| anyhow!("a key that was just made is refused: {error}"))?;
        let public = [P256_PUBLIC_KEY, pair.public_key().as_ref()].concat();
        write_private(&folder.join("accounts.key"), pem("PRIVATE KEY", private.as_ref()).as_bytes())?;
        write_private(&folder.join("accounts.pub"), pem("PUBLIC KEY", &public).as_bytes())?;

        let users = [("admin", &["system:masters"] as &[&str])].into_iter().chain(USERS);
        let mut tokens = Vec::new();
        let mut table = String::new();
        for (name, groups) in users {
            let token = hex::encode(rand::random::<[u8; 20]>());
            table.push_str(&format!("{token},{name},{name},\"{}\"\n", groups.join(",")));
            tokens.push((name, token));
        }
        write_private(&folder.join("tokens.csv"), table.as_bytes())?;
        Ok(Self { folder: folder.to_owned(), tokens })
    }

    /// The API server's own certificate, with the authority that it made for itself.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("apiserver.crt")
    }

    pub(crate) fn admin_token(&self) -> &str {
        self.token("admin").expect("the administrator is in every table")
    }

    fn token(&self, name: &str) -> Option<&str> {
        self.tokens.iter().find(|(user, _)| *user == name).map(|(_, token)| token.as_str())
    }

    /// The token of a user who has one, if these are the user's groups.
    pub(crate) fn user_token(&self, name: &str, groups: &[&str]) -> Option<&str> {
        let known = USERS.iter().any(|(user, its)| *user == name && *its == groups);
        if known { self.token(name) } else { None }
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

pub(crate) fn etcd(peers: &Peers, folder: &Path, place: Place) -> Result<Program> {
    let (client, peer) = (place.etcd_url(), format!("http://127.0.0.1:{}", place.etcd_peer));
    let program = Program::new("etcd", peers.path("etcd")?)
        .inside(place.inside)
        .arg("--data-dir")
        .arg(folder.join("etcd"));
    Ok(program.args(["--unsafe-no-fsync", "--logger=zap", "--log-level=warn"]).args([
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
    ]))
}

pub(crate) fn api_server(peers: &Peers, keys: &Keys, place: Place, more: &[String]) -> Result<Program> {
    let file = |name: &str| keys.folder.join(name).display().to_string();
    let program = Program::new("kube-apiserver", peers.path("kube-apiserver")?).inside(place.inside);
    let program = program
        .args(["--authorization-mode=Node,RBAC", "--allow-privileged=true", "--profiling=false"])
        .args([
            format!("--etcd-servers={}", place.etcd_url()),
            format!("--cert-dir={}", keys.folder.display()),
            format!("--secure-port={}", place.api),
            format!("--token-auth-file={}", file("tokens.csv")),
            format!("--service-account-key-file={}", file("accounts.pub")),
            format!("--service-account-signing-key-file={}", file("accounts.key")),
        ]);
    let program = program.args([
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.96.0.0/16",
    ]);
    let program = if place.address.is_loopback() {
        // The address in `Endpoints` must not be a loopback one, and nobody reads it here.
        program.args(["--bind-address=127.0.0.1", "--endpoint-reconciler-type=none"])
    } else {
        let address = format!("--advertise-address={}", place.address);
        program.args([
            "--bind-address=0.0.0.0",
            "--kubelet-preferred-address-types=InternalIP,Hostname",
            &address,
        ])
    };
    Ok(program.args(more))
}

pub(crate) fn controller_manager(
    peers: &Peers,
    keys: &Keys,
    kubeconfig: &Path,
    place: Place,
) -> Result<Program> {
    let program =
        Program::new("kube-controller-manager", peers.path("kube-controller-manager")?).inside(place.inside);
    Ok(program
        .args(["--use-service-account-credentials", "--leader-elect=false", "--bind-address=127.0.0.1"])
        .args([
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--service-account-private-key-file={}", keys.folder.join("accounts.key").display()),
            format!("--root-ca-file={}", keys.certificate().display()),
            "--controllers=*,-node-ipam-controller".to_owned(),
            format!("--secure-port={}", place.controllers),
        ]))
}
