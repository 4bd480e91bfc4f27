//! What the agent remembers between runs: dedup key, log keys, the head it left. One small document in one of two
//! places, a locked file or a Secret under a precondition; a run does not know which. Losing it costs a full store,
//! never correctness.

mod file;

use crate::cluster::state_secret::{SecretError, StateSecret};
use file::StateFile;
use lifeboat_format::crypto::derive::Secret32;
use lifeboat_format::id::{RunId, ScopeAlias, Sha256};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use std::collections::HashMap;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Log keys of this many snapshots are kept: so many send logs can be opened.
const LOGS_KEPT: usize = 3;
/// Volumes whose unfinished uploads are remembered.
const UPLOADS_MAX: usize = 512;
/// Interrupted runs of other scopes that are remembered.
const PAUSED_MAX: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(
        "Cannot {action} the state file {path}: {source}; the agent needs a folder that it can write, and that survives it"
    )]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("Another agent runs with the state file {path}; wait until it ends")]
    Locked { path: PathBuf },
    #[error(
        "The state {place} is damaged ({why}); move it away to store everything anew, nothing that was backed up is lost"
    )]
    Damaged { place: String, why: String },
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl StateError {
    /// Another controller has taken the state: this one must write nothing more.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Secret(SecretError::Fenced { .. }))
    }
}

/// The newest manifest that this agent knows to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct KnownHead {
    #[n(0)]
    pub seq: u64,
    #[n(1)]
    pub sha256: Sha256,
}

/// The key of one send log.
#[derive(Clone, Encode, Decode)]
#[cbor(array)]
pub struct LogKey {
    #[n(0)]
    pub root: Sha256,
    #[n(1)]
    key: ByteVec,
}

/// A run that has not committed its snapshot yet.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub struct Pending {
    #[n(0)]
    pub run: RunId,
    #[n(1)]
    key: ByteVec,
    /// Pieces of its upload log under `agent/`, oldest first: the newest few, each of which names the one before it.
    #[n(2)]
    pub pieces: Vec<Sha256>,
    /// Its send log, written before the manifest that names it.
    #[n(3)]
    log: Option<LogKey>,
    /// What it backs up: empty for a cluster's objects, else the domain of a volume.
    #[n(4)]
    #[cbor(default)]
    scope: String,
}

#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub struct State {
    #[n(0)]
    pub cluster: String,
    /// The charter's `dedup_generation` that the dedup key belongs to.
    #[n(1)]
    pub generation: u64,
    #[n(2)]
    dedup_key: ByteVec,
    #[n(3)]
    alias_key: ByteVec,
    /// The agent key that wrote the head.
    #[n(4)]
    pub agent_key: String,
    #[n(5)]
    pub origin: Option<Sha256>,
    #[n(6)]
    pub head: Option<KnownHead>,
    #[n(7)]
    pub log_keys: Vec<LogKey>,
    #[n(8)]
    pub pending: Option<Pending>,
    #[n(9)]
    pub charter: u64,
    /// Where the rotating look at reused packs goes on.
    #[n(10)]
    pub looked: u64,
    /// The host that path volumes were read on.
    #[n(11)]
    pub path_origin: Option<Sha256>,
    /// Interrupted runs of other scopes than `pending`, newest last.
    #[n(12)]
    #[cbor(default)]
    paused: Vec<Pending>,
    /// How often it was taken out of its Secret, so that each taking writes other bytes than the one before.
    #[n(13)]
    #[cbor(default)]
    pub taken: u64,
    /// What workers sent of volumes that the last run missed, newest last.
    #[n(14)]
    #[cbor(default)]
    uploads: Vec<VolumeUploads>,
}

/// The upload log of a volume that was not read to its end.
#[derive(Clone, Encode, Decode)]
#[cbor(array)]
struct VolumeUploads {
    #[n(0)]
    domain: ScopeAlias,
    #[n(1)]
    key: ByteVec,
    /// Its newest piece that has arrived.
    #[n(2)]
    piece: Sha256,
}

fn secret(bytes: &ByteVec) -> Option<Secret32> {
    <[u8; 32]>::try_from(bytes.as_slice()).ok().map(Secret32::new)
}

fn bytes(secret: &Secret32) -> ByteVec {
    secret.expose().to_vec().into()
}

impl LogKey {
    #[must_use]
    pub fn new(root: Sha256, key: &Secret32) -> Self {
        Self { root, key: bytes(key) }
    }
    #[must_use]
    pub fn key(&self) -> Option<Secret32> {
        secret(&self.key)
    }
}

