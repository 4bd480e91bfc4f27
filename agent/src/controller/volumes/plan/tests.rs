//! One thing at a time: room, failure, silence, freeze, deadline, adoption.

use super::*;
use crate::select::volumes::{Hooks, Source, Step as HookStep};

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn limits() -> Limits {
    Limits {
        per_node: 2,
        in_all: 4,
        silence: 300 * SECOND,
        freeze: 600 * SECOND,
        deadline: 10_000 * SECOND,
        pause: 15 * SECOND,
    }
}

pub(super) fn place(node: &str, pod: &str, hooked: bool) -> Place {
    let step =
        HookStep { container: "c".to_owned(), command: vec!["x".to_owned()], go_on: false, timeout: SECOND };
    Place {
        node: node.to_owned(),
        pod: pod.to_owned(),
        pod_uid: format!("uid-{pod}"),
        volume: "pv".to_owned(),
        source: Source::Plugin("kubernetes.io~csi".to_owned()),
        hooks: hooked.then(|| Hooks { pre: vec![step], ..Hooks::default() }),
    }
}

fn runs(mark: &str) -> Seen {
    Seen { step: Step::Runs, mark: mark.to_owned(), upload_log: Some("log".to_owned()) }
}

fn completed() -> Seen {
    Seen { step: Step::Completed { result: "r".to_owned() }, mark: "done".to_owned(), upload_log: None }
}

fn seen(all: &[(String, Seen)]) -> BTreeMap<String, Seen> {
    all.iter().cloned().collect()
}

fn begins(actions: &[Action]) -> Vec<TurnId> {
    actions.iter().filter_map(|a| if let Action::Begin(id) = a { Some(*id) } else { None }).collect()
}

fn told(actions: &[Action]) -> Vec<(usize, End)> {
    let each = actions
        .iter()
        .filter_map(|a| if let Action::Tell(at, e) = a { Some((*at, e.clone())) } else { None });
    each.collect()
}

/// Begins everything that may begin.
fn start(plan: &mut Plan, now: Duration) -> Vec<TurnId> {
    let ids = begins(&plan.next(now));
    ids.iter().for_each(|id| plan.begun(now, *id, Ok(())));
    ids
}

#[test]
fn there_is_room_for_so_many_on_a_node_and_in_all() {
    let mut plan = Plan::new(limits());
    for i in 0..4 {
        plan.add(&format!("a{i}"), vec![place("n1", &format!("p{i}"), false)], 0);
    }
    for i in 0..4 {
        plan.add(&format!("b{i}"), vec![place(&format!("m{i}"), &format!("q{i}"), false)], 0);
    }
    assert_eq!(start(&mut plan, SECOND).len(), 4, "two on n1, two elsewhere");
    plan.seen(SECOND, &seen(&[("a0-1".to_owned(), completed()), ("a1-1".to_owned(), runs("1"))]));
    let next = plan.next(SECOND);
    assert_eq!(told(&next).len(), 1);
    let id = begins(&next)[0];
    assert_eq!(plan.turn(id).unwrap().members, [2], "in order");
}

#[test]
fn a_failure_is_tried_once_more_where_it_is_mounted_now() {
    let mut plan = Plan::new(limits());
    plan.add("v", vec![place("n1", "p", false)], 0);
    start(&mut plan, SECOND);
    let no = Seen { step: Step::Failed(Reason::new("IoError", "no")), ..runs("2") };
    plan.seen(SECOND, &seen(&[("v-1".to_owned(), no.clone())]));
    assert_eq!(plan.next(SECOND), [Action::Remove("v-1".to_owned()), Action::Look(0)]);
    plan.looked(SECOND, 0, Ok(vec![place("n1", "p", false), place("n2", "q", false)]));
    assert!(plan.next(2 * SECOND).is_empty(), "after a pause");
    let id = start(&mut plan, 20 * SECOND)[0];
    assert_eq!(plan.turn(id).unwrap().place.node, "n2", "elsewhere first");
    assert_eq!((plan.name(0).as_str(), plan.upload_log(0)), ("v-2", Some("log")));
    plan.seen(21 * SECOND, &seen(&[("v-2".to_owned(), no)]));
    let end = told(&plan.next(21 * SECOND));
    assert!(
        matches!(&end[0].1, End::Missed { why, upload_log: Some(_) } if why.reason == "IoError"),
        "{end:?}"
    );
    assert!(plan.is_done());
}

