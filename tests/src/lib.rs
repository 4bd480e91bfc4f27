//! What the end-to-end tests run against: real clusters and real S3 servers. Knows nothing of what is tested with them.

pub mod harness;
