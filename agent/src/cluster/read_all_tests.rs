//! Tests of reading many lists at once.

use super::super::test_server::{Answer, ok, quick, serve};
use super::*;
use std::time::Duration;

fn resources(plurals: &[&str]) -> Vec<Arc<Resource>> {
    let one = |plural: &&str| Resource {
        version: "v1".into(),
        plural: (*plural).into(),
        kind: "K".into(),
        ..Resource::default()
    };
    plurals.iter().map(one).map(Arc::new).collect()
}

fn page(name: &str, token: &str) -> String {
    format!(
        r#"{{"kind":"KList","metadata":{{"continue":"{token}"}},"items":[{{"metadata":{{"name":"{name}"}}}}]}}"#
    )
}

async fn drain(mut reader: Reader) -> Vec<String> {
    let mut events = Vec::new();
    while let Some(event) = reader.next().await {
        events.push(match event {
            ReadEvent::Page { resource, page } => format!("{} {}", resource.plural, page.items[0].meta.name),
            ReadEvent::Done { resource, summary } => format!("{} done {}", resource.plural, summary.objects),
            ReadEvent::Failed { resource, error, .. } => {
                format!("{} failed {}", resource.plural, error.reason())
            }
        });
    }
    events
}

#[tokio::test]
async fn events_come_in_the_order_asked_for() {
    let server = serve(quick(), |path| {
        if path.contains("/b?") {
            return Answer::Json(403, String::new());
        }
        ok(&if path.contains("continue") { page("2", "") } else { page("1", "t") })
    })
    .await;
    let reader = read_all(&server.cluster, resources(&["c", "b", "a", "d", "e"]), ListOptions::default(), 2);
    let expected = [
        "c 1",
        "c 2",
        "c done 2",
        "b failed Forbidden",
        "a 1",
        "a 2",
        "a done 2",
        "d 1",
        "d 2",
        "d done 2",
        "e 1",
        "e 2",
        "e done 2",
    ];
    assert_eq!(drain(reader).await, expected);
}

#[tokio::test]
async fn lists_ahead_hold_one_page_each() {
    let mut n = 0;
    let server = serve(quick(), move |_| {
        n += 1;
        ok(&page("x", &n.to_string()))
    })
    .await;
    let mut reader = read_all(&server.cluster, resources(&["a", "b", "c", "d"]), ListOptions::default(), 3);
    assert!(reader.next().await.is_some());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((server.count("/b?"), server.count("/c?"), server.count("/d?")), (1, 1, 0));
    assert!(server.count("/a?") <= 2);
}

#[tokio::test]
async fn one_silent_kind_does_not_hold_up_the_others() {
    let server =
        serve(quick(), |path| if path.contains("/a?") { Answer::Stall } else { ok(&page("1", "")) }).await;
    let reader = read_all(&server.cluster, resources(&["a", "b"]), ListOptions::default(), 4);
    let events = tokio::time::timeout(Duration::from_secs(30), drain(reader)).await.unwrap();
    assert_eq!(events, ["a failed ServerTimedOut", "b 1", "b done 1"]);
}
