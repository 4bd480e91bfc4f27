//! Tests of the parent: what leads out of the allowed directories, what is not mounted, and what is another volume.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;

const POD: &str = "3f6e8a52-7c1d-4a57-9b8e-0c2f1d3b4a5e";

fn roots(folder: &Path) -> Roots {
    fs::create_dir_all(folder.join("pods")).unwrap();
    Roots { pods: folder.join("pods"), host_paths: vec![folder.join("storage")] }
}

fn pod(plugin: &str, volume: &str) -> Place {
    Place::Pod { pod_uid: POD.to_owned(), plugin: plugin.to_owned(), volume: volume.to_owned() }
}

fn why(roots: &Roots, place: &Place) -> PlaceError {
    VolumeSource::live(roots, place).map(|_| ()).unwrap_err()
}

/// A CSI volume's directory, on which nothing is mounted.
fn csi(folder: &Path, volume: &str) -> PathBuf {
    let path = folder.join("pods").join(POD).join("volumes").join(CSI).join(volume);
    fs::create_dir_all(path.join("mount")).unwrap();
    path
}

#[test]
fn an_empty_directory_on_which_nothing_is_mounted_is_no_volume() {
    let folder = tempfile::tempdir().unwrap();
    let roots = roots(folder.path());
    csi(folder.path(), "pv-1");
    assert!(matches!(why(&roots, &pod(CSI, "pv-1")), PlaceError::NotMounted { .. }));
    assert!(matches!(why(&roots, &pod(CSI, "pv-2")), PlaceError::Absent { .. }));
}

#[test]
fn links_lead_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let roots = roots(folder.path());
    let real = csi(folder.path(), "pv-1");
    // Each level in turn: the mount, the volume, the pod.
    symlink("/proc", real.parent().unwrap().join("pv-2")).unwrap();
    assert!(matches!(why(&roots, &pod(CSI, "pv-2")), PlaceError::Open { .. }));
    fs::remove_dir(real.join("mount")).unwrap();
    symlink("/proc", real.join("mount")).unwrap();
    assert!(matches!(why(&roots, &pod(CSI, "pv-1")), PlaceError::Open { .. }));
    symlink(folder.path().join("pods").join(POD), folder.path().join("pods/other")).unwrap();
    let through = Place::Pod { pod_uid: "other".into(), plugin: CSI.into(), volume: "pv-1".into() };
    assert!(matches!(why(&roots, &through), PlaceError::Open { .. }));
}

#[test]
fn names_that_are_paths_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let roots = roots(folder.path());
    let long = "x".repeat(300);
    for bad in ["", ".", "..", "a/b", "../../etc", "a\0b", "a\nb", ".hidden", &long] {
        let places = [
            Place::Pod { pod_uid: bad.into(), plugin: CSI.into(), volume: "pv-1".into() },
            Place::Pod { pod_uid: POD.into(), plugin: bad.into(), volume: "pv-1".into() },
            Place::Pod { pod_uid: POD.into(), plugin: CSI.into(), volume: bad.into() },
        ];
        for place in places {
            assert!(matches!(why(&roots, &place), PlaceError::Name { .. }), "{place:?}");
        }
    }
}

#[test]
fn tokens_secrets_and_empty_dirs_are_never_volumes() {
    let folder = tempfile::tempdir().unwrap();
    let roots = roots(folder.path());
    for plugin in ["empty-dir", "projected", "secret", "configmap", "downward-api", "host-path"] {
        let plugin = format!("kubernetes.io~{plugin}");
        let path = folder.path().join("pods").join(POD).join("volumes").join(&plugin).join("v");
        fs::create_dir_all(path).unwrap();
        assert!(matches!(why(&roots, &pod(&plugin, "v")), PlaceError::Plugin { .. }), "{plugin}");
    }
    assert!(matches!(why(&roots, &pod("csi", "v")), PlaceError::Plugin { .. }));
}

