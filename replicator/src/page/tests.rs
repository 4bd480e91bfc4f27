//! The page as a whole, over two years of snapshots as the default policy keeps them, and over what an attacker writes.

use super::*;
use crate::alarm::{AlarmKind, Finding, Stage};
use crate::catalog::{Cursor, HeldPack, Side, Transfer};
use crate::scrub::Standing;
use crate::status::forecast::Space;
use crate::status::{self, InPrimary};
use crate::testing::row;
use jiff::tz::TimeZone;
use lifeboat_format::charter::Policy as CharterPolicy;
use lifeboat_format::manifest::{Coverage, RunResult};
use lifeboat_format::retention::{self, Floors, Policy, Subject};

/// Days of the history. It ends on the 1st of June 1972.
const DAYS: i64 = 730;
const NAMES: [&str; 2] = ["prod-eu", "staging"];

fn now() -> Timestamp {
    Timestamp::from_second((DAYS + 151) * DAY + 9 * 3600).unwrap()
}

/// Daily snapshots through the catalogue, the vault's policy over them, and what the vault held on each day.
fn two_years(catalogue: &Catalogue, name: &str, salt: u64) {
    let mut rows = Vec::new();
    for n in 0..=DAYS {
        let seq = u64::try_from(n + 1).unwrap();
        // Nights without a backup, and such as missed something.
        let missing = (400..404).contains(&n) || n == 611;
        let mut one = row(seq, (n + 151) * 24 + 2, "full", State::Held);
        if n % 97 == 13 || n == DAYS - 9 {
            one.result = "PartiallyFailed".to_owned();
        }
        let took = 300
            + i64::try_from((seq * 7919 + salt) % 2400).unwrap()
            + if n == DAYS - 30 { 30_000 } else { 0 };
        one.verified = one.claimed.checked_add(jiff::SignedDuration::from_secs(took)).ok();
        if !missing {
            rows.push(one);
        }
    }
    let policy = Policy {
        keep: CharterPolicy::default().retention.vault,
        floors: Floors::default(),
        zone: TimeZone::UTC,
    };
    let subjects: Vec<Subject> = rows.iter().map(subject).collect();
    let decisions = retention::decide(&subjects, &policy, now());
    for (one, decision) in rows.iter_mut().zip(&decisions) {
        if !decision.is_kept() {
            (one.state, one.forgotten) = (State::Forgotten, Some(now()));
        }
        let size = (64 << 20)
            + ((one.seq * (3 + salt)) << 20) % (90 << 20)
            + if one.seq == 1 { 40 << 30 } else { 0 };
        let pack = HeldPack { sha256: Sha256::of(format!("{name} {}", one.seq).as_bytes()), size };
        catalogue.hold(name, one, &[pack]).unwrap();
        catalogue.note_usage(name, one.verified.unwrap()).unwrap();
    }
    catalogue
        .set_cursor(name, Cursor::Pulled, &(now() - jiff::SignedDuration::from_mins(4)).to_string())
        .unwrap();
}

fn subject(row: &SnapshotRow) -> Subject {
    Subject {
        seq: row.seq,
        bucket_time: row.claimed,
        first_seen: row.first_seen,
        coverage: Coverage::Full,
        scopes: Vec::new(),
        result: if row.result == "Completed" { RunResult::Completed } else { RunResult::PartiallyFailed },
        whole: true,
        proven: false,
        held: false,
    }
}

/// The status and the histories of two clusters, of which one is in trouble.
fn made_up(catalogue: &Catalogue, trouble: bool) -> (Status, BTreeMap<String, History>) {
    let mut histories = BTreeMap::new();
    for (n, name) in NAMES.into_iter().enumerate() {
        two_years(catalogue, name, n as u64 * 5);
        let rows = catalogue.snapshots(name).unwrap();
        let gone: BTreeSet<u64> = rows.iter().map(|r| r.seq).filter(|s| *s < 702).collect();
        histories
            .insert(name.to_owned(), History::new(&rows, &gone, &catalogue.usage(name, 0).unwrap(), now()));
    }
    if trouble {
        let why = "expected 16777216 bytes with sha256 5f3c…, found 16777216 bytes with sha256 91aa…";
        let next = "put the right bytes back in the source, or find out who can write there";
        let finding =
            Finding::new(AlarmKind::PrimaryDamaged, Stage::Reread, "packs/5f/5f3c09d1a2", why, next);
        catalogue.raise("staging", &finding, now() - jiff::SignedDuration::from_hours(3)).unwrap();
    }
    let mut status = status::read(catalogue, &[], now()).unwrap();
    for c in &mut status.clusters {
        c.rpo_hours = Some(26);
        c.in_primary = Some(InPrimary {
            snapshots: 30,
            oldest: c.newest.as_ref().map(|n| n.time - jiff::SignedDuration::from_hours(720)),
        });
        c.protected_until = Some(now() + jiff::SignedDuration::from_hours(880));
        c.last_retention = Some(now() - jiff::SignedDuration::from_hours(6));
        c.scrub = Some(Standing {
            objects: 9000,
            oldest: Some(now() - jiff::SignedDuration::from_hours(500)),
            overdue: 0,
        });
    }
    status.clusters[0].progress = Some(Transfer {
        task: "Pulling prod-eu 732".to_owned(),
        done: 3 << 30,
        total: Some(8 << 30),
        rate: 42 << 20,
        eta_s: Some(121),
        at: now(),
    });
    status.space = Some(Space {
        free: 900 << 30,
        total: 2 << 40,
        reserve: 1 << 30,
        growth_per_day: Some(200 << 20),
        days_left: Some(460),
    });
    (status, histories)
}

