//! The documents of a volume's filling: the working namespace and what is in it, and the changes to a PersistentVolume.
//! Pure.

use super::users::Placement;
use crate::restore::selection::Fnv;
use serde_json::{Map, Value, json};
use std::hash::Hasher as _;

/// On everything that a restore makes for filling; its value is the restore's id.
pub(super) const RESTORE: &str = "lifeboat.dev/restore";
/// On a volume that is filled: the claim that it is for, `namespace/name` in the target.
pub(super) const FILLED_FOR: &str = "lifeboat.dev/filled-for";
/// On a volume that is filled: the reclaim policy that it had.
pub(super) const POLICY: &str = "lifeboat.dev/reclaim-policy";
/// Where the worker finds the volume.
pub(super) const MOUNT: &str = "/volume";
/// The program in the image.
const PROGRAM: &str = "/usr/bin/lifeboat-agent";

/// The working namespace of a restore.
pub(super) fn namespace_name(id: &str) -> String {
    format!("lifeboat-restore-{id}")
}

/// Claim and Pod of one volume in the working namespace; the same when a restore goes on.
pub(super) fn work_name(namespace: &str, claim: &str) -> String {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    hash.write(namespace.as_bytes());
    hash.write(b"/");
    hash.write(claim.as_bytes());
    format!("fill-{:016x}", hash.finish())
}

/// What runs in a container of the worker to fill the volume.
pub(super) fn command() -> [&'static str; 4] {
    [PROGRAM, "fill", "--to", MOUNT]
}

fn labels(id: &str) -> Value {
    json!({ RESTORE: id, "app.kubernetes.io/part-of": "lifeboat", "app.kubernetes.io/component": "fill" })
}

/// The rights that writing owners, modes, capabilities of files and devices needs are within `baseline`; `restricted`
/// has none of them. Nobody gets in or out: workers are talked to through the API server.
pub(super) fn namespace(id: &str) -> Value {
    let mut labels = labels(id);
    labels["pod-security.kubernetes.io/enforce"] = json!("baseline");
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace_name(id), "labels": labels}})
}

pub(super) fn deny_all(id: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "deny-all", "namespace": namespace_name(id), "labels": labels(id)},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    })
}

/// The working claim: like the target's, and one that can be written.
pub(super) fn claim(id: &str, name: &str, target: &Value, whose: &str) -> Value {
    let wanted = &target["spec"];
    let mut spec = Map::new();
    for field in ["storageClassName", "volumeMode", "resources", "selector", "volumeAttributesClassName"] {
        if !wanted[field].is_null() {
            spec.insert(field.to_owned(), wanted[field].clone());
        }
    }
    let mut modes: Vec<Value> = wanted["accessModes"].as_array().cloned().unwrap_or_default();
    if !modes.iter().any(|m| *m == "ReadWriteOnce" || *m == "ReadWriteMany" || *m == "ReadWriteOncePod") {
        modes.push(json!("ReadWriteOnce"));
    }
    spec.insert("accessModes".to_owned(), modes.into());
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": name, "namespace": namespace_name(id), "labels": labels(id),
            "annotations": {FILLED_FOR: whose},
        },
        "spec": spec,
    })
}

/// The worker. It does nothing but keep the volume mounted: each connection runs a process of its own in it.
pub(super) fn pod(id: &str, name: &str, image: &str, whose: &str, placement: &Placement) -> Value {
    let mut labels = placement.labels.clone();
    for (key, value) in
        [(RESTORE, id), ("app.kubernetes.io/part-of", "lifeboat"), ("app.kubernetes.io/component", "fill")]
    {
        labels.insert(key.to_owned(), json!(value));
    }
    labels.insert("sidecar.istio.io/inject".to_owned(), json!("false"));
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": namespace_name(id), "labels": labels,
            "annotations": {
                FILLED_FOR: whose,
                "sidecar.istio.io/inject": "false",
                "linkerd.io/inject": "disabled",
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 5,
            "securityContext": {"runAsUser": 0, "runAsGroup": 0, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "fill",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": [PROGRAM, "fill", "--hold"],
                "resources": {
                    "requests": {"cpu": "100m", "memory": "128Mi"},
                    "limits": {"memory": "768Mi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {
                        "drop": ["ALL"],
                        "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP"],
                    },
                },
                "volumeMounts": [{"name": "volume", "mountPath": MOUNT}],
            }],
            "volumes": [{"name": "volume", "persistentVolumeClaim": {"claimName": name}}],
        },
    });
    for (field, value) in &placement.fields {
        pod["spec"][field] = value.clone();
    }
    pod
}

/// The volume is full and stays, whatever becomes of its claim.
pub(super) fn keep(id: &str, whose: &str, policy: &str) -> Value {
    json!({
        "metadata": {"labels": {RESTORE: id}, "annotations": {FILLED_FOR: whose, POLICY: policy}},
        "spec": {"persistentVolumeReclaimPolicy": "Retain"},
    })
}

/// The volume waits for its new claim, and for no other.
pub(super) fn promise(namespace: &str, claim: &str) -> Value {
    json!({
        "metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": null}},
        "spec": {"claimRef": {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": claim,
            "uid": null, "resourceVersion": null,
        }},
    })
}

/// The volume is as any other.
pub(super) fn let_go(policy: &str) -> Value {
    json!({
        "metadata": {"labels": {RESTORE: null}, "annotations": {FILLED_FOR: null, POLICY: null}},
        "spec": {"persistentVolumeReclaimPolicy": policy},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_working_claim_is_like_the_target_and_can_be_written() {
        let target = json!({"spec": {
            "storageClassName": "fast", "accessModes": ["ReadOnlyMany"], "volumeName": "pv",
            "resources": {"requests": {"storage": "5Gi"}}, "dataSource": {"kind": "X"},
        }});
        let claim = claim("ab", "w", &target, "a/b");
        assert_eq!(claim["spec"]["accessModes"], json!(["ReadOnlyMany", "ReadWriteOnce"]));
        assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "5Gi");
        assert!(claim["spec"].get("volumeName").is_none() && claim["spec"].get("dataSource").is_none());
        assert!(claim["spec"].get("selector").is_none());
    }

    #[test]
    fn names_are_of_the_whole_claim() {
        assert_ne!(work_name("a", "b-c"), work_name("a-b", "c"));
        assert_ne!(work_name("a", "bc"), work_name("ab", "c"));
        assert!(work_name("a", "b").len() < 63);
    }
}
