//! Writes container images, as archives that containerd imports: no registry is needed. Runs no container.

use super::process::run;
use anyhow::{Context, Result, bail};
use ring::digest::{SHA256, digest};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The image that every node has: busybox and its applets; without a command it waits.
pub const BUSYBOX: &str = "docker.io/local/busybox:1";

/// An image with a database: redis-server and redis-cli, beside busybox.
pub const REDIS: &str = "docker.io/local/redis:1";

const PAUSE: &[u8] = b"#!/bin/sh\ntrap 'exit 0' TERM INT\nwhile :; do sleep 3600 & wait $!; done\n";

/// An image of one layer, being put together.
pub struct Image {
    name: String,
    layer: tar::Builder<Vec<u8>>,
    /// Libraries that are in it.
    libraries: BTreeSet<String>,
    command: Vec<String>,
}

impl Image {
    /// A static busybox of the machine, with a shell, its other applets and `/pause`.
    pub fn busybox(name: &str) -> Result<Self> {
        let mut image = Self {
            name: name.to_owned(),
            layer: tar::Builder::new(Vec::new()),
            libraries: BTreeSet::new(),
            command: vec!["/pause".to_owned()],
        };
        for (folder, mode) in [("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("data", 0o755)] {
            image.add(&mut header(tar::EntryType::Directory, mode), folder, &[])?;
        }
        let busybox = busybox_path().context("there is no static busybox: `make node-packages`")?;
        image = image.file("bin/busybox", 0o755, &std::fs::read(busybox).context("cannot read busybox")?)?;
        for applet in String::from_utf8(run(Command::new(busybox).arg("--list"), None)?)?
            .lines()
            .filter(|name| *name != "busybox")
        {
            let mut link = header(tar::EntryType::Symlink, 0o777);
            image
                .layer
                .append_link(&mut link, format!("bin/{applet}"), "busybox")
                .context("cannot write an image")?;
        }
        image = image.file(
            "etc/passwd",
            0o644,
            b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
        )?;
        image.file("etc/group", 0o644, b"root:x:0:\nnobody:x:65534:\n")?.file("pause", 0o755, PAUSE)
    }

    /// Debian's Redis. The package of its tools has the server as well: it is one program, which goes by its name.
    pub fn redis(name: &str) -> Result<Self> {
        let tool = |name: &str| Path::new("/usr/bin").join(name);
        if !tool("redis-check-rdb").is_file() {
            bail!("there is no redis: `make node-packages` installs it (Debian: redis-tools)");
        }
        let image = Self::busybox(name)?.program(&tool("redis-check-rdb"), "bin/redis-server")?;
        image.program(&tool("redis-cli"), "bin/redis-cli")
    }

    /// One more file; the path has no leading slash.
    pub fn file(mut self, path: &str, mode: u32, content: &[u8]) -> Result<Self> {
        self.add(&mut header(tar::EntryType::Regular, mode), path, content)?;
        Ok(self)
    }

    /// A program of the machine, with the loader and the libraries that it is linked to.
    pub fn program(mut self, from: &Path, to: &str) -> Result<Self> {
        let read =
            |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        self = self.file(to, 0o755, &read(from)?)?;
        for library in linked_libraries(from) {
            if !self.libraries.insert(library.clone()) {
                continue;
            }
            self = self.file(library.trim_start_matches('/'), 0o755, &read(Path::new(&library))?)?;
        }
        Ok(self)
    }

    /// What runs when a pod names no command.
    #[must_use]
    pub fn command(mut self, words: &[&str]) -> Self {
        self.command = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    fn add(&mut self, header: &mut tar::Header, path: &str, content: &[u8]) -> Result<()> {
        append(&mut self.layer, header, path, content)
    }

    /// Writes the archive.
    pub fn write(self, archive: &Path) -> Result<()> {
        let layer = self.layer.into_inner().context("cannot write a layer")?;
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": { "Cmd": self.command, "Env": ["PATH=/bin"] },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))] },
        });
        let config = config.to_string().into_bytes();
        let config_name = format!("{}.json", sha256(&config));
        let manifest =
            json!([{ "Config": config_name, "RepoTags": [self.name], "Layers": ["layer.tar"] }]).to_string();
        let mut outer = tar::Builder::new(Vec::new());
        for (name, content) in [
            (config_name.as_str(), config.as_slice()),
            ("layer.tar", &layer),
            ("manifest.json", manifest.as_bytes()),
        ] {
            append(&mut outer, &mut header(tar::EntryType::Regular, 0o644), name, content)?;
        }
        let bytes = outer.into_inner().context("cannot write an image")?;
        std::fs::write(archive, bytes).with_context(|| format!("cannot write {}", archive.display()))
    }
}

/// Debian's `busybox-static` is at one of these.
pub(crate) fn busybox_path() -> Option<&'static Path> {
    ["/bin/busybox", "/usr/bin/busybox"].map(Path::new).into_iter().find(|path| path.is_file())
}

fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

fn append(
    archive: &mut tar::Builder<Vec<u8>>,
    header: &mut tar::Header,
    path: &str,
    content: &[u8],
) -> Result<()> {
    header.set_size(content.len() as u64);
    archive.append_data(header, path, content).with_context(|| format!("cannot put {path} into an image"))
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

/// The loader and the libraries that a program of the machine is linked to; none if it is static.
pub(crate) fn linked_libraries(program: &Path) -> Vec<String> {
    // `ldd` fails on a static program, which needs nothing more.
    let linked = run(Command::new("ldd").arg(program), None).unwrap_or_default();
    libraries(&String::from_utf8_lossy(&linked))
}

/// The files that `ldd` names: `libc.so.6 => /lib/libc.so.6 (0x…)`, and the loader without an arrow.
fn libraries(ldd: &str) -> Vec<String> {
    let path = |line: &str| {
        let line = line.split_once("=>").map_or(line, |(_, path)| path);
        line.split_ascii_whitespace()
            .next()
            .filter(|word| PathBuf::from(word).is_absolute())
            .map(str::to_owned)
    };
    ldd.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_of_a_program_are_read() {
        let ldd = "\tlinux-vdso.so.1 (0x00007fff)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        assert_eq!(libraries(ldd), ["/lib/x/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
        assert!(libraries("\tnot a dynamic executable\n").is_empty());
    }
}
