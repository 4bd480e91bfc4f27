//! What of a tree is wanted: all, a path and what is below it, or what a pattern matches.

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use globset::{Candidate, GlobBuilder, GlobMatcher};
use lifeboat_common::reader::{ReadError, Tree, TreeEntry};
use lifeboat_format::tree::NodeKind;
use std::future::ready;

/// Entries, or what cannot be read.
pub type Entries = BoxStream<'static, Result<TreeEntry, ReadError>>;

/// A choice of entries of one tree. Paths are components joined by `/`, as bytes.
#[derive(Debug, Clone)]
pub enum Chosen {
    All,
    /// An entry, and what is below it.
    Path(Vec<u8>),
    /// Entries that a pattern matches, and what is below them.
    Matching(Pattern),
}

/// `*` and `?` stay within a name, `**` does not, `[…]` and `{a,b}` are there.
#[derive(Debug, Clone)]
pub struct Pattern {
    glob: GlobMatcher,
    /// The directory that everything it matches is in.
    base: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
#[error("'{pattern}' is no pattern: {why}")]
pub struct PatternError {
    pattern: String,
    why: String,
}

impl Pattern {
    /// # Errors
    /// It is not a pattern.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let bad = |e: globset::Error| PatternError { pattern: pattern.to_owned(), why: e.kind().to_string() };
        let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build();
        let literal = pattern.find(is_special).map_or(pattern, |at| &pattern[..at]);
        let base = literal.rfind('/').map_or("", |at| &literal[..at]);
        Ok(Self { glob: glob.map_err(bad)?.compile_matcher(), base: base.as_bytes().to_vec() })
    }

    /// Whether it matches the path itself.
    #[must_use]
    pub fn is_match(&self, path: &[u8]) -> bool {
        self.glob.is_match_candidate(&Candidate::from_bytes(path))
    }

    /// Whether it matches the path, or a directory that that is in.
    fn covers(&self, path: &[u8]) -> bool {
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        ends.chain([path.len()]).any(|end| self.is_match(&path[..end]))
    }
}

impl Chosen {
    /// What is chosen of a tree, in the order of its keys: nothing where there is nothing of that name.
    #[must_use]
    pub fn entries(&self, tree: &Tree) -> Entries {
        match self {
            Self::Path(path) if !path.is_empty() => {
                let (tree, path) = (tree.clone(), path.clone());
                stream::once(async move { one(&tree, &path).await }).flatten().boxed()
            }
            Self::All | Self::Path(_) => tree.all(),
            Self::Matching(pattern) => {
                let (pattern, base) = (pattern.clone(), pattern.base.clone());
                // Entries of one directory come together.
                let mut parent: Option<(Vec<u8>, bool)> = None;
                let mut chosen = move |entry: &Result<TreeEntry, ReadError>| {
                    let Ok(entry) = entry else { return true };
                    let within = entry.parent().unwrap_or_default();
                    if parent.as_ref().is_none_or(|(known, _)| known != within) {
                        parent = Some((within.to_vec(), !within.is_empty() && pattern.covers(within)));
                    }
                    parent.as_ref().is_some_and(|(_, all)| *all) || pattern.is_match(&entry.path)
                };
                tree.below(&base).filter(move |entry| ready(chosen(entry))).boxed()
            }
        }
    }
}

async fn one(tree: &Tree, path: &[u8]) -> Entries {
    match tree.entry(path).await {
        Ok(None) => stream::empty().boxed(),
        Err(e) => stream::once(ready(Err(e))).boxed(),
        Ok(Some(entry)) => {
            let is_directory = entry.attributes.kind == NodeKind::Directory;
            let first = stream::once(ready(Ok(entry)));
            if is_directory { first.chain(tree.below(path)).boxed() } else { first.boxed() }
        }
    }
}

/// Whether a path has what only a pattern has.
#[must_use]
pub fn is_pattern(path: &str) -> bool {
    path.contains(is_special)
}

fn is_special(c: char) -> bool {
    matches!(c, '*' | '?' | '[' | '{' | '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_and_know_where_to_begin() {
        for (pattern, base, yes, no) in [
            ("a/b/*.txt", "a/b", "a/b/c.txt", "a/b/c/d.txt"),
            ("**/*.txt", "", "a/b/c.txt", "a/b"),
            ("a*", "", "abc", "b"),
            ("a/[bc]", "a", "a/c", "a/d"),
            ("*", "", "x", "x/y"),
        ] {
            let p = Pattern::new(pattern).unwrap();
            assert_eq!(p.base, base.as_bytes(), "{pattern}");
            assert!(p.is_match(yes.as_bytes()) && !p.is_match(no.as_bytes()), "{pattern}");
        }
        let p = Pattern::new("a/b*").unwrap();
        assert!(p.covers(b"a/bc/d/e") && p.covers(b"a/b") && !p.covers(b"a/c/b") && !p.covers(b"a"));
        assert!(Pattern::new("a[").is_err());
        assert!(Pattern::new("*").unwrap().is_match(b"\xff\xfe"));
        assert!(is_pattern("a*") && !is_pattern("a/b.c"));
    }
}
