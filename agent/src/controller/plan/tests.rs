//! Plans, case by case.

use super::world::{World, at};
use super::*;
use jiff::SignedDuration;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn daily() -> World {
    let mut world = World::new("2026-11-24T12:00:00Z");
    world.schedule("daily", "0 2 * * *");
    world.settle();
    world
}

fn run(world: &mut World) {
    world.settle();
    world.end(Phase::Completed);
    world.settle();
}

#[test]
fn a_schedule_makes_a_backup_at_its_time_and_says_when_the_next_is() {
    let mut world = daily();
    assert!(world.made.is_empty(), "nothing from before it was there");
    let next = |w: &World| w.schedules["daily"].status.as_ref().unwrap().next_run;
    assert_eq!(next(&world), Some(at("2026-11-25T02:00:00Z")));
    assert_eq!(world.plan().wake, Some(at("2026-11-25T02:00:00Z")));
    world.pass(14 * HOUR);
    world.settle();
    let status = world.schedules["daily"].status.clone().unwrap();
    assert_eq!(status.active.as_deref(), Some("daily-2026-11-25T02:00:00Z"));
    run(&mut world);
    let status = world.schedules["daily"].status.clone().unwrap();
    assert_eq!((status.active, status.last_successful_run), (None, Some(at("2026-11-25T02:00:00Z"))));
    assert_eq!(next(&world), Some(at("2026-11-26T02:00:00Z")));
}

#[test]
fn what_an_outage_misses_is_made_up_once() {
    let mut world = daily();
    world.crash();
    world.pass(4 * DAY);
    run(&mut world);
    assert_eq!(world.made_for("daily"), ["2026-11-28T02:00:00Z"]);
    assert_eq!(world.missed, 3);
    assert_eq!(world.schedules["daily"].status.as_ref().unwrap().missed_runs, Some(3));
    world.pass(HOUR);
    run(&mut world);
    assert_eq!(world.made.len(), 1);
}

#[test]
fn a_deadline_gives_up_what_is_too_late() {
    let mut world = daily();
    world.schedules.get_mut("daily").unwrap().spec.starting_deadline_seconds = Some(600);
    world.pass(DAY);
    world.settle();
    assert!(world.made.is_empty());
    assert_eq!(world.missed, 1);
    world.pass(14 * HOUR + 300);
    world.settle();
    assert_eq!(world.made.len(), 1);
}

#[test]
fn a_pause_makes_nothing_and_nothing_is_made_up_after_it() {
    let mut world = daily();
    world.schedules.get_mut("daily").unwrap().spec.paused = true;
    world.settle();
    world.pass(3 * DAY);
    world.settle();
    assert_eq!(world.schedules["daily"].status.as_ref().unwrap().next_run, None);
    world.schedules.get_mut("daily").unwrap().spec.paused = false;
    world.settle();
    assert!(world.made.is_empty());
    world.pass(14 * HOUR);
    world.settle();
    assert_eq!(world.made.len(), 1);
}

#[test]
fn another_schedule_counts_from_when_it_was_set() {
    let mut world = daily();
    world.pass(23 * HOUR);
    world.schedules.get_mut("daily").unwrap().spec.schedule = "0 * * * *".to_owned();
    // It was due at 02:00 and at every full hour: neither is made up.
    world.settle();
    assert!(world.made.is_empty(), "{:?}", world.made);
    world.pass(HOUR);
    world.settle();
    assert_eq!(world.made.len(), 1);
}

#[test]
fn one_that_still_runs_is_not_doubled_and_the_missed_one_follows() {
    let mut world = World::new("2026-11-24T12:30:00Z");
    world.schedule("hourly", "0 * * * *");
    world.settle();
    world.pass(HOUR);
    world.settle();
    world.pass(3 * HOUR);
    world.settle();
    assert_eq!(world.made.len(), 1);
    run(&mut world);
    assert_eq!(world.made_for("hourly"), ["2026-11-24T13:00:00Z", "2026-11-24T16:00:00Z"]);
}