#[test]
fn a_csi_volume_must_be_the_one_that_the_kubelet_noted() {
    let folder = tempfile::tempdir().unwrap();
    let roots = roots(folder.path());
    let path = csi(folder.path(), "pv-1");
    let with = |notes: &str| {
        fs::write(path.join(NOTES), notes).unwrap();
        why(&roots, &pod(CSI, "pv-1"))
    };
    let another = with(r#"{"specVolID":"pv-2","volumeLifecycleMode":"Persistent"}"#);
    assert!(another.to_string().ends_with("the kubelet's notes say pv-2"), "{another}");
    let inline = with(r#"{"specVolID":"pv-1","volumeLifecycleMode":"Ephemeral"}"#);
    assert!(matches!(inline, PlaceError::Another { .. }), "{inline}");
    for garbage in ["", "[]x", &"[".repeat(200_000)] {
        assert!(matches!(with(garbage), PlaceError::Another { .. }));
    }
    let right = with(r#"{"specVolID":"pv-1","volumeLifecycleMode":"Persistent","driverName":"x"}"#);
    assert!(matches!(right, PlaceError::NotMounted { .. }), "the notes are right, and nothing is mounted");
}

#[test]
fn host_paths_are_read_strictly_below_what_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let roots = roots(folder.path());
    let storage = folder.path().join("storage");
    fs::create_dir_all(storage.join("pvc-1/data")).unwrap();
    fs::create_dir(folder.path().join("storage-2")).unwrap();
    fs::write(storage.join("pvc-1/file"), "x").unwrap();
    symlink("/etc", storage.join("link")).unwrap();
    let at = |path: PathBuf| VolumeSource::live(&roots, &Place::HostPath(path));
    let source = at(storage.join("pvc-1")).unwrap();
    assert_eq!(fs::read_to_string(source.path().join("file")).unwrap(), "x");
    at(storage.join("pvc-1/data/")).unwrap();
    for bad in [storage.clone(), storage.join("."), storage.join("pvc-1/../../pods"), storage.join("..")] {
        assert!(matches!(at(bad.clone()), Err(PlaceError::NotAllowed { .. })), "{}", bad.display());
    }
    for bad in ["/", "/etc", "", "storage/pvc-1"] {
        assert!(matches!(at(bad.into()), Err(PlaceError::NotAllowed { .. })), "{bad}");
    }
    assert!(matches!(at(folder.path().join("storage-2")), Err(PlaceError::NotAllowed { .. })));
    assert!(matches!(at(storage.join("link")), Err(PlaceError::Open { .. })));
    assert!(matches!(at(storage.join("link/ssl")), Err(PlaceError::Open { .. })));
    assert!(matches!(at(storage.join("pvc-1/file")), Err(PlaceError::Open { .. })));
}

/// Where a test may mount: what is mounted is found, through the path and after the path leads elsewhere.
#[test]
fn what_is_mounted_is_opened_and_stays_open() {
    let folder = tempfile::tempdir().unwrap();
    // /proc is a mount everywhere; its parent stands for the directory of volumes.
    let mount = Path::new("/proc");
    let (parent, child) =
        (root(Path::new("/")).unwrap(), below(&root(Path::new("/")).unwrap(), "proc", mount));
    let child = child.unwrap();
    assert_ne!(mount_of(&parent, mount).unwrap(), mount_of(&child, mount).unwrap());
    let roots = roots(folder.path());
    let storage = folder.path().join("storage");
    fs::create_dir_all(storage.join("a")).unwrap();
    fs::write(storage.join("a/which"), "first").unwrap();
    let source = VolumeSource::live(&roots, &Place::HostPath(storage.join("a"))).unwrap();
    fs::rename(storage.join("a"), storage.join("b")).unwrap();
    symlink("/etc", storage.join("a")).unwrap();
    assert_eq!(fs::read_to_string(source.path().join("which")).unwrap(), "first");
}
