//! Names of one file: which name came first, and the further ones, which are linked to it once it is complete. Compact
//! and bounded; knows no file system.

use lifeboat_format::pack::Reference;
use lifeboat_format::tree::Attributes;
use std::collections::HashMap;

/// Files with several names that are remembered; further ones become a file for each name.
const FIRST_MAX: usize = 1_500_000;
/// Bytes of names that are remembered.
const NAMES_MAX: usize = 64 << 20;
/// Links that wait; when there are more, they are made at once.
const WAITING_MAX: usize = 500_000;

/// Where an entry is: its directory's number, and its name.
#[derive(Debug, Clone, Copy)]
struct Spot {
    directory: u32,
    name_at: u32,
    name_len: u16,
}

#[derive(Debug, Default)]
pub(super) struct Links {
    first: HashMap<u64, (Spot, u64)>,
    names: Vec<u8>,
    waiting: Vec<(Spot, u64)>,
    waiting_names: Vec<u8>,
}

/// What an entry with several names is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The first name: it is restored as a file.
    First,
    /// A further one: it waits to be linked.
    Further,
    /// Told to be another name of a file that is different, or there are too many to remember.
    Alone,
}

/// A link to be made.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) directory: u32,
    pub(super) name: Vec<u8>,
    /// Where the first name is; none where that was given up.
    pub(super) first: Option<(u32, Vec<u8>)>,
}

impl Links {
    /// Notes an entry of the file `link`.
    pub(super) fn note(
        &mut self,
        link: u64,
        directory: u32,
        name: &[u8],
        a: &Attributes,
        content: &[Reference],
    ) -> Role {
        let print = fingerprint(a, content);
        if let Some((_, known)) = self.first.get(&link) {
            if *known != print {
                return Role::Alone;
            }
            let spot = spot(&mut self.waiting_names, directory, name);
            self.waiting.extend(spot.map(|spot| (spot, link)));
            return if spot.is_some() { Role::Further } else { Role::Alone };
        }
        if self.first.len() >= FIRST_MAX || self.names.len() >= NAMES_MAX {
            return Role::Alone;
        }
        match spot(&mut self.names, directory, name) {
            Some(spot) => {
                self.first.insert(link, (spot, print));
                Role::First
            }
            None => Role::Alone,
        }
    }

    pub(super) fn is_known(&self, link: u64) -> bool {
        self.first.contains_key(&link)
    }

    /// The first name is not there after all.
    pub(super) fn forget(&mut self, link: u64) {
        self.first.remove(&link);
    }

    /// Whether those that wait should be made now.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    /// Takes those that wait, the last first.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let (spot, link) = self.waiting.pop()?;
        let name = name_at(&self.waiting_names, spot).to_vec();
        self.waiting_names.truncate(spot.name_at as usize);
        let first = self.first.get(&link);
        let first = first.map(|(spot, _)| (spot.directory, name_at(&self.names, *spot).to_vec()));
        Some(Waiting { directory: spot.directory, name, first })
    }
}

fn spot(names: &mut Vec<u8>, directory: u32, name: &[u8]) -> Option<Spot> {
    let name_at = u32::try_from(names.len()).ok()?;
    let name_len = u16::try_from(name.len()).ok()?;
    names.extend_from_slice(name);
    Some(Spot { directory, name_at, name_len })
}

fn name_at(names: &[u8], spot: Spot) -> &[u8] {
    let from = spot.name_at as usize;
    names.get(from..from + usize::from(spot.name_len)).unwrap_or_default()
}

/// What names of one file have in common. Eight bytes: whoever makes them collide wrote the tree, and could have
/// given both names the same content.
fn fingerprint(a: &Attributes, content: &[Reference]) -> u64 {
    let mut all = Vec::with_capacity(64 + 32 * content.len());
    all.push(a.kind as u8);
    for number in [a.size, a.mtime_s.cast_unsigned(), a.mtime_ns.into()] {
        all.extend_from_slice(&number.to_le_bytes());
    }
    all.extend_from_slice(a.target.as_deref().unwrap_or_default());
    all.extend(content.iter().flat_map(|r| r.digest.0));
    let digest = lifeboat_format::id::Digest::of(&all);
    u64::from_le_bytes(std::array::from_fn(|i| digest.0[i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_names_wait_for_the_first() {
        let mut links = Links::default();
        let a = Attributes { size: 3, ..Attributes::default() };
        assert_eq!(links.note(7, 1, b"a", &a, &[]), Role::First);
        assert_eq!(links.note(7, 2, b"bb", &a, &[]), Role::Further);
        assert_eq!(links.note(8, 2, b"c", &a, &[]), Role::First);
        assert_eq!(links.note(7, 3, b"ccc", &a, &[]), Role::Further);
        let other = Attributes { size: 4, ..a.clone() };
        assert_eq!(links.note(7, 3, b"d", &other, &[]), Role::Alone);
        let last = links.pop().unwrap();
        assert_eq!((last.directory, last.name, last.first), (3, b"ccc".to_vec(), Some((1, b"a".to_vec()))));
        links.forget(7);
        let gone = links.pop().unwrap();
        assert_eq!((gone.name, gone.first), (b"bb".to_vec(), None));
        assert!(links.pop().is_none() && links.waiting_names.is_empty());
    }
}
