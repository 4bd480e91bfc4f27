//! The directories of a restore, a few bytes each: who is in whom, what each is called, and what is to be set of it
//! when all is done. Knows no file system.

use super::attributes::{ACL, Basics};
use lifeboat_format::tree::Attributes;
use std::collections::HashMap;
use std::ops::Range;

/// No directory: what stands in for the parent of the root.
pub(super) const NONE: u32 = u32::MAX;
/// Access control lists that are kept until the end, bytes.
const ACLS_MAX: usize = 16 << 20;

/// What is to become of a directory at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Made here or by an earlier run that did not finish: gets its attributes.
    Ours,
    /// Was there with these very attributes; its times are put back.
    Same,
    /// Was there, other than in the snapshot: stays as it is.
    Kept,
    /// Could not be made: nothing goes into it.
    Blocked,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    parent: u32,
    name_at: u32,
    name_len: u16,
    fate: Fate,
    /// Made here, so that nothing can be in it yet.
    empty: bool,
    /// In `owners`.
    owner: u32,
    /// In `acls`; [`NONE`] mostly.
    acl: u32,
    mtime_ns: u32,
    mtime_s: i64,
}

/// Access control lists of one directory.
type Acls = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Debug, Default)]
pub(super) struct Directories {
    all: Vec<Entry>,
    names: Vec<u8>,
    /// Mode, uid, gid: few different ones.
    owners: Vec<(u32, u32, u32)>,
    owner_numbers: HashMap<(u32, u32, u32), u32>,
    acls: Vec<Acls>,
    acl_bytes: usize,
}

impl Directories {
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.all.len()).unwrap_or(NONE)
    }

    /// Adds a directory; `None` where there are more than can be counted. The flag: its access control lists are kept.
    pub(super) fn add(
        &mut self,
        parent: u32,
        name: &[u8],
        fate: Fate,
        empty: bool,
        a: &Attributes,
    ) -> Option<(u32, bool)> {
        let number = self.len();
        let name_at = u32::try_from(self.names.len()).ok().filter(|_| number < NONE)?;
        let name_len = u16::try_from(name.len()).ok()?;
        self.names.extend_from_slice(name);
        let owner = self.owner_number((a.mode, a.uid, a.gid));
        let (acl, kept) = self.keep_acls(a);
        let (mtime_s, mtime_ns) = (a.mtime_s, a.mtime_ns);
        self.all.push(Entry { parent, name_at, name_len, fate, empty, owner, acl, mtime_ns, mtime_s });
        Some((number, kept))
    }

    fn owner_number(&mut self, owner: (u32, u32, u32)) -> u32 {
        let next = u32::try_from(self.owners.len()).unwrap_or(NONE);
        let number = *self.owner_numbers.entry(owner).or_insert(next);
        if number == next {
            self.owners.push(owner);
        }
        number
    }

    fn keep_acls(&mut self, a: &Attributes) -> (u32, bool) {
        let acls: Acls = a.xattrs.iter().filter(|(name, _)| name.starts_with(ACL)).cloned().collect();
        let bytes: usize = acls.iter().map(|(name, value)| name.len() + value.len() + 64).sum();
        if acls.is_empty() {
            return (NONE, true);
        }
        if self.acl_bytes + bytes > ACLS_MAX {
            return (NONE, false);
        }
        self.acl_bytes += bytes;
        self.acls.push(acls);
        (u32::try_from(self.acls.len() - 1).unwrap_or(NONE), true)
    }

    fn entry(&self, number: u32) -> Option<&Entry> {
        self.all.get(number as usize)
    }

    pub(super) fn parent(&self, number: u32) -> u32 {
        self.entry(number).map_or(NONE, |e| e.parent)
    }

    pub(super) fn fate(&self, number: u32) -> Fate {
        self.entry(number).map_or(Fate::Blocked, |e| e.fate)
    }

    /// Whether nothing was in it before.
    pub(super) fn is_empty(&self, number: u32) -> bool {
        self.entry(number).is_some_and(|e| e.empty)
    }

    pub(super) fn name(&self, number: u32) -> &[u8] {
        self.entry(number).map_or(&[], |e| self.name_of(e))
    }

    fn name_of(&self, e: &Entry) -> &[u8] {
        let from = e.name_at as usize;
        self.names.get(from..from + usize::from(e.name_len)).unwrap_or_default()
    }

    pub(super) fn basics(&self, number: u32) -> Option<Basics> {
        let e = self.entry(number)?;
        let (mode, uid, gid) = *self.owners.get(e.owner as usize)?;
        Some(Basics { mode, uid, gid, mtime_s: e.mtime_s, mtime_ns: e.mtime_ns })
    }

    pub(super) fn acls(&self, number: u32) -> &[(Vec<u8>, Vec<u8>)] {
        let acls = self.entry(number).and_then(|e| self.acls.get(e.acl as usize));
        acls.map_or(&[], Vec::as_slice)
    }

    /// The number of `name` among `children`, which are in the order of their names.
    pub(super) fn find(&self, children: &Range<u32>, name: &[u8]) -> Option<u32> {
        let among = self.all.get(children.start as usize..children.end as usize)?;
        let at = among.binary_search_by(|e| self.name_of(e).cmp(name)).ok()?;
        Some(children.start + u32::try_from(at).ok()?)
    }

    /// Components joined by `/`; empty for a root without a name.
    pub(super) fn path(&self, number: u32) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut at = number;
        while let Some(e) = self.entry(at) {
            parts.push(self.name_of(e));
            at = e.parent;
        }
        parts.retain(|part| !part.is_empty());
        parts.reverse();
        parts.join(&b'/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_found_by_name_and_know_their_path() {
        let mut all = Directories::default();
        let a = Attributes { mode: 0o755, ..Attributes::default() };
        let (root, _) = all.add(NONE, b"volumes/v", Fate::Ours, true, &a).unwrap();
        let first = all.len();
        for name in [&b"a"[..], b"b", b"b\xff", b"c"] {
            all.add(root, name, Fate::Ours, true, &a).unwrap();
        }
        let children = first..all.len();
        let b = all.find(&children, b"b\xff").unwrap();
        assert_eq!(all.path(b), b"volumes/v/b\xff");
        assert_eq!(all.find(&children, b"bb"), None);
        assert_eq!(all.find(&(0..0), b"a"), None);
        let (deep, _) = all.add(b, b"x", Fate::Kept, true, &a).unwrap();
        assert_eq!((all.parent(deep), all.name(deep), all.fate(deep)), (b, &b"x"[..], Fate::Kept));
        assert_eq!(all.path(deep), b"volumes/v/b\xff/x");
        assert_eq!(all.basics(deep).unwrap().mode, 0o755);
        assert_eq!(all.owners.len(), 1);
    }

    #[test]
    fn access_control_lists_are_bounded() {
        let mut all = Directories::default();
        let acl = (b"system.posix_acl_default".to_vec(), vec![0; 60_000]);
        let other = (b"user.x".to_vec(), vec![0; 60_000]);
        let a = Attributes { xattrs: vec![acl, other], ..Attributes::default() };
        let kept =
            (0..400_u32).filter(|n| all.add(NONE, &n.to_be_bytes(), Fate::Ours, true, &a).unwrap().1).count();
        assert!(kept > 250 && kept < 300, "{kept}");
        assert_eq!((all.acls(0).len(), all.acls(399).len()), (1, 0));
    }
}
