//! Writes kubeconfig files (as JSON, which is YAML). Talks to no cluster.

use anyhow::{Context, Result};
use serde_json::json;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Where the API server is, and whom to trust there.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) authority: PathBuf,
}

/// Whom the API server is to see.
#[derive(Debug, Clone, Copy)]
pub(crate) enum As<'a> {
    Token(&'a str),
    /// Someone else, by an administrator's right to impersonate.
    Other {
        token: &'a str,
        name: &'a str,
        groups: &'a [&'a str],
    },
}

/// Writes one, readable by this user only.
pub(crate) fn write(path: &Path, server: &Server, who: As<'_>) -> Result<()> {
    let user = match who {
        As::Token(token) => json!({ "token": token }),
        As::Other { token, name, groups } => json!({ "token": token, "as": name, "as-groups": groups }),
    };
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "lifeboat", "cluster": { "server": server.url, "certificate-authority": server.authority } }],
        "users": [{ "name": "lifeboat", "user": user }],
        "contexts": [{ "name": "lifeboat", "context": { "cluster": "lifeboat", "user": "lifeboat" } }],
        "current-context": "lifeboat",
    });
    write_private(path, format!("{config:#}\n").as_bytes())
}

/// Writes a file of mode 0600.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write as _;
    // Written aside: a test that reads it meanwhile sees the old file or the new one.
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let aside = path.with_extension(format!("new-{number}"));
    let file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&aside);
    file.and_then(|mut file| file.write_all(content))
        .and_then(|()| std::fs::rename(&aside, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
