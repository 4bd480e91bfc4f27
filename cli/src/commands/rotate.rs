//! `lifeboat rotate`: a new epoch, or the old ones sealed to more people. Owns what each combination of recipients
//! means; the charter's chain is `change`'s.

use super::init::make::new_epoch;
use crate::change::{Change, ChangeArgs, missing};
use crate::context::Context;
use crate::folder::load::recipients_text;
use crate::folder::{self, replace};
use crate::publish;
use anyhow::Result;
use jiff::Timestamp;
use lifeboat_common::exit::{Exit, UsageError};
use lifeboat_common::keys::{self, PassphraseSource};
use lifeboat_common::store::{ReadStore, StoreErrorKind};
use lifeboat_format::charter::{Charter, Epoch};
use lifeboat_format::crypto::open::{EpochIdentity, Identities};
use lifeboat_format::crypto::seal::Recipient;
use lifeboat_format::epoch::{open_epoch, seal_epoch};
use lifeboat_format::id::Sha256;
use lifeboat_format::{layout, limits};
use serde::Serialize;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Start a new epoch, or change who can open the backups
///
/// Without --recipient: routine rotation, every 90 days. Backups from now on are sealed to a
/// new epoch key; the recipients stay the same and everything already stored stays usable.
///
///   lifeboat rotate --config prod
///
/// ADD an administrator: name all recipients, old and new. The small epoch files are sealed
/// again; no backup is touched. It needs an identity that can open them.
///
///   lifeboat rotate --config prod --recipient OLD-AGE1… --recipient NEW-AGE1…
///
/// REMOVE an administrator: name those who stay, with --fresh. What this really means: a person
/// who could open the backups so far has had the keys to them, and nothing takes that back.
/// Sealed copies of old epochs stay in the store and in the vault until the backups that need
/// them are forgotten; whoever left can open those if they can still reach the store or a copy
/// of it. So also take away their access to the store and to the vault. --fresh starts a new
/// epoch that they cannot open, and raises the deduplication generation: the next backup stores
/// everything anew and refers to nothing that they can open. It costs one full backup in time
/// and room.
///
///   lifeboat rotate --config prod --fresh --recipient STAYS-AGE1…
///
/// The folder is rewritten in place; what is replaced is kept beside it (charter.json.<n>).
/// Give the cluster the new agent-secret.yaml afterwards; the replicator learns of it by
/// itself.
#[derive(Debug, Default, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RotateArgs {
    #[command(flatten)]
    pub(crate) change: ChangeArgs,

    /// Who can open the backups from now on, all of them (age1…); repeat it
    #[arg(long = "recipient", value_name = "AGE1…")]
    pub(crate) recipients: Vec<Recipient>,

    /// New epoch, and everything stored anew: what the removal of a recipient needs
    #[arg(long)]
    pub(crate) fresh: bool,

    /// Identity that opens the present epochs, to add a recipient (default: identity.txt in the folder)
    #[arg(long, short, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Task {
    new_epoch: bool,
    reseal: bool,
}

#[derive(Serialize)]
struct Rotated {
    schema: &'static str,
    charter: u64,
    epoch: u64,
    new_epoch: bool,
    /// Epochs that were sealed again.
    resealed: Vec<u64>,
    dedup_generation: u64,
    recipients: Vec<String>,
}

pub(crate) async fn run(args: &RotateArgs, context: &mut Context<'_>) -> Result<Exit> {
    let mut change = Change::begin(&args.change, context).await?;
    let old = change.folder.recipients.clone();
    let new = if args.recipients.is_empty() { old.clone() } else { args.recipients.clone() };
    let task = task(&old, &new, !args.recipients.is_empty(), args.fresh)?;
    let key = change.folder.agent_pem()?;
    refuse_half_adopted(&change, &key)?;
    let owners = change.owners(&args.change)?;
    let mut next = change.next(context)?;
    let mut sealed: Vec<(u64, Vec<u8>)> = Vec::new();
    if task.reseal {
        let identities = identities(args, &change)?;
        sealed.extend(reseal(&*change.store, &mut next, &identities, &new).await?);
    }
    let resealed = sealed.iter().map(|(n, _)| *n).collect();
    if task.new_epoch {
        sealed.push(add_epoch(&mut next, &new, context.clock.now())?);
    }
    next.dedup_generation += u64::from(args.fresh);
    // Before the charter: a later rotation must never leave somebody out whom this one let in.
    let list = Zeroizing::new(recipients_text(&new).into_bytes());
    replace::replace(&change.folder.path, change.replaced(), &[(folder::RECIPIENTS, list)])?;
    for (n, bytes) in &sealed {
        publish::epoch(&*change.store, *n, bytes).await?;
    }
    change.commit(&next, &owners).await?;
    let credentials = change.folder.credentials()?;
    change.write(&key, credentials.as_ref().map(|c| c.as_str()), vec![])?;
    let rotated = Rotated {
        schema: "lifeboat/rotate/1",
        charter: next.n,
        epoch: next.current_epoch().map_or(0, |e| e.n),
        new_epoch: task.new_epoch,
        resealed,
        dedup_generation: next.dedup_generation,
        recipients: new.iter().map(ToString::to_string).collect(),
    };
    report(&rotated, args, context)?;
    Ok(Exit::Done)
}

