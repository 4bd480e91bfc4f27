//! Runs of one kind keep what the others need: a cluster's objects, and each volume.

use super::world::{World, noise};
use crate::backup::begin::{self, Begun, Kind, Start};
use crate::backup::commit::{Commit, Covered, Outcome, Remains};
use crate::backup::pack::Packer;
use crate::backup::send::Sending;
use lifeboat_format::body::Body;
use lifeboat_format::id::{RunId, Sha256, SnapshotId};
use lifeboat_format::manifest::{Counts, Coverage, Manifest, RunResult, SCHEMA};

/// A full run over objects, as `backup` makes one, without a cluster; gives the bytes of packs that it sent.
pub(crate) async fn objects_run(world: &World, objects: u32) -> u64 {
    let before = world.bytes("packs/");
    let setup = world.setup(world.plain());
    let (file, mut state) = setup.open_state().await.unwrap();
    let now = lifeboat_common::clock::Clock::now(&*world.clock);
    let begun = begin::begin(&setup, &file, &mut state, &Kind::objects(), now, None).await.unwrap();
    let Start::Begun(begun) = begun else { panic!("nothing was committed yet") };
    let reusable = begin::reusable_objects(&begun, &state, &*setup.store).await.unwrap();
    let Begun { view, memory, interrupted, uploader, upload_log, run_key, sealed_run_key, dedup_key, .. } =
        *begun;
    let sizes = setup.charter.charter().chunking;
    let mut packer = Packer::new(run_key, sealed_run_key, dedup_key, sizes, reusable);
    let mut sending = Sending::new(uploader.clone(), world.clock.clone(), upload_log, &mut state, &file);
    for i in 0..objects {
        let value = noise(2_000, u64::from(i));
        packer.push("objects/a", true, format!("configmap\0{i:06}").as_bytes(), &value);
    }
    packer.finish("objects/a");
    let body = Body {
        cluster: "prod".to_owned(),
        id: SnapshotId([1; 16]),
        domains: Vec::new(),
        report: b"{}".to_vec(),
    };
    let body = packer.put_chunk("body", &body.encode());
    packer.finish("body");
    sending.take(&mut packer).await.unwrap();
    let new_packs = sending.wait().await.unwrap();
    let (resumed, reused) = interrupted.split(packer.reused_packs());
    let commit = Commit {
        uploader: &uploader,
        charter: setup.charter.charter(),
        signing: &setup.signing,
        memory: &memory,
        new_packs,
        resumed,
        reused,
        own: Default::default(),
        sealed_run_key: packer.sealed_run_key().to_vec(),
        listed: Vec::new(),
        kept: Default::default(),
        covered: Covered::Objects(Default::default()),
        unfinished: Vec::new(),
        remains: Remains::Run {
            objects: Some(packer.needed().map(|(id, r)| (*id, *r)).collect()),
            volumes: Vec::new(),
        },
        manifest: manifest(now, Some(body.into())),
        may_commit: &|| true,
    };
    let outcome = commit.run(view, &mut state, &file).await.unwrap();
    assert!(matches!(outcome, Outcome::Committed(_)));
    world.bytes("packs/") - before
}

fn manifest(now: jiff::Timestamp, body: Option<lifeboat_format::manifest::BodyRef>) -> Manifest {
    Manifest {
        schema: SCHEMA.to_owned(),
        cluster: "prod".parse().unwrap(),
        seq: 0,
        id: SnapshotId([1; 16]),
        run: RunId([2; 16]),
        prev: None,
        charter: 1,
        features: vec![],
        origin: Sha256::of(b"uid-kube-system"),
        started: now,
        finished: now,
        coverage: Coverage::Full,
        scopes: vec![],
        result: RunResult::Completed,
        packs: vec![],
        carry: vec![],
        log: None,
        body,
        primary_ttl_hours: None,
        counts: Counts::default(),
    }
}

const DAY: i64 = 24 * 3600;

#[tokio::test]
async fn volumes_and_objects_keep_each_others_memory() {
    let world = World::new();
    world.write("a", &noise(2 << 20, 7));
    let first = world.run("v").await.unwrap();
    assert!(first.sent_bytes > 2 << 20);
    assert!(objects_run(&world, 500).await > 900_000);
    for _ in 0..5 {
        world.later(DAY);
        assert!(world.run("v").await.unwrap().sent_bytes < 20_000);
        assert!(world.run("w").await.unwrap().sent_bytes < (2 << 20) + 200_000);
        assert!(objects_run(&world, 500).await < 20_000, "objects are not stored again");
    }
    let last = world.run("w").await.unwrap();
    assert!(last.sent_bytes < 20_000, "another volume, {}", last.sent_bytes);
}

#[tokio::test]
async fn what_nobody_covers_is_dropped_after_fourteen_days() {
    let world = World::new();
    world.write("a", &noise(2 << 20, 7));
    world.run("v").await.unwrap();
    objects_run(&world, 500).await;
    for _ in 0..13 {
        world.later(DAY);
        world.run("w").await.unwrap();
    }
    let carried = world.manifest(15);
    assert!(!carried.carry.is_empty());
    assert!(objects_run(&world, 500).await < 20_000, "on the thirteenth day they are still known");
    let files = |seq| world.manifest(seq).log.unwrap().segments;
    let v_files: Vec<_> = files(1);
    for _ in 0..3 {
        world.later(DAY);
        world.run("w").await.unwrap();
    }
    let newest = files(19);
    assert!(
        v_files.iter().all(|f| !newest.contains(f)),
        "the files of a volume that is dropped are named no more"
    );
    let again = world.run("v").await.unwrap();
    assert!(again.sent_bytes > 2 << 20, "{}", again.sent_bytes);
    assert!(!newest.is_empty());
}
