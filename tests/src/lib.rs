//! What the end-to-end tests run against: real clusters, real S3 servers, and directory trees. Knows nothing of what is
//! tested with them.

pub mod harness;
pub mod oci;
pub mod trees;
