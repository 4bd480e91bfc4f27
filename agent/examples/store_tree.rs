//! Stores a tree's packs in a folder, and says how long each run took: the machine alone, without lists, logs, manifests.
//! `store_tree TREE FOLDER [RUNS] [--read-all] [--no-sync] [--forget]`; packs are synced to the disk as the local store does it.

#![allow(clippy::print_stdout, reason = "an example speaks")]

use jiff::Timestamp;
use lifeboat_agent::backup::NewPack;
use lifeboat_agent::tree::{
    ChunkIndex, PackSink, PastChunks, RecordSink, Remembered, SinkClosed, StoredTree, TreeKeys, TreeOptions,
    TreeProgress, TreeRun, store_tree,
};
use lifeboat_format::chunker::ChunkSizes;
use lifeboat_format::crypto::derive::{DomainKeys, RunKey, Secret32};
use lifeboat_format::id::{PathHash, ScopeAlias};
use lifeboat_format::send_log::KnownChunk;
use lifeboat_format::volume_log::Record;
use std::collections::HashMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

struct Folder {
    path: PathBuf,
    chunks: Mutex<Vec<KnownChunk>>,
    bytes: AtomicU64,
    plain: bool,
    forget: bool,
}

impl PackSink for Folder {
    fn take(&self, pack: NewPack) -> Result<(), SinkClosed> {
        let save = || -> std::io::Result<()> {
            let mut file = std::fs::File::create(self.path.join(pack.sealed.sha256.to_hex()))?;
            file.write_all(&pack.sealed.bytes)?;
            if self.plain { Ok(()) } else { file.sync_data() }
        };
        self.bytes.fetch_add(pack.sealed.bytes.len() as u64, Ordering::Relaxed);
        if !self.forget {
            self.chunks.lock().map_err(|_| SinkClosed)?.extend(&pack.chunks);
        }
        save().map_err(|_| SinkClosed)
    }
}

#[derive(Default)]
struct Kept {
    started: Option<Timestamp>,
    directories: HashMap<PathHash, Vec<Record>>,
    chunks: Vec<KnownChunk>,
    current: Vec<Record>,
    at: usize,
}

impl Remembered for Kept {
    fn started(&self) -> Option<Timestamp> {
        self.started
    }
    fn directory(&mut self, directory: &PathHash) {
        self.current = self.directories.remove(directory).unwrap_or_default();
        self.at = 0;
    }
    fn record(&mut self, name: &PathHash) -> Option<Record> {
        let n = self.current[self.at..].iter().position(|r| r.name == *name)?;
        self.at += n + 1;
        Some(self.current[self.at - 1].clone())
    }
}

struct Past(Vec<KnownChunk>);

impl PastChunks for Past {
    fn pages(&self, index: &ChunkIndex) {
        self.content(index);
    }
    fn content(&self, index: &ChunkIndex) {
        self.0.iter().for_each(|c| index.insert(c.id, &c.reference));
    }
}

#[derive(Default)]
struct New(Vec<(PathHash, Vec<Record>)>, bool);

impl RecordSink for New {
    fn directory(&mut self, directory: &PathHash) {
        self.0.push((*directory, Vec::new()));
    }
    fn record(&mut self, record: Record) {
        if let Some(last) = self.0.last_mut().filter(|_| !self.1) {
            last.1.push(record);
        }
    }
}

fn cpu() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or_default() / 100.0;
    (ticks(11), ticks(12))
}

fn rss() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

fn show(run: usize, stored: &StoredTree, packed: u64, seconds: f64, used: (f64, f64)) {
    println!(
        "run {run}: {seconds:.3} s, {:.2} + {:.2} CPU s (user, system), peak RSS {} kB, {} entries, {} MB, read {} MB, \
         new {} MB, packed {} kB, missed {}",
        cpu().0 - used.0,
        cpu().1 - used.1,
        rss(),
        stored.entries,
        stored.bytes >> 20,
        stored.read_bytes >> 20,
        stored.new_bytes >> 20,
        packed >> 10,
        stored.report.missed_total,
    );
    let report = &stored.report;
    for missed in report.missed.iter().take(10) {
        println!("  {}: {}", missed.path.escape_ascii(), missed.reason);
    }
    println!("  {} mounts, {} excluded, {} vanished", report.mounts, report.excluded, report.vanished);
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (tree, folder) = (PathBuf::from(&args[0]), PathBuf::from(&args[1]));
    let runs: usize = args.get(2).and_then(|n| n.parse().ok()).unwrap_or(2);
    let keys = TreeKeys {
        run: RunKey(Secret32::random()),
        sealed_run_key: vec![0; 300],
        domain: DomainKeys::new(&Secret32::random(), "path/x"),
        alias: ScopeAlias([0; 16]),
        sizes: ChunkSizes::default(),
    };
    std::fs::create_dir_all(&folder)?;
    let mut kept = Kept::default();
    for run in 0..runs {
        let read_all = run > 0 && args.iter().any(|a| a == "--read-all");
        let options = TreeOptions { read_all, ..TreeOptions::default() };
        let plain = args.iter().any(|a| a == "--no-sync");
        let forget = args.iter().any(|a| a == "--forget");
        let sink = Folder {
            path: folder.clone(),
            chunks: Mutex::default(),
            bytes: AtomicU64::new(0),
            plain,
            forget,
        };
        let past = Past(kept.chunks.clone());
        let mut new = New(Vec::new(), forget);
        let (from, used) = (Instant::now(), cpu());
        let stored = store_tree(
            &tree,
            TreeRun {
                options: &options,
                keys: &keys,
                memory: &mut kept,
                past: &past,
                packs: &sink,
                records: &mut new,
                progress: &TreeProgress::default(),
                cancel: &AtomicBool::new(false),
            },
        )?;
        show(run, &stored, sink.bytes.load(Ordering::Relaxed), from.elapsed().as_secs_f64(), used);
        kept.started = Some(Timestamp::from_second(1 << 35)?);
        kept.directories = new.0.into_iter().collect();
        kept.chunks.extend(sink.chunks.into_inner()?);
    }
    Ok(())
}
