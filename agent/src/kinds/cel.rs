//! What a schema refuses, and with which words: rules in the Common Expression Language, by the place they stand at.
//! What no schema can know (whether a namespace or a time zone exists) is the controller's to refuse. Pure.

/// One place in a schema: bounds, and a rule with the words that a person sees.
pub(super) struct Rule {
    /// `a.b` are properties, `[]` an item of a list, `{}` a value of a map; empty is the root.
    pub(super) at: &'static str,
    pub(super) bounds: &'static [(&'static str, u64)],
    pub(super) rule: String,
    pub(super) message: &'static str,
}

fn rule(
    at: &'static str,
    bounds: &'static [(&'static str, u64)],
    rule: impl Into<String>,
    message: &'static str,
) -> Rule {
    Rule { at, bounds, rule: rule.into(), message }
}

fn matches(pattern: &str) -> String {
    format!("self.matches(r'^({pattern})$')")
}

const LIST: &[(&str, u64)] = &[("maxItems", 256)];
const NAMESPACE: &[(&str, u64)] = &[("minLength", 1), ("maxLength", 63)];
const KIND: &[(&str, u64)] = &[("minLength", 1), ("maxLength", 253)];
const DURATION: &[(&str, u64)] = &[("maxLength", 9)];
const LABEL_KEY: &str = "([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?";
const LABEL_VALUE: &str = "([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?";

const NAMESPACE_WORDS: &str =
    "not a namespace: lower-case letters, digits and -, with * and ? as patterns (team-*)";
const KIND_WORDS: &str =
    "not a kind: name it as kubectl does: deployments, deploy, deployments.apps, *.cert-manager.io";
const SELECTOR_WORDS: &str =
    "not a label selector: write it as for kubectl -l, for example app=shop,tier in (web,db),!test";
const LABEL_WORDS: &str =
    "not a label: keys are like app or example.com/app, values like v1.2 (at most 63 characters)";
const CRON_WORDS: &str = "not a schedule: five fields (minute 0-59, hour 0-23, day of the month 1-31, month 1-12 or JAN-DEC, day of the week 0-7 or SUN-SAT) of *, numbers, ranges, lists and steps (30 2 * * MON-FRI, */15 * * * *), or one of @hourly @daily @midnight @weekly @monthly @yearly @annually @daily-random";

/// The rules of a Backup's spec, wherever it stands.
pub(super) fn spec() -> Vec<Rule> {
    vec![
        rule(
            "",
            &[],
            "!(has(self.selector) && has(self.labelSelector))",
            "give selector or labelSelector, not both",
        ),
        rule("includedNamespaces", LIST, "", ""),
        rule("includedNamespaces[]", NAMESPACE, matches("[-a-z0-9*?]+"), NAMESPACE_WORDS),
        rule("excludedNamespaces", LIST, "", ""),
        rule("excludedNamespaces[]", NAMESPACE, matches("[-a-z0-9*?]+"), NAMESPACE_WORDS),
        rule("includedKinds", LIST, "", ""),
        rule("includedKinds[]", KIND, matches(r"[-A-Za-z0-9*?][-A-Za-z0-9*?.]*"), KIND_WORDS),
        rule("excludedKinds", LIST, "", ""),
        rule("excludedKinds[]", KIND, matches(r"[-A-Za-z0-9*?][-A-Za-z0-9*?.]*"), KIND_WORDS),
        rule("selector", &[("minLength", 1), ("maxLength", 1024)], matches(&selector()), SELECTOR_WORDS),
        rule(
            "labelSelector.matchLabels",
            &[("maxProperties", 64)],
            format!("self.all(k, k.matches(r'^{LABEL_KEY}$') && self[k].matches(r'^{LABEL_VALUE}$'))"),
            LABEL_WORDS,
        ),
        rule("labelSelector.matchLabels{}", &[("maxLength", 63)], "", ""),
        rule("labelSelector.matchExpressions", &[("maxItems", 64)], "", ""),
        rule(
            "labelSelector.matchExpressions[]",
            &[],
            "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 : self.operator in ['Exists', 'DoesNotExist'] && (!has(self.values) || self.values.size() == 0)",
            "operator is In or NotIn with values, or Exists or DoesNotExist without",
        ),
        rule("labelSelector.matchExpressions[].key", &[("maxLength", 317)], matches(LABEL_KEY), LABEL_WORDS),
        rule("labelSelector.matchExpressions[].operator", &[("maxLength", 16)], "", ""),
        rule("labelSelector.matchExpressions[].values", &[("maxItems", 64)], "", ""),
        rule(
            "labelSelector.matchExpressions[].values[]",
            &[("maxLength", 63)],
            matches(LABEL_VALUE),
            LABEL_WORDS,
        ),
        rule(
            "preset",
            &[("maxLength", 63)],
            "self == 'compliant-kubernetes'",
            "no such preset; the only one is compliant-kubernetes",
        ),
        rule(
            "ttl",
            DURATION,
            matches("[1-9][0-9]{0,5}[hd]"),
            "not a time: a whole number of hours or days, 72h or 30d",
        ),
        rule(
            "deadline",
            DURATION,
            matches("[1-9][0-9]{0,6}[smhd]"),
            "not a time: a whole number and s, m, h or d, for example 90m or 12h",
        ),
        rule("scheduleName", &[("maxLength", 48)], "", ""),
    ]
    .into_iter()
    .chain(hooks())
    .collect()
}

