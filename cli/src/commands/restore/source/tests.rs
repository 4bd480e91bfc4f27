//! What a restore gets to see of a snapshot.

use super::*;
use lifeboat_common::testing::{SnapshotBuilder, TestRepository};

async fn source(r: &TestRepository) -> SnapshotSource {
    let opened = r.open().await;
    let list = opened.snapshots().await.unwrap();
    let open = opened.open_snapshot(list.latest().unwrap(), r.keyring(&opened)).await.unwrap();
    SnapshotSource::new(std::sync::Arc::new(open), true)
}

fn sample() -> SnapshotBuilder {
    SnapshotBuilder::default()
        .object(None, "namespace", "web", r#"{"apiVersion":"v1","kind":"Namespace"}"#)
        .object(
            Some("web"),
            "networkpolicy.networking.k8s.io",
            "a",
            r#"{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy"}"#,
        )
        .object(Some("web"), "secret", "s", r#"{"apiVersion":"v1","kind":"Secret"}"#)
}

async fn all(
    source: &SnapshotSource,
    scope: Option<&str>,
    kinds: Option<&BTreeSet<GroupKind>>,
) -> Vec<Result<ObjectKey, SourceError>> {
    source.objects(scope, kinds).map(|o| o.map(|o| o.key)).collect().await
}

#[tokio::test]
async fn kinds_are_written_as_in_the_objects() {
    let mut r = TestRepository::new();
    r.commit(&sample());
    let source = source(&r).await;
    assert_eq!(source.scopes().await.unwrap(), [None, Some("web".to_owned())]);
    let keys: Vec<String> =
        all(&source, Some("web"), None).await.into_iter().map(|k| k.unwrap().to_string()).collect();
    assert_eq!(keys, ["NetworkPolicy.networking.k8s.io web/a", "Secret web/s"]);
    let secrets = BTreeSet::from([GroupKind::new("", "Secret"), GroupKind::new("", "Pod")]);
    assert_eq!(all(&source, Some("web"), Some(&secrets)).await.len(), 1);
    assert_eq!(all(&source, None, Some(&secrets)).await.len(), 0);
    assert_eq!(all(&source, None, None).await.len(), 1);
    assert!(source.gaps().is_empty());
}

#[tokio::test]
async fn an_object_that_is_another_is_refused_alone() {
    let mut r = TestRepository::new();
    r.commit(
        &sample().object(Some("web"), "configmap", "x", r#"{"apiVersion":"v1","kind":"Secret"}"#).object(
            Some("web"),
            "configmap",
            "y",
            "{",
        ),
    );
    let found = all(&source(&r).await, Some("web"), None).await;
    let errors: Vec<&SourceError> = found.iter().filter_map(|f| f.as_ref().err()).collect();
    assert_eq!((found.len(), errors.len()), (4, 2));
    assert!(
        errors.iter().all(|e| e.key.is_some() && e.target.starts_with("objects/web/configmap/")),
        "{errors:?}"
    );
}

#[tokio::test]
async fn damage_costs_what_it_touches() {
    let mut r = TestRepository::new();
    let committed = r.commit(&sample());
    r.store.remove(&committed.packs["secrets/web"][0]);
    let found = all(&source(&r).await, Some("web"), None).await;
    assert!(found[0].is_ok());
    assert!(found[1].as_ref().unwrap_err().key.is_some(), "{found:?}");
}
