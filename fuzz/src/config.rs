//! Configuration files: whatever parses is written so that it parses again, to the same.

use lifeboat_common::config::{AgentConfig, ReplicatorConfig, RepositoryConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The bytes as each kind of configuration.
pub fn any(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    one::<RepositoryConfig>(text);
    one::<AgentConfig>(text);
    one::<ReplicatorConfig>(text);
}

fn one<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(text: &str) {
    let Ok(value) = toml::from_str::<T>(text) else { return };
    if let Ok(again) = toml::to_string(&value) {
        assert_eq!(toml::from_str::<T>(&again).expect("what was written parses"), value);
    }
}
