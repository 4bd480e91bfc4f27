//! The list of what is linked into a program, with versions, licenses and checksums: CycloneDX 1.5, without any time or
//! random number, so that the same program has the same list. Reads Cargo's own answers; decides nothing about licenses.

use super::archive::sha256;
use crate::harness::process::run;
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// A crate as `cargo tree` prints it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Linked {
    name: String,
    version: String,
    license: String,
    repository: String,
}

/// The document for `package`, built for this machine's kind, whose program is `program`.
pub fn document(workspace: &Path, package: &str, program: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    // Cargo's own target, as this was built for it: what only other systems need is not linked.
    let mut tree = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    tree.current_dir(workspace).args(["tree", "--package", package, "--locked", "--offline"]);
    tree.args(["--edges=normal,no-proc-macro", "--prefix=none", "--no-dedupe", "--format={p}\t{l}\t{r}"]);
    let tree =
        String::from_utf8(run(&mut tree, None)?).context("cargo printed something that is not text")?;
    let lock = std::fs::read_to_string(workspace.join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let sums = checksums(&lock)?;
    let mut linked = linked(&tree);
    let itself = linked.iter().find(|l| l.name == package).context("cargo does not name the package")?;
    let mut application = component(itself, None);
    application["type"] = json!("application");
    application["hashes"] = json!([{ "alg": "SHA-256", "content": sha256(&bytes) }]);
    linked.retain(|l| l.name != package);
    let mut components: Vec<Value> = linked
        .iter()
        .map(|l| component(l, sums.get(&(l.name.clone(), l.version.clone())).map(String::as_str)))
        .collect();
    components.extend(of_the_machine());
    let document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": application },
        "components": components,
    });
    let mut text = serde_json::to_vec_pretty(&document)?;
    text.push(b'\n');
    Ok(text)
}

/// `name vVERSION (where)<tab>license<tab>repository`, a line each.
fn linked(tree: &str) -> BTreeSet<Linked> {
    let parse = |line: &str| {
        let mut fields = line.split('\t');
        let mut words = fields.next()?.split(' ');
        Some(Linked {
            name: words.next()?.to_owned(),
            version: words.next()?.strip_prefix('v')?.to_owned(),
            // Some crates still write the old form of SPDX expressions.
            license: fields.next()?.replace('/', " OR "),
            repository: fields.next().unwrap_or_default().to_owned(),
        })
    };
    tree.lines().filter_map(parse).collect()
}

fn component(linked: &Linked, checksum: Option<&str>) -> Value {
    let purl = format!("pkg:cargo/{}@{}", linked.name, linked.version.replace('+', "%2B"));
    let mut component = json!({
        "type": "library",
        "bom-ref": purl,
        "name": linked.name,
        "version": linked.version,
        "purl": purl,
    });
    if !linked.license.is_empty() {
        component["licenses"] = json!([{ "expression": linked.license }]);
    }
    if let Some(checksum) = checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    if !linked.repository.is_empty() {
        component["externalReferences"] = json!([{ "type": "vcs", "url": linked.repository }]);
    }
    component
}

/// Checksums of the sources, by name and version.
fn checksums(lock: &str) -> Result<BTreeMap<(String, String), String>> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
        checksum: Option<String>,
    }
    let lock: Lock = toml::from_str(lock).context("Cargo.lock is damaged")?;
    Ok(lock.package.into_iter().filter_map(|p| Some(((p.name, p.version), p.checksum?))).collect())
}

/// What comes from the machine and not from Cargo: the C library, the compiler's runtime, Rust's own library, and the
/// authorities. One that does not tell its version is named without.
fn of_the_machine() -> Vec<Value> {
    let ask = |words: &[&str]| {
        let out = run(Command::new(words[0]).args(&words[1..]), None).ok()?;
        Some(String::from_utf8(out).ok()?.trim().to_owned())
    };
    let last = |text: Option<String>| text.and_then(|t| t.split(' ').nth(1).map(str::to_owned));
    let parts = [
        ("library", "glibc", "LGPL-2.1-or-later", last(ask(&["getconf", "GNU_LIBC_VERSION"]))),
        ("library", "libgcc", "GPL-3.0-or-later WITH GCC-exception-3.1", ask(&["gcc", "-dumpfullversion"])),
        ("library", "rust-std", "MIT OR Apache-2.0", last(ask(&["rustc", "--version"]))),
        (
            "data",
            "ca-certificates",
            "MPL-2.0",
            ask(&["dpkg-query", "--show", "--showformat=${Version}", "ca-certificates"]),
        ),
    ];
    let named = parts.into_iter().map(|(kind, name, license, version)| {
        let mut part =
            json!({ "type": kind, "bom-ref": name, "name": name, "licenses": [{ "expression": license }] });
        if let Some(version) = version {
            part["version"] = json!(version);
        }
        part
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_cargo_become_components_without_paths() {
        let tree = "lifeboat-format v0.1.0 (/somewhere/format)\tApache-2.0\t\nhex v0.4.3\tMIT/Apache-2.0\thttps://x.example/hex\nhex v0.4.3\tMIT/Apache-2.0\thttps://x.example/hex (*)\nnonsense\n";
        let linked = linked(tree);
        assert_eq!(linked.iter().filter(|l| l.name == "lifeboat-format").count(), 1);
        let all = format!("{:?}", linked.iter().map(|l| component(l, Some("ab"))).collect::<Vec<_>>());
        assert!(!all.contains("somewhere"), "{all}");
        assert!(all.contains("MIT OR Apache-2.0") && all.contains("pkg:cargo/hex@0.4.3"), "{all}");
    }

    #[test]
    fn checksums_come_from_the_lock_file() {
        let lock = "version = 4\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"cd\"\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n";
        let sums = checksums(lock).unwrap();
        assert_eq!(sums.len(), 1);
        assert_eq!(sums[&("a".to_owned(), "1.0.0".to_owned())], "cd");
    }
}
