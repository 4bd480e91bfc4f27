//! The commands, one file each: its arguments with their help, and `run`.

pub(crate) mod adopt;
pub(crate) mod completions;
pub(crate) mod init;
pub(crate) mod keygen;
pub(crate) mod probe;
pub(crate) mod rotate;
