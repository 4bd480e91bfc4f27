//! Where a repository or a vault is: `file:///DIR` or `s3://BUCKET/PREFIX`, and how to open it.
//!
//! Owns the choice between kinds of stores, and what a cluster's folder looks like from outside: it has
//! `charter/` in it. Knows nothing of what the objects mean.

mod open;

use super::key;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use open::ClusterFolder;

/// The place of a store, without any credential.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreUrl {
    /// An absolute directory.
    File(PathBuf),
    /// A bucket, and a prefix in it without slashes at its ends (or empty).
    S3 { bucket: String, prefix: String },
}

/// Why a text is no store's URL. Never repeats the text, which may hold a password by mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("A store is given as file:///DIRECTORY or s3://BUCKET/PREFIX")]
    Scheme,
    #[error(
        "A file URL names an absolute directory, as in file:///var/lib/lifeboat, without '.' or '..' in it"
    )]
    Directory,
    #[error(
        "A bucket's name has 1 to 255 letters, digits, dots, dashes or underscores; credentials belong into credentials_file"
    )]
    Bucket,
    #[error("The prefix in an s3 URL has parts separated by single slashes, none of them '.' or '..'")]
    Prefix,
}

impl FromStr for StoreUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if let Some(path) = text.strip_prefix("file://") {
            let trimmed = path.trim_end_matches('/');
            let flawed =
                !trimmed.is_empty() && trimmed.strip_prefix('/').is_none_or(|rest| key::flaw(rest).is_some());
            if flawed || !path.starts_with('/') {
                return Err(UrlError::Directory);
            }
            return Ok(Self::File(PathBuf::from(if trimmed.is_empty() { "/" } else { trimmed })));
        }
        let rest = text.strip_prefix("s3://").ok_or(UrlError::Scheme)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if bucket.is_empty() || bucket.len() > 255 || !bucket.chars().all(allowed) {
            return Err(UrlError::Bucket);
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        // Room is left for the keys below the prefix.
        if !prefix.is_empty() && (key::flaw(prefix).is_some() || prefix.len() > 512) {
            return Err(UrlError::Prefix);
        }
        Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl StoreUrl {
    /// The URL of a folder below this one.
    #[must_use]
    pub fn join(&self, folder: &str) -> Self {
        match self {
            Self::File(directory) => Self::File(directory.join(folder)),
            Self::S3 { bucket, prefix } => {
                let prefix = if prefix.is_empty() { folder.to_owned() } else { format!("{prefix}/{folder}") };
                Self::S3 { bucket: bucket.clone(), prefix }
            }
        }
    }

    /// The last part: a cluster's name where this is a cluster's folder.
    #[must_use]
    pub fn last_part(&self) -> &str {
        match self {
            Self::File(directory) => directory.file_name().and_then(|name| name.to_str()).unwrap_or_default(),
            Self::S3 { prefix, .. } => prefix.rsplit('/').next().unwrap_or_default(),
        }
    }

    /// The directory of a `file` URL.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::File(directory) => Some(directory),
            Self::S3 { .. } => None,
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(directory) => write!(f, "file://{}", directory.display()),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

impl Serialize for StoreUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StoreUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
