//! Claims in every state, one rule at a time.

use super::super::rules::SelectionSpec;
use super::*;
use crate::cluster::Item;
use serde_json::{Value, json};

/// A cluster in which one claim, `shop/data`, is bound and mounted by one running Pod, `db`, on node `n1`.
struct World {
    claim: Value,
    volume: Value,
    pods: Vec<Value>,
    namespaces: BTreeMap<String, NamespaceFacts>,
    nodes: BTreeSet<String>,
    spec: SelectionSpec,
    mode: VolumesMode,
    may_exec: bool,
    host_paths: Vec<String>,
}

fn pod(name: &str, node: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "creationTimestamp": "2026-11-24T00:00:00Z"},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "main", "volumeMounts": [{"name": "vol", "mountPath": "/data"}, {"name": "tmp"}]}],
            "volumes": [
                {"name": "vol", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "tmp", "emptyDir": {}},
                {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}},
                {"name": "conf", "configMap": {"name": "c"}},
            ],
        },
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn world() -> World {
    World {
        claim: json!({
            "metadata": {"name": "data", "namespace": "shop", "uid": "c1"},
            "spec": {"volumeName": "pv-1", "volumeMode": "Filesystem"},
            "status": {"phase": "Bound"},
        }),
        volume: json!({"metadata": {"name": "pv-1"}, "spec": {"csi": {"driver": "x"}, "claimRef": {"uid": "c1"}}}),
        pods: vec![pod("db", "n1")],
        namespaces: BTreeMap::from([("shop".to_owned(), NamespaceFacts::default())]),
        nodes: BTreeSet::from(["n1".to_owned(), "n2".to_owned()]),
        spec: SelectionSpec::default(),
        mode: VolumesMode::All,
        may_exec: true,
        host_paths: Vec::new(),
    }
}

fn item(value: &Value) -> Item {
    Item::from_document(&value.to_string()).unwrap()
}

impl World {
    fn choose(&self) -> Vec<Decision> {
        let selection = Selection::parse(&self.spec).unwrap();
        let volume = item(&self.volume);
        let seen = Seen {
            claims: vec![Claim::of(&item(&self.claim))],
            volumes: BTreeMap::from([(volume.meta.name.clone(), Volume::of(&volume))]),
            pods: self.pods.iter().filter_map(|p| Pod::of(&item(p))).collect(),
            namespaces: self.namespaces.clone(),
            nodes: self.nodes.clone(),
        };
        let rules = Rules {
            selection: &selection,
            mode: self.mode,
            hooks: &[],
            may_exec: self.may_exec,
            host_paths: &self.host_paths,
        };
        choose(&rules, &seen)
    }

    fn verdict(&self) -> Verdict {
        let mut all = self.choose();
        assert_eq!(all.len(), 1);
        all.remove(0).verdict
    }

