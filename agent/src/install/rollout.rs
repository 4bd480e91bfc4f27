//! Waiting for the controller, and saying in words why it does not come. Only reads.

use super::nodes::{self, NODE};
use super::objects::{CONTROLLER, path};
use super::{InstallError, Step};
use crate::cluster::text::clean;
use crate::cluster::write::WriteError;
use crate::cluster::write::administer::{Administrator, Place};
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A cause that does not go away by itself is believed after so long.
const BELIEVED: Duration = Duration::from_secs(20);

pub(super) async fn wait(
    administrator: &Administrator,
    namespace: &str,
    within: Duration,
    say: &mut dyn FnMut(Step),
) -> Result<(), InstallError> {
    let (started, mut stuck_since, mut said) = (Instant::now(), None, String::new());
    let path = path("Deployment").expect("a Deployment is in the table");
    let place = Place { path: &path, namespace: Some(namespace), name: CONTROLLER };
    loop {
        let deployment = administrator.get(&place).await?.unwrap_or(Value::Null);
        if is_rolled_out(&deployment) {
            return Ok(());
        }
        let trouble = trouble(administrator, namespace, &deployment).await?;
        let what = trouble.as_ref().map_or_else(
            || {
                let count = |field: &str| deployment["status"][field].as_u64().unwrap_or(0);
                format!("{} of {} controllers are available", count("availableReplicas"), wanted(&deployment))
            },
            |trouble| trouble.why.clone(),
        );
        if what != said {
            say(Step::Waiting { what: what.clone() });
            said.clone_from(&what);
        }
        let lasting = trouble.is_some_and(|t| t.lasts);
        let since = *stuck_since.get_or_insert_with(Instant::now);
        if !lasting {
            stuck_since = None;
        }
        if started.elapsed() >= within || (lasting && since.elapsed() >= BELIEVED) {
            let next = format!(
                "see kubectl -n {namespace} get pods and kubectl -n {namespace} logs deployment/{CONTROLLER}, mend the cause and run the same command again"
            );
            return Err(InstallError::NotAvailable { seconds: started.elapsed().as_secs(), why: what, next });
        }
        sleep(administrator.reader().poll_interval()).await;
    }
}

/// Waits for the daemons. Those of nodes that are away or cannot start them are told, and hold nothing up: the volumes
/// of the others are read.
pub(super) async fn wait_for_nodes(
    administrator: &Administrator,
    namespace: &str,
    within: Duration,
    say: &mut dyn FnMut(Step),
) -> Result<(), InstallError> {
    let (started, mut said) = (Instant::now(), String::new());
    let path = path("DaemonSet").expect("a DaemonSet is in the table");
    let namespace = nodes::namespace(namespace);
    let place = Place { path: &path, namespace: Some(&namespace), name: NODE };
    loop {
        let set = administrator.get(&place).await?.unwrap_or(Value::Null);
        let Err(what) = on_all_nodes(&set) else { return Ok(()) };
        if started.elapsed() >= within {
            let what = format!(
                "{what}; the volumes of the other nodes will be missed: see kubectl -n {namespace} get pods -o wide"
            );
            say(Step::Note { what });
            return Ok(());
        }
        if what != said {
            say(Step::Waiting { what: what.clone() });
            said = what;
        }
        sleep(administrator.reader().poll_interval()).await;
    }
}

/// Or how many there are.
fn on_all_nodes(set: &Value) -> Result<(), String> {
    let status = &set["status"];
    let count = |field: &str| status[field].as_u64().unwrap_or(0);
    let seen = status["observedGeneration"].as_u64() >= set["metadata"]["generation"].as_u64();
    let (wanted, ready) = (count("desiredNumberScheduled"), count("numberReady"));
    let updated = count("updatedNumberScheduled");
    if set.is_object() && seen && ready >= wanted && updated >= wanted {
        return Ok(());
    }
    Err(format!("{} of {wanted} nodes are ready to read volumes", ready.min(updated)))
}

fn wanted(deployment: &Value) -> u64 {
    deployment["spec"]["replicas"].as_u64().unwrap_or(1)
}

/// As `kubectl rollout status` sees it: every pod is of this generation, and available.
fn is_rolled_out(deployment: &Value) -> bool {
    let status = &deployment["status"];
    let count = |field: &str| status[field].as_u64().unwrap_or(0);
    let seen = status["observedGeneration"].as_u64() >= deployment["metadata"]["generation"].as_u64();
    let (wanted, updated) = (wanted(deployment), count("updatedReplicas"));
    deployment.is_object()
        && seen
        && updated >= wanted
        && count("replicas") <= updated
        && count("availableReplicas") >= updated
}

/// Why a pod does not run.
#[derive(Debug, PartialEq, Eq)]
struct Trouble {
    why: String,
    /// Somebody has to do something.
    lasts: bool,
}

