//! Hooks of a Pod: commands before and after its volumes are read, by Velero's annotations or by the Backup. Pure; runs
//! nothing.
//!
//! Names and defaults are Velero's (velero.io/docs/main/backup-hooks): the annotations of a Pod go before what the
//! Backup says, for pre and post each by itself.

use super::facts::Pod;
use crate::kinds::{ExecHook, OnError, PodHooks};
use crate::select::glob::Glob;
use crate::select::labels::LabelSelector;
use std::time::Duration;

/// Without a `timeout`.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A freeze lasts no longer, in all.
pub const FREEZE: Duration = Duration::from_secs(600);
/// Commands of one Pod and phase.
const MAX_STEPS: usize = 32;
const MAX_ARGS: usize = 64;
const MAX_COMMAND: usize = 16 << 10;

/// What runs in a Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    pub pre: Vec<Step>,
    pub post: Vec<Step>,
    /// What was given and cannot be used, in words.
    pub slips: Vec<String>,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub container: String,
    pub command: Vec<String>,
    /// When it fails, the Pod's volumes are read all the same.
    pub go_on: bool,
    pub timeout: Duration,
}

/// The hooks of a Backup, ready to be asked.
#[derive(Debug, Clone)]
pub struct SpecHooks {
    all: Vec<SpecHook>,
}

#[derive(Debug, Clone)]
struct SpecHook {
    include: Vec<Glob>,
    exclude: Vec<Glob>,
    labels: LabelSelector,
    pre: Vec<ExecHook>,
    post: Vec<ExecHook>,
}

impl SpecHooks {
    /// A selector that cannot be read selects no Pod; the controller refuses such a Backup before it begins.
    #[must_use]
    pub fn read(hooks: &[PodHooks]) -> Self {
        let globs = |patterns: &[String]| patterns.iter().map(|p| Glob::new(p.trim())).collect();
        let each = hooks.iter().filter_map(|h| {
            let text = h.label_selector.as_ref().map(|s| s.to_text()).unwrap_or_default();
            Some(SpecHook {
                include: globs(&h.included_namespaces),
                exclude: globs(&h.excluded_namespaces),
                labels: LabelSelector::parse(&text).ok()?,
                pre: h.pre.clone(),
                post: h.post.clone(),
            })
        });
        Self { all: each.collect() }
    }

    /// The hooks of a Pod; none where there is nothing to run.
    #[must_use]
    pub fn of(&self, pod: &Pod) -> Option<Hooks> {
        let mut slips = Vec::new();
        let fits = |h: &&SpecHook| {
            let is_in = |globs: &[Glob]| globs.iter().any(|g| g.matches(&pod.namespace));
            (h.include.is_empty() || is_in(&h.include)) && !is_in(&h.exclude) && h.labels.matches(&pod.labels)
        };
        let selected: Vec<&SpecHook> = self.all.iter().filter(fits).collect();
        let pre = annotated(pod, "pre.", &mut slips).or_else(|| annotated(pod, "", &mut slips));
        let pre = pre.map_or_else(|| steps(pod, selected.iter().flat_map(|h| &h.pre)), |one| vec![one]);
        let post = annotated(pod, "post.", &mut slips);
        let post = post.map_or_else(|| steps(pod, selected.iter().flat_map(|h| &h.post)), |one| vec![one]);
        (!pre.is_empty() || !post.is_empty()).then_some(Hooks { pre, post, slips })
    }
}

fn steps<'a>(pod: &Pod, hooks: impl Iterator<Item = &'a ExecHook>) -> Vec<Step> {
    let usable = hooks.filter(|h| !h.command.is_empty()).take(MAX_STEPS);
    let each = usable.map(|h| Step {
        container: container(pod, h.container.as_deref()),
        command: h.command.clone(),
        go_on: h.on_error == Some(OnError::Continue),
        timeout: h.timeout.as_deref().and_then(duration).unwrap_or(TIMEOUT).min(FREEZE),
    });
    each.collect()
}

/// The hook that the Pod itself asks for.
fn annotated(pod: &Pod, phase: &str, slips: &mut Vec<String>) -> Option<Step> {
    let get = |what: &str| {
        pod.annotations
            .get(&format!("{phase}hook.backup.velero.io/{what}"))
            .map(|v| v.trim())
            .filter(|v| !v.is_empty())
    };
    let command = command(get("command")?);
    if command.len() > MAX_ARGS || command.iter().map(String::len).sum::<usize>() > MAX_COMMAND {
        slips.push(format!("the {phase}hook of Pod {} is too long to be run", pod.name));
        return None;
    }
    let timeout = get("timeout").and_then(|text| {
        let read = duration(text);
        if read.is_none() {
            slips.push(format!(
                "the timeout of the {phase}hook of Pod {} cannot be read: 30s is taken",
                pod.name
            ));
        }
        read
    });
    Some(Step {
        container: container(pod, get("container")),
        command,
        go_on: get("on-error").is_some_and(|word| word.eq_ignore_ascii_case("continue")),
        timeout: timeout.unwrap_or(TIMEOUT).min(FREEZE),
    })
}

/// A list in JSON, or a program without arguments.
fn command(text: &str) -> Vec<String> {
    let list = text.starts_with('[').then(|| serde_json::from_str::<Vec<String>>(text).ok()).flatten();
    list.filter(|l| !l.is_empty()).unwrap_or_else(|| vec![text.to_owned()])
}

