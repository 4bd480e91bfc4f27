//! The only place that calls Kubernetes. Its callers see plain data (resources, items, typed errors)
//! and decide; nothing in here knows about snapshots, selection rules or restores.

pub mod attach;
pub mod connect;
pub mod discover;
mod discovery_wire;
pub mod error;
pub mod events;
pub mod exec;
pub mod item;
pub mod lease;
pub mod list;
pub mod node_work;
pub mod observe;
pub mod on_demand;
pub mod own;
mod pacing;
mod page;
pub mod read_all;
mod request;
pub mod resource;
mod retry;
pub mod state_secret;
#[cfg(test)]
pub(crate) mod test_server;
pub mod text;
pub mod volumes;
pub mod wait;
pub mod write;

pub use connect::{Cluster, ConnectOptions};
pub use discover::{BrokenGroup, Discovery};
pub use error::ClusterError;
pub use item::{Item, ItemMeta, Owner, Rejected};
pub use list::{ListOptions, ListPage, ListSummary, Lister, list};
pub use observe::{RequestObserver, Verb};
pub use read_all::{ReadEvent, Reader, read_all};
pub use resource::Resource;
