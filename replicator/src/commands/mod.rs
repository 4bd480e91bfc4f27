//! Commands that are more than a call: arguments, output, exit code. The work is in the library.

pub(crate) mod alarm;
pub(crate) mod audit;
pub(crate) mod completions;
pub(crate) mod heal;
pub(crate) mod http;
pub(crate) mod man;
pub(crate) mod notify;
pub(crate) mod retain;
pub(crate) mod scrub;
pub(crate) mod setup;
