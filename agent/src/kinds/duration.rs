//! Durations as they are written in specs: a number and one of `s m h d`. Pure.

/// A duration that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no duration; write a whole number and s, m, h or d, for example 90m, 720h or 30d")]
pub struct DurationError {
    pub text: String,
}

/// Seconds of a duration, more than 0.
///
/// # Errors
/// If the text is something else, or too long a time to count.
pub fn seconds(text: &str) -> Result<u64, DurationError> {
    let wrong = || DurationError { text: text.chars().take(64).collect() };
    let unit = text.chars().last().ok_or_else(wrong)?;
    let each = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let digits = &text[..text.len() - unit.len_utf8()];
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    if count == 0 { Err(wrong()) } else { Ok(count * each) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_and_every_slip() {
        for (text, expected) in [("90s", 90), ("1m", 60), ("720h", 2_592_000), ("30d", 2_592_000)] {
            assert_eq!(seconds(text), Ok(expected));
        }
        for text in ["", "h", "0h", "-1h", "1.5h", "1w", "1", "999999999h", "1å", "1 h"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
