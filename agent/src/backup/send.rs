//! The run's packs on their way to the store, and what is known of those that arrived.

use super::pack::Packer;
use super::resume::{ResumeError, UploadLog, known_pack};
use super::state::{State, StateFile};
use super::upload::{Outgoing, PackSender, Uploader};
use bytes::Bytes;
use lifeboat_common::clock::Clock;
use lifeboat_format::id::Sha256;
use lifeboat_format::send_log::{KnownChunk, KnownPack};
use std::collections::HashMap;
use std::sync::Arc;

/// Sends what the packer seals, and logs what has arrived.
pub struct Sending<'a> {
    sender: PackSender,
    uploader: Uploader,
    clock: Arc<dyn Clock>,
    log: UploadLog,
    state: &'a mut State,
    file: &'a StateFile,
    waiting: HashMap<Sha256, (KnownPack, Vec<KnownChunk>)>,
    /// Packs that arrived, in order of arrival; their list is not written yet.
    pub packs: Vec<KnownPack>,
}

impl<'a> Sending<'a> {
    #[must_use]
    pub fn new(
        uploader: Uploader,
        clock: Arc<dyn Clock>,
        log: UploadLog,
        state: &'a mut State,
        file: &'a StateFile,
    ) -> Self {
        let sender = PackSender::new(uploader.clone());
        Self { sender, uploader, clock, log, state, file, waiting: HashMap::new(), packs: Vec::new() }
    }

    /// Sends the packer's finished packs; waits where the store is slower than the cluster.
    pub async fn take(&mut self, packer: &mut Packer) -> Result<(), ResumeError> {
        for new in std::mem::take(&mut packer.outbox) {
            let known = known_pack(&new, self.uploader.noted());
            let outgoing = Outgoing { sha256: new.sealed.sha256, bytes: Bytes::from(new.sealed.bytes) };
            self.waiting.insert(known.sha256, (known, new.chunks));
            let arrived = self.sender.send(outgoing).await?;
            self.note(arrived).await?;
        }
        Ok(())
    }

    /// Waits for the last pack.
    pub async fn finish(mut self) -> Result<Vec<KnownPack>, ResumeError> {
        let arrived = self.sender.wait().await?;
        self.note(arrived).await?;
        Ok(self.packs)
    }

    async fn note(&mut self, arrived: Vec<Sha256>) -> Result<(), ResumeError> {
        for sha256 in arrived {
            let Some((known, chunks)) = self.waiting.remove(&sha256) else { continue };
            self.log.arrived(known, &chunks);
            self.packs.push(known);
        }
        let now = self.clock.now();
        if self.log.is_due(now) {
            self.log.write(now, &self.uploader, self.state, self.file).await?;
        }
        Ok(())
    }
}
