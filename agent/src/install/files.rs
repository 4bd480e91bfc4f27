//! What the agent's Secret holds: the files that `lifeboat init` wrote for the cluster. Never shown, never logged; zeroed
//! when dropped.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use lifeboat_common::config::AgentConfig;
use ring::digest::{Context, SHA256};
use serde_json::Value;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// The configuration's name among the files.
pub const AGENT_TOML: &str = "agent.toml";

/// Files by name.
#[derive(Clone, Default)]
pub struct Files(BTreeMap<String, Zeroizing<String>>);

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Files {
    #[must_use]
    pub fn new(files: BTreeMap<String, Zeroizing<String>>) -> Self {
        Self(files)
    }

    /// The files of a Secret as the API server gives it; what is no text is left out.
    #[must_use]
    pub fn of_secret(secret: &Value) -> Self {
        let text = |value: &Value| {
            let bytes = Zeroizing::new(BASE64_STANDARD.decode(value.as_str()?).ok()?);
            Some(Zeroizing::new(std::str::from_utf8(&bytes).ok()?.to_owned()))
        };
        let data = secret["data"].as_object().into_iter().flatten();
        Self(data.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect())
    }

    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The agent's configuration among them, its file names as they are.
    #[must_use]
    pub fn config(&self) -> Option<AgentConfig> {
        toml::from_str(self.0.get(AGENT_TOML)?).ok()
    }

    /// Those of these names that are there.
    pub(super) fn only<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(
            names.into_iter().filter_map(|name| Some((name.to_owned(), self.0.get(name)?.clone()))).collect(),
        )
    }

    pub(super) fn add(&mut self, name: &str, text: Zeroizing<String>) {
        self.0.insert(name.to_owned(), text);
    }

    #[cfg(test)]
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|text| text.as_str())
    }

    pub(super) fn to_data(&self) -> BTreeMap<&str, String> {
        self.0.iter().map(|(name, text)| (name.as_str(), BASE64_STANDARD.encode(text.as_bytes()))).collect()
    }

    /// Changes with any file. They hold a private key, so that it tells nothing of them.
    pub(super) fn checksum(&self) -> String {
        let mut sum = Context::new(&SHA256);
        for (name, text) in &self.0 {
            for part in [name.as_str(), text.as_str()] {
                sum.update(&(part.len() as u64).to_be_bytes());
                sum.update(part.as_bytes());
            }
        }
        hex::encode(sum.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files_go_into_a_secret_and_back_and_are_never_shown() {
        let files =
            Files::new(BTreeMap::from([("agent.key".to_owned(), Zeroizing::new("hunter2\n".to_owned()))]));
        let back = Files::of_secret(&json!({ "data": files.to_data() }));
        assert_eq!(back.0["agent.key"].as_str(), "hunter2\n");
        assert_eq!(back.checksum(), files.checksum());
        assert!(!format!("{back:?}").contains("hunter2"));
        for odd in [json!({}), json!({"data": {"x": 7, "y": "%"}}), json!({"data": {"z": "/w=="}})] {
            assert!(Files::of_secret(&odd).names().is_empty());
        }
    }
}
