//! The run's packs on their way to the store, and what is known of those that arrived.

use super::buffers;
use super::ledger::{Ledger, Stated};
use super::pack::{NewPack, Packer};
use super::resume::{ResumeError, UploadLog, known_pack};
use super::state::{Held, State};
use super::upload::{Outgoing, PackSender, Room, Uploader};
use lifeboat_common::clock::Clock;
use lifeboat_common::store::StoreError;
use lifeboat_format::id::Sha256;
use lifeboat_format::send_log::KnownPack;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a stopped run waits for packs on their way.
const LAST_PACKS: Duration = Duration::from_secs(2);
/// How long it may take to stop in all.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Logs what is sealed, and sends it.
pub struct Sending<L> {
    sender: PackSender,
    uploader: Uploader,
    clock: Arc<dyn Clock>,
    log: UploadLog,
    pub ledger: L,
    waiting: HashMap<Sha256, KnownPack>,
    /// Packs that arrived, in order of arrival; their list is not written yet.
    pub packs: Vec<KnownPack>,
}

impl<'a> Sending<Stated<'a>> {
    /// Noted in a state.
    #[must_use]
    pub fn new(
        uploader: Uploader,
        clock: Arc<dyn Clock>,
        log: UploadLog,
        state: &'a mut State,
        file: &'a Held,
    ) -> Self {
        Self::noted(uploader, clock, log, Stated { state, file })
    }
}

impl<L: Ledger> Sending<L> {
    #[must_use]
    pub fn noted(uploader: Uploader, clock: Arc<dyn Clock>, log: UploadLog, ledger: L) -> Self {
        let sender = PackSender::new(uploader.clone());
        Self { sender, uploader, clock, log, ledger, waiting: HashMap::new(), packs: Vec::new() }
    }

    /// Sends the packer's finished packs; waits where the store is slower than the cluster.
    pub async fn take(&mut self, packer: &mut Packer) -> Result<(), ResumeError> {
        for new in std::mem::take(&mut packer.outbox) {
            self.send(new, None).await?;
        }
        Ok(())
    }

    /// Sends one pack; waits while too much is under way.
    pub async fn send(&mut self, new: NewPack, room: Option<Room>) -> Result<(), ResumeError> {
        let known = known_pack(&new, self.uploader.noted());
        let outgoing = Outgoing { sha256: new.sealed.sha256, bytes: buffers::lend(new.sealed.bytes), room };
        // Logged before it is sent: a run that is killed between the two would not know what it has in the store. Whether
        // it came to be there, the next run sees.
        self.log.sending(known, &new.chunks);
        self.waiting.insert(known.sha256, known);
        self.write_log_if_due().await?;
        let arrived = self.sender.send(outgoing).await?;
        self.note(arrived).await
    }

    async fn write_log_if_due(&mut self) -> Result<(), ResumeError> {
        if self.log.is_due(self.clock.now()) {
            self.write_log().await?;
        }
        Ok(())
    }

    /// Whether nothing is on its way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.sender.is_idle()
    }

    /// Waits for a pack to arrive, which is then to be [taken in](Self::take_in). May be dropped.
    pub async fn next(&mut self) -> Option<Result<Sha256, StoreError>> {
        self.sender.next().await
    }

    /// Takes in a pack that has arrived.
    pub async fn take_in(&mut self, arrived: Option<Sha256>) -> Result<(), ResumeError> {
        self.note(arrived.into_iter().collect()).await
    }

    /// Waits for the last pack, and gives all that no list names yet.
    pub async fn wait(&mut self) -> Result<Vec<KnownPack>, ResumeError> {
        let arrived = self.sender.wait().await?;
        self.note(arrived).await?;
        buffers::release();
        Ok(std::mem::take(&mut self.packs))
    }

    /// Waits for the last pack, and logs it: nothing more comes for a while.
    pub async fn settle(&mut self) -> Result<(), ResumeError> {
        let arrived = self.sender.wait().await?;
        self.note(arrived).await?;
        self.write_log().await
    }

    /// Logs what is sent or on its way, so that nothing of it is lost.
    pub async fn write_log(&mut self) -> Result<(), ResumeError> {
        self.log.write(self.clock.now(), &self.uploader, &mut self.ledger).await
    }

    /// The run stops here: what has arrived, or does so now, is logged for the next one.
    pub async fn note_and_stop(mut self) {
        let noting = async {
            if let Ok(arrived) = tokio::time::timeout(LAST_PACKS, self.sender.wait()).await {
                self.note(arrived?).await?;
            }
            self.log.write(self.clock.now(), &self.uploader, &mut self.ledger).await
        };
        match tokio::time::timeout(LAST_WORDS, noting).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "what was sent last could not be noted; it is sent again")
            }
            Err(_) => tracing::warn!("there was no time to note what was sent last; it is sent again"),
        }
    }

    async fn note(&mut self, arrived: Vec<Sha256>) -> Result<(), ResumeError> {
        for sha256 in arrived {
            let Some(known) = self.waiting.remove(&sha256) else { continue };
            self.packs.push(known);
        }
        self.write_log_if_due().await
    }
}
