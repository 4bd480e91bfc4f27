//! One volume's tree into packs, log and result, by whoever can read it: the pipeline that a host run over a directory
//! and a node's worker share. Knows no Kubernetes, no chain, no state and no signing key: what it may use again is
//! given to it, and what it made is handed back.

pub mod order;
pub mod result;
mod sealed;
pub mod work;

pub use order::{Order, OrderOptions};
pub use result::{Told, WorkResult};
pub use sealed::WorkError;
pub use work::{Done, Work, WorkProgress, work};
