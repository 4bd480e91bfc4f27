//! Both sides over a pipe in memory: a volume comes to be, a worker that was taken over gets no further, and whoever is
//! lost is noticed.

use super::message::{decode, encode};
use super::*;
use lifeboat_common::reader::{OpenSnapshot, Tree};
use lifeboat_common::store::SharedRead;
use lifeboat_common::store::faulty::{Faults, FaultyStore};
use lifeboat_common::testing::{SnapshotBuilder, TestRepository, TestTree};
use lifeboat_format::crypto::open::OneTimeIdentity;
use lifeboat_format::id::Sha256;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{DuplexStream, ReadHalf, WriteHalf, duplex, split};

/// Two volumes in one snapshot.
struct Bed {
    repository: TestRepository,
    /// Packs of `a/one` and `a/two`, by their keys.
    packs: [Vec<String>; 2],
}

fn tree(seed: u8) -> TestTree {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(seed);
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[7]
    };
    let big: Vec<u8> = (0..3_000_000).map(next).collect();
    let mut tree = TestTree::new().directory("d").symlink("l", "d/big");
    tree.chunk = 100_000;
    tree.file("d/big", big).file("f", [seed; 10]).file("d/small", "small")
}

impl Bed {
    fn new() -> Self {
        let mut repository = TestRepository::new();
        let snapshot = SnapshotBuilder::default().volume("a", "one", tree(1)).volume("a", "two", tree(2));
        let committed = repository.commit(&snapshot);
        let packs = ["one", "two"].map(|v| committed.packs[&format!("volume/a/{v}")].clone());
        Self { repository, packs }
    }

    async fn open(&self) -> OpenSnapshot {
        let repository = self.repository.open().await;
        let keyring = self.repository.keyring(&repository);
        let list = repository.snapshots().await.unwrap();
        repository.open_snapshot(&list.resolve("latest").unwrap().clone(), keyring).await.unwrap()
    }

    async fn tree(&self, claim: &str) -> Tree {
        let open = self.open().await;
        let domain = open.volumes().find(|d| d.name == claim).unwrap().clone();
        open.tree(&domain).unwrap()
    }

    async fn grant(&self, claim: &str, path: &str) -> Grant {
        let tree = self.tree(claim).await;
        let needs = tree.needs(path.as_bytes()).await.unwrap();
        Grant { tree: tree.grant(&needs).await.unwrap(), path: path.into(), devices: true }
    }

    fn store(&self) -> SharedRead {
        self.repository.shared()
    }
}

type Ends = (ReadHalf<DuplexStream>, WriteHalf<DuplexStream>);

fn pipe() -> (Ends, Ends) {
    let (a, b) = duplex(64 << 10);
    (split(a), split(b))
}

