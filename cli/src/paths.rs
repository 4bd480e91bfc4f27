//! Paths in a snapshot as arguments give them: `objects/…`, and `volumes/…` down to one file. Names of files may be any
//! bytes: they are taken as they are, or as they are shown. Owns which snapshot `latest` is for such paths; knows no
//! command.

use crate::reading::{Reading, object_path_of};
use anyhow::Result;
use lifeboat_common::exit::UsageError;
use lifeboat_common::reader::{
    Domain, ObjectPath, OpenSnapshot, PATHS, ReadError, Snapshot, Tree, TreeEntry, is_namespace,
    is_volume_name, shown, unshown,
};
use lifeboat_format::manifest::Coverage;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

/// Snapshots that are opened at most to find the newest one with a volume.
const LOOKED_AT: usize = 256;

/// What an argument names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SnapshotPath {
    Top,
    Object(ObjectPath),
    Volume(VolumePath),
}

/// `volumes[/<namespace|_paths>[/<name>[/<path>]]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct VolumePath {
    /// `Some(None)`: the folder of hosts' directory trees.
    pub(crate) namespace: Option<Option<String>>,
    pub(crate) name: Option<String>,
    /// In the tree: components joined by `/`.
    pub(crate) inside: Vec<u8>,
    /// What the argument means if it is a path as it is shown, with escapes.
    unescaped: Option<Vec<u8>>,
}

impl VolumePath {
    /// Whether it names this domain, a folder above it, or something in it.
    pub(crate) fn covers(&self, domain: &Domain) -> bool {
        !domain.has_objects()
            && self.namespace.as_ref().is_none_or(|n| *n == domain.namespace)
            && self.name.as_ref().is_none_or(|n| *n == domain.name)
    }

    /// The volume, where the path names one.
    pub(crate) fn domain<'a>(&self, open: &'a OpenSnapshot) -> Option<&'a Domain> {
        self.name.as_ref()?;
        open.volumes().find(|d| self.covers(d))
    }

    /// The entry that it names in its volume.
    pub(crate) async fn entry(&self, tree: &Tree) -> Result<Option<TreeEntry>, ReadError> {
        match (tree.entry(&self.inside).await?, &self.unescaped) {
            (None, Some(unescaped)) => tree.entry(unescaped).await,
            (found, _) => Ok(found),
        }
    }

    /// The path in its volume that is there.
    pub(crate) async fn existing(&self, tree: &Tree) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.entry(tree).await?.map(|entry| entry.path))
    }
}

/// An argument as text for messages.
pub(crate) fn given(argument: &OsString) -> String {
    shown(argument.as_bytes())
}

/// Paths as `ls` prints them.
pub(crate) fn snapshot_paths(arguments: &[OsString]) -> Result<Vec<SnapshotPath>> {
    arguments.iter().map(snapshot_path).collect()
}

fn snapshot_path(argument: &OsString) -> Result<SnapshotPath> {
    let bytes = argument.as_bytes();
    if matches!(bytes, b"" | b"." | b"./" | b"/") {
        return Ok(SnapshotPath::Top);
    }
    let stripped = bytes.strip_prefix(b"./").unwrap_or(bytes);
    if stripped == b"volumes" || stripped.starts_with(b"volumes/") {
        let parsed = volume_path(&stripped[b"volumes".len()..]);
        return parsed.map(SnapshotPath::Volume).ok_or_else(|| wrong(argument));
    }
    let text = argument.to_str().ok_or_else(|| wrong(argument))?;
    object_path_of(text).map(SnapshotPath::Object)
}

fn wrong(argument: &OsString) -> anyhow::Error {
    let given = given(argument);
    let why = format!(
        "'{given}' is no path in a snapshot; they are objects/<namespace|_cluster>/<kind.group>/<name>.yaml and volumes/<namespace>/<claim>/<path> or volumes/{PATHS}/<volume>/<path>, as `lifeboat ls` prints them"
    );
    UsageError::new(why).into()
}

