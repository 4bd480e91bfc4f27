//! Library.

pub mod backup;
pub mod backup_path;
pub mod cluster;
pub mod restore;
pub mod select;
pub mod tree;
