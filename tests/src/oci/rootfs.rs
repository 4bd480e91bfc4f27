//! What is in the agent's image: the program, the authorities it trusts, and the few files that the C library reads to
//! find names. No shell, no package manager, nothing that can be started beside the program.

use super::archive::Layer;
use crate::harness::image::linked_libraries;
use anyhow::{Context, Result};
use std::path::Path;

/// Where the program is in the image.
pub const PROGRAM: &str = "/usr/bin/lifeboat-agent";
/// The user and the group that it runs as, when a pod says nothing.
pub const USER: &str = "65532:65532";
/// Where Debian keeps the authorities, and where the program looks for them.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
const LICENSE: &[u8] = include_bytes!("../../../LICENSE");

/// The files of an image for `program`; a program that is not static comes with its loader and its libraries.
pub fn layer(program: &Path, sbom: Vec<u8>) -> Result<Layer> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut layer = Layer::default();
    layer.file(inside(PROGRAM), 0o755, read(program)?);
    for library in linked_libraries(program) {
        layer.file(inside(&library), 0o755, read(Path::new(&library))?);
    }
    let authorities =
        read(Path::new(AUTHORITIES)).context("the package ca-certificates is needed: `make packages`")?;
    layer.file(inside(AUTHORITIES), 0o644, authorities);
    let text = |text: &str| text.as_bytes().to_vec();
    layer.file(
        "etc/passwd",
        0o644,
        text("root:x:0:0:root:/nonexistent:/nonexistent\nlifeboat:x:65532:65532:lifeboat:/nonexistent:/nonexistent\n"),
    );
    layer.file("etc/group", 0o644, text("root:x:0:\nlifeboat:x:65532:\n"));
    // Both of these sources are built into glibc (2.34 and later), so that a static program has them, too.
    layer.file("etc/nsswitch.conf", 0o644, text("passwd: files\ngroup: files\nhosts: files dns\n"));
    layer.file("usr/share/lifeboat/sbom.cdx.json", 0o644, sbom);
    layer.file("usr/share/lifeboat/LICENSE", 0o644, LICENSE.to_vec());
    Ok(layer)
}

fn inside(path: &str) -> &str {
    path.trim_start_matches('/')
}
