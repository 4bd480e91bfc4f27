//! Keys on demand: an administrator's identity opens an epoch once, an epoch opens run keys, a run key gives pack
//! keys. What was opened is kept while the keyring lives.

use super::error::{ReadError, of_store};
use super::repository::Repository;
use crate::store::SharedRead;
use lifeboat_format::charter::Epoch;
use lifeboat_format::crypto::derive::RunKey;
use lifeboat_format::crypto::open::{EpochIdentity, Identities};
use lifeboat_format::epoch::open_epoch;
use lifeboat_format::id::Sha256;
use lifeboat_format::{layout, limits};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::Mutex;

/// Run keys that are kept; one per worker and run, so many snapshots fit.
const RUN_KEYS_MAX: usize = 65_536;

/// Shared by everything that reads with one identity.
#[derive(Debug)]
pub struct Keyring {
    store: SharedRead,
    identities: Arc<Identities>,
    /// Newest first.
    epochs: Vec<Epoch>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    opened: BTreeMap<u64, EpochIdentity>,
    /// Why an epoch cannot be opened; true: this identity is not among its recipients.
    failed: BTreeMap<u64, (bool, String)>,
    run_keys: HashMap<Vec<u8>, RunKey>,
}

impl Keyring {
    /// A keyring for the epochs of every trusted charter.
    #[must_use]
    pub fn new(repository: &Repository, identities: Arc<Identities>) -> Self {
        let mut epochs: BTreeMap<u64, Epoch> = BTreeMap::new();
        for epoch in repository.charters.iter().flat_map(|c| &c.charter().epochs) {
            let known = epochs.entry(epoch.n).or_insert_with(|| epoch.clone());
            // Later charters name re-sealed copies; any copy that a charter names will do, the newest first.
            let older = std::mem::replace(&mut known.sealed_sha256, epoch.sealed_sha256.clone());
            known.sealed_sha256.extend(older);
            known.sealed_sha256 = distinct(&known.sealed_sha256);
        }
        let epochs = epochs.into_values().rev().collect();
        Self { store: Arc::clone(&repository.store), identities, epochs, state: Mutex::default() }
    }

    /// Opens the run key that stands sealed in `key`. `hint` is the epoch that it is most likely sealed to.
    pub async fn run_key(&self, key: &str, sealed: &[u8], hint: Option<u64>) -> Result<RunKey, ReadError> {
        let mut state = self.state.lock().await;
        if let Some(known) = state.run_keys.get(sealed) {
            return Ok(known.clone());
        }
        let opened = state.opened.values().rev().find_map(|epoch| epoch.run_key(sealed).ok());
        if let Some(run_key) = opened {
            return Ok(state.keep(sealed, run_key));
        }
        for epoch in self.in_order(hint) {
            if state.opened.contains_key(&epoch.n) || state.failed.contains_key(&epoch.n) {
                continue;
            }
            match self.open(epoch).await? {
                Ok(identity) => {
                    let run_key = identity.run_key(sealed);
                    state.opened.insert(epoch.n, identity);
                    if let Ok(run_key) = run_key {
                        return Ok(state.keep(sealed, run_key));
                    }
                }
                Err(failure) => {
                    state.failed.insert(epoch.n, failure);
                }
            }
        }
        Err(self.failure(key, &state))
    }

    /// The hinted epoch, then the others, newest first.
    fn in_order(&self, hint: Option<u64>) -> impl Iterator<Item = &Epoch> {
        let hinted = self.epochs.iter().filter(move |e| Some(e.n) == hint);
        hinted.chain(self.epochs.iter().filter(move |e| Some(e.n) != hint))
    }

    /// Opens one epoch file; the inner error is final, the outer one may pass.
    async fn open(&self, epoch: &Epoch) -> Result<Result<EpochIdentity, (bool, String)>, ReadError> {
        let mut failure = (false, format!("epoch {} has no sealed copy", epoch.n));
        for sha256 in &epoch.sealed_sha256 {
            let key = layout::epoch(epoch.n, sha256);
            let store = self.store.describe();
            let bytes =
                match self.store.get(&key, limits::EPOCH_MAX).await.map_err(|e| of_store(&store, &key, e)) {
                    Ok(bytes) if Sha256::of(&bytes) == *sha256 => bytes,
                    Ok(_) => {
                        failure = (false, format!("{key} is damaged: its bytes do not hash to its name"));
                        continue;
                    }
                    Err(e) if e.is_damage() => {
                        failure = (false, e.to_string());
                        continue;
                    }
                    Err(e) => return Err(e),
                };
            let identities = Arc::clone(&self.identities);
            // A plugin may wait for a person.
            let opened = tokio::task::spawn_blocking(move || open_epoch(&bytes, &identities)).await;
            match opened.expect("opening an age file does not panic") {
                Ok(identity) if identity.recipient() == epoch.recipient => return Ok(Ok(identity)),
                Ok(_) => failure = (false, format!("{key} holds another epoch's key")),
                Err(e) => failure = (true, e.to_string()),
            }
        }
        Ok(Err(failure))
    }

    fn failure(&self, key: &str, state: &State) -> ReadError {
        let why: Vec<&str> = state.failed.values().map(|(_, why)| why.as_str()).collect();
        let strangers = state.failed.values().filter(|(stranger, _)| *stranger).count();
        if state.opened.is_empty() && strangers == self.epochs.len() {
            return ReadError::WrongIdentity {
                epochs: self.epochs.len(),
                why: why.first().copied().unwrap_or_default().to_owned(),
            };
        }
        let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join("; ")) };
        ReadError::NoEpoch { key: key.to_owned(), why }
    }
}

impl State {
    fn keep(&mut self, sealed: &[u8], run_key: RunKey) -> RunKey {
        if self.run_keys.len() < RUN_KEYS_MAX {
            self.run_keys.insert(sealed.to_vec(), run_key.clone());
        }
        run_key
    }
}

fn distinct(all: &[Sha256]) -> Vec<Sha256> {
    let mut out: Vec<Sha256> = Vec::new();
    for one in all {
        if !out.contains(one) {
            out.push(*one);
        }
    }
    out
}
