//! Pack lists of a commit: one for this attempt's packs, one for each run key of the interrupted attempt.

use super::Commit;
use crate::backup::BackupError;
use bytes::Bytes;
use lifeboat_format::crypto::random;
use lifeboat_format::id::{Handle, Sha256};
use lifeboat_format::manifest::Bitmap;
use lifeboat_format::pack_list::{PackEntry, PackList};
use lifeboat_format::send_log::KnownPack;
use lifeboat_format::{layout, limits};
use std::collections::{BTreeMap, HashMap};

/// Lists, by name, with the packs of each that the snapshot needs, and when the oldest of them was noted.
pub(super) struct Lists {
    pub(super) own: BTreeMap<Sha256, Bitmap>,
    pub(super) known: HashMap<Handle, KnownPack>,
    pub(super) noted: i64,
}

impl Commit<'_> {
    pub(super) async fn write_lists(&self) -> Result<Lists, BackupError> {
        let noted = self.uploader.noted();
        let mut out = Lists { own: BTreeMap::new(), known: HashMap::new(), noted };
        let mut groups: BTreeMap<Vec<u8>, Vec<KnownPack>> = BTreeMap::new();
        groups.insert(self.sealed_run_key.clone(), self.new_packs.clone());
        for r in &self.resumed {
            groups.entry(r.sealed_run_key.clone()).or_default().push(r.pack);
        }
        for (sealed_run_key, packs) in groups {
            for packs in packs.chunks(limits::LIST_PACKS_MAX) {
                self.write_list(&sealed_run_key, packs, &mut out).await?;
            }
        }
        Ok(out)
    }

    async fn write_list(
        &self,
        sealed_run_key: &[u8],
        packs: &[KnownPack],
        out: &mut Lists,
    ) -> Result<(), BackupError> {
        let entry = |p: &KnownPack| PackEntry { sha256: p.sha256, size: p.size, handle: p.handle };
        let list = PackList {
            nonce: random::bytes(),
            sealed_run_key: sealed_run_key.to_vec(),
            packs: packs.iter().map(entry).collect(),
        };
        let bytes = Bytes::from(list.encode());
        let name = Sha256::of(&bytes);
        self.uploader.create_named(&layout::list(&name), bytes, name).await?;
        let mut bitmap = Bitmap::new(packs.len());
        for (i, p) in packs.iter().enumerate() {
            bitmap.insert(i);
            let index = u32::try_from(i).expect("a list has fewer packs than 2^32");
            out.known.insert(p.handle, KnownPack { list: name, index, ..*p });
            out.noted = out.noted.min(p.noted);
        }
        out.own.insert(name, bitmap);
        Ok(())
    }
}
