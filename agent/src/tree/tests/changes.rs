//! Files that change, grow, shrink and vanish while they are read; runs that end early.

use super::*;
use lifeboat_format::volume_log::CHANGING;
use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[test]
fn what_changed_just_before_the_last_run_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), noise(1000, 1)).unwrap();
    let mut volume = Volume::default();
    let first = volume.store(folder.path(), &TreeOptions::default());
    for (later, read) in [(0, 1000), (1, 1000), (10, 0)] {
        // As if that run had begun so many seconds after the change.
        let started = now(folder.path()) + jiff::SignedDuration::from_secs(later);
        volume.kept.started = Some(started);
        let again = volume.store(folder.path(), &TreeOptions::default());
        assert_eq!((again.read_bytes, again.root), (read, first.root), "{later}");
    }
}

/// Does something again and again until it is dropped.
struct Busy(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Busy {
    fn new(mut act: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                act();
            }
        });
        Self(stop, Some(thread))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        let _ = self.1.take().map(std::thread::JoinHandle::join);
    }
}

#[test]
fn a_file_that_grows_all_the_time_ends_and_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, noise(20 << 20, 1)).unwrap();
    fs::write(folder.path().join("quiet"), "quiet").unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    let busy = Busy::new(move || {
        // Slowly, and at most 1 GB in all, should the run not end.
        if file.metadata().unwrap().len() < 1 << 30 {
            file.write_all(&[7; 16]).unwrap();
        }
    });
    let mut volume = Volume::default();
    let stored = volume.store(folder.path(), &TreeOptions::default());
    drop(busy);
    assert_eq!((stored.report.changing_total, stored.report.changing.concat()), (1, b"log".to_vec()));
    let read = volume.read(&stored);
    assert_eq!(read[&b"log"[..]].0.marks, lifeboat_format::tree::CHANGING);
    assert_eq!(read[&b"log"[..]].1[..20 << 20], noise(20 << 20, 1)[..]);
    assert_eq!(read[&b"quiet"[..]].0.marks, 0);
    let changing = volume.kept.records.0.iter().flat_map(|(_, r)| r).filter(|r| r.has(CHANGING)).count();
    assert_eq!(changing, 1);
    // A run later it is read again, and no longer marked.
    let again = volume.store(folder.path(), &TreeOptions::default());
    assert_eq!(again.report.changing_total, 0);
    assert_same(&volume, &again, folder.path());
}

#[test]
fn files_that_shrink_move_and_vanish_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_owned();
    fs::create_dir(root.join("d")).unwrap();
    for i in 0..400 {
        fs::write(root.join(format!("d/{i}")), noise(3000 * (1 + i % 50), i as u64)).unwrap();
    }
    fs::write(root.join("d/large"), noise(6 << 20, 3)).unwrap();
    let mut n = 0_u64;
    let in_thread = root.clone();
    let busy = Busy::new(move || {
        n += 1;
        let path = in_thread.join(format!("d/{}", n * 7 % 400));
        let _ = match n % 5 {
            0 => fs::remove_file(&path),
            1 => fs::write(&path, noise(usize::try_from(n * 997 % 200_000).unwrap(), n)),
            2 => fs::rename(&path, in_thread.join(format!("d/{}", n * 13 % 400))),
            3 => fs::create_dir(&path),
            _ => fs::remove_dir(&path).or_else(|_| std::os::unix::fs::symlink("/etc/passwd", &path)),
        };
        let large = fs::OpenOptions::new().write(true).open(in_thread.join("d/large")).unwrap();
        large.set_len(n * 65_537 % (6 << 20)).unwrap();
    });
    let mut volume = Volume::default();
    for _ in 0..6 {
        let stored = volume.store(&root, &TreeOptions { readers: 4, ..TreeOptions::default() });
        // Reading back checks digests, lengths and order.
        let read = volume.read(&stored);
        assert!(read.contains_key(&b"d/large"[..]));
        volume.kept.started = None;
    }
    drop(busy);
    let stored = volume.store(&root, &TreeOptions::default());
    assert_same(&volume, &stored, &root);
}

struct Closing(std::sync::atomic::AtomicUsize);

impl PackSink for Closing {
    fn take(&self, _: NewPack) -> Result<(), SinkClosed> {
        if self.0.fetch_add(1, Ordering::Relaxed) == 0 { Ok(()) } else { Err(SinkClosed) }
    }
}

/// A sink that never comes back while the run goes on.
struct Stuck(Arc<AtomicBool>);

impl PackSink for Stuck {
    fn take(&self, _: NewPack) -> Result<(), SinkClosed> {
        while !self.0.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

fn store_into(root: &Path, sink: &dyn PackSink, cancel: &AtomicBool) -> Result<StoredTree, TreeError> {
    let run = TreeRun {
        options: &TreeOptions::default(),
        keys: &keys(),
        memory: &mut Nothing,
        past: &Nothing,
        packs: sink,
        records: &mut Records::default(),
        progress: &TreeProgress::default(),
        cancel,
    };
    store_tree(root, run)
}

struct Panicking;

impl PackSink for Panicking {
    fn take(&self, _: NewPack) -> Result<(), SinkClosed> {
        panic!("as a bug would");
    }
}

#[test]
fn a_thread_that_panics_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("large"), noise(40 << 20, 1)).unwrap();
    let stored = store_into(folder.path(), &Panicking, &AtomicBool::new(false));
    assert!(matches!(stored, Err(TreeError::Broken)));
}

#[test]
fn a_closed_sink_and_a_cancel_end_the_run_soon() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..10 {
        fs::write(folder.path().join(format!("{i}")), noise(12 << 20, i)).unwrap();
    }
    let never = AtomicBool::new(false);
    let closed = store_into(folder.path(), &Closing(std::sync::atomic::AtomicUsize::new(0)), &never);
    assert!(matches!(closed, Err(TreeError::Closed)));
    let cancel = Arc::new(AtomicBool::new(false));
    let in_thread = cancel.clone();
    let canceler = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        in_thread.store(true, Ordering::Relaxed);
        Instant::now()
    });
    let canceled = store_into(folder.path(), &Stuck(cancel.clone()), &cancel);
    let took = canceler.join().unwrap().elapsed();
    assert!(matches!(canceled, Err(TreeError::Canceled)));
    assert!(took < Duration::from_secs(2), "{took:?}");
}
