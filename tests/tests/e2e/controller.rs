//! The controller in a cluster, end to end. Each part has a file of `controller/`.

mod admission;
mod daily;
mod faults;
mod first;
mod kill;
mod lease;
mod memory;
mod rights;
pub(crate) mod site;
mod state;
