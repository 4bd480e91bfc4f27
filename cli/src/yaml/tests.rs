//! What is written is read as the same: by a YAML parser, for any JSON, and for the strings that are mistaken most.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn back(value: &Value) -> Value {
    let text = from_json(value.to_string().as_bytes()).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

#[test]
fn it_looks_as_people_write_it() {
    let json = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "front", "annotations": {"a/b": "yes", "empty": ""}, "labels": {}},
        "spec": {"replicas": 3, "args": ["--port=80", "012", {"k": [[1, 2], []]}], "script": "#!/bin/sh\necho hi\n", "image": "quay.io/x/y:1.2", "none": null},
    });
    let text = from_json(json.to_string().as_bytes()).unwrap();
    let expected = r##"apiVersion: apps/v1
kind: Deployment
metadata:
  annotations:
    a/b: "yes"
    empty: ""
  labels: {}
  name: front
spec:
  args:
  - "--port=80"
  - "012"
  - k:
    - - 1
      - 2
    - []
  image: quay.io/x/y:1.2
  none: null
  replicas: 3
  script: |
    #!/bin/sh
    echo hi
"##;
    assert_eq!(text, expected);
    assert_eq!(back(&json), json);
}

#[test]
fn numbers_are_copied_digit_by_digit() {
    let json =
        br#"{"big":9007199254740993,"huge":123456789012345678901234567890,"exact":1.10,"exp":1e3,"neg":-0}"#;
    let text = from_json(json).unwrap();
    for line in [
        "big: 9007199254740993",
        "huge: 123456789012345678901234567890",
        "exact: 1.10",
        "exp: 1e3",
        "neg: -0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in {text}");
    }
    let value: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(value["big"], 9_007_199_254_740_993_u64);
}

/// Strings that some YAML reads as something else.
const TRICKY: [&str; 52] = [
    "",
    " ",
    "yes",
    "No",
    "ON",
    "off",
    "y",
    "N",
    "true",
    "False",
    "null",
    "Null",
    "~",
    "012",
    "0x1f",
    "0o7",
    "1e3",
    "1.0",
    ".5",
    "+1",
    "-1",
    "1_000",
    "12:30:45",
    "2001-01-01",
    "NaN",
    ".nan",
    ".inf",
    "-",
    "- a",
    "a: b",
    "a:",
    ": a",
    "#a",
    "a #b",
    "[a",
    "{a",
    "*a",
    "&a",
    "!a",
    "|",
    ">",
    "%a",
    "@a",
    "`a",
    "'a'",
    "\"a\"",
    "---",
    "...",
    "=",
    "<<",
    "a\u{85}b",
    "\u{feff}x",
];

#[test]
fn strings_stay_strings() {
    for text in TRICKY {
        let json = json!({"v": text, text: "k", "l": [text]});
        assert_eq!(back(&json), json, "{text:?}");
    }
}

#[test]
fn texts_of_several_lines_stay_as_they_are() {
    for text in [
        "a\nb",
        "a\nb\n",
        "a\n\nb\n",
        "\na",
        "a\n\n",
        "\n",
        "\n\n",
        " a\nb",
        "a\n b",
        "a \nb",
        "a\n \nb",
        "a\n\t\nb",
        "a\r\nb",
        "\ta\n",
        "a\n---\nb\n",
        "# a\nb\n",
        "a\u{0}b\n",
        "a: b\nc: d\n",
        "- a\n",
        "|\n",
        "a\n  \n",
    ] {
        let json = json!({"v": text, "l": [text, {"w": text}]});
        assert_eq!(back(&json), json, "{text:?}");
    }
}

#[test]
fn depth_costs_no_stack() {
    let deep = format!("{}1{}", "[".repeat(120), "]".repeat(120));
    let text = from_json(deep.as_bytes()).unwrap();
    assert!(text.len() < 20_000);
    let deep = format!("{}1{}", "{\"a\":".repeat(200_000), "}".repeat(200_000));
    drop(from_json(deep.as_bytes()));
    let long = json!({"k".repeat(2000): [1, {"a": 2}]});
    assert!(from_json(long.to_string().as_bytes()).unwrap().starts_with("? \"kkk"));
}

fn strings() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z./:-]{0,12}",
        "[ -~\n\t]{0,24}",
        "\\PC{0,12}",
        proptest::collection::vec(any::<char>(), 0..8).prop_map(|v| v.into_iter().collect()),
        proptest::sample::select(TRICKY.to_vec()).prop_map(str::to_owned),
    ]
}

fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        strings().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(strings(), inner, 0..5)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn what_is_written_is_read(document in documents()) {
        prop_assert_eq!(back(&document), document);
    }

    #[test]
    fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = from_json(&bytes);
    }
}
