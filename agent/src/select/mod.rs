//! Which objects belong into a snapshot, and why each of the others does not. Pure: no I/O, no clock, no
//! client; plain data in, plain data out.

pub mod builtin;
pub mod classify;
pub mod coverage;
pub mod facts;
pub mod glob;
pub mod kinds;
pub mod labels;
pub mod order;
pub mod report;
pub mod rules;
pub mod volumes;

pub use classify::{Class, Derived, Excluded, Skipped, classify, classify_broken, classify_kind, opted_out};
pub use facts::Facts;
pub use order::sort_for_listing;
pub use report::{Consistency, Counts, Kept, Missed, Report, RunResult, VolumeRecord};
pub use rules::{ClusterScope, RuleError, Selection, SelectionSpec};
