//! The commands, one file each: its arguments with their help, and `run`.

pub(crate) mod adopt;
pub(crate) mod backup;
pub(crate) mod cat;
pub(crate) mod completions;
pub(crate) mod coverage;
pub(crate) mod diff;
pub(crate) mod extract;
pub(crate) mod find;
pub(crate) mod init;
pub(crate) mod install;
pub(crate) mod keygen;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod probe;
pub(crate) mod report;
pub(crate) mod restore;
pub(crate) mod rotate;
pub(crate) mod snapshots;
pub(crate) mod uninstall;
pub(crate) mod verify;
