//! One volume's tree into packs, log and result, by whoever can read it: the pipeline that a host run over a directory
//! and a node's worker share. Knows no Kubernetes, no chain, no state and no signing key: what it may use again is
//! given to it, and what it made is handed back.

pub(crate) mod check;
pub(crate) mod flow;
pub(crate) mod left;
pub(crate) mod lists;
mod memory;
pub(crate) mod merge;
pub mod order;
pub(crate) mod past;
pub(crate) mod records;
pub mod result;
mod sealed;
mod told;
pub mod work;

pub use order::{Order, OrderOptions};
pub use result::{Told, WorkResult};
pub use sealed::WorkError;
pub use work::{Done, Work, WorkProgress, work};
