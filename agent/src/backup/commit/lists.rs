//! Pack lists of a commit: its own, and those that workers of its run wrote.

use super::Commit;
use crate::backup::BackupError;
use crate::backup::resume::Resumed;
use crate::volume::lists::write_lists;
use lifeboat_format::id::{Handle, Sha256};
use lifeboat_format::manifest::Bitmap;
use lifeboat_format::send_log::KnownPack;
use std::collections::{BTreeMap, HashMap};

/// Lists, by name, with the packs of each that the snapshot needs, and when the oldest of them was noted.
pub(super) struct Lists {
    pub(super) own: BTreeMap<Sha256, Bitmap>,
    pub(super) known: HashMap<Handle, KnownPack>,
    pub(super) noted: i64,
    /// Packs of unfinished readings, which are only kept.
    pub(super) unfinished: Vec<KnownPack>,
}

impl Commit<'_> {
    pub(super) async fn write_lists(&self) -> Result<Lists, BackupError> {
        let left: Vec<Resumed> = self.unfinished.iter().flat_map(|u| u.packs.iter().cloned()).collect();
        let (_, unfinished) = write_lists(self.uploader, &self.sealed_run_key, &[], &left).await?;
        let (own, known) = (BTreeMap::new(), HashMap::new());
        let mut out = Lists { own, known, noted: self.uploader.noted(), unfinished };
        let (new, resumed) = (&self.new_packs, &self.resumed);
        let (_, packs) = write_lists(self.uploader, &self.sealed_run_key, new, resumed).await?;
        // What this process sent itself is what is known of it, whatever a worker says.
        for p in self.listed.iter().chain(&packs) {
            out.own.entry(p.list).or_default().insert(p.index as usize);
            out.known.insert(p.handle, *p);
            out.noted = out.noted.min(p.noted);
        }
        Ok(out)
    }
}