impl Pending {
    #[must_use]
    pub fn new(scope: &str, run: RunId, key: &Secret32) -> Self {
        Self { run, key: bytes(key), pieces: Vec::new(), log: None, scope: scope.to_owned() }
    }
    #[must_use]
    pub fn key(&self) -> Option<Secret32> {
        secret(&self.key)
    }
    pub fn set_log(&mut self, log: LogKey) {
        self.log = Some(log);
    }
}

impl State {
    /// A first state, with new keys.
    #[must_use]
    pub fn fresh(cluster: &str, generation: u64, agent_key: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            generation,
            dedup_key: bytes(&Secret32::random()),
            alias_key: bytes(&Secret32::random()),
            agent_key: agent_key.to_owned(),
            origin: None,
            head: None,
            log_keys: Vec::new(),
            pending: None,
            charter: 0,
            looked: 0,
            path_origin: None,
            paused: Vec::new(),
            taken: 0,
            uploads: Vec::new(),
        }
    }

    /// A new generation: nothing stored before is reused.
    pub fn renew_dedup_key(&mut self, generation: u64) {
        self.generation = generation;
        self.dedup_key = bytes(&Secret32::random());
        self.log_keys.clear();
        self.pending = None;
        self.paused.clear();
        self.uploads.clear();
    }

    /// What unfinished readings of volumes have sent: the key of each upload log, and its newest piece.
    #[must_use]
    pub fn all_uploads(&self) -> HashMap<ScopeAlias, (Secret32, Sha256)> {
        let known = self.uploads.iter().filter_map(|u| Some((u.domain, (secret(&u.key)?, u.piece))));
        known.collect()
    }

    /// Notes what a volume's unfinished reading has sent, or that there is nothing any more.
    pub fn note_uploads(&mut self, domain: ScopeAlias, sent: Option<(&Secret32, Sha256)>) {
        self.uploads.retain(|u| u.domain != domain);
        self.uploads.extend(sent.map(|(key, piece)| VolumeUploads { domain, key: bytes(key), piece }));
        let over = self.uploads.len().saturating_sub(UPLOADS_MAX);
        self.uploads.drain(..over);
    }

    #[must_use]
    pub fn dedup_key(&self) -> Option<Secret32> {
        secret(&self.dedup_key)
    }

    #[must_use]
    pub fn alias_key(&self) -> Option<Secret32> {
        secret(&self.alias_key)
    }

    /// Makes the interrupted run of `scope`, if there is one, the pending one; another's waits for its turn.
    pub fn turn_to(&mut self, scope: &str) {
        if self.pending.as_ref().is_some_and(|p| p.scope == scope) {
            return;
        }
        self.paused.extend(self.pending.take());
        let own = self.paused.iter().rposition(|p| p.scope == scope);
        self.pending = own.map(|i| self.paused.remove(i));
        let over = self.paused.len().saturating_sub(PAUSED_MAX);
        self.paused.drain(..over);
    }

    /// The pending run is committed as `head`: its log key is kept, and that of the oldest forgotten.
    pub fn committed(&mut self, head: KnownHead) {
        let log = self.pending.take().and_then(|p| p.log);
        self.keep_log(log);
        self.head = Some(head);
    }

    /// As [`State::committed`], for a checkpoint: the run goes on.
    pub fn checkpointed(&mut self, head: KnownHead) {
        let log = self.pending.as_mut().and_then(|p| p.log.take());
        self.keep_log(log);
        self.head = Some(head);
    }

    /// Notes that the log with this root was committed, when an interrupted run wrote it and never heard so; with a
    /// snapshot that run is over, with a checkpoint it goes on.
    pub fn heard_of(&mut self, root: &Sha256, checkpoint: bool) {
        let wrote = |p: &&mut Pending| p.log.as_ref().is_some_and(|l| l.root == *root);
        let Some(run) = self.pending.iter_mut().chain(&mut self.paused).find(wrote) else { return };
        let (log, id) = (run.log.take(), run.run);
        self.keep_log(log);
        if !checkpoint {
            self.pending = self.pending.take().filter(|p| p.run != id);
            self.paused.retain(|p| p.run != id);
        }
    }

    /// Whether anything was begun that did not commit.
    #[must_use]
    pub fn interrupted(&self) -> bool {
        self.pending.is_some() || !self.paused.is_empty()
    }

    fn keep_log(&mut self, log: Option<LogKey>) {
        if let Some(log) = log {
            self.log_keys.insert(0, log);
            self.log_keys.truncate(LOGS_KEPT);
        }
    }
}

/// Where a state is kept.
#[derive(Debug, Clone)]
pub enum StatePlace {
    /// `<cluster>.cbor` in a folder, under a lock.
    Folder(PathBuf),
    Secret(StateSecret),
}

impl From<PathBuf> for StatePlace {
    fn from(folder: PathBuf) -> Self {
        Self::Folder(folder)
    }
}

