//! How to reach an S3 server: the `[s3]` table of the configurations. Reaches nothing itself.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The `[s3]` table. What is absent is taken from where the AWS tools take it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3Options {
    /// Such as `https://s3.example.com:9000`; absent for AWS itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The bucket in the path rather than in the host name; absent: yes where an endpoint is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// PEM certificates of the authorities to trust instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// In the format of `~/.aws/credentials`, profile `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
}

impl S3Options {
    /// Takes relative file names as relative to `folder`, that of the configuration file.
    #[must_use]
    pub fn relative_to(mut self, folder: &Path) -> Self {
        for file in [&mut self.ca_file, &mut self.credentials_file].into_iter().flatten() {
            *file = folder.join(&*file);
        }
        self
    }

    pub(crate) fn path_style(&self) -> bool {
        self.path_style.unwrap_or(self.endpoint.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_settings_are_refused() {
        let known: S3Options = toml::from_str("endpoint = 'http://127.0.0.1:1'\npath_style = false").unwrap();
        assert_eq!(known.endpoint.as_deref(), Some("http://127.0.0.1:1"));
        assert!(!known.path_style());
        assert!(toml::from_str::<S3Options>("endpiont = 'x'").is_err());
    }

    #[test]
    fn an_endpoint_means_path_style() {
        assert!(!S3Options::default().path_style());
        assert!(S3Options { endpoint: Some("http://x".into()), ..Default::default() }.path_style());
    }

    #[test]
    fn files_are_relative_to_the_configuration() {
        let options = S3Options {
            ca_file: Some("ca.pem".into()),
            credentials_file: Some("/abs/c".into()),
            ..Default::default()
        };
        let options = options.relative_to(Path::new("/etc/lifeboat"));
        assert_eq!(options.ca_file, Some("/etc/lifeboat/ca.pem".into()));
        assert_eq!(options.credentials_file, Some("/abs/c".into()));
    }
}