fn container(pod: &Pod, asked: Option<&str>) -> String {
    asked.map(str::to_owned).or_else(|| pod.containers.first().cloned()).unwrap_or_default()
}

/// Go's way to write a time, as far as hooks use it: `30s`, `1m30s`, `1h`, `500ms`, `1.5s`.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut whole) = (text.trim(), 0.0_f64);
    if rest.is_empty() || rest.len() > 32 {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest.get(..end)?.parse().ok()?;
        rest = &rest[end..];
        let (unit, each) = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)]
            .into_iter()
            .find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        whole += number * each;
    }
    (whole > 0.0).then(|| Duration::try_from_secs_f64(whole).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::LabelSelector as Labels;

    fn pod(annotations: &[(&str, &str)]) -> Pod {
        Pod {
            namespace: "shop".to_owned(),
            name: "db-0".to_owned(),
            labels: [("app".to_owned(), "db".to_owned())].into(),
            annotations: annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            containers: vec!["postgres".to_owned(), "exporter".to_owned()],
            ..Pod::default()
        }
    }

    fn none() -> SpecHooks {
        SpecHooks::read(&[])
    }

    #[test]
    fn annotations_are_veleros() {
        let hooks = none()
            .of(&pod(&[
                ("pre.hook.backup.velero.io/command", r#"["/sbin/fsfreeze", "--freeze", "/var/lib"]"#),
                ("pre.hook.backup.velero.io/container", "exporter"),
                ("pre.hook.backup.velero.io/on-error", "Continue"),
                ("pre.hook.backup.velero.io/timeout", "2m30s"),
                ("post.hook.backup.velero.io/command", "/thaw"),
            ]))
            .unwrap();
        assert_eq!(hooks.pre.len(), 1);
        assert_eq!(hooks.pre[0].command, ["/sbin/fsfreeze", "--freeze", "/var/lib"]);
        assert_eq!((hooks.pre[0].container.as_str(), hooks.pre[0].go_on), ("exporter", true));
        assert_eq!(hooks.pre[0].timeout, Duration::from_secs(150));
        let post = &hooks.post[0];
        assert_eq!(post.command, ["/thaw"]);
        assert_eq!((post.container.as_str(), post.go_on, post.timeout), ("postgres", false, TIMEOUT));
        // Before there were phases.
        let old = none().of(&pod(&[("hook.backup.velero.io/command", "/freeze")])).unwrap();
        assert_eq!((old.pre[0].command[0].as_str(), old.post.len()), ("/freeze", 0));
        assert!(none().of(&pod(&[("pre.hook.backup.velero.io/container", "x")])).is_none());
    }

    #[test]
    fn slips_are_told_and_bounded() {
        let long = format!("[{}]", vec!["\"a\""; 65].join(","));
        let hooks = none()
            .of(&pod(&[
                ("pre.hook.backup.velero.io/command", &long),
                ("post.hook.backup.velero.io/command", "[not json"),
                ("post.hook.backup.velero.io/timeout", "soon"),
            ]))
            .unwrap();
        assert!(hooks.pre.is_empty());
        assert_eq!(hooks.post[0].command, ["[not json"]);
        assert_eq!(hooks.slips.len(), 2);
        for bad in ["", "-1s", "1", "s", "1w", "0s", "1e9s", "99999999999999999999999999999h", "1..5s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
        for (good, ms) in [("1.5s", 1500), ("500ms", 500), ("1h1m1s", 3_661_000)] {
            assert_eq!(duration(good), Some(Duration::from_millis(ms)));
        }
        let forever =
            pod(&[("pre.hook.backup.velero.io/command", "x"), ("pre.hook.backup.velero.io/timeout", "9h")]);
        assert_eq!(none().of(&forever).unwrap().pre[0].timeout, FREEZE);
    }

    #[test]
    fn a_backups_hooks_are_for_the_pods_that_they_select() {
        let exec = |command: &str| ExecHook { command: vec![command.to_owned()], ..ExecHook::default() };
        let all = |change: fn(&mut PodHooks)| {
            let mut hooks =
                PodHooks { pre: vec![exec("a"), exec("b")], post: vec![exec("c")], ..PodHooks::default() };
            change(&mut hooks);
            SpecHooks::read(&[hooks])
        };
        let plain = pod(&[]);
        assert_eq!(all(|_| ()).of(&plain).unwrap().pre.len(), 2);
        assert!(all(|h| h.included_namespaces = vec!["sh*".to_owned()]).of(&plain).is_some());
        assert!(all(|h| h.included_namespaces = vec!["x".to_owned()]).of(&plain).is_none());
        assert!(all(|h| h.excluded_namespaces = vec!["shop".to_owned()]).of(&plain).is_none());
        let with = |value: &str| {
            let labels =
                Labels { match_labels: [("app".to_owned(), value.to_owned())].into(), ..Labels::default() };
            let hooks =
                PodHooks { label_selector: Some(labels), pre: vec![exec("a")], ..PodHooks::default() };
            SpecHooks::read(&[hooks]).of(&plain)
        };
        assert!(with("db").is_some() && with("web").is_none());
        // The Pod's own go first, for each phase by itself.
        let own = all(|_| ()).of(&pod(&[("pre.hook.backup.velero.io/command", "own")])).unwrap();
        assert_eq!((own.pre.len(), own.pre[0].command[0].as_str()), (1, "own"));
        assert_eq!(own.post[0].command, ["c"]);
    }
}