impl StatePlace {
    /// Takes the state of a cluster: whoever held it before can no longer write it.
    pub(super) async fn take(&self, cluster: &str) -> Result<(Held, Option<State>), StateError> {
        match self {
            Self::Folder(folder) => {
                let (file, bytes) = StateFile::open(folder, cluster)?;
                let state = bytes.map(|b| decode(&b, &file.place())).transpose()?;
                Ok((Held::File(file), state))
            }
            Self::Secret(secret) => {
                let bytes = secret.open().await?;
                let state = bytes.map(|b| decode(&b, &secret.place())).transpose()?;
                Ok((Held::Secret(secret.clone()), state))
            }
        }
    }
}

/// A state that this process holds.
#[derive(Debug)]
pub enum Held {
    File(StateFile),
    Secret(StateSecret),
}

impl Held {
    /// Replaces it as a whole, durably.
    pub async fn save(&self, state: &State) -> Result<(), StateError> {
        let bytes = Zeroizing::new(minicbor::to_vec(state).expect("writing to memory does not fail"));
        match self {
            Self::File(file) => file.save(&bytes),
            Self::Secret(secret) => Ok(secret.save(&bytes).await?),
        }
    }

    /// Writes a state that was just taken, so that nobody who held it before can write it or commit on it.
    pub(super) async fn fence(&self, state: &mut State) -> Result<(), StateError> {
        match self {
            // The lock does.
            Self::File(_) => Ok(()),
            Self::Secret(_) => {
                state.taken = state.taken.wrapping_add(1);
                self.save(state).await
            }
        }
    }

    /// Whether this process still holds it.
    pub(super) async fn confirm(&self) -> Result<(), StateError> {
        match self {
            Self::File(_) => Ok(()),
            Self::Secret(secret) => Ok(secret.confirm().await?),
        }
    }
}

fn decode(bytes: &[u8], place: &str) -> Result<State, StateError> {
    let damaged = |why: String| StateError::Damaged { place: place.to_owned(), why };
    let state: State = minicbor::decode(bytes).map_err(|e| damaged(e.to_string()))?;
    if state.dedup_key().is_none() || state.alias_key().is_none() {
        return Err(damaged("a key is not 32 bytes long".to_owned()));
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_state_survives_and_is_held_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let place = StatePlace::from(dir.path().to_path_buf());
        let (file, none) = place.take("prod").await.unwrap();
        assert!(none.is_none());
        let mut state = State::fresh("prod", 1, "ed25519:x");
        for n in 0..5 {
            let mut pending = Pending::new("", RunId([n; 16]), &Secret32::random());
            pending.set_log(LogKey::new(Sha256([n; 32]), &Secret32::random()));
            state.pending = Some(pending);
            state.committed(KnownHead { seq: 7, sha256: Sha256([1; 32]) });
            assert!(!state.interrupted());
        }
        file.save(&state).await.unwrap();
        assert!(matches!(place.take("prod").await, Err(StateError::Locked { .. })));
        drop(file);
        let (_file, again) = place.take("prod").await.unwrap();
        let again = again.unwrap();
        assert_eq!(again.head, state.head);
        assert_eq!(again.log_keys.len(), 3);
        assert!(again.dedup_key() == state.dedup_key());
    }

    #[tokio::test]
    async fn damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("prod.cbor"), b"junk").unwrap();
        let place = StatePlace::from(dir.path().to_path_buf());
        assert!(matches!(place.take("prod").await, Err(StateError::Damaged { .. })));
    }

    #[test]
    fn an_interrupted_run_waits_for_its_own_kind() {
        let mut state = State::fresh("prod", 1, "ed25519:x");
        let mut pending = Pending::new("path/a", RunId([1; 16]), &Secret32::random());
        pending.set_log(LogKey::new(Sha256([1; 32]), &Secret32::random()));
        state.pending = Some(pending);
        state.turn_to("");
        assert!(state.pending.is_none() && state.interrupted());
        state.pending = Some(Pending::new("", RunId([2; 16]), &Secret32::random()));
        state.committed(KnownHead { seq: 1, sha256: Sha256([1; 32]) });
        state.turn_to("path/a");
        assert_eq!(state.pending.as_ref().map(|p| p.run), Some(RunId([1; 16])));
        state.heard_of(&Sha256([1; 32]), true);
        assert_eq!((state.log_keys.len(), state.interrupted()), (1, true), "a checkpoint ends no run");
        if let Some(pending) = &mut state.pending {
            pending.set_log(LogKey::new(Sha256([2; 32]), &Secret32::random()));
        }
        state.turn_to("");
        state.heard_of(&Sha256([2; 32]), false);
        assert_eq!((state.log_keys.len(), state.interrupted()), (2, false));
    }
}
