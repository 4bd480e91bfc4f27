//! Library.

pub mod backup;
pub mod backup_path;
pub mod cluster;
pub mod controller;
pub mod coverage;
pub mod fill;
pub mod health;
pub mod install;
pub mod kinds;
pub mod metrics;
pub mod node;
pub mod restore;
pub mod select;
pub mod tree;
pub mod volume;