fn task(old: &[Recipient], new: &[Recipient], given: bool, fresh: bool) -> Result<Task> {
    let text = |list: &[Recipient]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (old, new) = (text(old), text(new));
    if new.is_empty() {
        return Err(UsageError::new(
            "recipients.txt names nobody, so nobody could open the backups; give --recipient",
        )
        .into());
    }
    let removed: Vec<&str> = old.iter().filter(|r| !new.contains(r)).map(String::as_str).collect();
    if !removed.is_empty() && !fresh {
        return Err(UsageError::new(format!(
            "This would remove {}, who can open everything stored so far; that needs --fresh, and `lifeboat rotate --help` says what it does and what it cannot do. To add somebody, name all recipients, old and new",
            removed.join(", ")
        ))
        .into());
    }
    let added = new.iter().any(|r| !old.contains(r));
    // The same recipients once more: perhaps a run that was cut short, so it does it again.
    Ok(Task { new_epoch: fresh || !given, reseal: added || (given && !fresh) })
}

/// An adoption that was cut short has a new key in the charter and the old one in the folder.
fn refuse_half_adopted(change: &Change, pem: &str) -> Result<()> {
    let key = lifeboat_format::crypto::sign::SigningKey::from_pem(pem)?.verify_key();
    let known = change.newest().charter().agents.iter().any(|a| a.key == key && a.until.is_none());
    if known {
        return Ok(());
    }
    Err(UsageError::new(format!(
        "The agent.key in {} is not the agent's key of charter {}: finish `lifeboat adopt`, or use the folder in which it ran",
        change.folder.path.display(),
        change.newest().charter().n
    ))
    .into())
}

fn identities(args: &RotateArgs, change: &Change) -> Result<Identities> {
    let path = args.identity.clone().unwrap_or_else(|| change.folder.path.join(folder::IDENTITY));
    let passphrases = PassphraseSource::new(args.change.passphrase_file.clone());
    // To let somebody in, the present epochs must be opened.
    let file = keys::identity(&path, &passphrases).map_err(|e| missing(e, "identity"))?;
    Ok(file.identities)
}

/// A new epoch in the charter; its sealed private key.
fn add_epoch(next: &mut Charter, recipients: &[Recipient], now: Timestamp) -> Result<(u64, Vec<u8>)> {
    let n = next.current_epoch().map_or(0, |e| e.n) + 1;
    let identity = EpochIdentity::generate();
    let sealed = seal_epoch(&identity, recipients)?;
    next.epochs.push(new_epoch(n, &identity, &sealed, Timestamp::from_second(now.as_second())?));
    Ok((n, sealed))
}

/// One more sealed copy of every epoch, for all of `recipients`.
async fn reseal(
    store: &dyn ReadStore,
    next: &mut Charter,
    identities: &Identities,
    recipients: &[Recipient],
) -> Result<Vec<(u64, Vec<u8>)>> {
    let mut sealed = Vec::new();
    for epoch in &mut next.epochs {
        let identity = open(store, epoch, identities).await?;
        let again = seal_epoch(&identity, recipients)?;
        epoch.sealed_sha256.push(Sha256::of(&again));
        sealed.push((epoch.n, again));
    }
    Ok(sealed)
}

/// The first sealed copy that one of the identities opens.
pub(crate) async fn open(
    store: &dyn ReadStore,
    epoch: &Epoch,
    identities: &Identities,
) -> Result<EpochIdentity> {
    let mut last = None;
    for sha256 in &epoch.sealed_sha256 {
        let bytes = match store.get(&layout::epoch(epoch.n, sha256), limits::EPOCH_MAX).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                last = Some(error.into());
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if Sha256::of(&bytes) != *sha256 {
            last = Some(anyhow::anyhow!(
                "a sealed copy of epoch {} is damaged in {}",
                epoch.n,
                store.describe()
            ));
            continue;
        }
        match open_epoch(&bytes, identities) {
            Ok(identity) if identity.recipient() == epoch.recipient => return Ok(identity),
            Ok(_) => last = Some(anyhow::anyhow!("a sealed copy of epoch {} holds another key", epoch.n)),
            Err(error) => last = Some(error.into()),
        }
    }
    let error = last.unwrap_or_else(|| anyhow::anyhow!("the charter names no sealed copy"));
    Err(error.context(format!("Epoch {} cannot be opened", epoch.n)))
}

fn report(rotated: &Rotated, args: &RotateArgs, context: &mut Context<'_>) -> Result<()> {
    if args.change.json {
        return context.json(rotated);
    }
    context
        .line(format!("Charter {} is in force; the current epoch is {}.", rotated.charter, rotated.epoch))?;
    if !rotated.resealed.is_empty() {
        context
            .line(format!("{} epochs were sealed again, no backup was touched.", rotated.resealed.len()))?;
    }
    for recipient in &rotated.recipients {
        context.line(format!("  opened by    {recipient}"))?;
    }
    if args.fresh {
        context.line(
            "The next backup stores everything anew. Older backups stay open to whoever could open them:",
        )?;
        context.line("take away the store access of whoever left, too.")?;
    }
    let dir = args.change.config.display();
    context.line(format!("Next: lifeboat install --config {dir} (or kubectl apply -f {dir}/agent-secret.yaml: the next backup takes it)"))
}

#[cfg(test)]
pub(crate) mod tests;
