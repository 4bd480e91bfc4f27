//! Where a node finds a PersistentVolume's files, by what it is made of. Pure.
//!
//! The kubelet mounts a volume at `pods/<uid>/volumes/<plugin>/<name>`, the slash in the plugin's name written as `~`
//! (kubernetes: pkg/kubelet/kubelet_getters.go, `GetPodVolumeDir`); of the kind hostPath it mounts nothing there.

use super::Why;
use serde_json::{Map, Value};

/// Kinds that the kubelet mounts under their own plugin's name.
const OWN: [(&str, &str); 5] = [
    ("csi", "kubernetes.io~csi"),
    ("nfs", "kubernetes.io~nfs"),
    ("iscsi", "kubernetes.io~iscsi"),
    ("fc", "kubernetes.io~fc"),
    ("local", "kubernetes.io~local-volume"),
];
/// Kinds of the time before CSI, which the kubelet has mounted through a CSI driver since 1.31 or earlier.
const MIGRATED: [&str; 7] = [
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cinder",
    "gcePersistentDisk",
    "portworxVolume",
    "vsphereVolume",
];

/// What a volume is made of, as far as reading goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Mounted under the Pod's folder, in that of this plugin.
    Plugin(String),
    /// A folder of the node.
    HostPath(String),
    /// Something that no rule here knows.
    Unknown(String),
}

impl Source {
    /// From the `spec` of a PersistentVolume.
    #[must_use]
    pub fn of(spec: &Map<String, Value>) -> Self {
        if let Some((_, plugin)) = OWN.iter().find(|(kind, _)| is_set(spec, kind)) {
            return Self::Plugin((*plugin).to_owned());
        }
        if MIGRATED.iter().any(|kind| is_set(spec, kind)) {
            return Self::Plugin("kubernetes.io~csi".to_owned());
        }
        let text = |pointer: &str, field: &str| {
            spec.get(pointer).and_then(|v| v.get(field)).and_then(Value::as_str).map(str::to_owned)
        };
        if let Some(path) = text("hostPath", "path") {
            return Self::HostPath(path);
        }
        if let Some(driver) = text("flexVolume", "driver").filter(|d| fits(d)) {
            return Self::Plugin(driver.replace('/', "~"));
        }
        let other = spec.iter().find(|(key, value)| value.is_object() && !NO_SOURCE.contains(&key.as_str()));
        Self::Unknown(other.map(|(key, _)| key.clone()).unwrap_or_default())
    }

    /// The folder that a node's hostPath volume is in.
    #[must_use]
    pub fn folder_around(&self) -> Option<String> {
        let Self::HostPath(path) = self else { return None };
        let (folder, _) = path.trim_end_matches('/').rsplit_once('/')?;
        Some(folder.to_owned())
    }

    /// Whether a node may read it.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, host_paths: &[String]) -> Result<(), Why> {
        match self {
            Self::Plugin(_) => Ok(()),
            Self::HostPath(path) if host_paths.iter().any(|allowed| is_below(path, allowed)) => Ok(()),
            Self::HostPath(path) => {
                let path = crate::cluster::text::clean(path, 200);
                let message = format!(
                    "a volume of the kind hostPath ({path}) is read only below folders that are allowed: \
                     [volumes] host_paths in agent.toml, and the nodes' --host-path"
                );
                Err(Why::new("HostPathNotAllowed", message))
            }
            Self::Unknown(kind) => {
                let kind = crate::cluster::text::clean(kind, 64);
                let message = format!("a PersistentVolume of the kind {kind:?} cannot be read");
                Err(Why::new("VolumeKindUnknown", message))
            }
        }
    }
}

/// Objects in the `spec` of a PersistentVolume that say something else.
const NO_SOURCE: [&str; 3] = ["capacity", "claimRef", "nodeAffinity"];

fn is_set(spec: &Map<String, Value>, kind: &str) -> bool {
    spec.get(kind).is_some_and(Value::is_object)
}

/// `vendor/driver`, fit to be a folder's name.
fn fits(driver: &str) -> bool {
    let part = |p: &str| {
        !p.is_empty()
            && !p.starts_with('.')
            && p.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
    };
    driver.len() <= 200 && driver.split('/').count() <= 2 && driver.split('/').all(part)
}

/// Whether a folder is inside another one, by their names alone; whether a link leads out is the node's to see.
fn is_below(path: &str, allowed: &str) -> bool {
    let parts = |p: &str| -> Option<Vec<String>> {
        let inner = p.strip_prefix('/')?;
        let parts: Vec<&str> = inner.split('/').filter(|s| !s.is_empty()).collect();
        let plain = !parts.is_empty() && parts.iter().all(|s| !matches!(*s, "." | ".."));
        (plain && !p.contains('\0')).then(|| parts.into_iter().map(str::to_owned).collect())
    };
    match (parts(path), parts(allowed)) {
        (Some(path), Some(allowed)) => path.len() > allowed.len() && path.starts_with(&allowed),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(spec: &Value) -> Source {
        Source::of(spec.as_object().unwrap())
    }

    #[test]
    fn kinds_have_the_kubelets_folders() {
        for (kind, folder) in [
            ("csi", "kubernetes.io~csi"),
            ("local", "kubernetes.io~local-volume"),
            ("nfs", "kubernetes.io~nfs"),
            ("gcePersistentDisk", "kubernetes.io~csi"),
        ] {
            let spec = json!({"capacity": {"storage": "1Gi"}, "claimRef": {"name": "c"}, kind: {"x": 1}});
            assert_eq!(of(&spec), Source::Plugin(folder.to_owned()), "{kind}");
        }
        let flex = |driver: &str| of(&json!({"flexVolume": {"driver": driver}}));
        assert_eq!(flex("ceph.rook.io/rook"), Source::Plugin("ceph.rook.io~rook".to_owned()));
        assert_eq!(flex("../../etc"), Source::Unknown("flexVolume".to_owned()));
        let odd = of(&json!({"capacity": {}, "nodeAffinity": {}, "quobyte": {"a": 1}, "mountOptions": []}));
        assert_eq!(odd, Source::Unknown("quobyte".to_owned()));
        assert_eq!(odd.check(&[]).unwrap_err().reason, "VolumeKindUnknown");
        assert_eq!(of(&json!({})), Source::Unknown(String::new()));
    }

    #[test]
    fn host_paths_need_to_be_allowed() {
        let allowed = ["/var/lib/rancher/k3s/storage".to_owned(), "/srv/".to_owned()];
        for (path, good) in [
            ("/var/lib/rancher/k3s/storage/pvc-1", true),
            ("/srv/a/b/", true),
            ("//srv//a", true),
            ("/srv", false),
            ("/srv/../etc", false),
            ("/srv/./../etc", false),
            ("/srvx/a", false),
            ("/var/lib/rancher/k3s/storage", false),
            ("srv/a", false),
            ("/", false),
            ("", false),
            ("/srv/a\0b", false),
        ] {
            let source = Source::HostPath(path.to_owned());
            assert_eq!(source.check(&allowed).is_ok(), good, "{path:?}");
            assert_eq!(source.check(&[]).unwrap_err().reason, "HostPathNotAllowed");
            assert!(source.check(&["/".to_owned(), String::new(), "..".to_owned()]).is_err(), "{path:?}");
        }
    }
}
