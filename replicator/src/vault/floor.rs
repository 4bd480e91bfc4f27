//! How much of the disk stays free. Pure.

use std::str::FromStr;

/// What `--min-free` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MinFree {
    /// 5 % of the disk, at most 1 GiB.
    #[default]
    Default,
    Bytes(u64),
    Percent(u64),
}

impl MinFree {
    /// Bytes, on a disk of `total`.
    #[must_use]
    pub fn of(self, total: u64) -> u64 {
        match self {
            Self::Default => (total / 20).min(1 << 30),
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => total / 100 * percent,
        }
    }
}

impl FromStr for MinFree {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || format!("'{s}' is neither a percentage such as 10% nor a size such as 500MiB or 2GiB");
        match s.strip_suffix('%') {
            Some(percent) => match percent.trim().parse::<u64>() {
                Ok(percent) if percent < 100 => Ok(Self::Percent(percent)),
                _ => Err(bad()),
            },
            None => parse_size(s).map(Self::Bytes).map_err(|_| bad()),
        }
    }
}

/// Bytes of a size such as `500MiB`.
pub fn parse_size(s: &str) -> Result<u64, String> {
    let bad = || format!("'{s}' is no size such as 500MiB or 2GiB");
    let number = |s: &str| s.trim().parse::<u64>().map_err(|_| bad());
    let units =
        [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("K", 10), ("M", 20), ("G", 30), ("T", 40)];
    for (unit, shift) in units {
        if let Some(count) = s.strip_suffix(unit) {
            return number(count)?.checked_mul(1 << shift).ok_or_else(bad);
        }
    }
    number(s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_percentages() {
        assert_eq!("10%".parse(), Ok(MinFree::Percent(10)));
        assert_eq!("2GiB".parse(), Ok(MinFree::Bytes(2 << 30)));
        assert_eq!("0".parse(), Ok(MinFree::Bytes(0)));
        for bad in ["", "100%", "-1", "1 XB", "99999999999T"] {
            assert!(bad.parse::<MinFree>().is_err(), "{bad}");
        }
        assert_eq!(MinFree::Default.of(10 << 30), (10 << 30) / 20);
        assert_eq!(MinFree::Default.of(1 << 50), 1 << 30);
        assert_eq!(MinFree::Percent(10).of(1000), 100);
    }
}
