//! Finds the programs that tests/peers/build.sh built. Builds nothing, runs nothing.

use anyhow::{Context, Result, anyhow};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The programs by name.
#[derive(Debug, Clone)]
pub struct Peers(BTreeMap<String, PathBuf>);

impl Peers {
    /// Reads the list that the build wrote last.
    pub fn find() -> Result<Self> {
        let list = cache_folder()?.join("programs");
        let text = std::fs::read_to_string(&list).with_context(|| {
            format!(
                "the programs that tests run against are not built ({}): run `make peers`",
                list.display()
            )
        })?;
        Ok(Self(parse(&text)))
    }

    /// Where one program is.
    pub fn path(&self, program: &str) -> Result<&Path> {
        let path = self.0.get(program).filter(|path| path.is_file());
        path.map(PathBuf::as_path)
            .ok_or_else(|| anyhow!("{program} is not built: run `{}`", make_command(program)))
    }
}

fn make_command(program: &str) -> &'static str {
    match program {
        "minio" => "make peers MINIO=1",
        "kubelet" | "kube-proxy" | "kube-scheduler" => "make peers NODE=1",
        _ => "make peers",
    }
}

/// The same rule as in build.sh.
fn cache_folder() -> Result<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("LIFEBOAT_PEERS")
        .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("lifeboat/peers")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/lifeboat/peers")))
        .context(
            "none of LIFEBOAT_PEERS, XDG_CACHE_HOME and HOME is set, so the built programs cannot be found",
        )
}

fn parse(text: &str) -> BTreeMap<String, PathBuf> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, path)| (name.to_owned(), PathBuf::from(path)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_and_a_missing_program_names_its_make_target() {
        let peers = Peers(parse("etcd=/nowhere/etcd\n\nkubectl=/bin/sh\n"));
        assert_eq!(peers.path("kubectl").unwrap(), Path::new("/bin/sh"));
        assert!(peers.path("etcd").unwrap_err().to_string().contains("make peers"));
        assert!(peers.path("kubelet").unwrap_err().to_string().contains("NODE=1"));
    }
}
