//! How many transfers at a time: as many as bring more than fewer do. A far source needs many, a near one few, and
//! nobody can say beforehand which it is.
//!
//! Pure: told what arrived in how long, it gives a number. It doubles while that pays, as TCP's slow start does (RFC 5681),
//! goes back where it did not, and tries a few more now and then, for networks change.

use std::time::Duration;

/// To begin with.
const START: usize = 16;
/// A doubling must bring so much more to be worth another.
const WORTH_DOUBLING: f64 = 1.15;
/// A few more must bring so much more to stay.
const WORTH_KEEPING: f64 = 1.04;
/// Periods that something new gets before it is judged: what was asked for must arrive first.
const PATIENCE: u32 = 2;
/// Periods between two trials.
const REST: u32 = 12;
const LONGEST_REST: u32 = 96;

/// What it is doing.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Doing {
    /// Doubling; `before` is what the last number brought.
    Growing {
        before: Option<(usize, f64)>,
        periods: u32,
    },
    Resting {
        left: u32,
    },
    /// A few more than `from`, which brought `rate`.
    Trying {
        from: usize,
        rate: f64,
        periods: u32,
    },
}

/// The number, and what it came from.
#[derive(Debug, Clone)]
pub struct Transfers {
    most: usize,
    now: usize,
    doing: Doing,
    rest: u32,
    /// Bytes per second, smoothed.
    rate: f64,
}

impl Transfers {
    /// At most `most`.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        let doing = Doing::Growing { before: None, periods: 0 };
        Self { most, now: START.min(most), doing, rest: REST, rate: 0.0 }
    }

    /// So many at a time.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.now
    }

    /// How long a period is: what was asked for at its beginning begins to arrive at its end.
    #[must_use]
    pub fn period(first_byte: Duration) -> Duration {
        first_byte.clamp(Duration::from_millis(200), Duration::from_secs(3))
    }

    /// What a period brought. `full`: there was work for all of them.
    pub fn arrived(&mut self, bytes: u64, took: Duration, full: bool) {
        if !full || bytes == 0 || took.is_zero() {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = bytes as f64 / took.as_secs_f64();
        self.rate = if self.rate == 0.0 { rate } else { self.rate * 0.7 + rate * 0.3 };
        match self.doing {
            Doing::Growing { before, periods } => self.grow(before, periods + 1, rate),
            Doing::Resting { left } if left > 1 => self.doing = Doing::Resting { left: left - 1 },
            Doing::Resting { .. } if self.now < self.most => {
                self.doing = Doing::Trying { from: self.now, rate: self.rate, periods: 0 };
                self.now = (self.now + (self.now / 4).max(2)).min(self.most);
            }
            Doing::Resting { .. } => {}
            Doing::Trying { from, rate: before, periods } => {
                let periods = periods + 1;
                if rate >= before * WORTH_KEEPING && periods >= PATIENCE {
                    self.rate = rate;
                    self.rest = REST;
                    // More of what helped, at once.
                    self.doing = Doing::Growing { before: Some((self.now, rate)), periods: 0 };
                    self.now = (self.now * 2).min(self.most);
                } else if periods > PATIENCE {
                    self.now = from;
                    self.rest = (self.rest * 2).min(LONGEST_REST);
                    self.doing = Doing::Resting { left: self.rest };
                } else {
                    self.doing = Doing::Trying { from, rate: before, periods };
                }
            }
        }
    }

    fn grow(&mut self, before: Option<(usize, f64)>, periods: u32, rate: f64) {
        let Some((fewer, brought)) = before else {
            return self.double(rate);
        };
        if rate >= brought * WORTH_DOUBLING {
            return self.double(rate);
        }
        if periods <= PATIENCE {
            self.doing = Doing::Growing { before, periods };
            return;
        }
        if rate < brought * WORTH_KEEPING {
            self.now = fewer;
            self.rate = brought;
        }
        self.doing = Doing::Resting { left: self.rest };
    }

    fn double(&mut self, rate: f64) {
        self.rate = rate;
        if self.now >= self.most {
            self.doing = Doing::Resting { left: self.rest };
            return;
        }
        self.doing = Doing::Growing { before: Some((self.now, rate)), periods: 0 };
        self.now = (self.now * 2).min(self.most);
    }

    /// The source asked for fewer, or broke off.
    pub fn strained(&mut self) {
        self.now = (self.now / 2).max(1);
        self.rest = REST;
        self.doing = Doing::Resting { left: self.rest };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network of `ms` round trip: one transfer brings `each` bytes a second, all together at most `all`; `noise` in percent.
    fn run(ms: u64, each: u64, all: u64, most: usize, periods: usize, noise: u64) -> (Transfers, Vec<u64>) {
        let mut transfers = Transfers::new(most);
        let period = Transfers::period(Duration::from_millis(ms));
        let (mut rates, mut before, mut dice) = (Vec::new(), START.min(most), 12345_u64);
        for _ in 0..periods {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let percent = 100 - noise + (dice >> 33) % (2 * noise + 1);
            // What was added brings its part a period later.
            let rate = (before as u64 * each).min(all) * percent / 100;
            before = transfers.limit();
            let bytes = rate * u64::try_from(period.as_millis()).unwrap() / 1000;
            transfers.arrived(bytes, period, true);
            assert!((1..=most).contains(&transfers.limit()));
            rates.push((transfers.limit() as u64 * each).min(all));
        }
        (transfers, rates)
    }

    #[test]
    fn far_sources_get_what_they_need_and_near_ones_few() {
        let all = 400_000_000;
        for (ms, each) in [(0, 200_000_000), (50, 60_000_000), (150, 20_000_000), (300, 10_000_000)] {
            for noise in [0, 8] {
                let (transfers, rates) = run(ms, each, all, 64, 60, noise);
                let needed = usize::try_from(all.div_ceil(each)).unwrap();
                let enough = all / 10 * 9;
                assert!(rates[12..].iter().all(|r| *r >= enough), "{ms} ms, {noise} %: {rates:?}");
                let many = if noise == 0 { 2 } else { 4 };
                let limit = transfers.limit();
                assert!(limit <= (needed * many).max(START * many), "{ms} ms, {noise} %: {limit}");
            }
        }
    }

    #[test]
    fn the_most_is_never_passed_and_strain_halves() {
        let (mut transfers, _) = run(300, 1_000_000, 400_000_000, 20, 40, 0);
        assert_eq!(transfers.limit(), 20);
        transfers.strained();
        assert_eq!(transfers.limit(), 10);
        for _ in 0..9 {
            transfers.strained();
        }
        assert_eq!(transfers.limit(), 1);
        assert_eq!(Transfers::new(0).limit(), 1);
    }

    #[test]
    fn where_there_is_no_work_nothing_is_learnt() {
        let mut transfers = Transfers::new(64);
        for _ in 0..50 {
            transfers.arrived(1 << 20, Duration::from_secs(1), false);
            transfers.arrived(0, Duration::from_secs(1), true);
        }
        assert_eq!(transfers.limit(), START);
    }
}
