//! What is asked of a run, and which entries it leaves out.

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// How a tree is stored.
#[derive(Debug, Clone)]
pub struct TreeOptions {
    pub exclude: Excludes,
    /// Directories with a file `.nobackup`, or a valid `CACHEDIR.TAG` (<https://bford.info/cachedir/>), are stored
    /// empty.
    pub markers: bool,
    /// Reads files that look unchanged, too.
    pub read_all: bool,
    /// Counts what would be read, and stores nothing.
    pub dry_run: bool,
    /// Threads that read; more than cores, because disks answer late.
    pub readers: usize,
    /// Threads that compress.
    pub workers: usize,
    /// Threads that hash packs and hand them to the sink; one hashes more than two cores compress.
    pub senders: usize,
}

impl Default for TreeOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            exclude: Excludes::default(),
            markers: true,
            read_all: false,
            dry_run: false,
            readers: 16,
            workers: cores.min(16),
            senders: 1,
        }
    }
}

/// Patterns of what is left out, after those of gitignore: one without a slash matches names anywhere, one with a
/// slash paths from the root; `/` at the end matches directories only. `*` and `?` do not match a slash, `**` does.
#[derive(Debug, Clone, Default)]
pub struct Excludes {
    names: GlobSet,
    paths: GlobSet,
    directory_names: GlobSet,
    directory_paths: GlobSet,
    any: bool,
}

/// A pattern that is none.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    #[error("the pattern '{}' cannot be understood: {why}; see --exclude in --help", pattern.escape_debug())]
    Malformed { pattern: String, why: String },
    #[error("together the patterns are too large: {0}; use fewer or simpler ones")]
    TooLarge(String),
}

impl Excludes {
    /// # Errors
    /// Where one is not a pattern, or begins with `!`: nothing is taken back in.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, PatternError> {
        let mut sets: [GlobSetBuilder; 4] = std::array::from_fn(|_| GlobSetBuilder::new());
        let mut any = false;
        for pattern in patterns {
            let malformed = |why: String| PatternError::Malformed { pattern: pattern.to_owned(), why };
            if pattern.starts_with('!') {
                return Err(malformed("what was left out cannot be taken in again ('!')".to_owned()));
            }
            let (body, directory) = match pattern.strip_suffix('/') {
                Some(body) => (body, true),
                None => (pattern, false),
            };
            let anchored = body.contains('/');
            let body = body.strip_prefix('/').unwrap_or(body);
            if body.is_empty() {
                return Err(malformed("it matches nothing".to_owned()));
            }
            let glob = GlobBuilder::new(body).literal_separator(true).backslash_escape(true).build();
            let glob = glob.map_err(|e| malformed(e.kind().to_string()))?;
            sets[usize::from(anchored) + 2 * usize::from(directory)].add(glob);
            any = true;
        }
        let built: Result<Vec<GlobSet>, _> = sets.iter().map(GlobSetBuilder::build).collect();
        let built = built.map_err(|e| PatternError::TooLarge(e.to_string()))?;
        let [names, paths, directory_names, directory_paths] =
            <[GlobSet; 4]>::try_from(built).map_err(|_| PatternError::TooLarge("internal".to_owned()))?;
        Ok(Self { names, paths, directory_names, directory_paths, any })
    }

    /// Whether there is no pattern.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.any
    }

    /// Whether the entry `name` of the directory `parent` (components joined by `/`; empty: the root) is left out.
    #[must_use]
    pub fn matches(&self, parent: &[u8], name: &[u8], directory: bool) -> bool {
        if !self.any {
            return false;
        }
        let candidate = |bytes| Candidate::new(Path::new(OsStr::from_bytes(bytes)));
        let alone = candidate(name);
        if self.names.is_match_candidate(&alone)
            || (directory && self.directory_names.is_match_candidate(&alone))
        {
            return true;
        }
        if self.paths.is_empty() && (!directory || self.directory_paths.is_empty()) {
            return false;
        }
        let path = if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() };
        let whole = candidate(&path);
        self.paths.is_match_candidate(&whole)
            || (directory && self.directory_paths.is_match_candidate(&whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_those_of_gitignore() {
        let e = Excludes::new(["*.tmp", "cache/", "/top", "a/b*", "x/**/y", "v/**"]).unwrap();
        let matches =
            |parent: &str, name: &str, directory| e.matches(parent.as_bytes(), name.as_bytes(), directory);
        assert!(matches("", "a.tmp", false) && matches("d/e", "a.tmp", true));
        assert!(matches("d", "cache", true) && !matches("d", "cache", false));
        assert!(matches("", "top", false) && !matches("d", "top", false));
        assert!(matches("a", "bc", false) && !matches("c/a", "bc", false) && !matches("a/bc", "d", false));
        assert!(matches("x/1/2", "y", false) && matches("x", "y", false) && !matches("x", "z", false));
        assert!(matches("v", "w", false) && !matches("", "v", true));
        assert!(Excludes::new(["\u{ff}*"]).unwrap().matches(b"", "\u{ff}b".as_bytes(), false));
        assert!(!e.matches(b"d", b"\xff\xfe", false) && e.matches(b"d", b"\xff.tmp", false));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["!a", "/", "", "a[", "{a"] {
            assert!(Excludes::new([bad]).is_err(), "{bad}");
        }
        assert!(Excludes::new([]).unwrap().is_empty());
    }
}
