//! Properties: what no rule touches leaves as it came, and no document makes a rule panic.

use super::mapping::mapped;
use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn untouched_json_leaves_as_it_came(
        number in "-?[1-9][0-9]{0,25}(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,3})?",
        text in "[ -~é]{0,12}",
    ) {
        let text = serde_json::to_string(&text).unwrap();
        let body = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"x","namespace":"shop","labels":{{"l":{text}}},"uid":"u"}},"data":{{"n":{number}, "deep":[1.0, {{"t":{text}}}]}}}}"#
        );
        let key = ObjectKey { namespace: Some("shop".into()), kind: GroupKind::new("", "ConfigMap"), name: "x".into() };
        let Outcome::Create(out) = clean(&key, body.as_bytes(), &FieldRules::default()) else { panic!() };
        let want = body.replace(r#","uid":"u""#, "");
        prop_assert_eq!(String::from_utf8(out.body).unwrap(), want);
    }

    #[test]
    fn hostile_documents_never_panic(kind in 0usize..16, field in "[a-z]{1,12}", value in "[\\[\\]{}\",:0-9a-z]{0,40}") {
        let kinds = [("v1", "Pod"), ("v1", "Service"), ("v1", "Secret"), ("v1", "ServiceAccount"), ("batch/v1", "Job"),
            ("v1", "PersistentVolumeClaim"), ("v1", "Endpoints"), ("apps/v1", "StatefulSet"), ("example.com/v1", "Widget"),
            ("networking.k8s.io/v1", "NetworkPolicy"), ("v1", "Namespace"), ("v1", "PersistentVolume"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"), ("rbac.authorization.k8s.io/v1", "RoleBinding"),
            ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"), ("storage.k8s.io/v1", "StorageClass")];
        let (version, kind) = kinds[kind];
        let body = format!(r#"{{"apiVersion":"{version}","kind":"{kind}","metadata":{{"name":"x","labels":{value},"annotations":[]}},"spec":{{"{field}":{value}}},"webhooks":{value}}}"#);
        let group = version.rsplit_once('/').map_or("", |(g, _)| g);
        let key = ObjectKey { namespace: None, kind: GroupKind::new(group, kind), name: "x".into() };
        let _ = clean(&key, body.as_bytes(), &mapped());
    }
}
