//! The agent's container image, put together from files without a registry, a daemon or a builder. Knows no cluster.

pub mod archive;
pub mod rootfs;
pub mod sbom;
