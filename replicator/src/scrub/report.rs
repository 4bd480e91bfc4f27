//! What a scrub did, for people and programs.

use super::queue::Found;
use super::record::Standing;
use crate::status::{plain, size};
use lifeboat_format::crypto::sign::VerifyKey;
use lifeboat_format::id::ClusterName;
use serde::Serialize;
use std::fmt::Write as _;

pub const SCHEMA: &str = "lifeboat/scrub/1";

#[derive(Debug, Serialize)]
pub struct Report {
    pub schema: &'static str,
    /// It was told to stop before it was done; the next one goes on from there.
    pub stopped: bool,
    pub clusters: Vec<ClusterReport>,
}

#[derive(Debug, Default, Serialize)]
pub struct ClusterReport {
    pub name: String,
    /// Read and found sound in this round.
    pub objects: u64,
    pub bytes: u64,
    pub damaged: Vec<Found>,
    /// This machine could not look at so many.
    pub failed: u64,
    pub standing: Standing,
}

impl Report {
    pub(super) fn new(clusters: &[(ClusterName, VerifyKey)]) -> Self {
        let one = |(name, _): &(ClusterName, VerifyKey)| ClusterReport {
            name: name.to_string(),
            ..ClusterReport::default()
        };
        Self { schema: SCHEMA, stopped: false, clusters: clusters.iter().map(one).collect() }
    }

    pub(super) fn of(&mut self, cluster: &str) -> &mut ClusterReport {
        let at = self.clusters.iter().position(|c| c.name == cluster).unwrap_or_else(|| {
            self.clusters.push(ClusterReport { name: cluster.to_owned(), ..ClusterReport::default() });
            self.clusters.len() - 1
        });
        &mut self.clusters[at]
    }

    #[must_use]
    pub fn damaged(&self) -> usize {
        self.clusters.iter().map(|c| c.damaged.len()).sum()
    }

    #[must_use]
    pub fn failed(&self) -> u64 {
        self.clusters.iter().map(|c| c.failed).sum()
    }

    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for c in &self.clusters {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{}: read {} files, {}", c.name, c.objects, size(c.bytes));
            for found in &c.damaged {
                let _ = writeln!(
                    out,
                    "  DAMAGED {}: {}; the next pull fetches it again",
                    plain(&found.key),
                    found.why
                );
            }
            if c.failed > 0 {
                let _ = writeln!(out, "  {} files could not be looked at; see the log", c.failed);
            }
            if let Some(oldest) = c.standing.oldest {
                let _ = writeln!(out, "  everything was read and sound since {oldest:.0}");
            }
        }
        if self.stopped {
            out.push_str("Stopped before the end; the next scrub goes on from here\n");
        }
        out
    }
}
