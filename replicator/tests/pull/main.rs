//! Pulls of real repositories in memory into a vault on disk: what is new, what is damaged, what is hostile, and what
//! crashes. One binary, so that the fixtures are built once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod crashes;
mod damage;
mod disk;
mod fixture;
mod hostile;
mod limits;
mod millions;
mod monitoring;
mod plain;
mod primary;
mod retain;
mod scrub;
mod service;
mod simulation;