#[test]
fn two_years_are_one_page_without_a_script() {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(&dir.path().join("c.sqlite")).unwrap();
    let (status, histories) = made_up(&catalogue, false);
    let well = render(&status, &histories);
    assert!(
        well.contains("<h1 class=good>All backups are well</h1>"),
        "{}",
        &well[well.find("<h1").unwrap()..][..200]
    );
    assert!(well.len() < 600_000, "{}", well.len());
    let lower = well.to_lowercase();
    for never in ["<script", "javascript:", "style=", "http://", "https://", "<img", "<iframe", "<form"] {
        assert_eq!(lower.find(never), None, "{never}");
    }
    // Each of two clusters: 24 months, two charts, and most days forgotten.
    assert_eq!(well.matches("<li><span>").count(), 48);
    assert_eq!(well.matches("<polyline").count(), 4);
    for points in well.split("<polyline class=top points=\"").skip(1) {
        let points: Vec<&str> = points.split('"').next().unwrap().split_whitespace().collect();
        assert!(points.len() > 80 && points.iter().all(|p| p.split(',').all(|n| n.parse::<u32>().is_ok())));
    }
    assert!(well.matches("class=f ").count() > 1000);
    assert!(well.contains("1971-07-07: no snapshot"), "the outage shows");
    let (status, histories) = made_up(&catalogue, true);
    let trouble = render(&status, &histories);
    assert!(trouble.contains("One alarm is open") && trouble.contains("packs/5f/5f3c09d1a2"));
    // For looking at it.
    if let Some(folder) = std::env::var_os("LIFEBOAT_SHOW_PAGE") {
        let folder = std::path::PathBuf::from(folder);
        std::fs::write(folder.join("well.html"), well).unwrap();
        std::fs::write(folder.join("trouble.html"), trouble).unwrap();
    }
}

#[test]
fn whatever_a_store_says_is_text() {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(&dir.path().join("c.sqlite")).unwrap();
    let evil = "</style><script>alert(1)</script><img src=x onerror='x'>\" onload=\"x\u{202e}\u{1b}]0;x\u{7}";
    let mut hostile = row(1, 10, evil, State::Held);
    hostile.result = evil.to_owned();
    catalogue.put_snapshot(evil, &hostile).unwrap();
    for n in 0..200 {
        let finding =
            Finding::new(AlarmKind::Junk, Stage::Manifests, format!("{n}{evil}"), evil.repeat(1000), evil);
        catalogue.raise(evil, &finding, Timestamp::UNIX_EPOCH).unwrap();
    }
    assert_eq!(catalogue.count_damaged(evil, Side::Vault).unwrap(), 0);
    let mut status = status::read(&catalogue, &[], now()).unwrap();
    status.clusters[0].progress = Some(Transfer {
        task: evil.to_owned(),
        done: 1,
        total: Some(0),
        rate: 0,
        eta_s: Some(u64::MAX),
        at: now(),
    });
    let rows = catalogue.snapshots(evil).unwrap();
    let history = History::new(&rows, &BTreeSet::new(), &[], now());
    let page = render(&status, &BTreeMap::from([(evil.to_owned(), history)]));
    let body = &page[page.find("<body>").unwrap()..];
    for never in ["<script", "<img", "</style", "\u{202e}", "\u{1b}", "\u{7}"] {
        assert!(!body.contains(never), "{never:?}");
    }
    assert!(body.contains("&lt;script&gt;alert(1)") && body.contains("150 more alarms"));
    assert!(page.len() < 300_000, "{}", page.len());
    let unreadable = unreadable(evil);
    assert!(!unreadable[unreadable.find("<body>").unwrap()..].contains("<script"));
}

#[test]
fn the_policy_allows_this_style_alone() {
    let policy = policy();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"));
    assert!(!STYLE.contains("url(") && !STYLE.contains("@import") && !STYLE.contains('<'));
}
