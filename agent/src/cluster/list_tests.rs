//! Tests of lists against a server that misbehaves.

use super::super::test_server::{Answer, TestServer, ok, quick, serve};
use super::*;
use std::time::Duration;

fn maps() -> Arc<Resource> {
    Arc::new(Resource {
        version: "v1".into(),
        kind: "ConfigMap".into(),
        plural: "configmaps".into(),
        namespaced: true,
        ..Resource::default()
    })
}

fn page(names: &[&str], token: &str) -> String {
    let items: Vec<_> =
        names.iter().map(|name| format!(r#"{{"metadata":{{"name":"{name}","namespace":"n"}}}}"#)).collect();
    format!(
        r#"{{"kind":"ConfigMapList","metadata":{{"resourceVersion":"5","continue":"{token}"}},"items":[{}]}}"#,
        items.join(",")
    )
}

fn gone(token: &str) -> Answer {
    Answer::Json(
        410,
        format!(
            r#"{{"kind":"Status","metadata":{{"continue":"{token}"}},"reason":"Expired","message":"too old","code":410}}"#
        ),
    )
}

async fn read(server: &TestServer) -> (Vec<String>, Result<ListSummary, ClusterError>) {
    read_with(server, ListOptions::default()).await
}

async fn read_with(
    server: &TestServer,
    options: ListOptions,
) -> (Vec<String>, Result<ListSummary, ClusterError>) {
    let mut lister = Lister::new(server.cluster.clone(), maps(), options);
    let mut names = Vec::new();
    loop {
        match lister.next_page().await {
            Ok(Some(page)) => names.extend(page.items.iter().map(|item| item.meta.name.clone())),
            Ok(None) => return (names, Ok(lister.summary().clone())),
            Err(error) => return (names, Err(error)),
        }
    }
}

#[tokio::test]
async fn pages_follow_each_other() {
    let server = serve(quick(), |path| {
        ok(&if path.contains("continue=t%2F1") { page(&["b"], "") } else { page(&["a"], "t/1") })
    })
    .await;
    let (names, summary) = read(&server).await;
    let summary = summary.unwrap();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(
        (summary.objects, summary.pages, summary.inconsistent, summary.resource_version.as_str()),
        (2, 2, false, "5")
    );
    assert_eq!(
        server.seen(),
        ["GET /api/v1/configmaps?limit=500", "GET /api/v1/configmaps?limit=2000&continue=t%2F1"]
    );
}

#[tokio::test]
async fn an_expired_list_goes_on_with_the_offered_token() {
    let server = serve(quick(), |path| match path {
        path if path.contains("continue=old") => gone("fresh"),
        path if path.contains("continue=fresh") => ok(&page(&["b"], "")),
        _ => ok(&page(&["a"], "old")),
    })
    .await;
    let (names, summary) = read(&server).await;
    assert_eq!(names, ["a", "b"]);
    assert!(summary.unwrap().inconsistent);
}

#[tokio::test]
async fn without_an_offer_it_starts_again_once_and_hands_out_nothing_twice() {
    let mut starts = 0;
    let server = serve(quick(), move |path| {
        if path.contains("continue=old") {
            return gone("");
        }
        starts += usize::from(!path.contains("continue"));
        if starts == 1 { ok(&page(&["a", "c"], "old")) } else { ok(&page(&["a", "b", "c", "d"], "")) }
    })
    .await;
    let (names, summary) = read(&server).await;
    assert_eq!(names, ["a", "c", "d"]);
    assert!(summary.unwrap().inconsistent);

    let for_ever =
        serve(quick(), |path| if path.contains("continue") { gone("") } else { ok(&page(&["a"], "old")) })
            .await;
    let error = read(&for_ever).await.1.unwrap_err();
    assert!(error.reason() == "ListEndless" || error.reason() == "ListExpired", "{error}");

    // Keys out of order say nothing about what was handed out: better missed than lost.
    let unordered =
        serve(
            quick(),
            |path| if path.contains("continue") { gone("") } else { ok(&page(&["b", "a"], "old")) },
        )
        .await;
    assert_eq!(read(&unordered).await.1.unwrap_err().reason(), "ListExpired");
}

#[tokio::test]
async fn lists_without_end_are_ended() {
    let same = serve(quick(), |_| ok(&page(&["a"], "again"))).await;
    assert_eq!(read(&same).await.1.unwrap_err().reason(), "ListEndless");
    let mut n = 0;
    let empty = serve(quick(), move |_| {
        n += 1;
        ok(&page(&[], &n.to_string()))
    })
    .await;
    assert_eq!(read(&empty).await.1.unwrap_err().reason(), "ListEndless");
    let mut n = 0;
    let many = serve(quick(), move |_| {
        n += 1;
        ok(&page(&["a", "b"], &n.to_string()))
    })
    .await;
    let options = ListOptions { max_objects: 50, ..ListOptions::default() };
    assert_eq!(read_with(&many, options).await.1.unwrap_err().reason(), "ListEndless");
}

#[tokio::test]
async fn large_pages_are_asked_for_in_smaller_parts() {
    let server = serve(quick(), |path| {
        let limit: usize = path.split_once("limit=").unwrap().1.split('&').next().unwrap().parse().unwrap();
        let from: usize = path.split_once("continue=").map_or(0, |(_, token)| token.parse().unwrap());
        let until = (from + limit).min(40);
        let items: Vec<_> = (from..until)
            .map(|i| {
                format!(r#"{{"metadata":{{"name":"m{i:02}","namespace":"n"}},"x":"{}"}}"#, "x".repeat(10_000))
            })
            .collect();
        let token = if until == 40 { String::new() } else { until.to_string() };
        ok(&format!(r#"{{"kind":"L","metadata":{{"continue":"{token}"}},"items":[{}]}}"#, items.join(",")))
    })
    .await;
    let options = ListOptions { soft_bytes: 60_000, hard_bytes: 90_000, ..ListOptions::default() };
    let (names, summary) = read_with(&server, options.clone()).await;
    assert_eq!(names.len(), 40);
    let summary = summary.unwrap();
    assert!(summary.pages > 5 && !summary.inconsistent, "{summary:?}");
    let tight = ListOptions { hard_bytes: 5000, single_bytes: 5000, ..options };
    assert_eq!(read_with(&server, tight).await.1.unwrap_err().reason(), "TooLarge");
}

#[tokio::test]
async fn refusals_are_typed_and_not_repeated() {
    for (code, reason) in
        [(403, "Forbidden"), (404, "NotFound"), (406, "NotAcceptable"), (401, "Unauthorized")]
    {
        let server = serve(quick(), move |_| Answer::Json(code, "no\u{1b}[31m".into())).await;
        let error = read(&server).await.1.unwrap_err();
        assert_eq!(error.reason(), reason);
        assert!(!error.to_string().contains('\u{1b}'));
        assert_eq!(server.seen().len(), 1);
    }
    let html = serve(quick(), |_| ok("<html>")).await;
    assert_eq!(read(&html).await.1.unwrap_err().reason(), "AnswerMalformed");
}

#[tokio::test]
async fn passing_trouble_is_waited_for() {
    let mut n = 0;
    let server = serve(quick(), move |_| {
        n += 1;
        match n {
            1 => Answer::With(429, "Retry-After: 1", String::new()),
            2 => Answer::Json(503, "<html>".into()),
            3 => Answer::Cut,
            _ => ok(&page(&["a"], "")),
        }
    })
    .await;
    let before = std::time::Instant::now();
    let server_options = ListOptions::default();
    let (names, result) = read_with(&server, server_options).await;
    assert!(before.elapsed() >= Duration::from_secs(1));
    // The budget of two seconds may end before the fourth try; the error is then the last one.
    assert!(
        names == ["a"] || matches!(result, Err(ClusterError::Unreachable { .. })),
        "{names:?} {result:?}"
    );
}

#[tokio::test]
async fn a_failing_webhook_gets_smaller_pages_and_is_given_up() {
    let limited = serve(quick(), |path| {
        if path.contains("limit=62") {
            ok(&page(&["a"], ""))
        } else {
            Answer::Json(500, r#"{"kind":"Status","message":"conversion webhook failed"}"#.into())
        }
    })
    .await;
    assert_eq!(read(&limited).await.0, ["a"]);
    let dead = serve(quick(), |_| {
        Answer::Json(500, r#"{"kind":"Status","message":"conversion webhook failed"}"#.into())
    })
    .await;
    let error = read(&dead).await.1.unwrap_err();
    assert_eq!((error.reason(), error.message().as_str()), ("InternalError", "conversion webhook failed"));
    assert_eq!(dead.seen().len(), 9);
}

#[tokio::test]
async fn a_stalled_server_fails_in_time() {
    let server = serve(quick(), |_| Answer::Stall).await;
    let error = tokio::time::timeout(Duration::from_secs(20), read(&server)).await.unwrap().1.unwrap_err();
    assert_eq!(error.reason(), "ServerTimedOut");
    assert!(!error.permanent());
}