    /// The pods it may be read through, the best first.
    fn read(&self) -> Vec<String> {
        match self.verdict() {
            Verdict::Read(places) => places.into_iter().map(|p| p.pod).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn reason(&self) -> &'static str {
        match self.verdict() {
            Verdict::Missed(why) | Verdict::Excluded(why) | Verdict::Kept { why, .. } => why.reason,
            Verdict::Read(places) => panic!("{places:?}"),
        }
    }
}

/// The world with a change.
fn with(change: impl FnOnce(&mut World)) -> World {
    let mut world = world();
    change(&mut world);
    world
}

fn annotate(pod: &mut Value, key: &str, value: &str) {
    pod["metadata"]["annotations"][key] = json!(value);
}

#[test]
fn a_mounted_claim_is_read_where_the_kubelet_has_it() {
    let Verdict::Read(places) = world().verdict() else { panic!() };
    let place = &places[0];
    assert_eq!(
        (place.node.as_str(), place.pod_uid.as_str(), place.volume.as_str()),
        ("n1", "uid-db", "pv-1")
    );
    assert_eq!(place.source, Source::Plugin("kubernetes.io~csi".to_owned()));
    assert!(place.hooks.is_none());
}

#[test]
fn labels_leave_data_out_wherever_they_are() {
    for (label, value) in [
        ("compliantkubernetes.io/nobackup", ""),
        ("lifeboat.dev/nobackup", "false"),
        ("velero.io/exclude-from-backup", "true"),
    ] {
        let labels = || json!({label: value});
        let on_claim = with(|w| w.claim["metadata"]["labels"] = labels());
        assert_eq!(
            (on_claim.reason(), matches!(on_claim.verdict(), Verdict::Excluded(_))),
            ("optedOut", true)
        );
        assert_eq!(with(|w| w.pods[0]["metadata"]["labels"] = labels()).reason(), "podOptedOut");
        let all = with(|w| {
            w.claim["metadata"]["labels"] = labels();
            w.pods[0]["metadata"]["labels"] = labels();
            w.spec.include_opted_out = true;
        });
        assert_eq!(all.read(), ["db"], "asked for");
    }
    assert_eq!(
        with(|w| w.claim["metadata"]["labels"] = json!({"velero.io/exclude-from-backup": "no"})).read(),
        ["db"]
    );
    let around = with(|w| w.namespaces.get_mut("shop").unwrap().opted_out = true);
    assert_eq!(around.reason(), "namespaceOptedOut");
    // One Pod that does not leave it out is enough.
    let two = with(|w| {
        w.pods.push(pod("other", "n2"));
        w.pods[0]["metadata"]["labels"] = json!({"lifeboat.dev/nobackup": ""});
    });
    assert_eq!(two.read(), ["other"]);
}

#[test]
fn veleros_annotations_choose_volumes_of_a_pod() {
    let out = with(|w| annotate(&mut w.pods[0], pods::OPT_OUT, "tmp, vol"));
    assert_eq!(out.reason(), "podVolumeExcluded");
    assert_eq!(with(|w| annotate(&mut w.pods[0], pods::OPT_OUT, "tmp")).read(), ["db"]);
    let opt_in = |list: Option<&str>| {
        with(|w| {
            w.mode = VolumesMode::OptIn;
            if let Some(list) = list {
                annotate(&mut w.pods[0], pods::OPT_IN, list);
            }
        })
    };
    assert_eq!(opt_in(None).reason(), "notOptedIn");
    assert_eq!(opt_in(Some("tmp")).reason(), "notOptedIn");
    assert_eq!(opt_in(Some("vol,tmp")).read(), ["db"]);
    // In All, opting in says nothing.
    assert_eq!(with(|w| annotate(&mut w.pods[0], pods::OPT_IN, "tmp")).read(), ["db"]);
    let nobody = with(|w| {
        w.mode = VolumesMode::OptIn;
        w.pods.clear();
    });
    let Verdict::Kept { otherwise, .. } = nobody.verdict() else { panic!() };
    assert!(matches!(*otherwise, Verdict::Excluded(why) if why.reason == "notOptedIn"));
}

#[test]
fn what_nothing_mounts_now_is_kept() {
    let kept = |world: World| {
        let Verdict::Kept { why, otherwise } = world.verdict() else { panic!("{:?}", world.verdict()) };
        assert!(matches!(*otherwise, Verdict::Missed(why) if why.reason == "NeverMounted"));
        why.reason
    };
    assert_eq!(kept(with(|w| w.pods.clear())), "Unmounted");
    for phase in ["Succeeded", "Failed", "Unknown"] {
        assert_eq!(kept(with(|w| w.pods[0]["status"]["phase"] = json!(phase))), "Unmounted", "{phase}");
    }
    assert_eq!(kept(with(|w| w.pods[0]["status"]["phase"] = json!("Pending"))), "PodNotStarted");
    assert_eq!(kept(with(|w| w.pods[0]["spec"]["nodeName"] = json!(""))), "PodNotStarted");
    assert_eq!(kept(with(|w| w.pods[0]["spec"]["containers"][0]["volumeMounts"] = json!([]))), "NotMounted");
    // A Pod that is still being set up has its volumes once a container has run.
    let initializing = with(|w| {
        w.pods[0]["status"] =
            json!({"phase": "Pending", "initContainerStatuses": [{"state": {"running": {}}}]});
    });
    assert_eq!(initializing.read(), ["db"]);
}

#[test]
fn what_should_be_read_and_cannot_is_missed() {
    let missed = |world: World| {
        assert!(matches!(world.verdict(), Verdict::Missed(_)), "{:?}", world.verdict());
        world.reason()
    };
    assert_eq!(missed(with(|w| w.claim["spec"]["volumeMode"] = json!("Block"))), "BlockVolume");
    assert_eq!(missed(with(|w| w.claim["status"]["phase"] = json!("Lost"))), "ClaimLost");
    assert_eq!(missed(with(|w| w.claim["spec"] = json!({"volumeName": 7}))), "Unreadable");
    assert_eq!(missed(with(|w| w.volume["metadata"]["name"] = json!("pv-2"))), "VolumeUnknown");
    assert_eq!(missed(with(|w| w.volume["spec"]["claimRef"]["uid"] = json!("c2"))), "VolumeNotBound");
    let host = |allowed: &[&str]| {
        with(|w| {
            w.volume["spec"] = json!({"hostPath": {"path": "/srv/a"}, "claimRef": {"uid": "c1"}});
            w.host_paths = allowed.iter().map(|s| (*s).to_owned()).collect();
        })
    };
    assert_eq!(missed(host(&["/var"])), "HostPathNotAllowed");
    assert_eq!(host(&["/srv"]).read(), ["db"]);
    assert_eq!(missed(with(|w| w.nodes.clear())), "NodesNotInstalled");
    let other = with(|w| w.nodes = BTreeSet::from(["n2".to_owned()]));
    assert_eq!(missed(other), "NodeNotReady");
    let hook = |may_exec| {
        with(|w| {
            annotate(&mut w.pods[0], "pre.hook.backup.velero.io/command", "/freeze");
            w.may_exec = may_exec;
        })
    };
    assert_eq!(missed(hook(false)), "HooksForbidden");
    assert_eq!(hook(true).read(), ["db"]);
}

#[test]
fn what_nobody_wanted_alarms_nobody() {
    let excluded = |world: World| {
        assert!(matches!(world.verdict(), Verdict::Excluded(_)), "{:?}", world.verdict());
        world.reason()
    };
    // Whatever else is wrong with it.
    let block = |w: &mut World| w.claim["spec"]["volumeMode"] = json!("Block");
    let off = with(|w| {
        block(w);
        w.mode = VolumesMode::Off;
    });
    assert_eq!(excluded(off), "volumesOff");
    let labeled = with(|w| {
        block(w);
        w.claim["metadata"]["labels"] = json!({"lifeboat.dev/nobackup": ""});
    });
    assert_eq!(excluded(labeled), "optedOut");
    assert_eq!(excluded(with(|w| w.claim["status"]["phase"] = json!("Pending"))), "unbound");
    let deleting = with(|w| w.claim["metadata"]["deletionTimestamp"] = json!("2026-11-24T00:00:00Z"));
    assert_eq!(excluded(deleting), "beingDeleted");
    let ephemeral = with(|w| {
        w.claim["metadata"]["ownerReferences"] = json!([{"kind": "Pod", "controller": true}]);
    });
    assert_eq!(excluded(ephemeral), "ephemeral");
    assert_eq!(
        excluded(with(|w| w.namespaces.get_mut("shop").unwrap().terminating = true)),
        "namespaceTerminating"
    );
    assert_eq!(excluded(with(|w| w.spec.namespaces = vec!["x".to_owned()])), "namespace");
    assert_eq!(excluded(with(|w| w.spec.kinds = vec!["deployments".to_owned()])), "kind");
    assert_eq!(with(|w| w.spec.kinds = vec!["pvc".to_owned()]).read(), ["db"]);
    assert_eq!(excluded(with(|w| w.spec.selector = Some("app=x".to_owned()))), "labelSelector");
    assert_eq!(
        excluded(with(|w| w.claim["metadata"]["namespace"] = json!("kube-system"))),
        "systemNamespace"
    );
    let own = with(|w| w.claim["metadata"]["namespace"] = json!("lifeboat"));
    assert!(own.choose().is_empty(), "the agent's own is not even counted");
}

#[test]
fn the_best_pod_comes_first() {
    let hook = "pre.hook.backup.velero.io/command";
    let world = with(|w| {
        let mut leaving = pod("a-leaving", "n1");
        leaving["metadata"]["deletionTimestamp"] = json!("2026-11-24T00:00:00Z");
        let mut unready = pod("b-unready", "n1");
        unready["status"]["conditions"] = json!([]);
        let mut hooked = pod("z-hooked", "n2");
        annotate(&mut hooked, hook, "/freeze");
        let mut young = pod("c-young", "n1");
        young["metadata"]["creationTimestamp"] = json!("2026-11-25T00:00:00Z");
        w.pods = vec![leaving, unready, young, pod("d-old", "n1"), hooked];
    });
    assert_eq!(world.read(), ["z-hooked", "d-old", "c-young", "b-unready", "a-leaving"]);
    let Verdict::Read(places) = world.verdict() else { panic!() };
    assert!(places[0].hooks.is_some() && places[1].hooks.is_none());
    // Where no daemon is, nothing can be read.
    let partly = with(|w| {
        w.pods = vec![pod("a", "n3"), pod("b", "n2")];
    });
    assert_eq!(partly.read(), ["b"]);
}
