//! One file for each command of the agent.

pub(crate) mod backup;
pub(crate) mod backup_path;
pub(crate) mod controller;
pub(crate) mod crds;
pub(crate) mod fill;
pub(crate) mod node;
