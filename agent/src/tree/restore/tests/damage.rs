//! Packs that are missing, cut or swapped, stores that fail, disks that fill: named, and the rest restored.

use super::*;
use lifeboat_format::limits;

/// Files in several packs: a small one in each, and one over all.
fn spread() -> TestTree {
    let mut tree = TestTree::new().file("large", noise(3 * limits::PACK_TARGET));
    for n in 0..4 {
        tree = tree
            .file(format!("part-{n}"), noise(limits::PACK_TARGET - 1_000_000 + n))
            .file(format!("small-{n}"), noise(n + 5));
    }
    tree
}

/// What is restored of `spread` once `harm` was done to its second pack.
async fn harmed(harm: impl FnOnce(&Bed, &str)) -> (Bed, Report, String) {
    let bed = Bed::new(spread());
    assert!(bed.packs.len() > 4);
    let pack = bed.packs[1].clone();
    harm(&bed, &pack);
    let restored = bed.restore().await;
    assert!(restored.stopped.is_none(), "{restored:?}");
    (bed, restored.report, pack)
}

fn check(bed: &Bed, report: &Report, pack: &str) {
    assert!(report.failed.total > 0, "{report:?}");
    assert!(report.failed.first.iter().all(|line| line.contains(pack)), "{pack}: {report:?}");
    assert!(
        report.failed.first.iter().any(|line| line.starts_with("volumes/_paths/home/large: ")),
        "{report:?}"
    );
    assert!(!bed.path("large").exists(), "no half of it stays");
    assert_eq!(report.files + report.failed.total, 9);
    assert!(report.files >= 4, "all others are there: {report:?}");
    for n in 0..4 {
        for (path, content) in [
            (format!("part-{n}"), noise(limits::PACK_TARGET - 1_000_000 + n)),
            (format!("small-{n}"), noise(n + 5)),
        ] {
            let named = report
                .failed
                .first
                .iter()
                .any(|line| line.starts_with(&format!("volumes/_paths/home/{path}: ")));
            match std::fs::read(bed.path(&path)) {
                Ok(found) => assert!(!named && found == content, "{path}"),
                Err(_) => assert!(named, "{path} is neither there nor named: {report:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_pack_is_named_and_all_else_restored() {
    let (bed, report, pack) = harmed(|bed, pack| assert!(bed.repository.store.remove(pack))).await;
    check(&bed, &report, &pack);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_cut_short_is_named_and_all_else_restored() {
    let (bed, report, pack) = harmed(|bed, pack| {
        let bytes = bed.repository.store.bytes(pack).unwrap();
        bed.repository.store.put(pack, bytes[..bytes.len() / 2].to_vec());
    })
    .await;
    check(&bed, &report, &pack);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_pack_is_named_and_all_else_restored() {
    let (bed, report, pack) = harmed(|bed, pack| {
        let other = bed.repository.store.bytes(&bed.packs[2]).unwrap();
        bed.repository.store.put(pack, other);
    })
    .await;
    check(&bed, &report, &pack);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_byte_costs_the_files_of_its_frame() {
    let (bed, report, pack) = harmed(|bed, pack| {
        let mut bytes = bed.repository.store.bytes(pack).unwrap().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bed.repository.store.put(pack, bytes);
    })
    .await;
    assert_eq!((report.failed.total, report.files), (1, 8), "{report:?}");
    assert!(report.failed.first[0].contains(&pack), "{report:?}");
    assert_eq!(partials(bed.dir.path()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missing_comes_when_it_is_there_again() {
    let bed = Bed::new(spread());
    let bytes = bed.repository.store.bytes(&bed.packs[1]).unwrap();
    bed.repository.store.remove(&bed.packs[1]);
    let first = bed.restore().await.report;
    bed.repository.store.put(&bed.packs[1], bytes);
    let second = bed.restore().await.report;
    assert!(second.is_complete(), "{second:?}");
    assert_eq!((first.files + second.files, second.already_complete), (9, first.files));
    assert_eq!(std::fs::read(bed.path("large")).unwrap(), noise(3 * limits::PACK_TARGET));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_interrupted() {
    let bed = Bed::new(spread());
    let cancel = Arc::new(AtomicBool::new(true));
    let restored = bed.restore_with(vec![Chosen::All], RestoreOptions { cancel, ..options() }).await;
    assert!(matches!(restored.stopped, Some(RestoreError::Interrupted)), "{restored:?}");
    assert!(bed.restore().await.report.failed.total == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_ends_it_and_leaves_what_is_complete() {
    const SWITCH: &str = "LIFEBOAT_TEST_TMPFS";
    if std::env::var_os(SWITCH).is_none() {
        let name = "damage::a_disk_that_fills_ends_it_and_leaves_what_is_complete";
        let mount = "mount -t tmpfs -o size=1m,mode=755 tmpfs /mnt && exec \"$0\" \"$@\"";
        let program = std::env::current_exe().unwrap();
        let can = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
        if !can.is_ok_and(|o| o.status.success()) {
            eprintln!("SKIPPED: no private mount namespace to be had here");
            return;
        }
        let text = again(name, SWITCH, |_| {
            let mut command = Command::new("unshare");
            command.args(["-m", "sh", "-c", mount]).arg(program);
            command
        });
        assert!(text.unwrap().contains("1 passed"));
        return;
    }
    let tree =
        TestTree::new().file("a-small", "complete").file("b-large", noise(3 << 20)).file("c-small", "also");
    let mut bed = Bed::new(tree);
    bed.dir = tempfile::tempdir_in("/mnt").unwrap();
    let restored = bed.restore().await;
    let Some(RestoreError::Full { path, .. }) = &restored.stopped else { panic!("{restored:?}") };
    assert!(path.ends_with("b-large"), "{path}");
    let said = restored.stopped.as_ref().unwrap().to_string();
    assert!(said.contains("free some space") && said.contains("same command"), "{said}");
    assert!(!bed.path("b-large").exists());
    // Files are written side by side: which small ones were there first is chance, that they are whole is not.
    let small = [("a-small", &b"complete"[..]), ("c-small", b"also")];
    for (name, content) in small.iter().filter(|(name, _)| bed.path(name).exists()) {
        assert_eq!(std::fs::read(bed.path(name)).unwrap(), *content);
    }
    assert_eq!(partials(bed.dir.path()), 0);
    let more = Command::new("mount").args(["-o", "remount,size=8m", "/mnt"]).status().unwrap();
    assert!(more.success());
    let again = bed.restore().await;
    assert!(again.stopped.is_none() && again.report.is_complete(), "{again:?}");
    for (name, content) in small {
        assert_eq!(std::fs::read(bed.path(name)).unwrap(), content);
    }
    assert_eq!(std::fs::read(bed.path("b-large")).unwrap(), noise(3 << 20));
}
