//! Creating, reading and deleting single objects.

use super::{Trial, sha256};
use crate::store::StoreErrorKind;
use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::join_all;
use jiff::SignedDuration;

/// A clock that is this far off would break every rule about freshness.
const SANE: SignedDuration = SignedDuration::from_mins(5);

/// Bytes that do not repeat in any short period.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x1234_5678_u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(step).collect()
}

pub(super) async fn created_once(trial: &Trial) {
    trial.put("once", &b"first"[..]).await;
    for second in [&b"second"[..], b"longer than the first", b""] {
        let error = trial.try_put("once", second).await.expect_err("a taken key was created again");
        assert_eq!(error.kind, StoreErrorKind::Exists, "{error}");
        assert_eq!(trial.get("once").await, "first", "the first bytes must stay");
    }
    // The same bytes may pass for an own attempt whose answer got lost, where the store tries again by itself.
    if let Err(error) = trial.try_put("once", &b"first"[..]).await {
        assert_eq!(error.kind, StoreErrorKind::Exists, "{error}");
    }
}

pub(super) async fn created_by_one(trial: &Trial) {
    for round in 0..4 {
        let name = format!("race/{round}");
        let bodies: Vec<Bytes> = (0..8).map(|writer| Bytes::from(vec![writer; 100_000])).collect();
        let creates = bodies.iter().map(|body| trial.try_put(&name, body.clone()));
        let answers = join_all(creates).await;
        let winners: Vec<usize> = (0..answers.len()).filter(|&at| answers[at].is_ok()).collect();
        assert_eq!(winners.len(), 1, "exactly one create wins: {answers:?}");
        for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            assert!(error.kind == StoreErrorKind::Exists || error.kind.is_transient(), "{error}");
        }
        assert_eq!(trial.get(&name).await, bodies[winners[0]], "the winner's bytes are there");
    }
}

/// Refused, or at least kept from looking like what was meant.
pub(super) async fn wrong_checksum(trial: &Trial) {
    let key = trial.key("wrong");
    let answer = trial.store.create(&key, Bytes::from_static(b"damaged"), sha256(b"meant")).await;
    let error = answer.expect_err("bytes with a wrong checksum were taken");
    assert_eq!(error.kind, StoreErrorKind::Checksum, "{error}");
    assert!(trial.store.head(&key).await.expect("head works").is_none(), "nothing was created");
    trial.put("wrong", &b"meant"[..]).await;
}

pub(super) async fn invalid_keys(trial: &Trial) {
    let long = "k".repeat(1025);
    for key in ["", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a\0b", "a\nb", &long] {
        let store = &trial.store;
        for error in [
            store.get(key, 1).await.expect_err("an invalid key was read"),
            store.get_range(key, 0, 1).await.expect_err("an invalid key was read"),
            store.get_stream(key).await.map(|_| ()).expect_err("an invalid key was read"),
            store.head(key).await.expect_err("an invalid key was looked for"),
            store.create(key, Bytes::new(), sha256(b"")).await.expect_err("an invalid key was created"),
        ] {
            assert_eq!(error.kind, StoreErrorKind::Invalid, "{key:?}: {error}");
        }
    }
}

pub(super) async fn absent(trial: &Trial) {
    trial.put("absent/one", &b"x"[..]).await;
    // A folder is no object, and neither is what would lie below an object.
    for name in ["none", "absent", "absent/two", "none/deeper/still"] {
        let key = trial.key(name);
        assert_eq!(trial.store.head(&key).await.expect("head works"), None, "{name}");
        for error in [
            trial.store.get(&key, 1).await.expect_err("an absent object was read"),
            trial.store.get_range(&key, 0, 1).await.expect_err("an absent object was read"),
            trial.store.get_range(&key, 0, 0).await.expect_err("an absent object was read"),
            trial.store.get_stream(&key).await.map(|_| ()).expect_err("an absent object was read"),
        ] {
            assert_eq!(error.kind, StoreErrorKind::NotFound, "{name}: {error}");
        }
    }
}

pub(super) async fn bounded(trial: &Trial) {
    trial.put("bounded", noise(1000)).await;
    let key = trial.key("bounded");
    assert_eq!(trial.store.get(&key, 1000).await.expect("it has just that length").len(), 1000);
    let error = trial.store.get(&key, 999).await.expect_err("more than allowed was read");
    assert_eq!(error.kind, StoreErrorKind::TooLarge, "{error}");
}

pub(super) async fn ranges(trial: &Trial) {
    let bytes = noise(1000);
    trial.put("ranges", bytes.clone()).await;
    trial.put("ranges-empty", Bytes::new()).await;
    let (key, empty) = (trial.key("ranges"), trial.key("ranges-empty"));
    for (offset, length, from, to) in [
        (0, 1000, 0, 1000),
        (0, 1, 0, 1),
        (999, 1, 999, 1000),
        (500, 100, 500, 600),
        (900, 500, 900, 1000),
        (0, 5000, 0, 1000),
        (10, u64::MAX, 10, 1000),
        (1000, 10, 0, 0),
        (5000, 10, 0, 0),
        (10, 0, 0, 0),
    ] {
        let got = trial.store.get_range(&key, offset, length).await;
        let got = got.unwrap_or_else(|error| panic!("{offset}+{length}: {error}"));
        assert_eq!(got, bytes[from..to], "{offset}+{length}");
    }
    assert!(trial.store.get_range(&empty, 0, 10).await.expect("a range of nothing").is_empty());
}

