//! Somebody else writes the agent's state while a Backup runs: the run notices, takes the state again, and makes its one
//! snapshot.

use super::faults::under_way;
use super::site::Site;
use crate::killer::Killer;
use crate::world::shared_s3;
use serde_json::{Value, json};

const SECRET: &str = "lifeboat-state";

fn data(site: &Site) -> Value {
    let secret = site.kubectl(&["get", "secret", SECRET, "-o", "json"]);
    serde_json::from_str::<Value>(&secret).unwrap()["data"].clone()
}

fn write(site: &Site, patch: &Value) {
    site.kubectl(&["patch", "secret", SECRET, "--type=merge", "-p", &patch.to_string()]);
}

#[test]
fn a_state_that_somebody_else_wrote_is_taken_again_and_each_backup_has_one_snapshot() {
    let site = Site::new("lifeboat-state-taken");
    site.user_namespace("state-taken", 5);
    let killer = Killer::before(shared_s3().address().into());
    site.through(killer.endpoint());
    let controller = site.controller();
    let empty = data(&site);
    site.backup("first", &json!({"includedNamespaces": ["state-taken"]}));
    site.completed("first");
    let known = data(&site);
    assert_ne!(known, empty, "there is a state to be taken");

    // Not a write of the state: somebody puts a label on the Secret.
    under_way(&site, &killer, "labeled", "state-taken");
    write(&site, &json!({"metadata": {"labels": {"team": "platform"}}}));
    killer.stall(false);
    assert_eq!(site.completed("labeled")["attempts"], 1);
    assert!(!site.events().contains("StateTaken"), "{}", site.events());

    // What an older controller, a person with a copy, or a tool that restores Secrets would do.
    under_way(&site, &killer, "taken", "state-taken");
    write(&site, &json!({"data": known}));
    killer.stall(false);
    site.completed("taken");
    let events = site.events();
    assert!(
        events.lines().any(|l| l.contains(" taken ") && l.contains("StateTaken") && l.contains("Warning")),
        "{events}\n{}",
        site.logs()
    );
    site.backup("last", &json!({"includedNamespaces": ["state-taken"]}));
    site.completed("last");
    let label = site.kubectl(&["get", "secret", SECRET, "-o", "jsonpath={.metadata.labels.team}"]);
    assert_eq!(label, "platform", "what is others' stays");
    assert_eq!(site.snapshots().len(), 4);
    site.world.pull().expect(0);
    controller.get("/readyz").unwrap();
}