async fn trouble(
    administrator: &Administrator,
    namespace: &str,
    deployment: &Value,
) -> Result<Option<Trouble>, WriteError> {
    if let Some(condition) = condition(deployment, "ReplicaFailure", "True") {
        return Ok(Some(Trouble { why: message(condition), lasts: false }));
    }
    let url = format!(
        "/api/v1/namespaces/{namespace}/pods?limit=20&labelSelector=app.kubernetes.io%2Fname%3Dlifeboat,app.kubernetes.io%2Fcomponent%3Dcontroller"
    );
    let pods = administrator.reader().get(&url).await?;
    let pods: Value = pods.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or(Value::Null);
    Ok(pods["items"].as_array().into_iter().flatten().find_map(of_pod))
}

fn of_pod(pod: &Value) -> Option<Trouble> {
    let name = clean(pod["metadata"]["name"].as_str().unwrap_or("a pod"), 253);
    if let Some(condition) = condition(pod, "PodScheduled", "False") {
        return Some(Trouble {
            why: format!("pod {name} has no node: {}", message(condition)),
            lasts: false,
        });
    }
    let container = pod["status"]["containerStatuses"].get(0)?;
    let waiting = &container["state"]["waiting"];
    let reason = waiting["reason"].as_str()?;
    let image = || clean(container["image"].as_str().unwrap_or("its image"), 256);
    let last = &container["lastState"]["terminated"];
    let (why, lasts) = match reason {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => (
            format!(
                "pod {name} has no image: no node's and no registry's {}; push the archive of `make image` to your registry and give its name as --image, or import it on every node",
                image()
            ),
            true,
        ),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            (format!("pod {name} cannot start: {}", message(waiting)), true)
        }
        "CrashLoopBackOff" => (format!("pod {name} ends again and again; it said: {}", message(last)), true),
        _ => return None,
    };
    Some(Trouble { why, lasts })
}

fn condition<'a>(object: &'a Value, kind: &str, status: &str) -> Option<&'a Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|c| c["type"] == kind && c["status"] == status)
}

/// The end of it: a program says last why it gave up.
fn message(of: &Value) -> String {
    let text = of["message"].as_str().unwrap_or("no reason was given").trim();
    let last: Vec<&str> = text.lines().rev().take(2).collect();
    clean(&last.into_iter().rev().collect::<Vec<_>>().join(" "), 600)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(seen: u64, updated: u64, replicas: u64, available: u64) -> Value {
        json!({"metadata": {"generation": 3}, "spec": {"replicas": 2}, "status": {
            "observedGeneration": seen, "updatedReplicas": updated, "replicas": replicas, "availableReplicas": available}})
    }

    #[test]
    fn old_pods_do_not_count() {
        assert!(is_rolled_out(&deployment(3, 2, 2, 2)));
        for (seen, updated, replicas, available) in [(2, 2, 2, 2), (3, 1, 2, 2), (3, 2, 3, 2), (3, 2, 2, 1)] {
            assert!(!is_rolled_out(&deployment(seen, updated, replicas, available)));
        }
        assert!(!is_rolled_out(&Value::Null));
    }

    #[test]
    fn every_node_has_its_new_daemon_or_is_counted() {
        let set = |seen: u64, wanted: u64, updated: u64, ready: u64| {
            json!({"metadata": {"generation": 2}, "status": {"observedGeneration": seen,
                "desiredNumberScheduled": wanted, "updatedNumberScheduled": updated, "numberReady": ready}})
        };
        assert!(on_all_nodes(&set(2, 3, 3, 3)).is_ok() && on_all_nodes(&set(2, 0, 0, 0)).is_ok());
        for (seen, updated, ready) in [(1, 3, 3), (2, 2, 3), (2, 3, 2)] {
            assert!(on_all_nodes(&set(seen, 3, updated, ready)).is_err());
        }
        assert!(on_all_nodes(&Value::Null).is_err());
        assert!(on_all_nodes(&set(2, 3, 2, 3)).unwrap_err().starts_with("2 of 3 nodes"));
    }

    #[test]
    fn a_pod_says_what_is_wrong_with_it() {
        let pod = |status: Value| json!({"metadata": {"name": "p"}, "status": status});
        let waiting = |reason: &str| {
            json!({"containerStatuses": [{"image": "x:1", "state": {"waiting": {"reason": reason, "message": "no"}},
                "lastState": {"terminated": {"message": "first\nCannot read the charter\n"}}}]})
        };
        let why = |status: Value| of_pod(&pod(status)).map(|t| (t.why, t.lasts));
        let (text, lasts) = why(waiting("ImagePullBackOff")).unwrap();
        assert!(lasts && text.contains("x:1") && text.contains("--image"), "{text}");
        let (text, _) = why(waiting("CrashLoopBackOff")).unwrap();
        assert!(text.contains("Cannot read the charter"), "{text}");
        assert_eq!(why(waiting("ContainerCreating")), None);
        assert_eq!(why(json!({})), None);
        let unscheduled =
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "no nodes"}]});
        assert!(!why(unscheduled).unwrap().1);
    }
}
