//! Every end-to-end test, in one program, so that they share a cluster. Each area has a file.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may panic, and its numbers are small"
)]

mod agent_commit;
mod agent_crash;
mod attacks;
mod compromise;
mod controller;
mod faults;
mod faults_cluster;
mod faults_front;
mod faults_primary;
mod faults_store;
mod faults_vault;
mod fill;
mod flips;
mod forms;
mod harness;
mod inprocess;
mod install;
mod keys;
mod kill;
mod killer;
mod leaders;
mod manifests;
mod package;
mod primary;
mod reader;
mod scrub;
mod systemd;
mod tree;
mod tree_damage;
mod tree_faults;
mod tree_kill;
mod tree_live;
mod tree_random;
mod tree_reuse;
mod volumes;
mod world;
