//! Random walks: crashes between any two actions, outages, runs of any length and end, pauses, clocks that step.

use super::world::World;
use super::*;
use jiff::SignedDuration;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Event {
    Pass(i64),
    /// The process dies after so many actions of its next step.
    Die(usize),
    /// Nobody leads for so long.
    Outage(i64),
    End(bool),
    Request,
    Delete,
    StepClock(i64),
}

fn event(steps: bool) -> impl Strategy<Value = Event> {
    let step = if steps { -7200..7200i64 } else { 0..1i64 };
    prop_oneof![
        8 => (1..5000i64).prop_map(Event::Pass),
        2 => (0..4usize).prop_map(Event::Die),
        1 => (1..200_000i64).prop_map(Event::Outage),
        6 => any::<bool>().prop_map(Event::End),
        1 => Just(Event::Request),
        1 => Just(Event::Delete),
        1 => step.prop_map(Event::StepClock),
    ]
}

fn walk(events: &[Event], cron: &str) -> World {
    let mut world = World::new("2026-11-24T12:34:56Z");
    world.schedule("s", cron);
    world.settle();
    let mut requests = 0;
    for event in events {
        match event {
            Event::Pass(seconds) => world.pass(*seconds),
            Event::Die(after) => world.step(Some(*after)),
            Event::Outage(seconds) => {
                world.crash();
                world.pass(*seconds);
            }
            Event::End(good) => world.end(if *good { Phase::Completed } else { Phase::Failed }),
            Event::Request => {
                requests += 1;
                world.on_demand(&format!("request-{requests}"));
            }
            Event::Delete => {
                let running = world.running.clone();
                world.backups.retain(|_, b| Some(uid(b)) != running.as_deref());
            }
            Event::StepClock(seconds) => world.off = SignedDuration::from_secs(*seconds),
        }
        world.settle();
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Without steps of the clock: every time of the schedule is served by one Backup or counted as missed, or still
    /// waits for the one that runs; no time is served twice.
    #[test]
    fn no_time_is_lost_or_served_twice(events in prop::collection::vec(event(false), 1..60), hourly in any::<bool>()) {
        let cron = if hourly { "0 * * * *" } else { "17 */3 * * *" };
        let world = walk(&events, cron);
        let mut times: Vec<_> = world.made.iter().map(|(_, at, _)| *at).collect();
        let made = times.len();
        times.sort_unstable();
        times.dedup();
        prop_assert_eq!(times.len(), made, "served twice");
        let table = super::super::cron::Timetable::parse(cron, "UTC", "").unwrap();
        let start: Timestamp = "2026-11-24T12:34:56Z".parse().unwrap();
        let served = world.schedules["s"].status.as_ref().unwrap().served.unwrap();
        let due = table.due(start, served).map_or(0, |(_, count)| count);
        let counted = world.schedules["s"].status.as_ref().unwrap().missed_runs.unwrap_or(0);
        // A process that dies between a Backup and the status forgets the times that the Backup made up.
        prop_assert!(made as u64 + u64::try_from(counted).unwrap() <= due);
        prop_assert!(made > 0 || due == 0);
        let waits = table.due(served, world.now()).is_some();
        let unfinished = world.backups.values().any(|b| schedule_of(b) == Some("s") && !phase(b).is_finished());
        prop_assert!(!waits || unfinished, "a time is due and nobody serves it");
    }

    /// Whatever the clock does: no two Backups for one time, and in truth no two within less than half the period
    /// unless the clock was stepped by more than it.
    #[test]
    fn steps_of_the_clock_run_nothing_twice(events in prop::collection::vec(event(true), 1..60)) {
        let world = walk(&events, "0 */4 * * *");
        let mut times: Vec<_> = world.made.iter().map(|(_, at, _)| *at).collect();
        let made = times.len();
        times.sort_unstable();
        times.dedup();
        prop_assert_eq!(times.len(), made, "served twice");
    }

    /// Every Backup that was asked for ends, is canceled or still waits; none runs twice at once, and the plan rests.
    #[test]
    fn every_request_ends(events in prop::collection::vec(event(true), 1..40)) {
        let mut world = walk(&events, "30 * * * *");
        world.schedules.get_mut("s").unwrap().spec.paused = true;
        for _ in 0..200 {
            world.settle();
            if world.running.is_none() {
                break;
            }
            world.end(Phase::Completed);
        }
        prop_assert!(world.backups.values().all(|b| phase(b).is_finished()), "something hangs");
    }
}