#[test]
fn who_gives_no_sign_of_life_is_given_up_and_an_outage_counts_for_nobody() {
    let mut plan = Plan::new(limits());
    plan.add("v", vec![place("n1", "p", false)], 0);
    plan.add("w", vec![place("n1", "q", false)], 0);
    start(&mut plan, SECOND);
    // v is read; w waits for a slot of the node's own, and is not forgotten as long as v is renewed.
    for i in 0..40u32 {
        let all = seen(&[("v-1".to_owned(), runs(&i.to_string())), ("w-1".to_owned(), Seen::default())]);
        plan.seen(i * 30 * SECOND, &all);
        assert!(plan.next(i * 30 * SECOND).is_empty(), "{i}");
    }
    let now = 39 * 30 * SECOND;
    plan.trouble(now + 299 * SECOND);
    assert!(plan.next(now + 400 * SECOND).is_empty());
    let given_up = plan.next(now + 700 * SECOND);
    assert_eq!(given_up.len(), 4, "{given_up:?}");
    // Deleted by somebody.
    plan.looked(now, 0, Ok(vec![place("n1", "p", false)]));
    plan.looked(now, 1, Err(Reason::new("Unmounted", "")));
    let now = now + 800 * SECOND;
    assert_eq!(start(&mut plan, now).len(), 1);
    plan.seen(now, &seen(&[]));
    assert!(plan.next(now).is_empty(), "the watch may be behind");
    plan.seen(now + 31 * SECOND, &seen(&[]));
    assert!(
        matches!(&told(&plan.next(now + 31 * SECOND))[0].1, End::Missed { why, .. } if why.reason == "Deleted")
    );
}

#[test]
fn volumes_of_one_pod_are_frozen_once_and_thawed_with_the_last() {
    let mut plan = Plan::new(limits());
    for name in ["a", "b", "c"] {
        plan.add(name, vec![place("n1", "db", true)], 0);
    }
    plan.add("d", vec![place("n1", "web", false)], 0);
    let ids = begins(&plan.next(SECOND));
    assert_eq!(ids.len(), 1, "three at once, though two are the limit; nobody else joins them");
    plan.begun(2 * SECOND, ids[0], Ok(()));
    plan.seen(
        3 * SECOND,
        &seen(&[
            ("a-1".to_owned(), completed()),
            ("b-1".to_owned(), completed()),
            ("c-1".to_owned(), runs("1")),
        ]),
    );
    let next = plan.next(3 * SECOND);
    assert!(told(&next).iter().all(|(_, e)| matches!(e, End::Read { hooked: true, .. })));
    assert!(!next.contains(&Action::Thaw(ids[0])));
    plan.seen(4 * SECOND, &seen(&[("c-1".to_owned(), completed())]));
    assert!(plan.next(4 * SECOND).contains(&Action::Thaw(ids[0])));
    assert!(!plan.is_done());
    plan.thawed(ids[0], true);
    assert!(plan.turn(ids[0]).is_none());
}

#[test]
fn a_freeze_ends_in_time_and_what_is_read_then_is_live() {
    let mut plan = Plan::new(limits());
    plan.add("a", vec![place("n1", "db", true)], 0);
    let id = begins(&plan.next(SECOND))[0];
    plan.begun(30 * SECOND, id, Ok(()));
    plan.seen(600 * SECOND, &seen(&[("a-1".to_owned(), runs("9"))]));
    assert!(plan.next(600 * SECOND).is_empty());
    assert_eq!(plan.next(601 * SECOND), [Action::Thaw(id)], "counted from before the pre hook");
    plan.thawed(id, true);
    plan.seen(700 * SECOND, &seen(&[("a-1".to_owned(), completed())]));
    assert!(matches!(told(&plan.next(700 * SECOND))[0].1, End::Read { hooked: false, .. }));
    assert!(plan.is_done());
}

