//! Volumes of a Backup.

pub mod plan;