async fn fill(store: SharedRead, grant: &Grant, to: &Path) -> Result<Report, FillError> {
    let (command, worker) = pipe();
    let to = to.to_owned();
    let working = tokio::spawn(async move { work(worker.0, worker.1, &to).await });
    let serving = Serving { store, grant, progress: &|_| {} };
    let served = serve(command.0, command.1, serving).await;
    let worked = working.await.unwrap();
    assert_eq!(worked.is_ok(), served.is_ok(), "{worked:?} {served:?}");
    served
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_comes_to_be_from_its_own_packs() {
    let bed = Bed::new();
    let dir = tempfile::tempdir().unwrap();
    let grant = bed.grant("one", "").await;
    let mut packs: Vec<String> =
        grant.tree.packs.iter().map(|p| lifeboat_format::layout::pack(&p.pack.sha256)).collect();
    packs.sort();
    let mut own = bed.packs[0].clone();
    own.sort();
    assert_eq!(packs, own, "the volume's packs, all of them, and nothing else");
    let report = fill(bed.store(), &grant, dir.path()).await.unwrap();
    assert!(is_whole(&report) && report.left_alone.total == 0, "{report:?}");
    assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), [1; 10]);
    assert_eq!(std::fs::metadata(dir.path().join("d/big")).unwrap().len(), 3_000_000);
    assert_eq!(report.files, 3);
    // Once more: everything is there.
    let again = fill(bed.store(), &grant, dir.path()).await.unwrap();
    assert_eq!((again.already_complete, again.failed.total), (4, 0), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_takes_what_it_needs() {
    let bed = Bed::new();
    let dir = tempfile::tempdir().unwrap();
    let tree = bed.tree("two").await;
    let (whole, part) = (tree.needs(b"").await.unwrap(), tree.needs(b"d/small").await.unwrap());
    assert_eq!((part.entries, part.bytes), (1, 5));
    assert!(part.packs() <= whole.packs() && whole.entries == 6, "{whole:?}");
    let report = fill(bed.store(), &bed.grant("two", "d/small").await, dir.path()).await.unwrap();
    assert!(is_whole(&report), "{report:?}");
    assert_eq!(std::fs::read(dir.path().join("d/small")).unwrap(), b"small");
    assert!(!dir.path().join("f").exists() && !dir.path().join("d/big").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_pack_is_named() {
    let bed = Bed::new();
    let dir = tempfile::tempdir().unwrap();
    let grant = bed.grant("one", "").await;
    let key = bed.packs[0].first().unwrap();
    assert!(bed.repository.store.corrupt(key, |bytes| bytes[1_000_000] ^= 1));
    let report = fill(bed.store(), &grant, dir.path()).await.unwrap();
    assert!(!is_whole(&report) && report.failed.first[0].contains("d/big"), "{report:?}");
}

/// Says who it is, takes its grant, and asks for something.
async fn taken_over(grant: &Grant, store: SharedRead, asks: FromWorker) -> (Grant, FillError) {
    let (command, mut worker) = pipe();
    let playing = tokio::spawn(async move {
        let identity = OneTimeIdentity::generate();
        let hello =
            FromWorker::Hello { version: VERSION, recipient: identity.recipient(), program: String::new() };
        write_frame(&mut worker.1, &encode(&hello)).await.unwrap();
        let mut sealed = Vec::new();
        loop {
            match decode(&read_frame(&mut worker.0).await.unwrap()) {
                Some(ToWorker::Grant { part, last }) => {
                    sealed.extend_from_slice(&part);
                    if last {
                        break;
                    }
                }
                other => assert_eq!(other, Some(ToWorker::Alive)),
            }
        }
        write_frame(&mut worker.1, &encode(&asks)).await.unwrap();
        // Whatever comes now is no pack.
        while let Ok(frame) = read_frame(&mut worker.0).await {
            assert_eq!(decode(&frame), Some(ToWorker::Alive));
        }
        Grant::open(&identity, &sealed).unwrap()
    });
    let serving = Serving { store, grant, progress: &|_| {} };
    let refused = serve(command.0, command.1, serving).await.unwrap_err();
    (playing.await.unwrap(), refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_taken_over_opens_its_own_volume_and_nothing_else() {
    let bed = Bed::new();
    let grant = bed.grant("one", "").await;
    let other: Sha256 = bed.packs[1][0].rsplit('/').next().unwrap().parse().unwrap();
    let asks = FromWorker::Read { id: 1, pack: other, offset: 0, length: 100 };
    let (taken, refused) = taken_over(&grant, bed.store(), asks).await;
    assert!(!refused.is_passing() && refused.to_string().contains("not of its volume"), "{refused}");
    let asks = FromWorker::Size { id: 1, pack: other };
    assert!(!taken_over(&grant, bed.store(), asks).await.1.is_passing());
    // Even with the whole store in its hands, its keys open its own volume only.
    let own = Tree::granted(bed.store(), taken.tree.clone());
    assert!(own.entry(b"d/big").await.unwrap().is_some());
    let other = bed.grant("two", "").await.tree;
    let mixed = lifeboat_common::reader::TreeGrant { root: other.root, ..taken.tree.clone() };
    assert!(Tree::granted(bed.store(), mixed).entry(b"").await.is_err());
    let mut forged = other.clone();
    for (pack, own) in forged.packs.iter_mut().zip(&taken.tree.packs) {
        pack.key = own.key.clone();
    }
    assert!(Tree::granted(bed.store(), forged).entry(b"").await.is_err());
    // Nor can a grant be opened by another worker.
    let sealed = grant.seal(&OneTimeIdentity::generate().recipient()).unwrap();
    assert!(Grant::open(&OneTimeIdentity::generate(), &sealed).is_err());
    assert!(grant.seal("age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_ends_it_on_both_sides() {
    let bed = Bed::new();
    let grant = bed.grant("one", "").await;
    for said in [&b"\xff"[..], b"", &encode(&FromWorker::Progress { bytes: 1 })] {
        let (command, mut worker) = pipe();
        write_frame(&mut worker.1, said).await.unwrap();
        let serving = Serving { store: bed.store(), grant: &grant, progress: &|_| {} };
        assert!(!serve(command.0, command.1, serving).await.unwrap_err().is_passing(), "{said:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    for said in [&b"\xff"[..], &encode(&ToWorker::Data { id: 7, part: vec![].into(), last: true })] {
        let (mut command, worker) = pipe();
        write_frame(&mut command.1, said).await.unwrap();
        assert!(work(worker.0, worker.1, dir.path()).await.is_err(), "{said:?}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_that_is_gone_is_noticed_and_another_goes_on() {
    let bed = Bed::new();
    let grant = bed.grant("one", "").await;
    let (command, worker) = pipe();
    drop(worker);
    let serving = Serving { store: bed.store(), grant: &grant, progress: &|_| {} };
    assert!(serve(command.0, command.1, serving).await.unwrap_err().is_passing());
    // The command dies in the middle.
    let dir = tempfile::tempdir().unwrap();
    let (command, worker) = pipe();
    let pause = std::time::Duration::from_millis(200);
    let slow = FaultyStore::new(bed.store(), 1).everywhere(Faults { slow: 1.0, pause, ..Faults::default() });
    let to = dir.path().to_owned();
    let working = tokio::spawn(async move { work(worker.0, worker.1, &to).await });
    let serving = Serving { store: Arc::new(slow), grant: &grant, progress: &|_| {} };
    let cut =
        tokio::time::timeout(std::time::Duration::from_millis(300), serve(command.0, command.1, serving));
    assert!(cut.await.is_err());
    assert!(working.await.unwrap().is_err());
    // What a worker leaves that is killed goes, in the volume's root, too.
    std::fs::write(dir.path().join(".lifeboat-partial-1-1"), "half").unwrap();
    assert!(is_whole(&fill(bed.store(), &grant, dir.path()).await.unwrap()));
    let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["d", "f", "l"]);
}
