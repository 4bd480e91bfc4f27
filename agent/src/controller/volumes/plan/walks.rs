//! Random walks: nodes that die, objects that are deleted, hooks that fail, leaders that change, outages, in any order.

use super::tests::{SECOND, limits, place};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
enum Event {
    Pass(u32),
    /// A node works on its volumes: signs of life, and so many of them end.
    Work(usize, usize),
    /// A node's volumes fail.
    Fail(usize),
    /// Somebody deletes a VolumeBackup.
    Delete(usize),
    /// The controller dies after so many actions of its next plan; another one adopts.
    Die(usize),
    /// What is begun next does not begin: a hook, or a passing error.
    Refuse(bool, bool),
    Trouble,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1..200u32).prop_map(Event::Pass),
        8 => (0..3usize, 0..4usize).prop_map(|(node, ends)| Event::Work(node, ends)),
        1 => (0..3usize).prop_map(Event::Fail),
        1 => (0..20usize).prop_map(Event::Delete),
        1 => (0..6usize).prop_map(Event::Die),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(never, froze)| Event::Refuse(never, froze)),
        1 => Just(Event::Trouble),
    ]
}

#[derive(Debug, Clone)]
struct Object {
    volume: usize,
    number: u32,
    place: Place,
    frozen_at: Option<Duration>,
    keyed: bool,
    seen: Seen,
}

/// A cluster as far as the plan goes.
struct World {
    now: Duration,
    plan: Plan,
    places: Vec<Place>,
    objects: BTreeMap<String, Object>,
    /// Pods that stand still, since when.
    frozen: BTreeMap<String, Duration>,
    told: BTreeMap<usize, End>,
    refuse: Option<(bool, bool)>,
    renewals: u64,
}

impl World {
    fn new(places: Vec<Place>) -> Self {
        let mut world = Self {
            now: Duration::ZERO,
            plan: Plan::new(limits()),
            places,
            objects: BTreeMap::new(),
            frozen: BTreeMap::new(),
            told: BTreeMap::new(),
            refuse: None,
            renewals: 0,
        };
        world.lead();
        world
    }

    /// A controller takes over.
    fn lead(&mut self) {
        let deadline = limits().deadline;
        self.plan = Plan::new(Limits { deadline, ..limits() });
        // What is frozen and cannot be gone on with is thawed first, as the driver does.
        let stuck: Vec<String> = self
            .objects
            .iter()
            .filter(|(_, o)| !o.keyed || matches!(o.seen.step, Step::Failed(_)))
            .map(|(n, _)| n.clone())
            .collect();
        let mut numbers: BTreeMap<usize, u32> = BTreeMap::new();
        for object in self.objects.values() {
            let number = numbers.entry(object.volume).or_default();
            *number = (*number).max(object.number);
        }
        for name in stuck {
            let object = self.objects.remove(&name).unwrap();
            if object.frozen_at.is_some() {
                self.frozen.remove(&object.place.pod_uid);
            }
        }
        for (at, place) in self.places.clone().into_iter().enumerate() {
            self.plan.add(&format!("v{at}"), vec![place], numbers.get(&at).copied().unwrap_or(0));
        }
        for (name, object) in self.objects.clone() {
            if name != format!("v{}-{}", object.volume, numbers[&object.volume]) {
                self.objects.remove(&name);
                continue;
            }
            self.plan.adopt(
                self.now,
                Adopted {
                    volume: object.volume,
                    number: object.number,
                    frozen: object.frozen_at.map(|at| self.now - at),
                    place: object.place,
                    hooked: false,
                    upload_log: None,
                },
            );
        }
        // What was told was told to the one that died: a successor tells it again.
        self.told.clear();
    }

    /// Plans and carries out, until nothing is left to do now.
    fn settle(&mut self, mut die_after: Option<usize>) -> Result<(), TestCaseError> {
        for _ in 0..50 {
            let seen = self.objects.iter().map(|(name, o)| (name.clone(), o.seen.clone())).collect();
            self.plan.seen(self.now, &seen);
            let actions = self.plan.next(self.now);
            if actions.is_empty() {
                return Ok(());
            }
            for action in actions {
                if die_after == Some(0) {
                    self.lead();
                    die_after = None;
                    break;
                }
                die_after = die_after.map(|n| n - 1);
                self.act(action)?;
            }
        }
        Err(TestCaseError::fail("it never comes to rest"))
    }

    fn act(&mut self, action: Action) -> Result<(), TestCaseError> {
        match action {
            Action::Begin(id) => self.begin(id)?,
            Action::Thaw(id) => {
                let turn = self.plan.turn(id).unwrap().clone();
                self.frozen.remove(&turn.place.pod_uid);
                for object in self.objects.values_mut().filter(|o| o.place.pod_uid == turn.place.pod_uid) {
                    object.frozen_at = None;
                }
                self.plan.thawed(id, true);
            }
            Action::Look(at) => self.plan.looked(self.now, at, Ok(vec![self.places[at].clone()])),
            Action::Remove(name) => {
                if let Some(object) = self.objects.remove(&name) {
                    prop_assert!(object.frozen_at.is_none(), "the record of a freeze went before the thaw");
                }
            }
            Action::Tell(at, end) => {
                prop_assert!(self.told.insert(at, end).is_none(), "told twice");
            }
        }
        Ok(())
    }

