//! The repository format, version 1: encodings, cryptography and trust, as `docs/format.md` specifies them.
//!
//! Pure: no I/O, no clock, no async. Every parser here is bounded by [`limits`], never panics on any input,
//! and has a fuzz target.

pub mod audit;
pub mod body;
pub mod chain;
pub mod charter;
pub mod chunker;
pub mod crypto;
pub mod dsse;
pub mod epoch;
pub mod id;
pub mod layout;
pub mod limits;
pub mod manifest;
pub mod pack;
pub mod pack_list;
pub mod receipt;
pub mod retention;
pub mod send_log;
pub mod sorted_map;
pub mod tombstone;
pub mod tree;
pub mod volume_log;

mod bytes;
mod error;

pub use error::FormatError;

pub type Result<T> = std::result::Result<T, FormatError>;
