//! The paths of objects, the same in `ls`, `cat`, `find` and `extract`, and what a name may be to stand in one.
//! Names come out of snapshots that a compromised cluster may have written: what is unsafe is refused here.

use lifeboat_format::body;
use lifeboat_format::id::Sha256;

/// The folder of objects without a namespace. No namespace can have this name.
pub const CLUSTER: &str = "_cluster";
/// The folder of a host's directory trees, beside those of namespaces. No namespace can have this name.
pub const PATHS: &str = "_paths";
/// Bytes of a volume's name (Kubernetes: a DNS subdomain).
const VOLUME_NAME_MAX: usize = 253;
/// What a file system takes as one name, less the longest ending (`.yaml`).
const FILE_STEM_MAX: usize = 250;

/// Names one object in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// `None` for objects without a namespace.
    pub namespace: Option<String>,
    /// `<kind>.<group>` lower case; core kinds without a group.
    pub kind_group: String,
    pub name: String,
}

/// What a path names; deeper parts are absent where it names a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectPath {
    /// `Some(None)`: the folder of objects without a namespace.
    pub namespace: Option<Option<String>>,
    pub kind_group: Option<String>,
    /// As in the path: without its ending, shortened where the name is too long.
    pub stem: Option<String>,
}

/// Whether `name` can be a namespace's: a DNS label (RFC 1123).
#[must_use]
pub fn is_namespace(name: &str) -> bool {
    name.parse::<lifeboat_format::id::ClusterName>().is_ok()
}

/// Whether `name` can be a claim's or a path volume's: one name in a path, without what a terminal would obey.
#[must_use]
pub fn is_volume_name(name: &str) -> bool {
    let safe = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '\\');
    !name.is_empty() && name.len() <= VOLUME_NAME_MAX && name != "." && name != ".." && name.chars().all(safe)
}

impl ObjectName {
    /// From a map's key; `None` where the key is unsafe as a path.
    #[must_use]
    pub fn from_key(namespace: Option<&str>, key: &[u8]) -> Option<Self> {
        let (kind_group, name) = body::parse_object_key(key)?;
        let namespace = namespace.map(str::to_owned);
        Some(Self { namespace, kind_group: kind_group.to_owned(), name: name.to_owned() })
    }

    /// The folder of its namespace.
    #[must_use]
    pub fn folder(&self) -> &str {
        self.namespace.as_deref().unwrap_or(CLUSTER)
    }

    /// The folder of its kind.
    #[must_use]
    pub fn kind_folder(&self) -> String {
        shorten(&self.kind_group)
    }

    /// The file's name without its ending.
    #[must_use]
    pub fn stem(&self) -> String {
        shorten(&self.name)
    }

    /// `objects/<namespace|_cluster>/<kind.group>/<name>.yaml`
    #[must_use]
    pub fn path(&self) -> String {
        object_path(self, "yaml")
    }
}

/// As it is, or cut with a piece of its hash where no file system would take it as one name.
fn shorten(name: &str) -> String {
    if name.len() <= FILE_STEM_MAX {
        return name.to_owned();
    }
    let hash = Sha256::of(name.as_bytes()).to_hex();
    let cut = name.floor_char_boundary(FILE_STEM_MAX - 17);
    format!("{}~{}", &name[..cut], &hash[..16])
}

/// `objects/<namespace|_cluster>/<kind.group>/<name>.<ending>`
#[must_use]
pub fn object_path(name: &ObjectName, ending: &str) -> String {
    format!("objects/{}/{}/{}.{ending}", name.folder(), name.kind_folder(), name.stem())
}

/// Parses `objects[/<namespace|_cluster>[/<kind.group>[/<name>[.yaml|.json]]]]`, slashes at the end allowed;
/// `None` for anything else.
#[must_use]
pub fn parse_object_path(path: &str) -> Option<ObjectPath> {
    let path = path.strip_prefix("./").unwrap_or(path).trim_end_matches('/');
    let mut parts = path.split('/');
    if parts.next() != Some("objects") {
        return None;
    }
    let namespace = match parts.next() {
        None => None,
        Some(CLUSTER) => Some(None),
        Some(name) if is_namespace(name) => Some(Some(name.to_owned())),
        Some(_) => return None,
    };
    let kind_group = parts.next().map(str::to_owned);
    let stem = parts.next().map(|file| {
        let stem = file.strip_suffix(".yaml").or_else(|| file.strip_suffix(".json")).unwrap_or(file);
        stem.to_owned()
    });
    let empty = |s: &Option<String>| s.as_deref() == Some("");
    (parts.next().is_none() && !empty(&kind_group) && !empty(&stem)).then_some(ObjectPath {
        namespace,
        kind_group,
        stem,
    })
}

impl ObjectPath {
    /// Whether `name` is what this path names, or below it.
    #[must_use]
    pub fn covers(&self, name: &ObjectName) -> bool {
        self.namespace.as_ref().is_none_or(|n| *n == name.namespace)
            && self.kind_group.as_ref().is_none_or(|k| *k == name.kind_folder())
            && self.stem.as_ref().is_none_or(|s| *s == name.stem())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(namespace: Option<&str>, kind: &str, name: &str) -> ObjectName {
        ObjectName::from_key(namespace, &body::object_key(kind, name)).unwrap()
    }

    #[test]
    fn paths_come_back() {
        for n in [
            name(Some("web"), "deployment.apps", "front"),
            name(None, "clusterrole.rbac.authorization.k8s.io", "system:node"),
            name(Some("web"), "configmap", "a.yaml"),
            name(Some("web"), "configmap", &"x".repeat(253)),
            name(Some("web"), &format!("k.{}", "é".repeat(140)), "n"),
        ] {
            let path = n.path();
            assert!(path.rsplit('/').next().unwrap().len() <= 255, "{path}");
            assert!(parse_object_path(&path).unwrap().covers(&n), "{path}");
        }
        let front = name(Some("web"), "deployment.apps", "front");
        for folder in ["objects", "objects/", "objects/web", "./objects/web/deployment.apps/"] {
            assert!(parse_object_path(folder).unwrap().covers(&front), "{folder}");
        }
        assert!(!parse_object_path("objects/_cluster").unwrap().covers(&front));
        assert!(!parse_object_path("objects/web/deployment.apps/back.yaml").unwrap().covers(&front));
    }

    #[test]
    fn other_paths_are_refused() {
        for bad in ["", "volumes/a", "objects/../x", "objects/A", "objects/a/b/c/d", "/objects", "objects//x"]
        {
            assert_eq!(parse_object_path(bad), None, "{bad}");
        }
    }
}
