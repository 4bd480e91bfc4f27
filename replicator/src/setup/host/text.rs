//! Changes of `/etc/lifeboat/replicator.toml` as text, so that comments and order of what people wrote stay. Pure. What it makes
//! is read back and compared by its caller.

use lifeboat_common::config::{ReplicatorConfig, SourceConfig};

/// The file of a host that has none.
pub(super) fn first(config: &ReplicatorConfig) -> Result<String, toml::ser::Error> {
    Ok(format!(
        "# Written by `lifeboat-replicator setup`; it is yours now: another run adds to it, and changes nothing that is here.\n\
         # File names are relative to this file, or names of systemd credentials. All settings, with what they mean:\n\
         # /usr/share/doc/lifeboat/examples/replicator.example.toml\n\n{}",
        toml::to_string(config)?
    ))
}

#[derive(serde::Serialize)]
struct One<'a> {
    source: [&'a SourceConfig; 1],
}

/// With one more cluster.
pub(super) fn with_source(text: &str, source: &SourceConfig) -> Result<String, toml::ser::Error> {
    Ok(format!("{}\n\n{}", text.trim_end(), toml::to_string(&One { source: [source] })?))
}

/// With `key = "value"` in `[source.TABLE]` of the `number`th source, from 0.
pub(super) fn with_value(text: &str, number: usize, table: &str, key: &str, value: &str) -> String {
    let setting = format!("{key} = {value:?}");
    let mut lines: Vec<&str> = text.lines().collect();
    let is_source = |line: &&str| line.trim_start().starts_with("[[source]]");
    let heads: Vec<usize> = (0..lines.len()).filter(|i| is_source(&lines[*i])).collect();
    let begin = heads.get(number).copied().unwrap_or(lines.len());
    let foreign = |line: &str| {
        let line = line.trim_start();
        line.starts_with('[') && !line.starts_with("[source.")
    };
    let rest = begin + 1;
    let end = (rest..lines.len()).find(|i| foreign(lines[*i])).unwrap_or(lines.len());
    let header = format!("[source.{table}]");
    let there = (rest..end).find(|i| lines[*i].trim() == header);
    let added = match there {
        Some(_) => setting,
        None => format!("\n{header}\n{setting}"),
    };
    // Comments before the next source are about that one.
    let says = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let last = || (begin..end).rev().find(|i| says(lines[*i])).map_or(end, |i| i + 1);
    let at = there.map_or_else(last, |i| i + 1);
    lines.insert(at.min(lines.len()), &added);
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "vault = \"file:///v\"  # the disk\n\n[[source]]\ncluster = \"a\"\n[source.s3]\nregion = \"x\"\n\n# The other one.\n\
                        [[source]]\ncluster = \"b\"\n\n[other]\n";

    #[test]
    fn a_value_goes_into_the_table_of_its_own_source() {
        let with = with_value(TEXT, 0, "s3", "credentials_file", "s3-a");
        assert!(with.contains("[source.s3]\ncredentials_file = \"s3-a\"\nregion = \"x\"\n"), "{with}");
        let with = with_value(TEXT, 0, "marker", "credentials_file", "m");
        assert!(
            with.contains("region = \"x\"\n\n[source.marker]\ncredentials_file = \"m\"\n\n# The other one."),
            "{with}"
        );
        let with = with_value(TEXT, 1, "marker", "credentials_file", "m");
        assert!(
            with.contains("cluster = \"b\"\n\n[source.marker]\ncredentials_file = \"m\"\n\n[other]"),
            "{with}"
        );
        assert!(with.contains("# the disk"), "comments stay");
    }
}