/// The rules of hooks. Their bounds keep the cost of these rules low, too.
fn hooks() -> Vec<Rule> {
    let mut all = vec![
        rule("hooks", &[("maxItems", 16)], "", ""),
        rule("hooks[].name", &[("maxLength", 63)], "", ""),
        rule("hooks[].includedNamespaces", &[("maxItems", 32)], "", ""),
        rule("hooks[].includedNamespaces[]", NAMESPACE, matches("[-a-z0-9*?]+"), NAMESPACE_WORDS),
        rule("hooks[].excludedNamespaces", &[("maxItems", 32)], "", ""),
        rule("hooks[].excludedNamespaces[]", NAMESPACE, matches("[-a-z0-9*?]+"), NAMESPACE_WORDS),
        rule("hooks[].labelSelector.matchLabels", &[("maxProperties", 16)], "", ""),
        rule("hooks[].labelSelector.matchLabels{}", &[("maxLength", 63)], "", ""),
        rule("hooks[].labelSelector.matchExpressions", &[("maxItems", 16)], "", ""),
        rule("hooks[].labelSelector.matchExpressions[].key", &[("maxLength", 317)], "", ""),
        rule("hooks[].labelSelector.matchExpressions[].operator", &[("maxLength", 16)], "", ""),
        rule("hooks[].labelSelector.matchExpressions[].values", &[("maxItems", 16)], "", ""),
        rule("hooks[].labelSelector.matchExpressions[].values[]", &[("maxLength", 63)], "", ""),
    ];
    for [list, each, container, command, part, timeout] in HOOK_PLACES {
        all.extend([
            rule(list, &[("maxItems", 8)], "", ""),
            rule(
                each,
                &[],
                "has(self.command) && self.command.size() > 0",
                "a hook needs a command: the program and its arguments, as a list",
            ),
            rule(container, &[("minLength", 1), ("maxLength", 63)], "", ""),
            rule(command, &[("maxItems", 64)], "", ""),
            rule(part, &[("maxLength", 4096)], "", ""),
            rule(
                timeout,
                &[("maxLength", 4)],
                matches("[1-9][0-9]{0,2}s|[1-9]m|10m"),
                "not a time of a hook: seconds up to 999s or minutes up to 10m, for example 30s or 2m",
            ),
        ]);
    }
    all
}

const HOOK_PLACES: [[&str; 6]; 2] = [
    [
        "hooks[].pre",
        "hooks[].pre[]",
        "hooks[].pre[].container",
        "hooks[].pre[].command",
        "hooks[].pre[].command[]",
        "hooks[].pre[].timeout",
    ],
    [
        "hooks[].post",
        "hooks[].post[]",
        "hooks[].post[].container",
        "hooks[].post[].command",
        "hooks[].post[].command[]",
        "hooks[].post[].timeout",
    ],
];

