//! The one list of what the replicator exports: names, labels and their meaning. docs/monitoring.md, the alert rules and the
//! dashboard are held to it by tests. Pure data.

/// One metric. All are gauges: they say how things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described {
    pub name: &'static str,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

const CLUSTER: &[&str] = &["cluster"];
const SIDE: &[&str] = &["cluster", "side"];
const KIND: &[&str] = &["cluster", "kind"];

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Described {
    Described { name, labels, help }
}

pub const READABLE: Described = gauge(
    "lifeboat_replicator_readable",
    &[],
    "1 if configuration, catalogue and vault could be read, else 0 and nothing else is exported",
);
pub const NEWEST: Described = gauge(
    "lifeboat_replicator_newest_snapshot_timestamp_seconds",
    CLUSTER,
    "Unix time at which the newest whole snapshot of the vault was made; absent before the first",
);
pub const RPO: Described = gauge(
    "lifeboat_replicator_rpo_seconds",
    CLUSTER,
    "How old the newest whole snapshot may be, by the charter",
);
pub const LAG: Described = gauge(
    "lifeboat_replicator_lag_seconds",
    CLUSTER,
    "How long the vault has known of a snapshot that it does not have whole yet; 0 when it has all",
);
pub const LAST_PULL: Described = gauge(
    "lifeboat_replicator_last_pull_timestamp_seconds",
    CLUSTER,
    "Unix time at which a pull last went through",
);
pub const SNAPSHOTS: Described = gauge(
    "lifeboat_replicator_snapshots",
    SIDE,
    "Snapshots by side: vault or primary, as far as is known here",
);
pub const PENDING: Described = gauge(
    "lifeboat_replicator_pending_snapshots",
    CLUSTER,
    "Snapshots that the vault knows of and does not have whole yet",
);
pub const PACKS: Described = gauge("lifeboat_replicator_packs", CLUSTER, "Packs in the vault");
pub const BYTES: Described =
    gauge("lifeboat_replicator_stored_bytes", CLUSTER, "Sealed bytes in the vault, each pack counted once");
pub const PROTECTED: Described = gauge(
    "lifeboat_replicator_protected_until_timestamp_seconds",
    CLUSTER,
    "Unix time until which the policy in force keeps the newest snapshot, at least",
);
pub const LAST_RETENTION: Described = gauge(
    "lifeboat_replicator_last_retention_timestamp_seconds",
    CLUSTER,
    "Unix time at which the retention last decided",
);
pub const SCRUBBED: Described = gauge(
    "lifeboat_replicator_scrubbed_timestamp_seconds",
    CLUSTER,
    "Unix time since which everything in the vault was read and found sound",
);
pub const OVERDUE: Described = gauge(
    "lifeboat_replicator_scrub_overdue_objects",
    CLUSTER,
    "Files of the vault that were not read again within the period",
);
pub const DAMAGED: Described = gauge(
    "lifeboat_replicator_damaged_objects",
    SIDE,
    "Objects known to be damaged or lost and not healed yet, by side: vault or primary",
);
pub const ALARMS: Described = gauge("lifeboat_replicator_alarms", KIND, "Open alarms by kind");
pub const WARNINGS: Described = gauge(
    "lifeboat_replicator_warnings",
    KIND,
    "What needs a person and is no alarm of a pull, by kind; cluster is empty for the vault's disk",
);
pub const TRANSFER_DONE: Described = gauge(
    "lifeboat_replicator_transfer_done_bytes",
    CLUSTER,
    "Bytes that the transfer under way has fetched; absent when none is",
);
pub const TRANSFER_SIZE: Described =
    gauge("lifeboat_replicator_transfer_size_bytes", CLUSTER, "Bytes of the transfer under way in all");
pub const TRANSFER_RATE: Described = gauge(
    "lifeboat_replicator_transfer_bytes_per_second",
    CLUSTER,
    "Rate of the transfer under way, on average since it began",
);
pub const DISK_FREE: Described =
    gauge("lifeboat_replicator_disk_free_bytes", &[], "Free bytes on the vault's disk");
pub const DISK_SIZE: Described =
    gauge("lifeboat_replicator_disk_size_bytes", &[], "Size of the vault's disk");
pub const DISK_RESERVE: Described =
    gauge("lifeboat_replicator_disk_reserve_bytes", &[], "Free bytes below which pulls stop");
pub const DISK_GROWTH: Described = gauge(
    "lifeboat_replicator_disk_growth_bytes_per_day",
    &[],
    "By how much the vault grew a day in the last 30 days; absent before four days of pulls",
);
pub const DISK_LEFT: Described = gauge(
    "lifeboat_replicator_disk_left_seconds",
    &[],
    "Time until pulls stop for want of room, at that growth; absent when that is not in sight",
);
pub const BUILD_INFO: Described =
    gauge("lifeboat_build_info", &["version"], "Always 1; which program this is");

/// All of them, as documented.
pub const ALL: &[Described] = &[
    READABLE,
    NEWEST,
    RPO,
    LAG,
    LAST_PULL,
    SNAPSHOTS,
    PENDING,
    PACKS,
    BYTES,
    PROTECTED,
    LAST_RETENTION,
    SCRUBBED,
    OVERDUE,
    DAMAGED,
    ALARMS,
    WARNINGS,
    TRANSFER_DONE,
    TRANSFER_SIZE,
    TRANSFER_RATE,
    DISK_FREE,
    DISK_SIZE,
    DISK_RESERVE,
    DISK_GROWTH,
    DISK_LEFT,
    BUILD_INFO,
];
