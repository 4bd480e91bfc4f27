//! The fixture of format 1: it is read completely for ever, the seeded writer makes the same bytes again, and no
//! damaged file of it is taken for sound.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod content;
mod corpus;
mod damage;
mod read;
mod trees;
mod write;

use content::signing_key;
use lifeboat_format::crypto::derive::{RunKey, Secret32};
use lifeboat_format::crypto::open::{EpochIdentity, IdentityFile, identity_file};
use lifeboat_format::crypto::seal;
use lifeboat_format::epoch::{open_epoch, seal_epoch};
use lifeboat_format::id::{Handle, Sha256};
use lifeboat_format::pack::PackBuilder;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use write::{Files, Sealed};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/v1")
}

fn text(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap()
}

fn bytes(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The fixture of trees.
fn tree_fixture() -> Files {
    let entries = fs::read_dir(folder().join("../v1-tree")).unwrap().map(|e| e.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

/// The repository as it is stored.
fn stored() -> Files {
    let root = folder().join("repository").join(content::CLUSTER);
    let mut files = Files::new();
    let mut folders = vec![root.clone()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let key = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                files.insert(key, fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn identity() -> IdentityFile {
    identity_file(&text("identity.txt")).unwrap()
}

fn sealed() -> Sealed {
    let by = identity().identities;
    let epoch = |n: u64| {
        let file = bytes(&format!("sealed/epoch-{n}.age"));
        (open_epoch(&file, &by).unwrap().recipient(), file)
    };
    Sealed {
        epochs: [epoch(1), epoch(2)],
        run_keys: [1, 2, 3].map(|n| bytes(&format!("sealed/run-{n}.age"))),
    }
}

/// What the snapshots hold, by path.
fn expected(seq: u64) -> read::Objects {
    let mut out = read::Objects::new();
    for domain in content::domains(seq) {
        let folder = if domain.namespace.is_empty() { "_cluster" } else { domain.namespace };
        for object in domain.objects {
            let (kind, name) = lifeboat_format::body::parse_object_key(&object.key).unwrap();
            // The one name that is too long for a file, with its hash written out.
            let name = match name.len() {
                253 => format!("{}~{}", "n".repeat(233), &Sha256::of(name.as_bytes()).to_hex()[..16]),
                _ => name.to_owned(),
            };
            out.insert(format!("objects/{folder}/{kind}/{name}.json"), object.json);
        }
    }
    out
}

#[test]
fn the_fixture_is_read_completely() {
    let files = stored();
    let IdentityFile { identities, owner } = identity();
    let owner = owner.unwrap().parse().unwrap();
    let charters = read::charters(&files, &owner).unwrap();
    assert_eq!(charters.len(), 2);
    let charter = charters.last().unwrap();
    let epochs = read::epochs(&files, charter, &identities);
    let manifests = read::manifests(&files, charter);
    assert_eq!((epochs.len(), manifests.len()), (2, 3));
    assert_eq!(read::receipts(&files, charter).len(), 3);
    let listed: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_str(&text("expected.json")).unwrap();
    for manifest in &manifests {
        let (objects, shape) = read::objects(&files, manifest, &epochs);
        let wanted = if manifest.seq < 3 { (1.., 1, 1, 2) } else { (0.., 1, 1, 1) };
        assert!(wanted.0.contains(&shape.inner_pages), "{shape:?}");
        assert_eq!((shape.indirect, shape.chunked, shape.most_roots), (wanted.1, wanted.2, wanted.3));
        assert!(objects == expected(manifest.seq), "snapshot {} holds something else", manifest.seq);
        let hashes: BTreeMap<String, String> =
            objects.into_iter().map(|(path, json)| (path, Sha256::of(&json).to_hex())).collect();
        assert_eq!(hashes, listed[&manifest.seq.to_string()]);
    }
    assert!(manifests[1].packs.len() > 1, "the second reuses packs of the first");
    assert!(!manifests[2].carry.is_empty());
}

#[test]
fn the_seeded_writer_makes_the_same_bytes() {
    let (stored, made) = (stored(), write::repository(&sealed()));
    let differ = |a: &Files, b: &Files| a.iter().filter(|(k, v)| b.get(*k) != Some(v)).count();
    assert_eq!(
        (differ(&made, &stored), differ(&stored, &made)),
        (0, 0),
        "files are written other than they were. Other zstd output is no change of the format: keep this fixture for \
         reading, and add a second one. Anything else is a new version of the format"
    );
}

#[test]
fn damaged_files_are_never_taken_for_sound() {
    let files = stored();
    let segments = segment_keys(&files);
    assert!(!segments.is_empty());
    damage::check(&files, &damage::Keys { identities: identity().identities, segments });
}

/// The keys of all segments, out of the roots of the send logs.
fn segment_keys(files: &Files) -> Vec<Secret32> {
    let mut keys = Vec::new();
    for n in 1..=3 {
        let log = content::secret(&format!("log {n}"));
        let roots = files.values().filter_map(|f| lifeboat_format::send_log::open_root(&log, f).ok());
        keys.extend(roots.flat_map(|r| r.segments).map(|s| Secret32::new(s.key.try_into().unwrap())));
    }
    keys
}

#[test]
fn the_example_of_the_specification_is_a_pack() {
    let mut pack = PackBuilder::new(Handle([2; 16]), &RunKey(Secret32::new([1; 32])), b"sealed".to_vec());
    pack.append(b"hello");
    let hex = hex::encode(pack.finish().bytes);
    let page = fs::read_to_string(folder().join("../../../docs/format.md")).unwrap();
    let example = page.split_once("<!-- example").unwrap().1.split_once("-->\n").unwrap().1;
    let lines = example.lines().take_while(|l| l.starts_with("    ") || l.is_empty());
    let shown: String = lines.filter_map(|l| l.split(" ; ").next()).collect();
    assert_eq!(shown.replace(' ', ""), hex);
}

/// Written once, for version 1. Files that are there are never replaced.
#[test]
#[ignore = "makes a new fixture where there is none"]
fn make_the_fixture() {
    let folder = folder();
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert!(!path.exists(), "{} is there", path.display());
        fs::write(path, bytes).unwrap();
    };
    let administrator = EpochIdentity::generate();
    let owner = signing_key("owner").verify_key();
    let secret = String::from_utf8(administrator.to_file().to_vec()).unwrap();
    put("identity.txt", format!("# owner: {owner}\n{secret}").as_bytes());
    let epochs = [1, 2].map(|n| {
        let epoch = EpochIdentity::generate();
        let file = seal_epoch(&epoch, &[administrator.recipient().parse().unwrap()]).unwrap();
        put(&format!("sealed/epoch-{n}.age"), &file);
        epoch
    });
    for seq in 1..=3_u64 {
        let epoch = &epochs[usize::from(seq > 1)];
        let run_key = seal::run_key(&epoch.recipient(), &write::run_key(seq)).unwrap();
        put(&format!("sealed/run-{seq}.age"), &run_key);
    }
    for (key, bytes) in write::repository(&sealed()) {
        put(&format!("repository/{}/{key}", content::CLUSTER), &bytes);
    }
    let listed: BTreeMap<String, BTreeMap<String, String>> = (1..=3)
        .map(|seq| {
            let hashes = expected(seq).into_iter().map(|(p, json)| (p, Sha256::of(&json).to_hex()));
            (seq.to_string(), hashes.collect())
        })
        .collect();
    put("expected.json", (serde_json::to_string_pretty(&listed).unwrap() + "\n").as_bytes());
}

/// Written once, for version 1. Files that are there are never replaced.
#[test]
#[ignore = "makes a new fixture of trees where there is none"]
fn make_the_fixture_of_trees() {
    let folder = folder().join("../v1-tree");
    fs::create_dir(&folder).unwrap();
    for (name, bytes) in trees::written() {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// Adds what is missing; what is there, fuzzing may have found.
#[test]
#[ignore = "makes the corpus of the fuzz targets"]
fn make_the_corpus() {
    let root = folder().join("../../../fuzz/corpus");
    for (i, (target, input)) in corpus::corpus(&stored()).into_iter().enumerate() {
        let path = root.join(target).join(format!("seed-{i:02}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if !path.exists() {
            fs::write(path, input).unwrap();
        }
    }
}
