//! What a key may look like, and the arguments of a listing. Knows no store.

use super::{Result, StoreError, StoreErrorKind};

/// S3's own limit, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;

/// The most entries that one page of a listing may ask for.
pub const MAX_PAGE: usize = 1000;

/// Why `key` is no key, or `None` when it is one.
#[must_use]
pub fn flaw(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        return Some("the key is empty");
    }
    if key.len() > MAX_KEY_BYTES {
        return Some("the key is longer than 1024 bytes");
    }
    if key.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Some("the key holds a control character");
    }
    if key.split('/').any(|part| part.is_empty()) {
        return Some("the key begins or ends with a slash, or has an empty part");
    }
    if key.split('/').any(|part| part == "." || part == "..") {
        return Some("the key has a part that is '.' or '..'");
    }
    None
}

/// Refuses what is no key.
pub(crate) fn check(operation: &'static str, store: &str, key: &str) -> Result<()> {
    match flaw(key) {
        None => Ok(()),
        Some(why) => {
            let target = format!("{store}/{}", key.escape_debug());
            Err(StoreError::new(StoreErrorKind::Invalid, operation, target, why))
        }
    }
}

/// Refuses a page size or a prefix that no store takes.
pub(crate) fn check_listing(store: &str, prefix: &str, after: Option<&str>, limit: usize) -> Result<()> {
    let why = if limit == 0 || limit > MAX_PAGE {
        "a page of a listing holds 1 to 1000 keys"
    } else if prefix.len() > MAX_KEY_BYTES || after.is_some_and(|after| after.len() > MAX_KEY_BYTES) {
        "the prefix or the key to start after is longer than 1024 bytes"
    } else if prefix.contains('\0') || after.is_some_and(|after| after.contains('\0')) {
        "the prefix or the key to start after holds a NUL byte"
    } else {
        return Ok(());
    };
    let target = format!("{store}/{}", prefix.escape_debug());
    Err(StoreError::new(StoreErrorKind::Invalid, "list", target, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_plain_relative_paths() {
        for key in ["a", "packs/aa/0f", "a b+c%2F=&?#é.json", ".hidden/x", "...", "a..b/c"] {
            assert_eq!(flaw(key), None, "{key}");
        }
        for key in ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\0b", "a\nb", "a\u{7f}"] {
            assert!(flaw(key).is_some(), "{key:?}");
        }
        assert_eq!(flaw(&"k".repeat(1024)), None);
        assert!(flaw(&"k".repeat(1025)).is_some());
    }

    #[test]
    fn pages_have_bounds() {
        assert!(check_listing("s", "", None, 1).is_ok());
        assert!(check_listing("s", "a/", Some("a/b"), 1000).is_ok());
        assert!(check_listing("s", "", None, 0).is_err());
        assert!(check_listing("s", "", None, 1001).is_err());
        assert!(check_listing("s", "a\0", None, 1).is_err());
        assert!(check_listing("s", "", Some(&"k".repeat(1025)), 1).is_err());
    }
}
