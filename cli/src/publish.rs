//! Putting what administrators sign into a store: sealed epochs first, then the charter that names them. Create-only;
//! the same bytes put twice are no error, so that a command which was cut short can be run again.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use lifeboat_common::store::{CreateStore, StoreErrorKind};
use lifeboat_common::trust;
use lifeboat_format::charter::TrustedCharter;
use lifeboat_format::crypto::sign::VerifyKey;
use lifeboat_format::id::{ClusterName, Sha256};
use lifeboat_format::{charter, layout};

/// Puts epoch `n`'s sealed private key.
pub(crate) async fn epoch(store: &dyn CreateStore, n: u64, sealed: &[u8]) -> Result<()> {
    put(store, &layout::epoch(n, &Sha256::of(sealed)), sealed).await
}

/// Puts a signed charter, and reads all of them back.
pub(crate) async fn charter(
    store: &dyn CreateStore,
    owner: &VerifyKey,
    cluster: &ClusterName,
    file: &[u8],
) -> Result<Vec<TrustedCharter>> {
    let (_, claims) = charter::parse(file)?;
    put(store, &layout::charter(claims.n, &Sha256::of(file)), file).await?;
    let chain = trust::charters(store, owner, cluster).await?;
    if !chain.iter().any(|c| *c.charter() == claims) {
        bail!(
            "{} took charter {} and does not show it; ask whoever runs the store",
            store.describe(),
            claims.n
        );
    }
    Ok(chain)
}

/// Creates an object; its own bytes there already are success.
pub(crate) async fn put(store: &dyn CreateStore, key: &str, bytes: &[u8]) -> Result<()> {
    match store.create(key, Bytes::copy_from_slice(bytes), Sha256::of(bytes).0).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind == StoreErrorKind::Exists => {
            let there =
                store.get(key, bytes.len() as u64).await.context("it is there, but cannot be read back")?;
            if there == bytes {
                return Ok(());
            }
            bail!(
                "{}/{key} holds other bytes than its name says; somebody tampered with the store",
                store.describe()
            )
        }
        Err(error) => Err(error.into()),
    }
}