pub(super) async fn streamed(trial: &Trial) {
    let bytes = noise(3_000_001);
    trial.put("streamed", bytes.clone()).await;
    let key = trial.key("streamed");
    let (entry, body) = trial.store.get_stream(&key).await.expect("the stream starts");
    assert_eq!((entry.key.as_str(), entry.size), (key.as_str(), bytes.len() as u64));
    assert_eq!(trial.store.head(&key).await.expect("head works"), Some(entry));
    let pieces: Vec<Bytes> = body.try_collect().await.expect("the stream ends well");
    assert!(pieces.concat() == bytes, "a stream has the bytes of the object");
    assert!(trial.get("streamed").await == bytes, "so has a get");
}

pub(super) async fn sizes(trial: &Trial) {
    for size in [0, 1, 20 << 20] {
        let bytes = Bytes::from(noise(size));
        let name = format!("size-{size}");
        trial.put(&name, bytes.clone()).await;
        assert!(trial.get(&name).await == bytes, "{size} bytes came back changed");
        let head = trial.store.head(&trial.key(&name)).await.expect("head works").expect("it is there");
        assert_eq!(head.size, size as u64);
        let (_, body) = trial.store.get_stream(&trial.key(&name)).await.expect("the stream starts");
        let pieces: Vec<Bytes> = body.try_collect().await.expect("the stream ends well");
        assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), size);
    }
}

pub(super) async fn unusual_keys(trial: &Trial) {
    let long = "n".repeat(200);
    let names = [
        "unusual/with space",
        "unusual/plus+and=amp&",
        "unusual/percent%2F%",
        "unusual/é-ü-漢-🦀",
        "unusual/'\"<>`",
        "unusual/q?x#y",
        "unusual/back\\slash",
        "unusual/...",
        "unusual/.dot",
        "unusual/~t",
        "unusual/a:b,c;d@e!",
        "unusual/[1]{2}*",
        &format!("unusual/{long}"),
    ];
    for name in names {
        trial.put(name, name.as_bytes().to_vec()).await;
    }
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    let (listed, _) = trial.page("unusual/", None, 1000).await;
    assert_eq!(listed, sorted);
    for name in names {
        assert_eq!(trial.get(name).await, name.as_bytes(), "{name}");
    }
}

pub(super) async fn times(trial: &Trial) {
    let created = trial.put("times", &b"x"[..]).await;
    let key = trial.key("times");
    let head = trial.store.head(&key).await.expect("head works").expect("it is there");
    let page = trial.store.list(&key, None, 1).await.expect("list works");
    assert_eq!(page.entries[0].size, head.size);
    assert_eq!(page.entries[0].modified.as_second(), head.modified.as_second(), "head and list agree");
    for (name, time) in [("created", created.store_time), ("listed", page.store_time)] {
        let apart = time.duration_since(head.modified).abs();
        assert!(apart <= SANE, "{name} {time} is far from modified {}", head.modified);
    }
}

pub(super) async fn deleted(trial: &Trial) {
    let Some(delete) = &trial.delete else { return };
    trial.put("deleted", &b"x"[..]).await;
    trial.put("deleted-not", &b"x"[..]).await;
    let key = trial.key("deleted");
    for _ in 0..2 {
        delete.delete(&key).await.expect("deleting what is absent succeeds");
        assert_eq!(trial.store.head(&key).await.expect("head works"), None);
    }
    delete.delete(&trial.key("deleted-never/was")).await.expect("deleting what is absent succeeds");
    assert_eq!(trial.page("deleted", None, 10).await.0, ["deleted-not"]);
    trial.put("deleted", &b"y"[..]).await;
    assert_eq!(
        delete.delete("../x").await.expect_err("an invalid key was deleted").kind,
        StoreErrorKind::Invalid
    );
}

/// One version at a time; what is not named stays.
pub(super) async fn versions(trial: &Trial) {
    let Some(delete) = &trial.delete else { return };
    trial.put("versions", &b"x"[..]).await;
    trial.put("versions-not", &b"yy"[..]).await;
    let key = trial.key("versions");
    let found = delete.versions(&key).await.expect("versions can be listed");
    assert_eq!(found.iter().map(|v| (v.size, v.delete_marker)).collect::<Vec<_>>(), [(1, false)]);
    let entry = trial.store.head(&key).await.expect("head works").expect("it is there");
    assert_eq!(found[0].modified.as_second(), entry.modified.as_second());
    for _ in 0..2 {
        delete.delete_version(&key, found[0].id.as_deref()).await.expect("deleting a gone version succeeds");
        assert_eq!(trial.store.head(&key).await.expect("head works"), None);
        assert_eq!(delete.versions(&key).await.expect("versions can be listed"), []);
    }
    trial.put("versions", &b"again"[..]).await;
    assert_eq!(trial.get("versions").await, "again");
    assert_eq!(trial.get("versions-not").await, "yy");
    assert_eq!(
        delete.versions("../x").await.expect_err("an invalid key was listed").kind,
        StoreErrorKind::Invalid
    );
}
