//! From an object's JSON to YAML that people read. Numbers are copied digit by digit, strings that could be taken for
//! something else are quoted (by the rules of YAML 1.1 and 1.2 both), so that reading it again gives the same object.
//! Knows no Kubernetes.

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt::Write as _;

/// Deeper values are written as they are: JSON is YAML.
const DEPTH_MAX: usize = 64;
/// YAML allows no longer key without a mark of its own, bytes.
const KEY_MAX: usize = 900;

/// Writes one JSON document as YAML.
pub(crate) fn from_json(json: &[u8]) -> Result<String, serde_json::Error> {
    let raw: &RawValue = serde_json::from_slice(json)?;
    let mut out = String::with_capacity(json.len() + json.len() / 4);
    match raw.get().as_bytes().first() {
        Some(b'{' | b'[') => block(raw, 0, &mut out)?,
        Some(b'"') => quoted(&serde_json::from_str::<String>(raw.get())?, &mut out),
        _ => out.push_str(raw.get()),
    }
    if !out.ends_with('\n') {
        out.push('\n');
    }
    Ok(out)
}

/// The entries of a JSON object, in their order.
struct Entries<'a>(Vec<(Text<'a>, &'a RawValue)>);

/// A string, borrowed where nothing in it is escaped.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Entries<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries<'de>, M::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(Entries(all))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// A mapping or sequence, each line indented by `indent`; the first line's indentation is there already.
fn block(raw: &RawValue, indent: usize, out: &mut String) -> Result<(), serde_json::Error> {
    if indent / 2 >= DEPTH_MAX {
        out.push_str(raw.get());
        return Ok(());
    }
    if raw.get().starts_with('{') {
        let Entries(entries) = serde_json::from_str(raw.get())?;
        if entries.is_empty() {
            out.push_str("{}");
        }
        for (i, (Text(key), value)) in entries.iter().enumerate() {
            separate(i, indent, out);
            if key.len() > KEY_MAX {
                out.push_str("? ");
                quoted(key, out);
                separate(1, indent, out);
                let _ = write!(out, ": {}", value.get());
                continue;
            }
            scalar(key, out);
            out.push(':');
            member(value, indent + 2, indent, out)?;
        }
    } else {
        let items: Vec<&RawValue> = serde_json::from_str(raw.get())?;
        if items.is_empty() {
            out.push_str("[]");
        }
        for (i, item) in items.iter().enumerate() {
            separate(i, indent, out);
            out.push('-');
            if is_filled(item) {
                out.push(' ');
                block(item, indent + 2, out)?;
            } else {
                member(item, indent + 2, indent + 2, out)?;
            }
        }
    }
    Ok(())
}

fn separate(position: usize, indent: usize, out: &mut String) {
    if position > 0 {
        if !out.ends_with('\n') {
            out.push('\n');
        }
        out.extend(std::iter::repeat_n(' ', indent));
    }
}

/// Whether a value is a mapping or sequence with something in it.
fn is_filled(raw: &RawValue) -> bool {
    let text = raw.get();
    let inside = text.get(1..).unwrap_or_default().trim_start();
    (text.starts_with('{') && !inside.starts_with('}')) || (text.starts_with('[') && !inside.starts_with(']'))
}

/// A value after its key's colon or a dash. Sequences stand below their key without more indentation, as kubectl
/// writes them.
fn member(value: &RawValue, indent: usize, parent: usize, out: &mut String) -> Result<(), serde_json::Error> {
    let text = value.get();
    if is_filled(value) {
        let indent = if text.starts_with('[') { parent } else { indent };
        if indent / 2 >= DEPTH_MAX {
            out.push(' ');
            return block(value, indent, out);
        }
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', indent));
        return block(value, indent, out);
    }
    out.push(' ');
    match text.as_bytes().first() {
        Some(b'"') => {
            let Text(string) = serde_json::from_str(text)?;
            if fits_literal(&string) { literal(&string, indent, out) } else { scalar(&string, out) }
        }
        Some(b'{') => out.push_str("{}"),
        Some(b'[') => out.push_str("[]"),
        _ => out.push_str(text),
    }
    Ok(())
}

/// A string on one line.
fn scalar(text: &str, out: &mut String) {
    if is_plain(text) { out.push_str(text) } else { quoted(text, out) }
}

/// Whether a string can stand without quotes and be nothing else in any YAML.
fn is_plain(text: &str) -> bool {
    let begins = |c: char| c.is_ascii_alphabetic() || c == '/';
    let inside = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(c, '/' | '.' | '-' | '_' | '+' | '@' | '=' | ' ' | ',' | '(' | ')')
    };
    if !text.starts_with(begins) || text.ends_with(' ') || text.len() > KEY_MAX {
        return false;
    }
    // A colon is plain only before something that is no space.
    let colons = text
        .match_indices(':')
        .all(|(i, _)| text[i + 1..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/'));
    if !colons || !text.chars().all(|c| inside(c) || c == ':') {
        return false;
    }
    let lower = text.to_ascii_lowercase();
    !["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "infinity"]
        .contains(&lower.as_str())
}

fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            _ if is_printable(c) => out.push(c),
            _ if u32::from(c) <= 0xffff => drop(write!(out, "\\u{:04x}", u32::from(c))),
            _ => drop(write!(out, "\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
}

/// What may stand in YAML as it is, and is seen by a person.
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        && !matches!(u32::from(c) & 0xffff, 0xfffe | 0xffff)
}

/// Whether a text of several lines can be written line by line.
fn fits_literal(text: &str) -> bool {
    let Some(inner) =
        text.strip_suffix('\n').or(Some(text)).filter(|t| t.contains('\n') || t.len() < text.len())
    else {
        return false;
    };
    let blank_line = |line: &str| !line.is_empty() && line.trim_matches([' ', '\t']).is_empty();
    let first = inner.split('\n').next().unwrap_or_default();
    !first.is_empty()
        && !first.starts_with([' ', '\t'])
        && !inner.ends_with('\n')
        && !inner.split('\n').any(blank_line)
        && text.chars().all(|c| c == '\n' || c == '\t' || is_printable(c))
}

fn literal(text: &str, indent: usize, out: &mut String) {
    let inner = text.strip_suffix('\n');
    out.push_str(if inner.is_some() { "|" } else { "|-" });
    for line in inner.unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent));
            out.push_str(line);
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests;
