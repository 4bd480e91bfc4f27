//! What `ls`, `find` and `diff` print: one line or JSON object for each thing as it is found, so that millions need no
//! memory. Names out of snapshots lose what a terminal would obey.

use crate::table::{bytes, printable};
use anyhow::Result;
use jiff::Timestamp;
use lifeboat_common::reader::{TreeEntry, shown};
use lifeboat_format::tree::{Attributes, CHANGING, NodeKind};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{BufWriter, Write};

/// A file in a volume, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct FileItem {
    /// As it is given to commands.
    pub(crate) path: String,
    /// In hexadecimal, where the name in the volume is not what `path` says after it: no UTF-8, or escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    name_hex: Option<String>,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    mode: String,
    uid: u32,
    gid: u32,
    mtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    xattrs: Vec<String>,
    /// It kept changing while it was read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    changing: bool,
}

impl FileItem {
    pub(crate) fn new(path: String, entry: &TreeEntry) -> Self {
        let a = &entry.attributes;
        let name = entry.name();
        Self {
            path,
            name_hex: (shown(name).as_bytes() != name).then(|| hex::encode(name)),
            kind: word(a.kind),
            size: (a.kind == NodeKind::File).then_some(a.size),
            mode: format!("{:04o}", a.mode),
            uid: a.uid,
            gid: a.gid,
            mtime: time(a),
            target: a.target.as_deref().map(shown),
            xattrs: a.xattrs.iter().map(|(name, _)| shown(name)).collect(),
            changing: a.marks & CHANGING != 0,
        }
    }
}

/// A word for people and JSON.
pub(crate) fn word(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Directory => "directory",
        NodeKind::File => "file",
        NodeKind::Symlink => "symlink",
        NodeKind::Fifo => "fifo",
        NodeKind::Socket => "socket",
        NodeKind::CharDevice => "chardevice",
        NodeKind::BlockDevice => "blockdevice",
    }
}

fn time(a: &Attributes) -> String {
    let nanos = i32::try_from(a.mtime_ns).unwrap_or_default();
    Timestamp::new(a.mtime_s, nanos)
        .map_or_else(|_| format!("@{}.{:09}", a.mtime_s, a.mtime_ns), |t| t.to_string())
}

/// A path as `ls` shows it: folders end with a slash.
pub(crate) fn path_of(folder_path: String, entry: &TreeEntry) -> String {
    if entry.attributes.kind == NodeKind::Directory { folder_path + "/" } else { folder_path }
}

/// `drwxr-xr-x     0     0    1.5 KiB 2026-11-24T02:00:00Z path -> target`
pub(crate) fn long_line(path: &str, entry: &TreeEntry) -> String {
    let a = &entry.attributes;
    let size = match (a.kind, a.rdev) {
        (NodeKind::File, _) => bytes(a.size),
        (_, Some((major, minor))) => format!("{major}, {minor}"),
        _ => String::new(),
    };
    let mtime = time(a);
    let seconds = mtime.split_once('.').map_or(mtime.clone(), |(s, _)| format!("{s}Z"));
    let mut line = format!("{} {:>6} {:>6} {size:>10} {seconds:<20} {path}", permissions(a), a.uid, a.gid);
    if let Some(target) = &a.target {
        write!(line, " -> {}", shown(target)).expect("writing to a string does not fail");
    }
    line
}

fn permissions(a: &Attributes) -> String {
    let mut out = String::with_capacity(11);
    out.push(match a.kind {
        NodeKind::Directory => 'd',
        NodeKind::File => '-',
        NodeKind::Symlink => 'l',
        NodeKind::Fifo => 'p',
        NodeKind::Socket => 's',
        NodeKind::CharDevice => 'c',
        NodeKind::BlockDevice => 'b',
    });
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = a.mode >> shift;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (a.mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    out.push(if a.xattrs.is_empty() { ' ' } else { '+' });
    out
}

/// Where the lines go.
pub(crate) struct Listing<'a> {
    out: BufWriter<&'a mut dyn Write>,
    json: bool,
    count: u64,
}

impl<'a> Listing<'a> {
    /// Begins; `head` are the fields of the JSON document before its `items`.
    pub(crate) fn begin(out: &'a mut dyn Write, json: bool, head: &serde_json::Value) -> Result<Self> {
        let mut this = Self { out: BufWriter::with_capacity(64 << 10, out), json, count: 0 };
        if json {
            let head = serde_json::to_string(head)?;
            let fields = head.trim_start_matches('{').trim_end_matches('}');
            write!(this.out, "{{{fields},\"items\":[")?;
        }
        Ok(this)
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Adds one thing: as a line of text, or as an object.
    pub(crate) fn add(
        &mut self,
        text: impl FnOnce() -> String,
        item: impl FnOnce() -> Result<String>,
    ) -> Result<()> {
        if self.json {
            let comma = if self.count == 0 { "" } else { "," };
            write!(self.out, "{comma}\n{}", item()?)?;
        } else {
            writeln!(self.out, "{}", text())?;
        }
        self.count += 1;
        Ok(())
    }

    /// Adds an object or a folder.
    pub(crate) fn add_item(&mut self, path: &str, item: &impl Serialize) -> Result<()> {
        self.add(|| printable(path), || Ok(serde_json::to_string(item)?))
    }

    /// Adds a file of a volume.
    pub(crate) fn add_file(&mut self, path: String, entry: &TreeEntry, long: bool) -> Result<()> {
        if self.json {
            let item = serde_json::to_string(&FileItem::new(path, entry))?;
            return self.add(String::new, || Ok(item));
        }
        let path = path_of(path, entry);
        self.add(|| if long { long_line(&path, entry) } else { path.clone() }, || Ok(String::new()))
    }

    /// Writes text as it is, where this is no JSON.
    pub(crate) fn text(&mut self, text: &str) -> Result<()> {
        Ok(self.out.write_all(text.as_bytes())?)
    }

    pub(crate) fn end(mut self) -> Result<u64> {
        if self.json {
            let close = if self.count == 0 { "]}" } else { "\n]}" };
            writeln!(self.out, "{close}")?;
        }
        self.out.flush()?;
        Ok(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_what_ls_says() {
        let attributes = Attributes {
            kind: NodeKind::Symlink,
            mode: 0o6751,
            uid: 1000,
            gid: 5,
            mtime_s: 1_700_000_000,
            mtime_ns: 5,
            target: Some(b"\x1b[2J".to_vec()),
            xattrs: vec![(b"user.a".to_vec(), vec![])],
            ..Attributes::default()
        };
        let mut entry = TreeEntry { path: b"l".to_vec(), attributes, references: vec![], indirect: false };
        let line = long_line("l", &entry);
        assert_eq!(line, "lrwsr-s--x+   1000      5            2023-11-14T22:13:20Z l -> \\u{1b}[2J");
        entry.attributes = Attributes { mode: 0o1000, mtime_s: i64::MAX, ..Attributes::default() };
        assert!(long_line("d/", &entry).starts_with("d--------T "));
        assert!(long_line("d/", &entry).contains("@9223372036854775807"));
    }

    #[test]
    fn documents_are_json_however_many_items() {
        for n in 0..3 {
            let mut out = Vec::new();
            let mut listing = Listing::begin(&mut out, true, &serde_json::json!({"schema": "a/1"})).unwrap();
            for i in 0..n {
                listing.add_item("x", &serde_json::json!({"path": i})).unwrap();
            }
            assert_eq!(listing.end().unwrap(), n);
            let parsed: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(parsed["schema"], "a/1");
            assert_eq!(parsed["items"].as_array().unwrap().len() as u64, n);
        }
    }
}
