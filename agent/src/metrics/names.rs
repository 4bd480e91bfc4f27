//! The one list of what is exported: names, kinds, labels and their meaning. docs/metrics.md and the alert rules are
//! held to it by tests. Pure data.

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described {
    pub name: &'static str,
    pub kind: &'static str,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

const SCHEDULE: &[&str] = &["schedule"];

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Described {
    Described { name, kind: "gauge", labels, help }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Described {
    Described { name, kind: "counter", labels, help }
}

pub const BUILD_INFO: Described =
    gauge("lifeboat_build_info", &["version"], "Always 1; which program this is");
pub const LEADER: Described =
    gauge("lifeboat_leader", &[], "1 if this controller holds the lease and makes backups, else 0");
pub const RUNNING: Described =
    gauge("lifeboat_backup_running", &[], "Backups that this controller is making now");
pub const RUNS: Described = counter(
    "lifeboat_backup_runs_total",
    &["schedule", "result"],
    "Backups that ended, since this controller started; result is Completed, PartiallyFailed, Failed or Canceled",
);
pub const LAST_RUN: Described = gauge(
    "lifeboat_backup_last_run_timestamp_seconds",
    SCHEDULE,
    "Unix time at which the last backup ended, whatever its result",
);
pub const LAST_SUCCESS: Described = gauge(
    "lifeboat_backup_last_success_timestamp_seconds",
    SCHEDULE,
    "Unix time at which the last backup ended that was Completed: nothing was missed",
);
pub const DURATION: Described =
    gauge("lifeboat_backup_duration_seconds", SCHEDULE, "How long the last backup took");
pub const OBJECTS: Described = gauge("lifeboat_backup_objects", SCHEDULE, "Objects in the last snapshot");
pub const BYTES: Described = gauge(
    "lifeboat_backup_bytes",
    SCHEDULE,
    "Bytes of the last snapshot before deduplication and compression",
);
pub const STORED_BYTES: Described =
    gauge("lifeboat_backup_stored_bytes", SCHEDULE, "Sealed bytes that the last backup added to the store");
pub const MISSED: Described = gauge(
    "lifeboat_backup_missed",
    SCHEDULE,
    "Things that the last backup should have stored and did not; `kubectl describe backup` names them",
);
pub const NEXT_RUN: Described = gauge(
    "lifeboat_schedule_next_run_timestamp_seconds",
    SCHEDULE,
    "Unix time at which the schedule is due next; absent while it is paused or invalid",
);
pub const PAUSED: Described =
    gauge("lifeboat_schedule_paused", SCHEDULE, "1 if the schedule is paused, else 0");
pub const INVALID: Described = gauge(
    "lifeboat_schedule_invalid",
    SCHEDULE,
    "1 if the schedule cannot be followed, for the reason in its condition Invalid, else 0",
);
pub const API_REQUESTS: Described = counter(
    "lifeboat_api_requests_total",
    &["verb", "code"],
    "Requests to the API server by Kubernetes verb and HTTP status; the code `none` is a request without an answer",
);
pub const STORE_ERRORS: Described = counter(
    "lifeboat_store_errors_total",
    &[],
    "Operations on the store that failed for good, after their retries",
);
pub const COVERED_AT: Described = gauge(
    "lifeboat_coverage_timestamp_seconds",
    &[],
    "Unix time of the full backup that the coverage is known from; absent before the first since this start",
);
pub const NAMESPACES: Described = gauge(
    "lifeboat_coverage_namespaces",
    &["state"],
    "Namespaces by state: protected (something of it is stored), excluded (all of it, by a rule or a label), never (nothing of it is stored, and no rule says so)",
);
pub const COVERED_OBJECTS: Described = gauge(
    "lifeboat_coverage_objects",
    &["class"],
    "Objects in the cluster by class: stored, excluded, derived, skipped; missed counts what was not stored and should be",
);
pub const EXCLUDED: Described = gauge(
    "lifeboat_coverage_excluded_objects",
    &["rule"],
    "Objects that are left out, by the rule that says so: optedOut, namespaceOptedOut, systemNamespace, …",
);

pub const VOLUMES: Described = gauge(
    "lifeboat_coverage_volumes",
    &["state"],
    "Volumes by what the last full backup made of them: live (read while in use), hooked (read between hooks), kept (nothing mounts it; its last tree is named again), stale (the same, and that tree is too old), missed, excluded",
);
pub const OLDEST_VOLUME: Described = gauge(
    "lifeboat_coverage_oldest_volume_timestamp_seconds",
    &[],
    "Unix time at which the oldest was read of the last good trees of all volumes; absent while none is known",
);
pub const VOLUME_LAST_GOOD: Described = gauge(
    "lifeboat_volume_last_good_timestamp_seconds",
    &["namespace", "claim"],
    "Unix time at which the last good tree of a claim was read; only with `metrics_by_claim = true`, since it shows names",
);

pub const NODE_RUNNING: Described =
    gauge("lifeboat_node_volumes_running", &[], "Volumes that this node is reading now");
pub const NODE_VOLUMES: Described = counter(
    "lifeboat_node_volumes_total",
    &["result"],
    "Volumes that ended on this node, since its daemon started; result is Completed, Failed, Canceled or Interrupted",
);
pub const NODE_READ_BYTES: Described = counter(
    "lifeboat_node_read_bytes_total",
    &[],
    "Bytes read from the files of volumes that were Completed; files that look unchanged are not read",
);
pub const NODE_SENT_BYTES: Described =
    counter("lifeboat_node_sent_bytes_total", &[], "Sealed bytes that Completed volumes added to the store");
pub const NODE_LAST_SUCCESS: Described = gauge(
    "lifeboat_node_last_success_timestamp_seconds",
    &[],
    "Unix time at which this node last completed a volume; absent before the first since its daemon started",
);

/// Those of a node's daemon, in the order of the documentation.
pub const NODE: &[Described] = &[
    NODE_RUNNING,
    NODE_VOLUMES,
    NODE_READ_BYTES,
    NODE_SENT_BYTES,
    NODE_LAST_SUCCESS,
    API_REQUESTS,
    STORE_ERRORS,
    BUILD_INFO,
];

/// All of a controller, in the order of the documentation.
pub const ALL: &[Described] = &[
    LAST_SUCCESS,
    LAST_RUN,
    RUNS,
    RUNNING,
    DURATION,
    OBJECTS,
    BYTES,
    STORED_BYTES,
    MISSED,
    NEXT_RUN,
    PAUSED,
    INVALID,
    NAMESPACES,
    COVERED_OBJECTS,
    EXCLUDED,
    VOLUMES,
    OLDEST_VOLUME,
    VOLUME_LAST_GOOD,
    COVERED_AT,
    LEADER,
    API_REQUESTS,
    STORE_ERRORS,
    BUILD_INFO,
];
