//! Whether an object that exists says what the stored one says, as far as a person set it. Pure.

use super::super::fields::{self, FieldRules, server_set_annotations};
use super::super::source::ObjectKey;
use serde_json::{Map, Value};

/// Differences that are named.
const MAX_NAMED: usize = 5;

/// Larger documents are not opened whole.
const MAX_COMPARED: usize = 4 << 20;

/// The paths at which they differ; empty if they are the same.
pub(super) fn differences(key: &ObjectKey, wanted: &[u8], live: &[u8], rules: &FieldRules) -> Vec<String> {
    if wanted.len().max(live.len()) > MAX_COMPARED {
        return vec!["it is too large to compare".to_owned()];
    }
    let wanted: Option<Value> = serde_json::from_slice(wanted).ok();
    let live = fields::clean_live(key, live, rules).and_then(|l| serde_json::from_slice::<Value>(&l).ok());
    let (Some(mut wanted), Some(mut live)) = (wanted, live) else {
        return vec!["one of the two cannot be read".to_owned()];
    };
    for doc in [&mut wanted, &mut live] {
        if let Some(doc) = doc.as_object_mut() {
            doc.remove("apiVersion");
            doc.remove("status");
        }
        if let Some(annotations) = doc["metadata"]["annotations"].as_object_mut() {
            annotations.retain(|key, _| !server_set_annotations(key));
        }
    }
    let mut paths = Vec::new();
    subset(&wanted, &live, "", &mut paths);
    // What is added to a map of a person's own entries is a difference, unlike a default elsewhere.
    for field in ["data", "binaryData", "stringData"] {
        if let (Some(wanted), Some(live)) = (wanted[field].as_object(), live[field].as_object()) {
            for key in live.keys().filter(|key| !wanted.contains_key(*key)) {
                note(&mut paths, format!("{field}.{key}"));
            }
        } else if wanted[field].is_null() && !is_default(&live[field]) {
            note(&mut paths, field.to_owned());
        }
    }
    paths
}

fn note(paths: &mut Vec<String>, path: String) {
    if paths.len() < MAX_NAMED {
        paths.push(path);
    }
}

/// Notes where `live` does not say what `wanted` says.
fn subset(wanted: &Value, live: &Value, path: &str, paths: &mut Vec<String>) {
    if paths.len() >= MAX_NAMED {
        return;
    }
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => objects(wanted, live, path, paths),
        (Value::Array(wanted), Value::Array(live)) if wanted.len() == live.len() => {
            for (i, (wanted, live)) in wanted.iter().zip(live).enumerate() {
                subset(wanted, live, &format!("{path}[{i}]"), paths);
            }
        }
        _ if same_scalar(wanted, live) => {}
        _ => note(paths, path.to_owned()),
    }
}

fn objects(wanted: &Map<String, Value>, live: &Map<String, Value>, path: &str, paths: &mut Vec<String>) {
    for (key, value) in wanted {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match live.get(key) {
            Some(live) => subset(value, live, &path, paths),
            None if is_default(value) => {}
            None => note(paths, path),
        }
    }
}

fn same_scalar(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || (a.as_f64() == b.as_f64() && (a.is_f64() || b.is_f64()))
        }
        _ => wanted == live || (is_default(wanted) && is_default(live)),
    }
}

/// Values that mean the same as the absence of the field.
fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_default),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::source::GroupKind;
    use super::*;
    use serde_json::json;

    fn compare(kind: &str, wanted: Value, live: Value) -> Vec<String> {
        let key = ObjectKey { namespace: Some("a".into()), kind: GroupKind::new("", kind), name: "x".into() };
        differences(&key, wanted.to_string().as_bytes(), live.to_string().as_bytes(), &FieldRules::default())
    }

    #[test]
    fn defaults_and_server_fields_are_no_difference() {
        let wanted = json!({"apiVersion": "v1", "metadata": {"name": "x"}, "spec": {"a": 1, "gone": {}}});
        let live = json!({"apiVersion": "v2", "metadata": {"name": "x", "uid": "u", "labels": {"added": "1"}},
            "spec": {"a": 1, "defaulted": true}, "status": {"s": 1}});
        assert!(compare("Widget", wanted, live).is_empty());
    }

    #[test]
    fn what_a_person_set_is_compared() {
        let wanted =
            json!({"metadata": {"labels": {"a": "1"}}, "spec": {"list": [{"n": 1}, {"n": 2}], "x": "y"}});
        let live = json!({"metadata": {"labels": {"a": "2"}}, "spec": {"list": [{"n": 1}, {"n": 3}]}});
        assert_eq!(compare("Widget", wanted, live), ["metadata.labels.a", "spec.list[1].n", "spec.x"]);
    }

    #[test]
    fn an_entry_added_to_data_is_a_difference() {
        let wanted = json!({"data": {"a": "1"}});
        assert!(compare("ConfigMap", wanted.clone(), wanted.clone()).is_empty());
        assert_eq!(compare("ConfigMap", wanted, json!({"data": {"a": "1", "b": "2"}})), ["data.b"]);
        assert_eq!(compare("ConfigMap", json!({}), json!({"data": {"b": "2"}})), ["data"]);
    }

    #[test]
    fn large_integers_are_compared_exactly() {
        let a = json!({"spec": {"n": 9_007_199_254_740_993_u64}});
        let b = json!({"spec": {"n": 9_007_199_254_740_992_u64}});
        assert_eq!(compare("Widget", a, b), ["spec.n"]);
        assert!(compare("Widget", json!({"spec": {"n": 1.0}}), json!({"spec": {"n": 1}})).is_empty());
    }
}
