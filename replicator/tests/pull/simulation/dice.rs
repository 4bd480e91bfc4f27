//! Numbers from a seed (SplitMix64, Steele et al. 2014), and where in a simulation they are drawn, for whoever reads a failure.

pub struct Dice {
    state: u64,
    seed: u64,
    day: u64,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), seed, day: 0 }
    }

    pub fn context(&mut self, seed: u64, day: u64) {
        (self.seed, self.day) = (seed, day);
    }

    /// For messages.
    pub fn place(&self) -> String {
        format!("seed {}, day {}", self.seed, self.day)
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub fn says(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let at = usize::try_from(self.below(of.len() as u64)).unwrap();
        of.get(at)
    }
}
