//! Opening snapshots: everything comes back, single objects cost few reads, other keys open nothing.

use super::*;
use crate::testing::stranger;
use std::sync::Arc;

fn object(namespace: Option<&str>, kind: &str, name: &str) -> ObjectName {
    ObjectName { namespace: namespace.map(str::to_owned), kind_group: kind.to_owned(), name: name.to_owned() }
}

#[tokio::test]
async fn everything_comes_back() {
    let mut r = TestRepository::new();
    let snapshot = sample();
    r.commit(&snapshot);
    let open = open(&r, "latest").await.unwrap();
    let (objects, errors) = read_all(&open).await;
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(objects.len(), 3004);
    assert_eq!(objects["objects/data/configmap/large.yaml"], large());
    assert_eq!(objects["objects/_cluster/namespace/web.yaml"], br#"{"kind":"Namespace"}"#);
    assert_eq!(objects["objects/web/secret/password.yaml"], br#"{"kind":"Secret"}"#);
    let namespaces = open.namespaces();
    assert_eq!(namespaces, [None, Some("data".to_owned()), Some("web".to_owned())]);
    assert_eq!(open.kinds(&Some("web".to_owned())).await.0, ["configmap", "deployment.apps", "secret"]);
    let unordered = open.objects_unordered(&ObjectFilter::default()).count().await;
    assert_eq!(unordered, 3004);
}

#[tokio::test]
async fn one_object_costs_few_reads() {
    let mut r = TestRepository::new();
    r.commit(&sample());
    let open = open(&r, "latest").await.unwrap();
    let before = r.store.requests();
    let name = object(Some("web"), "configmap", "c01234");
    let found = open.object(&name).await.unwrap().unwrap();
    assert!(found.json.starts_with(br#"{"kind":"ConfigMap","n":1234"#));
    let reads = r.store.requests().since(&before).total();
    assert!(reads <= 6, "{reads} reads");
    assert!(open.object(&object(Some("web"), "configmap", "c99999")).await.unwrap().is_none());
    assert!(open.object(&object(Some("nowhere"), "configmap", "c")).await.unwrap().is_none());
    let large_one = open.object(&object(Some("data"), "configmap", "large")).await.unwrap().unwrap();
    assert_eq!(large_one.json, large());
}

#[tokio::test]
async fn a_filter_gives_what_is_below_it() {
    let mut r = TestRepository::new();
    r.commit(&sample());
    let open = open(&r, "latest").await.unwrap();
    for (path, count) in [
        ("objects", 3004),
        ("objects/web", 3002),
        ("objects/web/configmap/", 3000),
        ("objects/_cluster", 1),
        ("objects/web/configmap/c00001.yaml", 1),
        ("objects/web/none", 0),
    ] {
        let filter = parse_object_path(path).unwrap();
        assert_eq!(open.names(&filter).count().await, count, "{path}");
    }
}

#[tokio::test]
async fn a_name_too_long_for_a_file_is_found_by_its_path() {
    let mut r = TestRepository::new();
    let name = object(Some("web"), "configmap", &"n".repeat(253));
    r.commit(&small("{}").object(Some("web"), "configmap", &name.name, "long"));
    let open = open(&r, "latest").await.unwrap();
    let found = open.find(&parse_object_path(&name.path()).unwrap()).await.unwrap().unwrap();
    assert_eq!((found.name, &found.json[..]), (name, &b"long"[..]));
}

#[tokio::test]
async fn a_stranger_opens_nothing_and_is_told_so() {
    let mut r = TestRepository::new();
    r.commit(&small("{}"));
    let opened = r.open().await;
    let list = opened.snapshots().await.unwrap();
    let keyring = Arc::new(Keyring::new(&opened, stranger()));
    let error = opened.open_snapshot(list.latest().unwrap(), keyring).await.unwrap_err();
    assert!(matches!(error, ReadError::WrongIdentity { epochs: 1, .. }), "{error}");
    assert!(!error.is_damage());
}

#[tokio::test]
async fn an_epoch_is_asked_for_once() {
    let mut r = TestRepository::new();
    for i in 0..3 {
        r.commit(&small(&i.to_string()));
    }
    let opened = r.open().await;
    let list = opened.snapshots().await.unwrap();
    let keyring = r.keyring(&opened);
    let epoch = r.store.keys().into_iter().find(|k| k.starts_with("epochs/")).unwrap();
    for (i, snapshot) in list.snapshots.iter().enumerate() {
        let open = opened.open_snapshot(snapshot, Arc::clone(&keyring)).await.unwrap();
        assert_eq!(read_all(&open).await.0["objects/web/configmap/one.yaml"], i.to_string().as_bytes());
        r.store.remove(&epoch);
    }
}
