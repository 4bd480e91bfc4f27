//! Directory trees for the tests of the file pipeline: one made to be nasty, random ones that change, and an exact
//! comparison of two. Knows nothing of backups.

pub mod look;
pub mod maker;
pub mod nasty;
pub mod random;

pub use look::{Entry, differences, look, rsync_differences};
pub use maker::{Maker, Meta};
pub use nasty::nasty;
pub use random::RandomTree;