#[test]
fn a_pod_whose_pre_hook_failed_is_thawed_before_its_record_goes() {
    let mut plan = Plan::new(limits());
    plan.add("a", vec![place("n1", "db", true)], 0);
    let id = begins(&plan.next(SECOND))[0];
    let why = Some(Reason::new("HookFailed", "exit 1"));
    plan.begun(2 * SECOND, id, Err(NotBegun { why, froze: true }));
    let next = plan.next(2 * SECOND);
    assert!(matches!(&told(&next)[0].1, End::Missed { why, .. } if why.reason == "HookFailed"));
    assert!(next.contains(&Action::Thaw(id)) && !next.contains(&Action::Remove("a-1".to_owned())));
    plan.thawed(id, true);
    assert_eq!(plan.next(3 * SECOND), [Action::Remove("a-1".to_owned())]);
    assert!(plan.is_done());

    // Nothing was run: nothing is thawed, and it is tried again.
    let mut plan = Plan::new(limits());
    plan.add("a", vec![place("n1", "db", true)], 0);
    let id = begins(&plan.next(SECOND))[0];
    plan.begun(2 * SECOND, id, Err(NotBegun { why: None, froze: false }));
    assert_eq!(plan.next(2 * SECOND), [Action::Remove("a-1".to_owned())]);
    assert_eq!(begins(&plan.next(20 * SECOND)).len(), 1);
    assert_eq!(plan.name(0), "a-2");
}

#[test]
fn the_deadline_leaves_nothing_behind() {
    let mut plan = Plan::new(limits());
    plan.add("a", vec![place("n1", "db", true)], 0);
    plan.add("b", vec![place("n2", "x", false)], 0);
    plan.add("c", vec![place("n2", "y", false)], 7);
    let ids = start(&mut plan, SECOND);
    assert_eq!(plan.name(2), "c-8");
    let next = plan.next(limits().deadline);
    assert_eq!(told(&next).len(), 3);
    assert!(next.contains(&Action::Remove("b-1".to_owned())) && next.contains(&Action::Thaw(ids[0])));
    plan.thawed(ids[0], true);
    assert_eq!(plan.next(limits().deadline + SECOND), [Action::Remove("a-1".to_owned())]);
    assert!(plan.is_done());
}

#[test]
fn what_another_controller_left_goes_on() {
    let mut plan = Plan::new(limits());
    for name in ["a", "b", "c"] {
        plan.add(name, vec![place("n1", "db", true)], 0);
    }
    let adopted = |volume, frozen| Adopted {
        volume,
        number: 1,
        place: place("n1", "db", true),
        frozen: Some(frozen),
        hooked: false,
        upload_log: None,
    };
    let before = Adopted { frozen: None, hooked: true, ..adopted(0, SECOND) };
    plan.adopt(Duration::ZERO, before);
    plan.adopt(Duration::ZERO, adopted(1, 900 * SECOND));
    plan.adopt(Duration::ZERO, adopted(2, 900 * SECOND));
    let next = plan.next(Duration::ZERO);
    assert_eq!(next, [Action::Thaw(1)], "overdue: at once, once, and nothing begins anew");
    plan.thawed(1, true);
    plan.seen(SECOND, &seen(&[("a-1".to_owned(), completed())]));
    assert!(matches!(told(&plan.next(SECOND))[0].1, End::Read { hooked: true, .. }), "it was done before");
    plan.seen(SECOND, &seen(&[("b-1".to_owned(), completed()), ("c-1".to_owned(), completed())]));
    let ends = told(&plan.next(SECOND));
    assert!(ends.iter().all(|(_, e)| matches!(e, End::Read { hooked: false, .. })) && ends.len() == 2);
    assert!(plan.is_done());
}
