//! Tests of discovery against servers of both kinds.

use super::super::test_server::{Answer, ok, quick, serve};

const CORE: &str = r#"{"kind":"APIGroupDiscoveryList","items":[{"metadata":{},"versions":[{"version":"v1","resources":[
  {"resource":"pods","responseKind":{"kind":"Pod"},"scope":"Namespaced","verbs":["list","create","delete"]}]}]}]}"#;
const NAMED: &str = r#"{"kind":"APIGroupDiscoveryList","items":[{"metadata":{"name":"demo.dev"},"versions":[
  {"version":"v1","resources":[{"resource":"boats","responseKind":{"kind":"Boat"},"scope":"Namespaced","verbs":["list","create","delete"]}]},
  {"version":"v1beta1","resources":[{"resource":"boats","responseKind":{"kind":"Boat"},"scope":"Namespaced","verbs":["list","create","delete"]}]}]},
  {"metadata":{"name":"dead.dev"},"versions":[{"version":"v1","freshness":"Stale"}]}]}"#;
const CRDS: &str = r#"{"kind":"CustomResourceDefinitionList","metadata":{},"items":[{"metadata":{"name":"boats.demo.dev"},
  "spec":{"group":"demo.dev","names":{"plural":"boats"},"versions":[{"name":"v1","served":true},{"name":"v1beta1","served":true,"storage":true}]}}]}"#;

#[tokio::test]
async fn aggregated() {
    let server = serve(quick(), |path| match path {
        "/api" => ok(CORE),
        "/apis" => ok(NAMED),
        _ => ok(CRDS),
    })
    .await;
    let found = server.cluster.discover().await.unwrap();
    let names: Vec<_> = found.resources.iter().map(|r| (r.key(), r.api_version(), r.custom)).collect();
    assert_eq!(
        names,
        [
            ("pods".into(), "v1".into(), false),
            ("boats.demo.dev".to_owned(), "demo.dev/v1beta1".to_owned(), true)
        ]
    );
    assert_eq!(found.broken[0].group, "dead.dev");
    assert!(found.warnings.is_empty());
}

#[tokio::test]
async fn the_old_way_with_a_group_that_fails() {
    let server = serve(quick(), |path| match path {
        "/api" => ok(r#"{"kind":"APIVersions","versions":["v1"]}"#),
        "/api/v1" => ok(r#"{"resources":[{"name":"pods","namespaced":true,"kind":"Pod","verbs":["list"]},{"name":"pods/log","kind":"Pod"}]}"#),
        "/apis" => ok(r#"{"kind":"APIGroupList","groups":[{"name":"apps","versions":[{"version":"v1"}]},{"name":"dead.dev","versions":[{"version":"v1"}]},{"name":"../x","versions":[{"version":"v1"}]}]}"#),
        "/apis/apps/v1" => ok(r#"{"resources":[{"name":"deployments","namespaced":true,"kind":"Deployment","verbs":["list"]}]}"#),
        "/apis/dead.dev/v1" => Answer::Json(503, r#"{"kind":"Status","reason":"ServiceUnavailable","message":"down"}"#.into()),
        _ => Answer::Json(403, r#"{"kind":"Status","reason":"Forbidden"}"#.into()),
    })
    .await;
    let found = server.cluster.discover().await.unwrap();
    let names: Vec<_> = found.resources.iter().map(super::Resource::key).collect();
    assert_eq!(names, ["pods", "deployments.apps"]);
    let broken: Vec<_> = found.broken.iter().map(|b| (b.group.as_str(), b.reason.as_str())).collect();
    assert_eq!(broken, [("dead.dev", "ServiceUnavailable"), ("../x", "NameUnsafe")]);
    assert_eq!(found.warnings.len(), 1);
}

#[tokio::test]
async fn the_clusters_identity_needs_only_list() {
    let server = serve(quick(), |path| {
        assert_eq!(path, "/api/v1/namespaces?fieldSelector=metadata.name%3Dkube-system");
        ok(r#"{"kind":"NamespaceList","metadata":{},"items":[{"metadata":{"name":"kube-system","uid":"u-1"}}]}"#)
    })
    .await;
    assert_eq!(server.cluster.kube_system_uid().await.unwrap(), "u-1");
    let none = serve(quick(), |_| ok(r#"{"kind":"NamespaceList","metadata":{},"items":[]}"#)).await;
    assert!(none.cluster.kube_system_uid().await.is_err());
}
