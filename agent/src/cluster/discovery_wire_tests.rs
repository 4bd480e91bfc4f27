//! Tests of how discovery answers become resources.

use super::*;

fn aggregated(text: &str) -> Vec<WireGroup> {
    parse_aggregated(text.as_bytes()).unwrap()
}

const GROUPS: &str = r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":[
 {"metadata":{"name":"autoscaling"},"versions":[
  {"version":"v1","freshness":"Current","resources":[{"resource":"horizontalpodautoscalers","responseKind":{"group":"","version":"","kind":"HorizontalPodAutoscaler"},"scope":"Namespaced","singularResource":"horizontalpodautoscaler","verbs":["create","delete","list"],"shortNames":["hpa"],"subresources":[{"subresource":"status","verbs":["get"]}]}]},
  {"version":"v2","resources":[{"resource":"horizontalpodautoscalers","responseKind":{"kind":"HorizontalPodAutoscaler"},"scope":"Namespaced","verbs":["create","delete","list"]}]}]},
 {"metadata":{"name":"demo.dev"},"versions":[
  {"version":"v2","resources":[{"resource":"boats","responseKind":{"kind":"Boat"},"scope":"Namespaced","verbs":["list","create","delete"]}]},
  {"version":"v1beta1","resources":[{"resource":"boats","responseKind":{"kind":"Boat"},"scope":"Namespaced","verbs":["list","create","delete"]},
                                   {"resource":"oars","responseKind":{"kind":"Oar"},"scope":"Cluster","verbs":["list","create","delete"]}]}]},
 {"metadata":{"name":"metrics.dead"},"versions":[{"version":"v1beta1","freshness":"Stale","resources":[]}]}]}"#;

#[test]
fn versions_are_chosen_per_resource() {
    let storage = StorageVersions::from([
        (("demo.dev".into(), "boats".into()), Some("v1beta1".into())),
        (("demo.dev".into(), "oars".into()), None),
    ]);
    let (resources, broken) = assemble(aggregated(GROUPS), &storage);
    let short: Vec<_> = resources.iter().map(|r| (r.key(), r.version.as_str(), r.custom)).collect();
    assert_eq!(
        short,
        [
            ("horizontalpodautoscalers.autoscaling".to_owned(), "v2", false),
            ("boats.demo.dev".to_owned(), "v1beta1", true),
            ("oars.demo.dev".to_owned(), "v1beta1", true),
        ]
    );
    assert_eq!(resources[0].served_versions, ["v2", "v1"]);
    assert!(resources[0].storable() && resources[0].namespaced && !resources[2].namespaced);
    assert_eq!(broken.len(), 1);
    assert_eq!((broken[0].group.as_str(), broken[0].reason.as_str()), ("metrics.dead", "Stale"));
}

#[test]
fn a_storage_version_that_is_not_discovered_falls_back() {
    let storage = StorageVersions::from([(("demo.dev".into(), "boats".into()), Some("v9".into()))]);
    let (resources, _) = assemble(aggregated(GROUPS), &storage);
    assert_eq!(resources.iter().find(|r| r.plural == "boats").unwrap().version, "v2");
}

#[test]
fn hostile_names_are_broken_not_used() {
    let text = r#"{"kind":"APIGroupDiscoveryList","items":[
      {"metadata":{"name":"../up"},"versions":[{"version":"v1","resources":[{"resource":"a","responseKind":{"kind":"A"},"verbs":["list"]}]}]},
      {"metadata":{"name":"ok.dev"},"versions":[{"version":"v1","resources":[
        {"resource":"a/../b","responseKind":{"kind":"A"}}, {"resource":"kindless","responseKind":null}, {"resource":"c?x","responseKind":{"kind":"C"}}]}]}]}"#;
    let (resources, broken) = assemble(aggregated(text), &StorageVersions::new());
    assert!(resources.is_empty());
    assert_eq!(broken.len(), 4);
}

#[test]
fn the_old_form_is_understood() {
    assert!(parse_aggregated(br#"{"kind":"APIGroupList","groups":[]}"#).is_none());
    assert!(parse_aggregated(b"<html>").is_none());
    assert_eq!(parse_core_versions(br#"{"kind":"APIVersions","versions":["v1"]}"#).unwrap(), ["v1"]);
    let groups = parse_groups(
        br#"{"groups":[{"name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}]}]}"#,
    );
    assert_eq!(groups.unwrap(), [("apps".to_owned(), "v1".to_owned())]);
    let version = parse_resources(
        "v1",
        br#"{"kind":"APIResourceList","resources":[{"name":"pods","singularName":"pod","namespaced":true,"kind":"Pod","verbs":["list","create","delete"],"shortNames":["po"]},
            {"name":"pods/log","kind":"Pod","verbs":["get"]}]}"#,
    )
    .unwrap();
    let (resources, _) =
        assemble(vec![WireGroup { name: String::new(), versions: vec![version] }], &StorageVersions::new());
    assert_eq!(resources.len(), 1);
    assert_eq!((resources[0].key().as_str(), resources[0].singular.as_str()), ("pods", "pod"));
}

#[test]
fn kinds_served_twice_are_read_once() {
    let make = |group: &str, plural: &str| Resource {
        group: group.into(),
        plural: plural.into(),
        ..Resource::default()
    };
    let mut resources = vec![
        make("", "events"),
        make("events.k8s.io", "events"),
        make("extensions", "ingresses"),
        make("extensions", "deployments"),
        make("apps", "deployments"),
    ];
    let dropped = drop_cohabiting(&mut resources);
    assert_eq!(resources, [make("", "events"), make("extensions", "ingresses"), make("apps", "deployments")]);
    assert_eq!(dropped.len(), 2);
}

#[test]
fn storage_versions_come_from_crds() {
    let mut storage = StorageVersions::new();
    let crd = |versions: &str| {
        super::super::Item::from_document(&format!(
            r#"{{"metadata":{{"name":"x"}},"spec":{{"group":"g","names":{{"plural":"p","kind":"P"}},"versions":{versions}}}}}"#
        ))
        .unwrap()
    };
    let key = ("g".to_owned(), "p".to_owned());
    note_crd(&crd(r#"[{"name":"v1","served":true,"storage":false},{"name":"v1beta1","served":true,"storage":true}]"#), &mut storage).unwrap();
    assert_eq!(storage[&key].as_deref(), Some("v1beta1"));
    note_crd(&crd(r#"[{"name":"v1","served":true,"storage":false},{"name":"v1beta1","served":false,"storage":true}]"#), &mut storage).unwrap();
    assert_eq!(storage[&key], None);
}
