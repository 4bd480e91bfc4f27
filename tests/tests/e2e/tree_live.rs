//! Trees that change while they are read, some of them on purpose against the reader: nothing outside the tree is read,
//! nothing hangs, FIFOs are never opened, and what nobody touched is whole.

use crate::tree::{From, extracted, same, seen};
use crate::world::World;
use lifeboat_tests::trees::nasty::noise;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SECRET: &str = "this is outside the tree, and nobody may read it";

/// Runs a backup and ends it when it hangs; its exit code and what it said.
fn bounded(world: &World, tree: &Path) -> (i32, String) {
    let config = world.admin().join("agent.toml");
    let args = [
        "backup-path",
        "--config",
        config.to_str().unwrap(),
        "--name",
        "v",
        tree.to_str().unwrap(),
        "--json",
    ];
    let mut child = world.spawn("lifeboat-agent", &args);
    let limit = Instant::now() + Duration::from_secs(60);
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code().unwrap_or(-1);
        }
        if Instant::now() > limit {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the backup hangs");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    (code, fs::read_to_string(world.folder().join("lifeboat-agent.log")).unwrap())
}

/// Does `step` over and over until dropped; what it could not do is tried again.
struct Storm {
    stop: &'static AtomicBool,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Storm {
    fn new() -> Self {
        Self { stop: Box::leak(Box::new(AtomicBool::new(false))), threads: Vec::new() }
    }

    fn add(&mut self, mut step: impl FnMut(u64) -> std::io::Result<()> + Send + 'static) {
        let stop = self.stop;
        self.threads.push(std::thread::spawn(move || {
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let _tried = step(n);
                // Two cores, and the backup needs some of them.
                std::thread::sleep(Duration::from_micros(50));
            }
        }));
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
    }
}

fn swap(a: &Path, b: &Path) -> std::io::Result<()> {
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}

/// A part of the tree that nobody touches, beside those that change.
fn steady(tree: &Path) {
    let mut random = StdRng::seed_from_u64(3);
    for n in 0..60 {
        let folder = tree.join(format!("steady/{n}"));
        fs::create_dir_all(&folder).unwrap();
        for m in 0..20 {
            fs::write(folder.join(format!("f{m}")), noise(&mut random, 20_000)).unwrap();
        }
    }
}

/// The regular files below a folder; no link is followed.
fn plain_files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => out.extend(plain_files(&entry.path())),
            kind if kind.is_file() => out.push(entry.path()),
            _ => {}
        }
    }
    out
}

fn contains(folder: &Path, what: &str) -> Option<PathBuf> {
    let has = |bytes: &[u8]| bytes.windows(what.len()).any(|window| window == what.as_bytes());
    plain_files(folder).into_iter().find(|file| has(&fs::read(file).unwrap()))
}

/// Backs the tree up while the storm blows, and looks at what came of it.
#[track_caller]
fn through(world: &World, tree: &Path, storm: Storm, check: impl Fn(&Path, &str)) {
    let before = seen(&tree.join("steady"));
    for _ in 0..4 {
        let (code, said) = bounded(world, tree);
        assert!(code == 0 || code == 3, "{code}: {said}");
        assert!(!said.contains("panicked"), "{said}");
        let (_folder, restored) = extracted(world, From::Primary, "latest", "v");
        same(&before, &restored.join("steady"));
        check(&restored, &said);
    }
    drop(storm);
    // The calm after it.
    let (code, said) = bounded(world, tree);
    assert_eq!(code, 0, "{said}");
    let (_folder, restored) = extracted(world, From::Primary, "latest", "v");
    same(&seen(tree), &restored);
}

#[test]
fn a_directory_or_file_swapped_for_a_link_leads_nowhere() {
    let world = World::file();
    let tree = world.folder().join("tree");
    let outside = world.folder().join("outside");
    fs::create_dir_all(outside.join("d/d/d")).unwrap();
    for path in ["file", "d/file", "d/d/file", "d/d/d/file"] {
        fs::write(outside.join(path), SECRET).unwrap();
    }
    steady(&tree);
    let mut storm = Storm::new();
    // In front of the steady part and behind it, so that the walk meets them at different times.
    for place in ["a-first", "t", "zz-last"] {
        let place = tree.join(place);
        fs::create_dir_all(place.join("real/d/d/d")).unwrap();
        for path in ["file", "d/file", "d/d/file", "d/d/d/file"] {
            fs::write(place.join("real").join(path), "inside").unwrap();
        }
        std::os::unix::fs::symlink(&outside, place.join("evil")).unwrap();
        std::os::unix::fs::symlink(outside.join("file"), place.join("evil-file")).unwrap();
        fs::write(place.join("real-file"), "inside").unwrap();
        storm.add(move |_| {
            swap(&place.join("real"), &place.join("evil"))?;
            swap(&place.join("real-file"), &place.join("evil-file"))
        });
    }
    through(&world, &tree, storm, |restored, _| {
        assert_eq!(contains(restored, SECRET), None);
    });
}

