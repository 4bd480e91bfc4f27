//! What the threads of one run share.

use super::TreeProgress;
use super::chunks::Chunks;
use super::links::Links;
use super::report::TreeReport;
use super::shared::{Budget, Going};
use super::windows::Windows;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of entries between the walk and the map.
const WINDOW: usize = 24 << 20;

pub struct Context<'a> {
    pub chunks: Chunks<'a>,
    pub going: Going<'a>,
    pub links: Links,
    pub windows: Windows,
    /// What entries take that are between the walk and the map.
    pub window: Budget,
    pub progress: &'a TreeProgress,
    report: Mutex<TreeReport>,
}

impl<'a> Context<'a> {
    pub fn new(chunks: Chunks<'a>, going: Going<'a>, progress: &'a TreeProgress) -> Self {
        let windows = Windows::new(chunks.keys.sizes.max as usize);
        let (links, window) = (Links::default(), Budget::new(WINDOW));
        Self { chunks, going, links, windows, window, progress, report: Mutex::default() }
    }

    pub fn report(&self) -> MutexGuard<'_, TreeReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
