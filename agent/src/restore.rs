//! Putting a snapshot's objects back into a cluster: plan → apply. Only ever creates.

pub mod apply;
pub mod error;
mod facts;
pub mod fields;
pub mod journal;
pub mod json;
pub mod mapping;
pub mod options;
pub mod order;
pub mod plan;
pub mod preflight;
mod refs;
pub mod report;
mod scan;
pub mod selection;
mod settle;
pub mod source;
mod target;
pub mod volumes;

pub use apply::{ClaimToFill, Event, FillVolumes, Filled, Hooks, Unbound, Work, apply};
pub use error::RestoreError;
pub use journal::{Journal, JournalKey};
pub use mapping::NamespaceMap;
pub use options::{RestoreOptions, Waits};
pub use plan::{PlanSummary, RestorePlan, plan};
pub use report::RestoreReport;
pub use selection::{ClusterScope, LabelSelector, Selection};
pub use source::{GroupKind, MemorySource, ObjectKey, ObjectSource, SourceError, StoredObject};