    fn begin(&mut self, id: TurnId) -> Result<(), TestCaseError> {
        let turn = self.plan.turn(id).unwrap().clone();
        let refused = self.refuse.take();
        let froze = turn.is_hooked() && refused.is_none_or(|(_, froze)| froze);
        for at in &turn.members {
            let name = self.plan.name(*at);
            prop_assert!(!self.objects.contains_key(&name), "a name is used twice");
            let object = Object {
                volume: *at,
                number: self.plan.number(*at),
                place: turn.place.clone(),
                frozen_at: froze.then_some(self.now),
                keyed: refused.is_none(),
                seen: Seen::default(),
            };
            self.objects.insert(name, object);
        }
        if froze {
            let old = self.frozen.insert(turn.place.pod_uid.clone(), self.now);
            prop_assert!(old.is_none(), "frozen twice");
        }
        let done = match refused {
            None => Ok(()),
            Some((never, froze)) => {
                let why = never.then(|| Reason::new("HookFailed", ""));
                Err(NotBegun { why, froze: froze && turn.is_hooked() })
            }
        };
        self.plan.begun(self.now, id, done);
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let mut per_node: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        let mut pods: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for object in self.objects.values().filter(|o| matches!(o.seen.step, Step::Waits | Step::Runs)) {
            per_node.entry(&object.place.node).or_default().insert(object.volume);
            pods.entry(&object.place.node).or_default().insert(&object.place.pod_uid);
        }
        for (node, volumes) in &per_node {
            // More only for one Pod's volumes that are frozen together.
            prop_assert!(volumes.len() <= limits().per_node || pods[node].len() == 1, "{node}: {volumes:?}");
        }
        for (pod, since) in &self.frozen {
            prop_assert!(self.now - *since <= limits().freeze, "{pod} is frozen for too long");
            let recorded = self.objects.values().any(|o| o.place.pod_uid == *pod && o.frozen_at.is_some());
            prop_assert!(recorded, "nobody would know that {pod} is frozen");
        }
        Ok(())
    }

    fn event(&mut self, event: &Event) -> Result<(), TestCaseError> {
        let mut die = None;
        match event {
            Event::Pass(seconds) => {
                // The controller looks every second or so.
                for _ in 0..*seconds {
                    self.now += SECOND;
                    self.settle(None)?;
                }
            }
            Event::Work(node, ends) => {
                self.renewals += 1;
                let mark = self.renewals.to_string();
                let mut ends = *ends;
                for object in
                    self.objects.values_mut().filter(|o| o.place.node == format!("n{node}") && o.keyed)
                {
                    object.seen.mark.clone_from(&mark);
                    object.seen.step = if matches!(object.seen.step, Step::Completed { .. } | Step::Failed(_))
                    {
                        // An end is an end.
                        object.seen.step.clone()
                    } else if ends > 0 {
                        ends -= 1;
                        Step::Completed { result: "r".to_owned() }
                    } else {
                        Step::Runs
                    };
                }
            }
            Event::Fail(node) => {
                for object in
                    self.objects.values_mut().filter(|o| o.place.node == format!("n{node}") && o.keyed)
                {
                    if matches!(object.seen.step, Step::Waits | Step::Runs) {
                        object.seen.step = Step::Failed(Reason::default());
                    }
                }
            }
            Event::Delete(which) => {
                let names: Vec<_> = self
                    .objects
                    .iter()
                    .filter(|(_, o)| o.frozen_at.is_none())
                    .map(|(n, _)| n.clone())
                    .collect();
                if let Some(name) = names.get(which % names.len().max(1)) {
                    self.objects.remove(name);
                }
            }
            Event::Die(after) => die = Some(*after),
            Event::Refuse(never, froze) => self.refuse = Some((*never, *froze)),
            Event::Trouble => self.plan.trouble(self.now),
        }
        self.settle(die)?;
        self.check()
    }
}

/// On three nodes, some of them in Pods with hooks.
fn volumes() -> impl Strategy<Value = Vec<Place>> {
    let one = (0..3usize, 0..4usize).prop_map(|(node, pod)| {
        let pod = format!("p{node}{pod}");
        place(&format!("n{node}"), &pod, pod.ends_with(['2', '3']))
    });
    prop::collection::vec(one, 0..9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens: every volume is told of exactly once, no Pod stays frozen, no node is overloaded, no record of a
    /// freeze is lost, and the run ends at its deadline at the latest.
    #[test]
    fn every_volume_ends_once(places in volumes(), events in prop::collection::vec(event(), 1..40)) {
        let count = places.len();
        let mut world = World::new(places);
        for event in &events {
            world.event(event)?;
        }
        world.refuse = None;
        for _ in 0..12 {
            if world.plan.is_done() {
                break;
            }
            world.now += limits().deadline / 10;
            world.settle(None)?;
        }
        prop_assert!(world.plan.is_done());
        prop_assert_eq!(world.told.len(), count);
        prop_assert!(world.frozen.is_empty());
    }

    /// With nodes that work, everything is read.
    #[test]
    fn what_works_is_read(places in volumes()) {
        let mut world = World::new(places);
        for i in 0..400 {
            world.event(&Event::Work(i % 3, 1))?;
            world.event(&Event::Pass(1))?;
        }
        prop_assert!(world.plan.is_done());
        let all = world.told.values().all(|end| matches!(end, End::Read { .. }));
        prop_assert!(all);
    }
}