#[test]
fn a_clock_that_steps_runs_nothing_twice_and_is_not_shut_out() {
    let mut world = daily();
    world.pass(14 * HOUR);
    run(&mut world);
    // Back over the time of the run.
    world.off = SignedDuration::from_secs(-600);
    run(&mut world);
    assert_eq!(world.made.len(), 1);
    world.off = SignedDuration::ZERO;
    run(&mut world);
    assert_eq!(world.made.len(), 1);
    // A year ahead: one run. And back: the next night as ever.
    world.off = SignedDuration::from_hours(365 * 24);
    run(&mut world);
    assert_eq!(world.made.len(), 2);
    world.off = SignedDuration::ZERO;
    run(&mut world);
    world.pass(DAY);
    run(&mut world);
    assert_eq!(world.made_for("daily").last().unwrap(), "2026-11-26T02:00:00Z");
}

#[test]
fn invalid_schedules_say_so_and_make_nothing() {
    for (cron, zone, reason) in [
        ("0 0 31 2 *", "UTC", "ScheduleNeverDue"),
        ("5-1 * * * *", "UTC", "InvalidSchedule"),
        ("@daily", "Europe/Atlantis", "UnknownTimeZone"),
    ] {
        let mut world = daily();
        let spec = &mut world.schedules.get_mut("daily").unwrap().spec;
        (spec.schedule, spec.time_zone) = (cron.to_owned(), zone.to_owned());
        world.settle();
        world.pass(3 * DAY);
        world.settle();
        assert!(world.made.is_empty());
        let status = world.schedules["daily"].status.clone().unwrap();
        let invalid = status.conditions.iter().find(|c| c.kind == "Invalid").unwrap();
        assert_eq!(
            (invalid.status.as_str(), invalid.reason.as_str(), status.next_run),
            ("True", reason, None)
        );
        world.schedules.get_mut("daily").unwrap().spec.schedule = "0 2 * * *".to_owned();
        world.schedules.get_mut("daily").unwrap().spec.time_zone = "UTC".to_owned();
        world.settle();
        world.pass(DAY);
        world.settle();
        assert_eq!(world.made.len(), 1, "{cron}");
    }
}

#[test]
fn the_queue_is_oldest_first_and_starves_no_schedule() {
    let mut world = daily();
    for i in 0..5 {
        world.on_demand(&format!("request-{i}"));
        world.pass(1);
    }
    world.pass(14 * HOUR);
    for _ in 0..6 {
        run(&mut world);
    }
    assert_eq!(world.ended[0], "request-0");
    assert_eq!(world.ended[1], "daily-2026-11-25T02:00:00Z");
    assert_eq!(world.ended[2..], ["request-1", "request-2", "request-3", "request-4"]);
}

#[test]
fn a_run_that_another_controller_left_comes_first() {
    let mut world = daily();
    world.on_demand("a");
    world.settle();
    world.on_demand("b");
    world.crash();
    world.settle();
    let started = world.backups.iter().find(|(_, b)| super::phase(b).is_running()).unwrap();
    assert_eq!(started.0, "a");
}

#[test]
fn a_deleted_backup_is_canceled() {
    let mut world = daily();
    world.on_demand("a");
    world.settle();
    let uid = world.running.clone().unwrap();
    world.backups.remove("a");
    assert_eq!(world.plan().actions, [Action::Cancel { uid }]);
}

#[test]
fn history_keeps_what_the_limits_say_and_never_the_only_trace() {
    let mut world = World::new("2026-11-24T12:30:00Z");
    world.schedule("hourly", "0 * * * *");
    for i in 0..30 {
        world.pass(HOUR);
        world.settle();
        world.end(if i % 3 == 0 { Phase::Failed } else { Phase::PartiallyFailed });
        world.settle();
    }
    let count = |w: &World, phase| w.backups.values().filter(|b| super::phase(b) == phase).count();
    assert_eq!((count(&world, Phase::PartiallyFailed), count(&world, Phase::Failed)), (10, 3));
    // On demand: kept for a day at least.
    for i in 0..30 {
        world.on_demand(&format!("r{i}"));
        world.settle();
        world.end(Phase::Completed);
    }
    assert_eq!(world.backups.keys().filter(|n| n.starts_with('r')).count(), 30);
    world.pass(25 * HOUR);
    world.settle();
    assert_eq!(world.backups.keys().filter(|n| n.starts_with('r')).count(), 10);
}
