//! One page of a list: from the server's bytes to items that point into them. Pure and bounded.

use super::item::{Item, RawItem, Rejected, unusable_name};
use super::resource::Resource;
use super::text::clean;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// How much of an unusable name is shown.
const SHOWN: usize = 128;

/// What a page holds, before it is handed on.
#[derive(Debug)]
pub(super) struct ParsedPage {
    pub(super) items: Vec<Item>,
    pub(super) rejected: Vec<Rejected>,
    pub(super) resource_version: String,
    pub(super) continue_token: Option<String>,
}

#[derive(Deserialize)]
struct RawList<'a> {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: RawListMeta,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RawListMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(rename = "continue")]
    continue_token: Option<String>,
}

/// Parses a page. What cannot be used is in `rejected`; the rest keeps the server's JSON, byte for byte.
pub(super) fn parse_page(resource: &Resource, page: &Bytes) -> Result<ParsedPage, String> {
    let list: RawList = serde_json::from_slice(page).map_err(|error| clean(&error.to_string(), SHOWN))?;
    let Some(raw_items) = list.items else {
        // Go writes an empty list as null; anything else without items is not a list.
        return if list.kind.ends_with("List") {
            Ok(empty(list.metadata))
        } else {
            Err("it is not a list".to_owned())
        };
    };
    let heads = Heads::new(resource);
    let mut items = Vec::with_capacity(raw_items.len());
    let mut rejected = Vec::new();
    for raw in raw_items {
        match parse_item(resource, &heads, page, raw) {
            Ok(item) => items.push(item),
            Err(bad) => rejected.push(bad),
        }
    }
    Ok(ParsedPage { items, rejected, ..empty(list.metadata) })
}

fn empty(metadata: RawListMeta) -> ParsedPage {
    ParsedPage {
        items: Vec::new(),
        rejected: Vec::new(),
        resource_version: metadata.resource_version,
        continue_token: metadata.continue_token.filter(|token| !token.is_empty()),
    }
}

fn parse_item(resource: &Resource, heads: &Heads, page: &Bytes, raw: &RawValue) -> Result<Item, Rejected> {
    let text = raw.get();
    let parsed: RawItem =
        serde_json::from_str(text).map_err(|error| reject("", "", "ObjectMalformed", &error.to_string()))?;
    let meta = parsed.metadata.into_meta();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    if !text.starts_with('{') {
        return Err(reject(namespace, &meta.name, "ObjectMalformed", "it is not a JSON object"));
    }
    if let Some(why) = unusable_name(&meta.name) {
        return Err(reject(namespace, &meta.name, "NameUnsafe", why));
    }
    match (resource.namespaced, &meta.namespace) {
        (true, None) => {
            return Err(reject(
                "",
                &meta.name,
                "NamespaceMissing",
                "a namespaced object without a namespace",
            ));
        }
        (false, Some(_)) => {
            return Err(reject(
                namespace,
                &meta.name,
                "NamespaceUnexpected",
                "a cluster-scoped object with a namespace",
            ));
        }
        (true, Some(namespace)) => {
            if let Some(why) = unusable_name(namespace) {
                return Err(reject(namespace, &meta.name, "NameUnsafe", why));
            }
        }
        (false, None) => {}
    }
    let head = heads.pick(parsed.api_version.is_some(), parsed.kind.is_some());
    Ok(Item::new(meta, head, page.slice_ref(text.as_bytes())))
}

fn reject(namespace: &str, name: &str, reason: &'static str, message: &str) -> Rejected {
    Rejected {
        namespace: clean(namespace, SHOWN),
        name: clean(name, SHOWN),
        reason,
        message: clean(message, SHOWN),
    }
}

/// What goes in front of items of a list, which lack what the list says once.
struct Heads {
    both: Bytes,
    api_version: Bytes,
    kind: Bytes,
}

impl Heads {
    fn new(resource: &Resource) -> Self {
        // serde_json's own string form, so that a hostile name cannot break out of the quotes.
        let api_version = serde_json::Value::from(resource.api_version());
        let kind = serde_json::Value::from(resource.kind.as_str());
        Self {
            both: format!("{{\"apiVersion\":{api_version},\"kind\":{kind},").into(),
            api_version: format!("{{\"apiVersion\":{api_version},").into(),
            kind: format!("{{\"kind\":{kind},").into(),
        }
    }

