//! Paths to keys and back. A path here is its components joined by `/`, without one at either end; the root is empty.

use super::NAME_MAX;
use crate::{FormatError, Result};

/// Appends the key of `name` in the directory `parent` (components joined by `/`) to `out`.
///
/// It may be over [`crate::limits::KEY_MAX`]: such an entry cannot be stored, nor anything below it.
pub fn key(parent: &[u8], name: &[u8], out: &mut Vec<u8>) {
    out.reserve(parent.len() + 2 + name.len());
    push_components(parent, out);
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(name);
}

/// The key of the entry at `path`; of the tree's root for the empty path.
#[must_use]
pub fn path_key(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if !path.is_empty() {
        let (parent, name) = split(path);
        key(parent, name, &mut out);
    }
    out
}

/// The parent (components joined by `/`) and name that a key stands for. The root's key, which is empty, has neither.
///
/// # Errors
/// Where it is not a key, or a part of it can be no name: empty, `.`, `..`, with `/`, or over [`NAME_MAX`].
pub fn parse_key(key: &[u8]) -> Result<(Vec<u8>, &[u8])> {
    let at = key.windows(2).position(|w| w == [0, 0]);
    let at = at.ok_or_else(|| FormatError::malformed("key of a tree", "it has no name"))?;
    let (parent, name) = (&key[..at], &key[at + 2..]);
    if !is_name(name) || !(parent.is_empty() || parent.split(|b| *b == 0).all(is_name)) {
        return Err(FormatError::malformed("key of a tree", "a part of it cannot be a name"));
    }
    Ok((parent.iter().map(|b| if *b == 0 { b'/' } else { *b }).collect(), name))
}

/// The whole path that a key stands for, components joined by `/`; empty for the root.
///
/// # Errors
/// As [`parse_key`].
pub fn path_of(key: &[u8]) -> Result<Vec<u8>> {
    if key.is_empty() {
        return Ok(Vec::new());
    }
    let (mut path, name) = parse_key(key)?;
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    Ok(path)
}

/// What the keys of a directory's own entries begin with.
#[must_use]
pub fn directory_prefix(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len() + 2);
    push_components(path, &mut out);
    out.extend_from_slice(&[0, 0]);
    out
}

/// What the keys of everything below a directory begin with, itself left out. For the root that is nothing: every key.
#[must_use]
pub fn subtree_prefix(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len() + 1);
    push_components(path, &mut out);
    if !out.is_empty() {
        out.push(0);
    }
    out
}

fn push_components(path: &[u8], out: &mut Vec<u8>) {
    out.extend(path.iter().map(|b| if *b == b'/' { 0 } else { *b }));
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX
        && name != b"."
        && name != b".."
        && !name.iter().any(|b| matches!(b, 0 | b'/'))
}
