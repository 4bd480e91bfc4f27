//! One file for each command of the agent.

pub(crate) mod backup;
pub(crate) mod backup_path;
