//! What neither the compiler nor clippy holds: sizes of files, their first line, one-way dependencies, words, and that
//! documents name what exists.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Files that git tracks or would, with this ending.
fn tracked(ending: &str) -> Vec<PathBuf> {
    let args = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let out = Command::new("git").args(args).current_dir(root()).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().filter(|l| l.ends_with(ending)).map(|l| root().join(l)).filter(|p| p.exists()).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn complain(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn every_file_says_what_it_owns_and_stays_small() {
    let mut problems = Vec::new();
    for path in tracked(".rs") {
        let text = read(&path);
        let shown = path.strip_prefix(root()).unwrap().display().to_string();
        let first = text.lines().find(|l| !l.starts_with("#!"));
        if !first.is_some_and(|l| l.starts_with("//!")) {
            problems.push(format!("{shown} does not begin with //!"));
        }
        if text.lines().count() > 500 {
            problems.push(format!("{shown} has {} lines, at most 500 are allowed", text.lines().count()));
        }
    }
    complain(&problems);
}

#[test]
fn dependencies_point_one_way() {
    let allowed = [
        ("format", &[][..]),
        ("common", &["format"]),
        ("agent", &["format", "common"]),
        ("replicator", &["format", "common"]),
        ("cli", &["format", "common", "agent"]),
    ];
    for (package, may) in allowed {
        let text = read(&root().join(package).join("Cargo.toml"));
        let dependencies = text.split("[dev-dependencies]").next().unwrap();
        for other in ["format", "common", "agent", "replicator", "cli", "tests"] {
            let has = dependencies.lines().any(|l| l.starts_with(&format!("lifeboat-{other}")));
            assert!(!has || may.contains(&other), "{package} must not depend on {other}");
        }
    }
    let format = read(&root().join("format/Cargo.toml"));
    for impure in ["tokio", "aws", "async", "reqwest"] {
        assert!(!format.lines().any(|l| l.starts_with(impure)), "format is pure: {impure}");
    }
}

/// (a piece of text, the folders it may stand in)
const ROOMS: [(&str, &[&str]); 5] = [
    ("use kube::", &["agent/src/cluster/"]),
    ("Administrator::new(", &["agent/src/install.rs", "agent/src/cluster/write/administer.rs"]),
    ("aws_sdk_s3::", &["common/src/store/s3", "tests/src/harness/"]),
    ("Timestamp::now()", &["common/src/clock.rs", "tests/tests/tidy.rs"]),
    ("SystemTime::now()", &["common/src/clock.rs", "tests/tests/tidy.rs"]),
];

#[test]
fn each_effect_has_one_room() {
    let mut problems = Vec::new();
    for path in tracked(".rs") {
        let shown = path.strip_prefix(root()).unwrap().display().to_string();
        if shown.ends_with("tests/tidy.rs") {
            continue;
        }
        let text = read(&path);
        for (what, rooms) in ROOMS {
            if text.contains(what) && !rooms.iter().any(|r| shown.starts_with(r)) {
                problems.push(format!("{shown} has {what}, which belongs into {}", rooms.join(", ")));
            }
        }
    }
    complain(&problems);
}

#[test]
fn nothing_is_left_half_done() {
    let marks =
        [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME"), concat!("dbg", "!(")];
    let mut problems = Vec::new();
    for path in tracked(".rs") {
        let text = read(&path);
        for mark in marks.iter().filter(|m| text.contains(**m)) {
            problems.push(format!("{} has {mark}", path.display()));
        }
    }
    complain(&problems);
}

#[test]
fn documents_name_files_that_exist() {
    let mut problems = Vec::new();
    for path in tracked(".md").into_iter().filter(|p| !p.starts_with(root().join("docs/decisions"))) {
        for word in read(&path).split('`').skip(1).step_by(2) {
            let folders = [
                "agent/",
                "cli/",
                "common/",
                "format/",
                "replicator/",
                "tests/",
                "docs/",
                "systemd/",
                "fuzz/",
            ];
            let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "/_.-".contains(c));
            if plain && folders.iter().any(|f| word.starts_with(f)) && !root().join(word).exists() {
                problems.push(format!("{} names {word}, which is not there", path.display()));
            }
        }
    }
    complain(&problems);
}