#[test]
fn files_that_grow_shrink_vanish_and_tear_are_kept_and_marked() {
    let world = World::file();
    let tree = world.folder().join("tree");
    steady(&tree);
    let mut storm = Storm::new();
    let live = tree.join("live");
    fs::create_dir(&live).unwrap();
    for name in ["grows", "shrinks", "torn", "atomic"] {
        fs::write(live.join(name), vec![b'0'; 3 << 20]).unwrap();
    }
    let path = live.clone();
    storm.add(move |n| {
        let file = fs::File::options().append(true).open(path.join("grows"))?;
        if n % 2000 == 0 { file.set_len(0) } else { std::io::Write::write_all(&mut &file, &[b'g'; 4096]) }
    });
    let path = live.clone();
    storm.add(move |n| {
        fs::File::options().write(true).open(path.join("shrinks"))?.set_len((3 << 20) - n * 4096 % (3 << 20))
    });
    let path = live.clone();
    storm.add(move |n| {
        // All of it becomes one letter, piece by piece.
        let file = fs::File::options().write(true).open(path.join("torn"))?;
        let letter = b'a' + u8::try_from(n / 48 % 26).unwrap_or(0);
        file.write_all_at(&[letter; 65_536], n % 48 * 65_536)
    });
    let path = live.clone();
    storm.add(move |n| {
        fs::write(path.join("atomic.new"), vec![b'a' + u8::try_from(n % 26).unwrap_or(0); 1 << 20])?;
        fs::rename(path.join("atomic.new"), path.join("atomic"))
    });
    let path = live.clone();
    storm.add(move |n| {
        let at = path.join(format!("comes-and-goes-{}", n % 50));
        if n / 50 % 2 == 0 { fs::write(at, vec![b'c'; 10_000]) } else { fs::remove_file(at) }
    });
    let path = live.clone();
    storm.add(move |n| {
        let at = path.join(format!("folder-{}", n % 20));
        if n / 20 % 2 == 0 { fs::create_dir_all(at.join("x/y")) } else { fs::remove_dir_all(at) }
    });
    through(&world, &tree, storm, |restored, said| {
        // What is only ever replaced as a whole is one version, whichever.
        if let Ok(atomic) = fs::read(restored.join("live/atomic")) {
            assert!(atomic.iter().all(|byte| *byte == atomic[0]), "a file replaced by rename is torn");
        }
        // What is written in place is one version, or said to have changed while it was read.
        let torn = fs::read(restored.join("live/torn")).unwrap();
        let letters: std::collections::BTreeSet<u8> = torn.iter().copied().collect();
        assert!(letters.len() <= 2 || said.contains("torn"), "torn and not reported: {said}");
    });
}

#[test]
fn a_storm_of_renames_ends_in_a_snapshot() {
    let world = World::file();
    let tree = world.folder().join("tree");
    steady(&tree);
    let mut storm = Storm::new();
    let moves = tree.join("moves");
    for folder in 0..10 {
        for n in 0..30 {
            let path = moves.join(format!("{folder}/{n}"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{folder}/{n}")).unwrap();
        }
    }
    fs::create_dir_all(moves.join("0/deep/er/still")).unwrap();
    let path = moves.clone();
    storm.add(move |n| swap(&path.join(format!("{}", n % 10)), &path.join(format!("{}", (n / 10 + 1) % 10))));
    let path = moves.clone();
    storm.add(move |n| {
        let [a, b] = [n % 10, (n / 7) % 10];
        swap(&path.join(format!("{a}/{}", n % 30)), &path.join(format!("{b}/{}", (n / 3) % 30)))
    });
    let path = moves.clone();
    // A directory goes up and down while something may be in it.
    storm.add(move |_| {
        fs::rename(path.join("0/deep/er"), path.join("up"))?;
        fs::rename(path.join("up"), path.join("0/deep/er"))
    });
    through(&world, &tree, storm, |restored, _| {
        // Whatever a file is called, it is one of ours and whole.
        for file in plain_files(&restored.join("moves")) {
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.contains('/'), "{}: {text:?}", file.display());
        }
    });
}

#[test]
fn a_fifo_or_device_is_never_opened() {
    let world = World::file();
    let tree = world.folder().join("tree");
    steady(&tree);
    let fifo = tree.join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    add_watch(&inotify, &fifo, WatchFlags::OPEN | WatchFlags::ACCESS).unwrap();
    // A file that becomes a FIFO between the look and the opening blocks nobody.
    let swaps = std::sync::Arc::new(AtomicU64::new(0));
    let (file, other) = (tree.join("swapped"), tree.join("swapped-fifo"));
    fs::write(&file, "a file").unwrap();
    mknodat(CWD, &other, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    let mut storm = Storm::new();
    let count = swaps.clone();
    storm.add(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        swap(&file, &other)
    });
    through(&world, &tree, storm, |_, _| {});
    assert!(swaps.load(Ordering::Relaxed) > 1000);
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(&inotify, &mut buffer);
    let event = reader.next();
    assert!(event.is_err(), "the FIFO was opened: {:?}", event.map(|e| e.events()));
}