fn volume_path(rest: &[u8]) -> Option<VolumePath> {
    let mut parts = rest.split(|b| *b == b'/').filter(|part| !matches!(part, [] | [b'.']));
    let text = |part: &[u8]| std::str::from_utf8(part).ok().map(str::to_owned);
    let namespace = match parts.next().map(text) {
        None => None,
        Some(Some(name)) if name == PATHS => Some(None),
        Some(Some(name)) if is_namespace(&name) => Some(Some(name)),
        Some(_) => return None,
    };
    let name = match parts.next().map(text) {
        None => None,
        Some(Some(name)) if is_volume_name(&name) => Some(name),
        Some(_) => return None,
    };
    let inside: Vec<&[u8]> = parts.collect();
    if inside.iter().any(|part| *part == b"..") {
        return None;
    }
    let inside = inside.join(&b'/');
    let unescaped = std::str::from_utf8(&inside).ok().filter(|t| t.contains('\\')).and_then(unshown);
    Some(VolumePath { namespace, name, inside, unescaped })
}

impl Reading {
    /// Opens the snapshot that `given` names; `latest` is the newest that has what `paths` name.
    pub(crate) async fn open_for(&self, given: &str, paths: &[SnapshotPath]) -> Result<OpenSnapshot> {
        let objects: Vec<ObjectPath> = paths
            .iter()
            .filter_map(|p| if let SnapshotPath::Object(path) = p { Some(path.clone()) } else { None })
            .collect();
        let named = |p: &SnapshotPath| match p {
            SnapshotPath::Volume(path) if path.name.is_some() => Some(path.clone()),
            _ => None,
        };
        let volumes: Vec<VolumePath> = paths.iter().filter_map(named).collect();
        if given == "latest"
            && !volumes.is_empty()
            && objects.is_empty()
            && let Some(found) = self.newest_with(&volumes).await?
        {
            return Ok(found);
        }
        self.open_snapshot(given, &objects).await
    }

    async fn newest_with(&self, volumes: &[VolumePath]) -> Result<Option<OpenSnapshot>> {
        let keyring = self.keyring()?;
        // A run that covers namespaces has no path of a host.
        let paths_only = volumes.iter().all(|v| v.namespace == Some(None));
        let fits = |s: &&Snapshot| !paths_only || s.manifest.coverage == Coverage::Paths;
        for candidate in self.list.kept().rev().filter(fits).take(LOOKED_AT) {
            let open = self.repository.open_snapshot(candidate, keyring.clone()).await?;
            if volumes.iter().all(|v| v.domain(&open).is_some()) {
                return crate::reading::warned(open).map(Some);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    fn parse(bytes: &[u8]) -> Option<VolumePath> {
        match snapshot_path(&OsString::from_vec(bytes.to_vec())) {
            Ok(SnapshotPath::Volume(path)) => Some(path),
            _ => None,
        }
    }

    #[test]
    fn paths_of_volumes_are_taken_apart() {
        let path = parse(b"./volumes/_paths/home//a/./b/").unwrap();
        assert_eq!((path.namespace, path.name.as_deref()), (Some(None), Some("home")));
        assert_eq!(path.inside, b"a/b");
        let path = parse(b"volumes/web/data/a\\xff\\\\b").unwrap();
        assert_eq!(path.namespace, Some(Some("web".to_owned())));
        assert_eq!(
            (path.inside.as_slice(), path.unescaped.as_deref()),
            (b"a\\xff\\\\b".as_slice(), Some(b"a\xff\\b".as_slice()))
        );
        assert_eq!(parse(b"volumes/web/data/\xff").unwrap().inside, b"\xff");
        assert_eq!(parse(b"volumes").unwrap(), VolumePath::default());
        for wrong in [
            b"volumes/Web".as_slice(),
            b"volumes/web/a b",
            b"volumes/web/data/../x",
            b"volumes/\xff",
            b"\xff",
        ] {
            assert!(parse(wrong).is_none(), "{}", shown(wrong));
        }
        assert_eq!(snapshot_path(&"/".into()).unwrap(), SnapshotPath::Top);
        assert!(matches!(snapshot_path(&"objects/web".into()).unwrap(), SnapshotPath::Object(_)));
    }
}
