//! Trees of files as sorted maps: the keys of their entries, and the attributes that stand inline beside each.
//!
//! An entry's key is its parent's components joined by 00, then 00 00, then its name; the root of the tree has the
//! empty key. No name holds 00, so bytewise order is the order of a walk that lists a directory, sorted by name, and
//! then goes into each subdirectory in turn: a directory is one range of keys, and what is below it another.
//! Knows nothing of file systems: names and times are bytes and numbers.

mod attributes;
mod key;

pub use attributes::{Attributes, CHANGING, NodeKind, encode_attributes};
pub use key::{directory_prefix, key, parse_key, path_key, path_of, subtree_prefix};

/// Data extents of one sparse file; a file with more has its smallest holes stored as zeros.
pub const EXTENTS_MAX: usize = 2048;
/// Bytes of a symbolic link's target (Linux: PATH_MAX with its NUL).
pub const TARGET_MAX: usize = 4096;
/// Bytes of one name (Linux: NAME_MAX is 255; some file systems count characters, of up to four bytes).
pub const NAME_MAX: usize = 1024;
/// Bytes of an extended attribute's name (Linux: XATTR_NAME_MAX).
pub const XATTR_NAME_MAX: usize = 255;

#[cfg(test)]
mod tests;
