//! Sorted maps: the one structure for objects and trees. Pages of entries, cut by a keyed hash of the key, so that
//! equal content gives equal pages; inner pages map a first key to the page that begins with it.
//!
//! A page is CBOR: `[level, packs, entries]`; `packs` is the concatenation of the 16-byte handles that its
//! references point into. A leaf (level 0) entry is `[key, inline, references, indirect]`, an inner one
//! `[first key, reference]`; a reference is `[pack index, frame, offset, length, digest]`.

mod build;
mod page;

pub use build::{MapBuilder, PageSink, put_lists};
pub use page::{Entry, Page, parse_references};
pub(crate) use page::{PackTable, encode_reference, pack_table, references};

#[cfg(test)]
mod tests;
