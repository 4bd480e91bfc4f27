//! Library.

pub mod backup;
pub mod cluster;
pub mod restore;
pub mod select;
