//! Months of simulated days: backups by the rules of the agent, pulls, scrubs and retention of the real code on both sides,
//! with faults, crashes and attacks drawn from a seed. Whatever comes, what should be there is there.
//!
//! `SIMULATION=100` runs a hundred seeds instead of the few, `SIMULATION_DAYS=365` a year of each; `SIMULATION_SEED=n` runs one of
//! them again.

mod dice;
mod faults;
mod look;
mod writer;

use crate::fixture::*;
use crate::primary::{ALL, pass_through};
use crate::scrub::scrubber;
use dice::Dice;
use jiff::SignedDuration;
use lifeboat_common::clock::Clock as _;
use lifeboat_common::config::RetentionConfig;
use lifeboat_common::progress::Progress;
use lifeboat_common::store::faulty::{Faults, FaultyStore};
use lifeboat_replicator::retain::RetainError;
use std::sync::Arc;
use writer::Writer;

const DAYS: u64 = 60;
const SEEDS: u64 = 3;

/// Keeps three weeks in all, so that much is forgotten.
fn policy() -> RetentionConfig {
    RetentionConfig {
        within_hours: Some(72),
        last: Some(3),
        daily: Some(7),
        weekly: Some(3),
        monthly: Some(1),
        yearly: Some(0),
        minimum: Some(2),
        floor_hours: Some(48),
        scope_days: Some(0),
        grace_hours: Some(24),
        max_percent: Some(50),
        ..RetentionConfig::default()
    }
}

pub struct World {
    pub primary: Primary,
    pub vaulted: Vaulted,
    pub writer: Writer,
    pub dice: Dice,
    /// Keys of the primary that somebody took or altered and nobody has put back.
    pub spoiled: std::collections::BTreeSet<String>,
    pub tally: Tally,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub commits: u64,
    pub orphans: u64,
    pub vault_faults: u64,
    pub primary_faults: u64,
    pub attacks: u64,
    pub crashes: u64,
    pub found_in_vault: u64,
    pub healed_primary: u64,
    pub forgotten_vault: u64,
    pub forgotten_primary: u64,
    pub deleted_primary: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut primary = Primary::new("prod");
        primary.next_charter(|c| c.policy.retention.primary_hours = 120);
        let vaulted = Vaulted::new(&primary);
        let (writer, dice) = (Writer::default(), Dice::new(seed));
        Self { primary, vaulted, writer, dice, spoiled: Default::default(), tally: Tally::default() }
    }

    async fn day(&mut self) {
        let minutes = 20 * 60 + self.dice.below(8 * 60);
        self.primary.pass(SignedDuration::from_mins(i64::try_from(minutes).unwrap()));
        self.writer.day(&mut self.primary, &mut self.dice, &mut self.tally);
        self.misfortune();
        self.pulls().await;
        if self.dice.says(60) {
            self.scrub();
        }
        self.pulls().await;
        if self.dice.says(85) {
            self.retain();
        }
        self.person();
        self.look();
    }

    async fn pulls(&mut self) {
        if self.dice.says(30) {
            let seed = self.dice.next();
            let faults = Faults { before: 0.05, lost: 0.05, cut: 0.05, truncate: 0.05, ..Faults::default() };
            let mut faulty = FaultyStore::new(Arc::new(self.primary.store.clone()), seed).everywhere(faults);
            if self.dice.says(60) {
                faulty = faulty.crash_after(self.dice.below(25));
                self.tally.crashes += 1;
            }
            self.vaulted.replicator.pull(&self.primary.source_through(Arc::new(faulty))).await;
        }
        let outcome = self.vaulted.pull(&self.primary).await;
        assert!(outcome.error.is_none(), "{}", outcome.error.unwrap());
    }

    fn scrub(&mut self) {
        let all = self.dice.says(70);
        let report = scrubber(&self.vaulted, &self.primary).run(all, |_| Progress::quiet()).unwrap();
        self.tally.found_in_vault += report.damaged() as u64;
    }

    fn retain(&mut self) {
        let now = self.primary.clock.now();
        let pass = match self.vaulted.retaining_with(&self.primary, &policy(), |r| r.run(now)) {
            Ok(pass) => pass,
            // The only charter has rotted, and no scrub came by yet.
            Err(RetainError::NoCharter { .. }) => return,
            Err(error) => panic!("{}: {error}", self.dice.place()),
        };
        self.tally.forgotten_vault += pass.forgotten.len() as u64;
        let crash = self.dice.says(20).then(|| self.dice.below(30));
        self.tally.crashes += u64::from(crash.is_some());
        let seed = self.dice.next();
        let through = |faulty: FaultyStore<_>| match crash {
            Some(after) => faulty.crash_after(after),
            None => faulty,
        };
        let store = FaultyStore::new(Arc::new(self.primary.store.clone()), seed);
        let Ok(pass) = pass_through(&self.vaulted, &self.primary, ALL, Arc::new(through(store))) else {
            return;
        };
        self.tally.healed_primary += pass.healed.healed.len() as u64;
        self.tally.forgotten_primary += pass.forgotten.len() as u64;
        self.tally.deleted_primary += pass.deleted;
    }
}

async fn simulate(seed: u64, days: u64) -> Tally {
    let mut world = World::new(seed);
    for day in 0..days {
        world.dice.context(seed, day);
        world.day().await;
    }
    world.calm().await;
    world.tally
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn months_of_faults_and_attacks_lose_nothing() {
    use std::io::Write as _;
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let seeds: Vec<u64> = match number("SIMULATION_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("SIMULATION").unwrap_or(SEEDS)).collect(),
    };
    let days = number("SIMULATION_DAYS").unwrap_or(DAYS).max(DAYS);
    for seed in seeds {
        let tally = simulate(seed, days).await;
        // Past the test runner, which shows nothing of a test that passes.
        let _nobody_listens = writeln!(std::io::stderr(), "simulation: seed {seed}, {days} days: {tally:?}");
        assert!(tally.commits > 30 && tally.forgotten_vault > 5, "{tally:?}");
        assert!(tally.forgotten_primary > 5 && tally.deleted_primary > 10, "{tally:?}");
        assert!(tally.vault_faults > 5 && tally.found_in_vault > 3 && tally.healed_primary > 3, "{tally:?}");
    }
}
