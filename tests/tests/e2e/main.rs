//! Every end-to-end test, in one program, so that they share a cluster. Each area has a file.

mod agent_commit;
mod agent_crash;
mod harness;
mod inprocess;
