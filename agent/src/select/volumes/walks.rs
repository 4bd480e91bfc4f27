//! Any cluster: every claim is decided once, never on the word of a Pod or namespace that is not its own, and whatever
//! is read is read where a Pod that may be read has it mounted.

use super::*;
use proptest::prelude::*;

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop_oneof![
        4 => Just(BTreeMap::new()),
        1 => Just(BTreeMap::from([("lifeboat.dev/nobackup".to_owned(), String::new())])),
    ]
}

fn claim() -> impl Strategy<Value = Claim> {
    (0..3u8, 0..4u8, labels(), 0..6u8, any::<bool>(), 0..8u8).prop_map(
        |(ns, n, labels, phase, block, odd)| Claim {
            namespace: format!("ns{ns}"),
            name: format!("c{n}"),
            uid: format!("uid-{ns}-{n}"),
            labels,
            phase: match phase {
                0 => ClaimPhase::Pending,
                1 => ClaimPhase::Lost,
                _ => ClaimPhase::Bound,
            },
            volume: Some(format!("pv-{ns}-{n}")),
            block: block && odd == 0,
            deleting: odd == 1,
            pod_owned: odd == 2,
            created: String::new(),
            unreadable: odd == 3,
        },
    )
}

fn pod() -> impl Strategy<Value = Pod> {
    let phase = prop_oneof![
        4 => Just(PodPhase::Running), 1 => Just(PodPhase::Pending), 1 => Just(PodPhase::Ended)
    ];
    let mount = (0..4u8, prop::bool::weighted(0.9)).prop_map(|(c, mounted)| Mount {
        volume: format!("v{c}"),
        claim: format!("c{c}"),
        mounted,
        block: false,
    });
    let mounts = prop::collection::vec(mount, 1..4);
    let flags =
        (any::<bool>(), any::<bool>(), any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    (0..3u8, 0..1000u16, labels(), phase, 0..4u8, mounts, flags).prop_map(
        |(ns, n, labels, phase, node, mounts, (started, ready, deleting, hooked, excludes))| {
            let mut annotations = BTreeMap::new();
            if hooked {
                annotations.insert("pre.hook.backup.velero.io/command".to_owned(), "x".to_owned());
            }
            if excludes {
                annotations.insert(pods::OPT_OUT.to_owned(), "v0,v1".to_owned());
            }
            Pod {
                namespace: format!("ns{ns}"),
                name: format!("p{n}"),
                uid: format!("u{n}"),
                labels,
                annotations,
                node: (node > 0).then(|| format!("n{node}")),
                phase,
                started,
                ready,
                deleting,
                created: String::new(),
                containers: vec!["main".to_owned()],
                mounts,
            }
        },
    )
}

fn seen() -> impl Strategy<Value = Seen> {
    let nodes = prop::collection::btree_set((1..4u8).prop_map(|n| format!("n{n}")), 0..4);
    let out = prop::collection::vec(any::<bool>(), 3);
    (prop::collection::vec(claim(), 0..12), prop::collection::vec(pod(), 0..12), nodes, out).prop_map(
        |(claims, pods, nodes, out)| {
            let volumes = claims.iter().map(|c| {
                let source = Source::Plugin("kubernetes.io~csi".to_owned());
                (c.volume.clone().unwrap_or_default(), Volume { source, claim_uid: c.uid.clone() })
            });
            let namespaces = out.into_iter().enumerate().map(|(i, opted_out)| {
                (format!("ns{i}"), NamespaceFacts { opted_out: opted_out && i == 0, terminating: false })
            });
            Seen { volumes: volumes.collect(), claims, pods, namespaces: namespaces.collect(), nodes }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_claim_is_decided_once_and_read_only_where_it_may_be(seen in seen(), may_exec in any::<bool>()) {
        let selection = Selection::default();
        let rules = Rules { selection: &selection, mode: VolumesMode::All, hooks: &[], may_exec, host_paths: &[] };
        let all = choose(&rules, &seen);
        let names: BTreeSet<_> = seen.claims.iter().map(|c| (&c.namespace, &c.name)).collect();
        let decided: Vec<_> = all.iter().map(|d| (&d.namespace, &d.claim)).collect();
        prop_assert!(decided.iter().copied().eq(names), "each once, in order");
        for decision in &all {
            let claim = seen.claims.iter().find(|c| c.uid == decision.uid).unwrap();
            let Verdict::Read(places) = &decision.verdict else { continue };
            prop_assert!(!places.is_empty());
            prop_assert!(!opted_out(&claim.labels) && !claim.block && claim.phase == ClaimPhase::Bound);
            prop_assert!(!seen.namespaces[&claim.namespace].opted_out);
            for place in places {
                let fits = |p: &&Pod| {
                    p.uid == place.pod_uid
                        && p.namespace == claim.namespace
                        && p.node.as_deref() == Some(&place.node)
                        && p.mounts.iter().any(|m| m.claim == claim.name && m.mounted)
                };
                let pod = seen.pods.iter().find(fits);
                prop_assert!(pod.is_some_and(|p| p.phase != PodPhase::Ended && !opted_out(&p.labels)), "{place:?}");
                prop_assert!(seen.nodes.contains(&place.node));
            }
            prop_assert!(may_exec || places[0].hooks.is_none());
        }
    }

    /// The order in which objects are listed decides nothing.
    #[test]
    fn the_order_of_lists_does_not_matter(seen in seen()) {
        let selection = Selection::default();
        let rules = Rules { selection: &selection, mode: VolumesMode::All, hooks: &[], may_exec: true, host_paths: &[] };
        // Of twins in one list the first counts; a cluster has none.
        let mut one = seen;
        let mut met = BTreeSet::new();
        one.claims.retain(|c| met.insert((c.namespace.clone(), c.name.clone())));
        let mut met = BTreeSet::new();
        one.pods.retain(|p| met.insert(p.uid.clone()));
        let mut other = one.clone();
        other.claims.reverse();
        other.pods.reverse();
        prop_assert_eq!(choose(&rules, &one), choose(&rules, &other));
    }
}
