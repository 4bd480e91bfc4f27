//! Writes a tree of an opened snapshot into a directory, and never outside of it, over something, or through a link.
//!
//! One planner walks the tree in the order of its keys and makes directories; fetchers bring frames pack by pack, ahead;
//! threads open each frame once, check the chunks in it and write them to the files that need them. A file gets its
//! name when it is complete, so a restore that was interrupted goes on where it stopped. Memory does not grow with
//! files, only by some bytes for each directory and hard link. Knows no command and no cluster.

mod attributes;
mod beneath;
mod chosen;
mod content;
mod directories;
mod error;
mod existing;
mod fetch;
mod hard_link;
mod links;
mod make;
mod node;
mod partial;
mod plan;
mod report;
mod settle;
mod shared;
mod window;
mod work;

pub use beneath::Target;
pub use chosen::{Chosen, Entries, Pattern, PatternError, is_pattern};
pub use error::RestoreError;
pub use plan::Root;
pub use report::{Named, Report};

use lifeboat_common::progress::Progress;
use lifeboat_common::reader::Tree;
use plan::{Parts, Planner};
use report::Tally;
use shared::Shared;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Threads that open frames and write files. More than cores: they wait for disks, too.
const THREADS: usize = 8;

/// How a tree is restored.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Make device nodes.
    pub devices: bool,
    pub root: Root,
    /// Set to end it within about 100 ms.
    pub cancel: Arc<AtomicBool>,
    /// Counts bytes of content.
    pub progress: Progress,
}

/// What a restore came to.
#[derive(Debug)]
pub struct Restored {
    pub report: Report,
    /// Which of the choices were of anything.
    pub found: Vec<bool>,
    /// Why it ended before its time.
    pub stopped: Option<RestoreError>,
}

/// Restores what is chosen of `tree` into `target`.
pub async fn restore(
    tree: &Tree,
    chosen: Vec<Chosen>,
    target: &Arc<Target>,
    options: RestoreOptions,
) -> Restored {
    let tally = Tally::new(options.progress);
    let shared = Arc::new(Shared::new(Arc::clone(target), tally, options.cancel));
    let (jobs, taken) = crossbeam_channel::unbounded();
    let (windows, planned) = mpsc::channel(1);
    let mut threads = Vec::new();
    for _ in 0..THREADS {
        let (shared, taken) = (Arc::clone(&shared), taken.clone());
        threads.push(tokio::task::spawn_blocking(move || work::work(&shared, &taken)));
    }
    drop(taken);
    let chunks = Arc::clone(tree.chunks());
    let fetching = tokio::spawn(fetch::fetch(chunks, planned, jobs.clone(), Arc::clone(&shared)));
    let (devices, root) = (options.devices, options.root);
    let (tree, runtime) = (tree.clone(), Handle::current());
    let planner =
        Planner::new(Parts { tree, root, devices, runtime, shared: Arc::clone(&shared), windows, jobs });
    let planning = tokio::task::spawn_blocking(move || planner.run(&chosen));
    let found = planning.await;
    let mut broken = found.is_err() | fetching.await.is_err();
    for thread in threads {
        broken |= thread.await.is_err();
    }
    if broken {
        shared.stop.set(RestoreError::Broken);
    }
    let report = shared.tally.take();
    Restored { report, found: found.unwrap_or_default(), stopped: shared.stop.reason() }
}

#[cfg(test)]
mod tests;
