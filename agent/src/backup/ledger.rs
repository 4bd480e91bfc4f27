//! Where a run notes the pieces of its upload log, so that whoever goes on from it finds them: in a state, or with
//! whoever watches it.

use super::state::{Held, State, StateError};
use lifeboat_format::crypto::derive::Secret32;
use lifeboat_format::id::{RunId, Sha256};

/// Notes pieces.
pub trait Ledger: Send {
    /// The run, and the key that its pieces are sealed under; `None`: nothing is logged.
    fn run(&self) -> Option<(RunId, Secret32)>;

    /// `next` is about to be sent; `arrived` is the one before it.
    fn sending(
        &mut self,
        arrived: Option<Sha256>,
        next: Sha256,
    ) -> impl Future<Output = Result<(), StateError>> + Send;

    /// A piece is in the store.
    fn sent(&mut self, piece: Sha256);
}

/// In the state of an agent.
pub struct Stated<'a> {
    pub state: &'a mut State,
    pub file: &'a Held,
}

impl Ledger for Stated<'_> {
    fn run(&self) -> Option<(RunId, Secret32)> {
        self.state.pending.as_ref().and_then(|p| Some((p.run, p.key()?)))
    }

    async fn sending(&mut self, arrived: Option<Sha256>, next: Sha256) -> Result<(), StateError> {
        if let Some(pending) = &mut self.state.pending {
            // The one that has arrived, and the one that may not.
            pending.pieces = arrived.into_iter().chain([next]).collect();
        }
        self.file.save(self.state).await
    }

    fn sent(&mut self, _: Sha256) {}
}