/// The rules of a VolumeBackup. Its spec becomes paths on a node, and its status is what a node says: both are bounded.
pub(super) fn volume_backup() -> Vec<Rule> {
    const UID: &[(&str, u64)] = &[("minLength", 1), ("maxLength", 64)];
    const NAME: &[(&str, u64)] = &[("minLength", 1), ("maxLength", 253)];
    const SHA256: &[(&str, u64)] = &[("maxLength", 64)];
    const NAME_WORDS: &str = "not a name: letters, digits, -, _ and ., with a letter or digit at either end";
    let digest = || matches("[0-9a-f]{64}");
    let name = || matches("[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?");
    let mut all = vec![
        rule(
            "spec",
            &[],
            "has(self.plugin) != has(self.hostPath)",
            "give the folder of a plugin or a hostPath, one of them",
        ),
        rule("spec.runId", &[("maxLength", 32)], matches("[0-9a-f]{32}"), "not a run: 32 hexadecimal digits"),
        rule("spec.attempt", &[], "self >= 1 && self <= 100", "between 1 and 100"),
        rule("spec.pvcUid", UID, name(), NAME_WORDS),
        rule("spec.podUid", UID, name(), NAME_WORDS),
        rule("spec.plugin", NAME, matches("[A-Za-z0-9][-A-Za-z0-9_.~]*"), "not a plugin: kubernetes.io~csi"),
        rule(
            "spec.hostPath",
            &[("minLength", 2), ("maxLength", 4096)],
            "self.startsWith('/') && !self.contains('/../') && !self.endsWith('/..')",
            "not a folder of a node: an absolute path without ..",
        ),
        rule("spec.order", SHA256, digest(), "not a SHA-256: 64 hexadecimal digits"),
        rule("spec.uploadLog", SHA256, digest(), "not a SHA-256: 64 hexadecimal digits"),
        rule("status.result", SHA256, digest(), "not a SHA-256: 64 hexadecimal digits"),
        rule("status.uploadLog", SHA256, digest(), "not a SHA-256: 64 hexadecimal digits"),
        rule("status.reason", &[("maxLength", 63)], "", ""),
        rule("status.message", &[("maxLength", 1024)], "", ""),
        rule("status.conditions", &[("maxItems", 4)], "", ""),
        rule("status.conditions[].type", &[("maxLength", 63)], "", ""),
        rule("status.conditions[].status", &[("maxLength", 7)], "", ""),
        rule("status.conditions[].reason", &[("maxLength", 63)], "", ""),
        rule("status.conditions[].message", &[("maxLength", 256)], "", ""),
    ];
    for at in
        ["spec.backup", "spec.claim", "spec.podName", "spec.volumeName", "spec.nodeName", "spec.workKey"]
    {
        all.push(rule(at, NAME, name(), NAME_WORDS));
    }
    all.push(rule("spec.namespace", &[("minLength", 1), ("maxLength", 63)], name(), NAME_WORDS));
    all
}

/// The rules of a BackupSchedule beside those of its template.
pub(super) fn schedule() -> Vec<Rule> {
    vec![
        rule(
            "",
            &[],
            "self.metadata.name.size() <= 48",
            "the name of a BackupSchedule has at most 48 characters: those of its Backups begin with it",
        ),
        rule("spec.schedule", &[("minLength", 1), ("maxLength", 256)], matches(&cron()), CRON_WORDS),
        rule(
            "spec.timeZone",
            &[("minLength", 1), ("maxLength", 64)],
            matches("[A-Za-z][-A-Za-z0-9_+]*(/[A-Za-z0-9][-A-Za-z0-9_+]*){0,2}")
                + " && self.lowerAscii() != 'local'",
            "not a time zone: a name of the IANA database, for example Europe/Stockholm or UTC",
        ),
        rule(
            "spec.startingDeadlineSeconds",
            &[],
            "self >= 60 && self <= 31536000",
            "between 60 seconds and a year: times are looked at at least once a minute",
        ),
        rule("spec.historyLimits.successful", &[], "self >= 1 && self <= 1000", "between 1 and 1000"),
        rule("spec.historyLimits.failed", &[], "self >= 1 && self <= 1000", "between 1 and 1000"),
        rule(
            "spec.template",
            &[],
            "!has(self.scheduleName)",
            "scheduleName is set by the schedule: leave it out",
        ),
    ]
}

fn selector() -> String {
    let equal = format!("{LABEL_KEY} *(=|==|!=) *{LABEL_VALUE}");
    let set = format!(r"{LABEL_KEY} +(in|notin) *\( *{LABEL_VALUE}( *, *{LABEL_VALUE})* *\)");
    let one = format!("({equal}|{set}|!? *{LABEL_KEY})");
    format!(" *{one}( *, *{one})* *")
}

fn cron() -> String {
    let field = |n: &str| {
        let one = format!(r"(\*(/[1-9][0-9]?)?|{n}(-{n}(/[1-9][0-9]?)?)?)");
        format!("{one}(,{one})*")
    };
    let months = "(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)";
    let days = "(?i:sun|mon|tue|wed|thu|fri|sat)";
    let fields = [
        field("[0-5]?[0-9]"),
        field("([01]?[0-9]|2[0-3])"),
        field("(0?[1-9]|[12][0-9]|3[01])"),
        field(&format!("(0?[1-9]|1[0-2]|{months})")),
        field(&format!("([0-7]|{days})")),
    ];
    format!("@(hourly|daily|midnight|weekly|monthly|yearly|annually|daily-random)|{}", fields.join(" +"))
}
