//! The policy in force: the charter's, with this host's overrides. Pure.

use jiff::tz::TimeZone;
use lifeboat_common::config::RetentionConfig;
use lifeboat_format::charter::Keep;
use lifeboat_format::retention::{Caps, Floors, Policy};

#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error(
        "retention.time_zone '{zone}' is not known: {why}; give a name such as Europe/Stockholm, or leave it out for UTC"
    )]
    Zone { zone: String, why: String },
}

/// Everything that a pass goes by.
#[derive(Debug, Clone)]
pub struct InForce {
    pub policy: Policy,
    pub caps: Caps,
    pub grace_hours: u32,
}

/// A week to notice that something was forgotten.
const GRACE_HOURS: u32 = 168;

/// The time zone of this name.
pub fn zone(name: &str) -> Result<TimeZone, PolicyError> {
    TimeZone::get(name).map_err(|e| PolicyError::Zone { zone: name.to_owned(), why: e.to_string() })
}

impl InForce {
    pub fn new(charter: &Keep, overrides: &RetentionConfig) -> Result<Self, PolicyError> {
        let o = overrides;
        let (floors, caps) = (Floors::default(), Caps::default());
        let zone = match &o.time_zone {
            None => TimeZone::UTC,
            Some(name) => zone(name)?,
        };
        let keep = Keep {
            within_hours: o.within_hours.unwrap_or(charter.within_hours),
            last: o.last.unwrap_or(charter.last),
            hourly: o.hourly.unwrap_or(charter.hourly),
            daily: o.daily.unwrap_or(charter.daily),
            weekly: o.weekly.unwrap_or(charter.weekly),
            monthly: o.monthly.unwrap_or(charter.monthly),
            yearly: o.yearly.unwrap_or(charter.yearly),
        };
        let floors = Floors {
            // Whatever is configured, a vault is never left empty.
            minimum: o.minimum.unwrap_or(floors.minimum).max(1),
            hours: o.floor_hours.unwrap_or(floors.hours),
            scope_days: o.scope_days.unwrap_or(floors.scope_days),
        };
        let caps = Caps {
            snapshots: o.max_snapshots.unwrap_or(caps.snapshots),
            percent: o.max_percent.unwrap_or(caps.percent),
        };
        let grace_hours = o.grace_hours.unwrap_or(GRACE_HOURS);
        Ok(Self { policy: Policy { keep, floors, zone }, caps, grace_hours })
    }
}
