//! Conditions, as `kubectl wait --for=condition=…` reads them. Plain data.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One condition of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// What it is about, in CamelCase.
    #[serde(rename = "type")]
    pub kind: String,
    /// True, False or Unknown.
    pub status: String,
    /// Why, one CamelCase word.
    pub reason: String,
    /// Why, in words.
    pub message: String,
    /// When the status changed last.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: Timestamp,
    /// The generation of the object that it was set for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// Sets one condition; its time changes only with its status.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let status = if holds { "True" } else { "False" };
    let new = Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: now,
        observed_generation: None,
    };
    match conditions.iter_mut().find(|c| c.kind == kind) {
        Some(old) if old.status == status => {
            let since = old.last_transition_time;
            *old = Condition { last_transition_time: since, ..new };
        }
        Some(old) => *old = new,
        None => conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_that_of_the_change() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let mut all = Vec::new();
        set_condition(&mut all, "Completed", false, "Waiting", "", at(1));
        set_condition(&mut all, "Completed", false, "Running", "now", at(2));
        assert_eq!((all[0].last_transition_time, all[0].reason.as_str()), (at(1), "Running"));
        set_condition(&mut all, "Completed", true, "Completed", "", at(3));
        assert_eq!((all.len(), all[0].last_transition_time), (1, at(3)));
    }
}
