//! How many objects to ask for at a time, so that pages keep to a size in bytes. Pure.

/// Learns from each page how large the next may be.
#[derive(Debug, Clone)]
pub(super) struct Pacing {
    limit: u32,
    max: u32,
    soft_bytes: usize,
}

/// A page may at most become this many times larger than the one before it.
const GROWTH: u32 = 4;
/// A page that was cut off was larger than the cap by an unknown factor.
const CUT: u32 = 8;
/// A server that fails is not asked for fewer objects than this at a time.
const FEW: u32 = 50;

impl Pacing {
    pub(super) fn new(start: u32, max: u32, soft_bytes: usize) -> Self {
        Self { limit: start.clamp(1, max.max(1)), max: max.max(1), soft_bytes }
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// A page arrived: aim at three quarters of the size by what an object weighed.
    pub(super) fn arrived(&mut self, objects: usize, bytes: usize) {
        if objects == 0 {
            return;
        }
        let weight = (bytes / objects).max(1);
        let fitting = u32::try_from(self.soft_bytes / 4 * 3 / weight).unwrap_or(u32::MAX).max(1);
        let grown = self.limit.saturating_mul(GROWTH);
        let next = if bytes > self.soft_bytes { fitting.min(self.limit / 2) } else { fitting.min(grown) };
        self.limit = next.clamp(1, self.max);
    }

    /// A page was cut off because it was far too large: `true` if a smaller one can be asked for.
    pub(super) fn cut(&mut self) -> bool {
        let more = self.limit > 1;
        self.limit = (self.limit / CUT).max(1);
        more
    }

    /// The server failed on a page that may have been too much for it (a conversion webhook, a slow
    /// extension server): `true` if a smaller one is worth a try. Pages stay small from here on.
    pub(super) fn failed(&mut self) -> bool {
        if self.limit <= FEW {
            return false;
        }
        self.limit = (self.limit / CUT).max(FEW);
        self.max = self.limit;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const MIB: usize = 1 << 20;

    #[test]
    fn small_objects_grow_the_page_to_its_maximum() {
        let mut pacing = Pacing::new(500, 5000, 8 * MIB);
        pacing.arrived(500, 500 * 1024);
        assert_eq!(pacing.limit(), 2000);
        pacing.arrived(2000, 2000 * 1024);
        assert_eq!(pacing.limit(), 5000);
    }

    #[test]
    fn large_objects_shrink_it() {
        let mut pacing = Pacing::new(500, 5000, 8 * MIB);
        pacing.arrived(500, 10 * MIB);
        assert!(pacing.limit() <= 250);
        let mut pacing = Pacing::new(500, 5000, 8 * MIB);
        assert!(pacing.cut() && pacing.cut());
        assert_eq!(pacing.limit(), 7);
        pacing.arrived(7, 7 * MIB);
        assert_eq!(pacing.limit(), 6);
        pacing.arrived(1, 30 * MIB);
        assert_eq!(pacing.limit(), 1);
        assert!(!pacing.cut());
    }

    #[test]
    fn failures_stay_small() {
        let mut pacing = Pacing::new(2000, 5000, 8 * MIB);
        assert!(pacing.failed());
        assert_eq!(pacing.limit(), 250);
        pacing.arrived(250, 250);
        assert_eq!(pacing.limit(), 250);
        assert!(pacing.failed());
        assert_eq!(pacing.limit(), 50);
        assert!(!pacing.failed());
    }
}
