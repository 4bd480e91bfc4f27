//! What is there is left as it is, whatever it is and whoever changes it meanwhile.

use super::*;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};

fn sample() -> TestTree {
    TestTree::new()
        .directory("d")
        .file("d/f", "new")
        .file("f", "new")
        .symlink("l", "target")
        .directory("e")
        .file("e/g", "g")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_there_is_replaced_or_written_through() {
    let bed = Bed::new(sample());
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("mine"), "mine").unwrap();
    std::fs::create_dir_all(bed.path("")).unwrap();
    std::fs::write(bed.path("f"), "mine").unwrap();
    std::fs::write(bed.path("l"), "mine").unwrap();
    symlink(outside.path(), bed.path("d")).unwrap();
    std::fs::write(bed.path("e"), "a file where a directory goes").unwrap();
    let report = bed.restore().await.report;
    assert_eq!(std::fs::read(bed.path("f")).unwrap(), b"mine");
    assert_eq!(std::fs::read(bed.path("l")).unwrap(), b"mine");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    assert!(bed.path("e").is_file() && bed.path("d").is_symlink());
    // The root, two directories, two entries; and what would be in the directories.
    assert_eq!((report.left_alone.total, report.below_failed, report.failed.total), (5, 2, 0), "{report:?}");
    assert_eq!(report.files, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_there_is_filled_and_keeps_what_it_is() {
    let bed = Bed::new(sample());
    std::fs::create_dir_all(bed.path("d")).unwrap();
    std::fs::set_permissions(bed.path("d"), PermissionsExt::from_mode(0o711)).unwrap();
    let report = bed.restore().await.report;
    assert_eq!(std::fs::read(bed.path("d/f")).unwrap(), b"new");
    assert_eq!(std::fs::metadata(bed.path("d")).unwrap().mode() & 0o7777, 0o711);
    assert_eq!(report.left_alone.first.len(), 2, "the root and d: {report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_the_snapshot_keeps_its_time_when_a_file_comes_back() {
    let bed = Bed::new(sample());
    assert!(bed.restore().await.report.is_complete());
    std::fs::remove_file(bed.path("d/f")).unwrap();
    let time = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    std::fs::File::open(bed.path("d")).unwrap().set_times(time).unwrap();
    assert!(bed.restore().await.report.is_complete());
    assert_eq!(std::fs::metadata(bed.path("d")).unwrap().mtime(), 0);
}

/// Somebody who may write there puts links to the outside in the place of directories, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn swapping_directories_for_links_leads_nowhere() {
    let mut tree = TestTree::new();
    for d in 0..40 {
        tree = tree.directory(format!("d{d}")).directory(format!("d{d}/e"));
        for f in 0..60 {
            tree = tree.file(format!("d{d}/e/{f}"), noise(100 + f));
        }
    }
    let bed = Bed::new(tree);
    let outside = tempfile::tempdir().unwrap();
    std::fs::create_dir(outside.path().join("e")).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let swapping = {
        let (over, root, outside) = (Arc::clone(&over), bed.path(""), outside.path().to_owned());
        std::thread::spawn(move || {
            let mut swapped = 0_u64;
            for n in 0.. {
                if over.load(std::sync::atomic::Ordering::Relaxed) {
                    return swapped;
                }
                let (dir, aside) = (root.join(format!("d{}", n % 40)), root.join("aside"));
                if std::fs::rename(&dir, &aside).is_ok() {
                    swapped += u64::from(symlink(&outside, &dir).is_ok());
                    std::thread::yield_now();
                    drop(std::fs::remove_file(&dir));
                    drop(std::fs::rename(&aside, &dir));
                }
            }
            swapped
        })
    };
    let mut report = Report::default();
    for _ in 0..5 {
        let target = Arc::new(Target::open(bed.dir.path()).unwrap());
        report.merge(restore(&bed.tree().await, vec![Chosen::All], &target, options()).await.report);
    }
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(swapping.join().unwrap() > 10);
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(outside.path().join("e")).unwrap().count(), 0);
    assert!(report.files > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_privileges_what_can_be_done_is_done() {
    let name = "alone::without_privileges_what_can_be_done_is_done";
    if is_root() {
        use std::os::unix::process::CommandExt as _;
        // Where others can run it.
        let copy = tempfile::tempdir().unwrap();
        std::fs::set_permissions(copy.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let program = copy.path().join("test");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let text = again(name, "LIFEBOAT_TEST_CHILD", |_| {
            let mut command = Command::new(&program);
            command.uid(65_534).gid(65_534).current_dir("/");
            command
        });
        assert!(text.unwrap().contains("1 passed"));
        return;
    }
    let of_root = Attributes { kind: NodeKind::File, mode: 0o6755, size: 1, ..Attributes::default() };
    let trusted = (b"trusted.x".to_vec(), vec![1]);
    let user = (b"user.x".to_vec(), vec![1]);
    let device = Attributes { kind: NodeKind::BlockDevice, size: 0, rdev: Some((7, 0)), ..of_root.clone() };
    let read_only = Attributes { mode: 0o500, uid: 65_534, gid: 65_534, ..Attributes::default() };
    let bed = Bed::new(
        TestTree::new()
            .entry("setuid", Attributes { xattrs: vec![trusted, user], ..of_root }, "x")
            .entry("device", device, "")
            .entry("read-only", read_only, "")
            .file("read-only/f", "in it"),
    );
    let report =
        bed.restore_with(vec![Chosen::All], RestoreOptions { devices: true, ..options() }).await.report;
    assert_eq!(report.failed.total, 1, "the device: {report:?}");
    assert!(
        report.failed.first[0].contains("device") && report.failed.first[0].contains("root"),
        "{report:?}"
    );
    let not_set: Vec<&String> = report.not_set.keys().collect();
    assert!(
        not_set.iter().any(|n| n.starts_with("owner: "))
            && not_set.iter().any(|n| n.starts_with("trusted.x: "))
    );
    assert!(not_set.iter().any(|n| n.starts_with("setuid")), "{report:?}");
    assert_eq!(std::fs::metadata(bed.path("setuid")).unwrap().mode() & 0o7777, 0o755, "not given away");
    assert_eq!(std::fs::read(bed.path("read-only/f")).unwrap(), b"in it");
    assert_eq!(std::fs::metadata(bed.path("read-only")).unwrap().mode() & 0o7777, 0o500);
    let second = bed.restore().await.report;
    assert_eq!((second.files, second.already_complete, second.left_alone.total), (0, 2, 0), "{second:?}");
    std::fs::set_permissions(bed.path("read-only"), PermissionsExt::from_mode(0o700)).unwrap();
}
