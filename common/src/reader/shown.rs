//! Names of files as text: what is no UTF-8, or what a terminal would obey or not show, becomes an escape, and back.

use std::fmt::Write as _;

/// Bytes of a path as one line of text. Text stays as it is, but for `\` (doubled), bytes that are no UTF-8 (`\xff`),
/// and characters that do not print (`\n`, `\u{202e}`).
#[must_use]
pub fn shown(path: &[u8]) -> String {
    let mut out = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push(&mut out, c));
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}").expect("writing to a string does not fail");
        }
    }
    out
}

fn push(out: &mut String, c: char) {
    match c {
        '\\' => out.push_str("\\\\"),
        ' '..='~' => out.push(c),
        _ if prints(c) => out.push(c),
        _ => out.extend(c.escape_debug()),
    }
}

/// Whether it is a visible character, or one that joins the character before it.
fn prints(c: char) -> bool {
    let mut buffer = [b'a'; 5];
    let len = 1 + c.encode_utf8(&mut buffer[1..]).len();
    std::str::from_utf8(&buffer[..len]).is_ok_and(|text| text.escape_debug().count() == 2)
}

/// The bytes of which [`shown`] made `text`; `None` where it makes no such text.
#[must_use]
pub fn unshown(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match rest.next()? {
            '\\' => out.push(b'\\'),
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            '0' => out.push(0),
            'x' => {
                let digits: String = rest.by_ref().take(2).collect();
                out.push(u8::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 2)?);
            }
            'u' => {
                let braces: String = rest.by_ref().take_while(|c| *c != '}').collect();
                let code = u32::from_str_radix(braces.strip_prefix('{')?, 16).ok()?;
                out.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_stay_and_tricks_show() {
        for plain in ["a b'c\"d.txt", "é", "e\u{301}", "日本語", "🙂"] {
            assert_eq!(shown(plain.as_bytes()), plain);
        }
        let tricks: [(&[u8], &str); 6] = [
            (b"\x1b[31m", "\\u{1b}[31m"),
            (b"a\nb", "a\\nb"),
            ("a\u{202e}b".as_bytes(), "a\\u{202e}b"),
            (b"\xff\xfe", "\\xff\\xfe"),
            (b"a\\x41", "a\\\\x41"),
            ("a\u{feff}\u{a0}".as_bytes(), "a\\u{feff}\\u{a0}"),
        ];
        for (bytes, text) in tricks {
            assert_eq!(shown(bytes), text);
        }
        for wrong in ["\\", "\\q", "\\x4", "\\xzz", "\\u{110000}", "\\u41"] {
            assert_eq!(unshown(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_given_back(bytes in proptest::collection::vec(any::<u8>(), 0..40), text in ".*") {
            for name in [bytes, text.into_bytes()] {
                let text = shown(&name);
                prop_assert!(!text.chars().any(char::is_control));
                prop_assert_eq!(unshown(&text), Some(name));
            }
        }
    }
}
