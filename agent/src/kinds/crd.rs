//! The definitions that a cluster is given: shapes from the types, rules from `cel`. Always the same text.

use super::cel::{self, Rule};
use super::{Backup, BackupSchedule, VolumeBackup};
use serde_json::{Map, Value, json};

/// The CustomResourceDefinitions, as JSON documents.
#[must_use]
pub fn crds() -> Vec<Value> {
    let to_json = |crd| serde_json::to_value(crd).expect("a definition always serializes");
    let mut backup: Value = to_json(<Backup as kube::CustomResourceExt>::crd());
    let mut schedule: Value = to_json(<BackupSchedule as kube::CustomResourceExt>::crd());
    for (crd, spec) in [(&mut backup, "spec"), (&mut schedule, "spec.template")] {
        let schema = crd
            .pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
            .expect("a derived definition has one version with a schema");
        tidy(schema);
        for rule in cel::spec() {
            apply(schema, spec, &rule);
        }
        no_defaults(at(schema, "status").expect("both kinds have a status"));
        no_defaults(at(schema, spec).expect("both kinds have a spec of a Backup"));
        conditions(schema);
    }
    let schema = &mut backup["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    add_rule(
        &mut schema["properties"]["spec"],
        "self == oldSelf",
        "a Backup cannot be changed once it is made; make another one",
    );
    schema["properties"]["spec"]["default"] = json!({});
    let schema = &mut schedule["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    for rule in cel::schedule() {
        apply(schema, "", &rule);
    }
    vec![backup, schedule, volume_backup()]
}

fn volume_backup() -> Value {
    let mut crd = serde_json::to_value(<VolumeBackup as kube::CustomResourceExt>::crd())
        .expect("a definition always serializes");
    let schema = crd
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
        .expect("a derived definition has one version with a schema");
    tidy(schema);
    for rule in cel::volume_backup() {
        apply(schema, "", &rule);
    }
    let immutable = "a VolumeBackup cannot be changed once it is made";
    add_rule(&mut schema["properties"]["spec"], "self == oldSelf", immutable);
    no_defaults(at(schema, "status").expect("it has a status"));
    conditions(schema);
    crd
}

/// The same as one YAML file.
#[must_use]
pub fn crds_yaml() -> String {
    let mut text = String::from(
        "# Written by `lifeboat-agent crds`; change the types in agent/src/kinds, then run\n# `lifeboat-agent crds > deploy/crds.yaml`.\n",
    );
    for crd in crds() {
        text.push_str("---\n");
        yaml(&mut text, &crd);
    }
    text
}

fn yaml(text: &mut String, document: &Value) {
    let written = serde_saphyr::to_string(document).expect("a JSON document is always YAML");
    text.push_str(written.trim_end());
    text.push('\n');
}

/// Line breaks of comments are none of a description; null is no value; only what a person leaves out has a default.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            }
            map.remove("nullable");
            if let Some(Value::Array(values)) = map.get_mut("enum") {
                values.retain(|v| !v.is_null());
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Conditions are merged by type.
fn conditions(schema: &mut Value) {
    let list = at(schema, "status.conditions").expect("every status has conditions");
    list["x-kubernetes-list-type"] = json!("map");
    list["x-kubernetes-list-map-keys"] = json!(["type"]);
    list["items"]["required"] = json!(["type", "status"]);
}

/// What is left out stays out: a status says what is known, and a spec what was asked for.
fn no_defaults(schema: &mut Value) {
    if let Value::Object(map) = schema {
        map.remove("default");
        map.values_mut().for_each(no_defaults);
    }
}

fn apply(schema: &mut Value, root: &str, rule: &Rule) {
    let path = match (root, rule.at) {
        ("", at) => at.to_owned(),
        (root, "") => root.to_owned(),
        (root, at) => format!("{root}.{at}"),
    };
    let place = at(schema, &path).unwrap_or_else(|| panic!("there is no {path} in the schema"));
    for (bound, value) in rule.bounds {
        place[*bound] = json!(value);
    }
    if !rule.rule.is_empty() {
        add_rule(place, &rule.rule, rule.message);
    }
}

fn add_rule(place: &mut Value, rule: &str, message: &str) {
    let map: &mut Map<String, Value> = place.as_object_mut().expect("a schema is an object");
    let rules = map.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
    rules.as_array_mut().expect("made as a list").push(json!({"rule": rule, "message": message}));
}

fn at<'a>(schema: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let mut place = schema;
    for step in path.split('.').filter(|s| !s.is_empty()) {
        let (name, inner) = match (step.strip_suffix("[]"), step.strip_suffix("{}")) {
            (Some(name), _) => (name, "/items"),
            (_, Some(name)) => (name, "/additionalProperties"),
            _ => (step, ""),
        };
        place = place.get_mut("properties")?.get_mut(name)?;
        place = place.pointer_mut(inner)?;
    }
    Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_in_deploy_is_the_one_that_is_printed() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/crds.yaml");
        let file = std::fs::read_to_string(path).unwrap_or_default();
        assert!(file == crds_yaml(), "run: cargo run -p lifeboat-agent -- crds > deploy/crds.yaml");
    }

    #[test]
    fn every_part_of_a_spec_is_bounded() {
        fn walk(schema: &Value, path: &str, problems: &mut Vec<String>) {
            let text = schema["type"] == "string" && schema["enum"].is_null() && schema["format"].is_null();
            let bounded = !schema["maxLength"].is_null()
                || !schema["maxItems"].is_null()
                || !schema["maxProperties"].is_null();
            let open = text || schema["type"] == "array" || schema["additionalProperties"].is_object();
            if open && !bounded {
                problems.push(path.to_owned());
            }
            for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
                walk(inner, &format!("{path}.{name}"), problems);
            }
            for inner in
                [&schema["items"], &schema["additionalProperties"]].into_iter().filter(|s| s.is_object())
            {
                walk(inner, &format!("{path}[]"), problems);
            }
        }
        for crd in crds() {
            let mut problems = Vec::new();
            let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
            walk(schema, "spec", &mut problems);
            assert!(problems.is_empty(), "{problems:?}");
        }
    }
}
