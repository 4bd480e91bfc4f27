//! An OCI image layout in a tar file (OCI image specification 1.1), the same bytes for the same content: entries are
//! sorted, every time is zero, every owner is root, and nothing of the machine gets in. Knows not what is in the image.

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;

/// The time that every image says it was made at: the start of 1970, so that a build can be compared with another.
const CREATED: &str = "1970-01-01T00:00:00Z";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The files of an image by their path, which has no leading slash; parent folders come by themselves.
#[derive(Debug, Default)]
pub struct Layer(BTreeMap<String, Entry>);

#[derive(Debug)]
struct Entry {
    mode: u32,
    /// None: a folder.
    content: Option<Vec<u8>>,
}

/// How the image is named and run.
#[derive(Debug)]
pub struct Settings<'a> {
    /// `HOST/NAME:TAG`.
    pub reference: &'a str,
    pub entrypoint: &'a [&'a str],
    /// `UID:GID`.
    pub user: &'a str,
    pub labels: BTreeMap<&'a str, String>,
}

impl Layer {
    /// One more file, in place of one with the same path.
    pub fn file(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        for (at, _) in path.match_indices('/') {
            self.0.entry(path[..at].to_owned()).or_insert(Entry { mode: 0o755, content: None });
        }
        self.0.insert(path.to_owned(), Entry { mode, content: Some(content) });
    }

    /// The uncompressed layer.
    fn tar(&self) -> Result<Vec<u8>> {
        let mut layer = tar::Builder::new(Vec::new());
        for (path, entry) in &self.0 {
            let (kind, content) = match &entry.content {
                None => (tar::EntryType::Directory, &[][..]),
                Some(content) => (tar::EntryType::Regular, content.as_slice()),
            };
            append(&mut layer, kind, path, entry.mode, content)?;
        }
        layer.into_inner().context("cannot write a layer")
    }
}

/// The whole archive.
pub fn write(layer: &Layer, settings: &Settings<'_>) -> Result<Vec<u8>> {
    let plain = layer.tar()?;
    let mut packed = GzBuilder::new().write(Vec::new(), Compression::default());
    packed.write_all(&plain).context("cannot compress a layer")?;
    let packed = packed.finish().context("cannot compress a layer")?;
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "created": CREATED,
        "config": {
            "User": settings.user,
            "Entrypoint": settings.entrypoint,
            "Env": ["PATH=/usr/bin"],
            "WorkingDir": "/",
            "Labels": settings.labels,
        },
        "rootfs": { "type": "layers", "diff_ids": [digest_of(&plain)] },
        "history": [{ "created": CREATED, "comment": "lifeboat-image" }],
    })
    .to_string()
    .into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &config),
        "layers": [descriptor(LAYER, &packed)],
        "annotations": settings.labels,
    })
    .to_string()
    .into_bytes();
    let index = index(&manifest, settings.reference).to_string().into_bytes();
    let mut outer = tar::Builder::new(Vec::new());
    let mut files = BTreeMap::from([
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("index.json".to_owned(), index),
    ]);
    for content in [config, manifest, packed] {
        files.insert(format!("blobs/sha256/{}", sha256(&content)), content);
    }
    for folder in ["blobs", "blobs/sha256"] {
        append(&mut outer, tar::EntryType::Directory, folder, 0o755, &[])?;
    }
    for (name, content) in files {
        append(&mut outer, tar::EntryType::Regular, &name, 0o644, &content)?;
    }
    outer.into_inner().context("cannot write an image")
}

fn index(manifest: &[u8], reference: &str) -> Value {
    let mut entry = descriptor(MANIFEST, manifest);
    entry["platform"] = json!({ "architecture": architecture(), "os": "linux" });
    // containerd takes the name from the first, other tools the tag from the second.
    let tag = reference.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    entry["annotations"] =
        json!({ "io.containerd.image.name": reference, "org.opencontainers.image.ref.name": tag });
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] })
}

fn descriptor(kind: &str, content: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": digest_of(content), "size": content.len() })
}

fn append(
    archive: &mut tar::Builder<Vec<u8>>,
    kind: tar::EntryType,
    path: &str,
    mode: u32,
    content: &[u8],
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    archive
        .append_data(&mut header, path, content)
        .with_context(|| format!("cannot put {path} into an image"))
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// SHA-256 in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn image(order: &[&str]) -> Vec<u8> {
        let mut layer = Layer::default();
        for path in order {
            layer.file(path, 0o644, path.as_bytes().to_vec());
        }
        let labels = BTreeMap::from([("org.opencontainers.image.title", "x".to_owned())]);
        let settings =
            Settings { reference: "localhost/x:7", entrypoint: &["/usr/bin/x"], user: "65532:65532", labels };
        write(&layer, &settings).unwrap()
    }

    fn entries(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            assert_eq!((entry.header().mtime().unwrap(), entry.header().uid().unwrap()), (0, 0));
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().display().to_string(), content)
        });
        entries.collect()
    }

    #[test]
    fn the_same_files_make_the_same_bytes_in_whatever_order_they_came() {
        assert_eq!(image(&["usr/bin/x", "etc/passwd"]), image(&["etc/passwd", "usr/bin/x"]));
        assert_ne!(image(&["usr/bin/x"]), image(&["usr/bin/y"]));
    }

    #[test]
    fn every_digest_is_of_what_it_names() {
        let files = entries(&image(&["usr/bin/x", "etc/passwd"]));
        for (name, content) in files.iter().filter(|(name, _)| name.starts_with("blobs/sha256/")) {
            if !content.is_empty() {
                assert_eq!(name.rsplit('/').next().unwrap(), sha256(content));
            }
        }
        let read = |digest: &Value| -> Vec<u8> {
            files[&format!("blobs/{}", digest.as_str().unwrap().replace(':', "/"))].clone()
        };
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let manifest: Value = serde_json::from_slice(&read(&index["manifests"][0]["digest"])).unwrap();
        let config: Value = serde_json::from_slice(&read(&manifest["config"]["digest"])).unwrap();
        let mut layer = Vec::new();
        let packed = read(&manifest["layers"][0]["digest"]);
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut layer).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], digest_of(&layer));
        assert_eq!(config["config"]["User"], "65532:65532");
        let inside = entries(&layer);
        assert_eq!(inside["usr/bin/x"], b"usr/bin/x");
        assert!(inside.keys().any(|path| path.trim_end_matches('/') == "usr"), "{inside:?}");
    }
}