    fn pick(&self, has_api_version: bool, has_kind: bool) -> Bytes {
        match (has_api_version, has_kind) {
            (true, true) => Bytes::new(),
            (false, false) => self.both.clone(),
            (false, true) => self.api_version.clone(),
            (true, false) => self.kind.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secrets() -> Resource {
        Resource {
            version: "v1".into(),
            kind: "Secret".into(),
            plural: "secrets".into(),
            namespaced: true,
            ..Resource::default()
        }
    }

    fn parse(text: &str) -> ParsedPage {
        parse_page(&secrets(), &Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    #[test]
    fn items_keep_their_json_and_gain_what_the_list_says_once() {
        let page = parse(
            r#"{"kind":"SecretList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"tok"},
               "items":[{"metadata":{"name":"a","namespace":"n","labels":{"x":"y"},"deletionTimestamp":"2026-01-01T00:00:00Z",
               "annotations":{"kubectl.kubernetes.io/last-applied-configuration":"…","k":"v"},
               "ownerReferences":[{"apiVersion":"apps/v1","kind":"Deployment","name":"d","uid":"u","controller":true}]},"big":9007199254740993},
               {"apiVersion":"v1","kind":"Secret","metadata":{"name":"b","namespace":"n"}}, {"kind":"Secret","metadata":{"name":"c","namespace":"n"}}]}"#,
        );
        assert_eq!(page.resource_version, "7");
        assert_eq!(page.continue_token.as_deref(), Some("tok"));
        assert_eq!(page.items.len(), 3);
        let first = &page.items[0];
        assert!(
            first.document().starts_with(br#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a""#)
        );
        assert!(first.document().ends_with(br#""big":9007199254740993}"#));
        assert_eq!(first.meta.labels["x"], "y");
        assert_eq!(first.meta.annotations.len(), 1);
        assert!(first.meta.deleted.is_some());
        assert_eq!(first.meta.controller().unwrap().kind, "Deployment");
        assert_eq!(
            page.items[1].document(),
            r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"b","namespace":"n"}}"#
        );
        assert_eq!(
            page.items[2].document(),
            r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"c","namespace":"n"}}"#
        );
    }

    #[test]
    fn hostile_items_are_rejected_one_by_one() {
        let page = parse(
            r#"{"kind":"SecretList","metadata":{},"items":[
              {"metadata":{"name":"../x","namespace":"n"}}, {"metadata":{"name":"x","namespace":".."}}, {"metadata":{"name":"x"}},
              {"metadata":{"name":"x\u0000","namespace":"n"}}, {"metadata":{"namespace":"n"}}, 7, null, [], {"metadata":{"name":5}},
              {"metadata":{"name":"a","namespace":"n"},"metadata":{"name":"b","namespace":"n"}}, {"metadata":{"name":"ok","namespace":"n"}}]}"#,
        );
        assert_eq!(page.items.len(), 1);
        let reasons: Vec<_> = page.rejected.iter().map(|r| r.reason).collect();
        assert_eq!(
            reasons,
            [
                "NameUnsafe",
                "NameUnsafe",
                "NamespaceMissing",
                "NameUnsafe",
                "NameUnsafe",
                "ObjectMalformed",
                "ObjectMalformed",
                "ObjectMalformed",
                "ObjectMalformed",
                "ObjectMalformed"
            ]
        );
        assert!(!page.rejected[3].name.contains('\0'));
    }

    #[test]
    fn lists_that_are_none() {
        assert!(parse(r#"{"kind":"SecretList","items":null}"#).items.is_empty());
        for bad in [r#"{"kind":"Status"}"#, "[]", "", r#"{"items":{}}"#, "<html>", r#"{"items":[{"a":1}"#] {
            assert!(parse_page(&secrets(), &Bytes::from(bad)).is_err(), "{bad}");
        }
        let deep = format!(
            r#"{{"kind":"L","items":[{{"metadata":{{"name":"a","namespace":"n"}},"d":{}{}}}]}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(parse(&deep).items.len(), 1);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_page(&secrets(), &Bytes::from(bytes));
        }
    }
}
