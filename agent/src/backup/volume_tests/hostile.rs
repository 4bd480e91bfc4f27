//! Workers that say what is not so: their volume is missed, and nothing else.

use super::site::{Site, Worker};
use super::{THREE, fill, there};
use crate::backup::volumes::Choice;
use crate::volume::WorkResult;
use lifeboat_format::id::{Handle, RunId, ScopeAlias, Sha256};
use lifeboat_format::layout;
use lifeboat_format::manifest::RunResult;
use lifeboat_format::pack_list::PackList;
use std::sync::Arc;

async fn refused(what: &str, worker: Worker) -> String {
    let site = Site::new(&THREE).await;
    fill(&site);
    refused_at(&site, what, worker).await
}

async fn refused_at(site: &Site, what: &str, worker: Worker) -> String {
    site.set("a/data", Choice::Read, worker);
    let done = site.run().await.unwrap();
    assert_eq!(done.manifest.result, RunResult::PartiallyFailed, "{what}");
    let report = done.report.unwrap();
    assert_eq!(report.missed.len(), 1, "{what}: {:?}", report.missed);
    let missed = &report.missed[0];
    assert_eq!((missed.name.as_str(), missed.reason.as_str()), ("data", "ResultRefused"), "{what}");
    let all = site.world.snapshots().await;
    assert_eq!(all.last().unwrap(), &there(site, &["a/logs", "b/data2"]), "{what}");
    // The next run is none the worse for it.
    site.set("a/data", Choice::Read, Worker::Reads);
    let done = site.run().await.unwrap();
    assert_eq!(done.manifest.result, RunResult::Completed, "{what}");
    assert_eq!(site.world.snapshots().await.last().unwrap(), &there(site, &THREE), "{what}");
    missed.message.clone()
}

fn lies(lie: impl Fn(&mut WorkResult) + Send + Sync + 'static) -> Worker {
    Worker::Lies(Arc::new(lie))
}

#[tokio::test]
async fn results_that_do_not_fit_the_store_are_refused() {
    refused("another run", lies(|r| r.run = RunId([9; 16]))).await;
    refused("another domain", lies(|r| r.domain = ScopeAlias([9; 16]))).await;
    refused("another log", lies(|r| r.log.domain = ScopeAlias([9; 16]))).await;
    let not_listed = refused("a pack not in its list", lies(|r| r.packs[0].index += 1)).await;
    assert!(not_listed.contains("not in the list"), "{not_listed}");
    refused("another size", lies(|r| r.packs[0].size += 1)).await;
    refused("another hash", lies(|r| r.packs[0].sha256 = Sha256([9; 32]))).await;
    refused("a pack twice", lies(|r| r.packs.push(r.packs[0]))).await;
    refused(
        "a list that is not there",
        lies(|r| {
            r.lists[0].sha256 = Sha256([9; 32]);
            r.packs.iter_mut().for_each(|p| p.list = Sha256([9; 32]));
        }),
    )
    .await;
    refused("a list of another key", lies(|r| r.lists[0].sealed_run_key[0] ^= 1)).await;
    refused("a pack noted after it was there", lies(|r| r.packs[0].noted += 24 * 3600)).await;
    refused("a root elsewhere", lies(|r| r.root.as_mut().unwrap().handle = Handle([9; 16]))).await;
    refused("no root", lies(|r| r.root = None)).await;
    refused("a pack that nobody named", lies(|r| r.reused.push(Handle([9; 16])))).await;
    refused("a log without end", lies(|r| r.log.sparse = vec![(Handle([0; 16]), 1); 257])).await;
}

#[tokio::test]
async fn a_list_that_is_not_in_its_packs_key_is_refused() {
    let site = Site::new(&THREE).await;
    fill(&site);
    let memory = site.world.memory.clone();
    let forged = lies(move |r| {
        let bytes = memory.bytes(&layout::list(&r.lists[0].sha256)).unwrap();
        let mut list = PackList::parse(&bytes).unwrap();
        list.sealed_run_key[0] ^= 1;
        let bytes = list.encode();
        let name = Sha256::of(&bytes);
        memory.put(&layout::list(&name), bytes);
        (r.lists[0].sha256, r.lists[0].sealed_run_key) = (name, list.sealed_run_key);
        r.packs.iter_mut().for_each(|p| p.list = name);
    });
    let message = refused_at(&site, "a list of another key", forged).await;
    assert!(message.contains("sealed to the key"), "{message}");
}

#[tokio::test]
async fn packs_that_are_not_in_the_store_are_refused() {
    let site = Site::new(&THREE).await;
    fill(&site);
    let memory = site.world.memory.clone();
    let forged = lies(move |r| {
        // A list that names a pack which never arrived.
        let bytes = memory.bytes(&layout::list(&r.lists[0].sha256)).unwrap();
        let mut list = PackList::parse(&bytes).unwrap();
        let mut absent = r.packs[0];
        (absent.sha256, absent.handle) = (Sha256([7; 32]), Handle([7; 16]));
        absent.index = u32::try_from(list.packs.len()).unwrap();
        let mut entry = list.packs[0];
        (entry.sha256, entry.handle) = (absent.sha256, absent.handle);
        list.packs.push(entry);
        let bytes = list.encode();
        let name = Sha256::of(&bytes);
        memory.put(&layout::list(&name), bytes);
        r.lists[0].sha256 = name;
        r.packs.push(absent);
        r.packs.iter_mut().for_each(|p| p.list = name);
    });
    let message = refused_at(&site, "an absent pack", forged).await;
    assert!(message.contains("not in the store"), "{message}");
}

#[tokio::test]
async fn what_is_no_result_is_refused() {
    let site = Site::new(&THREE).await;
    fill(&site);
    let junk = Sha256::of(b"junk");
    site.world.memory.put(&layout::agent(&junk), b"junk".to_vec());
    refused_at(&site, "junk", Worker::Names(junk)).await;
}

#[tokio::test]
async fn packs_of_another_volume_or_of_objects_are_not_reused() {
    let site = Site::new(&THREE).await;
    fill(&site);
    let first = site.run().await.unwrap();
    assert_eq!(first.manifest.counts.volumes, 3);
    // Every pack that any list in the store names, its own too: as new ones, and as old ones.
    let memory = site.world.memory.clone();
    let lists = site.world.keys("lists/");
    let handles: Vec<Handle> = lists
        .iter()
        .flat_map(|key| PackList::parse(&memory.bytes(key).unwrap()).unwrap().packs)
        .map(|e| e.handle)
        .collect();
    let all = handles.clone();
    refused_at(
        &site,
        "others' packs as old",
        lies(move |r| {
            let own = r.reused.clone();
            r.reused.extend(all.iter().filter(|h| !own.contains(h)));
        }),
    )
    .await;
}
