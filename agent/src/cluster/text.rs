//! Makes text from a server fit for reports and terminals. Knows nothing of what the text says.

/// The longest message kept from a server.
pub const MAX_MESSAGE: usize = 512;

/// Control characters become spaces, and what is longer than `max` bytes ends in an ellipsis.
#[must_use]
pub fn clean(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max + 4));
    for c in text.chars() {
        if out.len() + c.len_utf8() > max {
            out.push('…');
            break;
        }
        out.push(if hidden(c) { ' ' } else { c });
    }
    out
}

/// Control characters, and those that reorder or hide what a terminal shows.
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_length_are_bounded() {
        assert_eq!(clean("a\u{1b}[31mb\nc", 64), "a [31mb c");
        assert_eq!(clean("\u{202e}x", 64), " x");
        assert_eq!(clean("abcdef", 3), "abc…");
        assert_eq!(clean("ååå", 5), "åå…");
        assert_eq!(clean("abc", 3), "abc");
    }
}
