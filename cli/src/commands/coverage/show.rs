//! Coverage as a table for people and as JSON. Knows no cluster and no repository.

use super::Facts;
use crate::commands::report::how;
use crate::context::Context;
use crate::table::{Table, printable};
use anyhow::Result;
use lifeboat_agent::coverage::{Coverage, Method, Namespace, State, Volume};
use serde_json::{Value, json};

/// Objects with labels of their own, and gaps, that are shown one by one.
const SHOWN: usize = 20;

pub(super) fn document(facts: &Facts, coverage: &Coverage) -> Value {
    json!({
        "schema": "lifeboat/coverage/1",
        "server": facts.server,
        "schedule": facts.schedule,
        "snapshot": facts.snapshot.as_ref().map(|s| json!({"seq": s.seq, "finished": s.finished})),
        "charterKnown": facts.charter_known,
        "gaps": coverage.has_gaps(),
        "namespaces": coverage.namespaces,
        "volumes": coverage.volumes,
        "optedOut": coverage.opted_out,
        "unread": coverage.unread,
        "missed": coverage.missed,
        "beyond": coverage.beyond,
        "warnings": facts.warnings,
    })
}

pub(super) fn print(
    facts: &Facts,
    coverage: &Coverage,
    kinds: bool,
    context: &mut Context<'_>,
) -> Result<()> {
    for warning in &facts.warnings {
        eprintln!("Warning: {}", printable(warning));
    }
    let schedule = facts.schedule.as_deref().unwrap_or("none");
    let against = facts.snapshot.as_ref().map_or_else(
        || "the Backups in it".to_owned(),
        |s| format!("snapshot {} of {:.0}", s.seq, s.finished),
    );
    context.line(format!("{}, schedule {}, compared with {against}\n", facts.server, printable(schedule)))?;
    let mut table =
        Table::new(&["NAMESPACE", "STATE", "OBJECTS", "LEFT OUT", "LAST BACKUP", "SINCE", "WHY"], &[2, 3]);
    for namespace in &coverage.namespaces {
        table.row(line(namespace));
        if kinds {
            for (kind, found) in &namespace.kinds {
                let (c, none) = (found.counts, String::new());
                let counts = [c.stored, c.excluded].map(|n| n.to_string());
                let [stored, excluded] = counts;
                table.row([format!("  {kind}"), word(found.state).to_owned(), stored, excluded, none]);
            }
        }
    }
    write!(context.out, "{}", table.render())?;
    volumes(&coverage.volumes, context)?;
    rest(coverage, kinds, context)
}

fn rest(coverage: &Coverage, kinds: bool, context: &mut Context<'_>) -> Result<()> {
    let mut lines = Vec::new();
    for object in &coverage.opted_out {
        let place =
            if object.namespace.is_empty() { String::new() } else { format!("{}/", object.namespace) };
        lines.push(format!("Left out by its label {}: {} {place}{}", object.label, object.kind, object.name));
    }
    some(&lines, context)?;
    let never = coverage.namespaces.iter().filter(|_| !kinds).flat_map(|n| {
        let gaps = n.kinds.iter().filter(|(_, k)| k.state == State::Never && n.state != State::Never);
        gaps.map(|(kind, found)| format!("In no backup: {} {kind} in {}", found.counts.stored, name(n)))
    });
    some(&never.collect::<Vec<_>>(), context)?;
    let missed = coverage.missed.iter().map(|m| {
        let kind = if m.kind.is_empty() { "every kind" } else { &m.kind };
        let group = if m.group.is_empty() { String::new() } else { format!(".{}", m.group) };
        format!("Cannot be read now: {kind}{group}: {} ({})", m.message, m.reason)
    });
    some(&missed.collect::<Vec<_>>(), context)?;
    if coverage.beyond > 0 {
        context.line(format!("… and {} more objects, not counted by namespace and kind", coverage.beyond))?;
    }
    Ok(())
}

/// Claims, but for those of namespaces that are left out whole.
fn volumes(all: &[Volume], context: &mut Context<'_>) -> Result<()> {
    let (hidden, shown): (Vec<_>, Vec<_>) = all.iter().partition(|v| v.state == State::Excluded && v.around);
    if !shown.is_empty() {
        let mut table = Table::new(&["VOLUME", "STATE", "METHOD", "HOW", "LAST GOOD", "WHY"], &[]);
        for volume in shown {
            let last = volume.last.map_or_else(|| "–".to_owned(), |t| format!("{t:.0}"));
            table.row([
                format!("{}/{}", volume.namespace, volume.claim),
                word(volume.state).to_owned(),
                method(volume.method).to_owned(),
                volume.consistency.map_or("–", how).to_owned(),
                last,
                printable(&volume.why),
            ]);
        }
        write!(context.out, "\n{}", table.render())?;
    }
    if !hidden.is_empty() {
        context.line(format!("… and {} volumes in namespaces that are left out", hidden.len()))?;
    }
    Ok(())
}

fn method(method: Method) -> &'static str {
    match method {
        Method::Live => "live",
        Method::Kept => "kept",
        Method::Missed => "missed",
        Method::Excluded => "excluded",
    }
}

fn some(lines: &[String], context: &mut Context<'_>) -> Result<()> {
    for (i, line) in lines.iter().take(SHOWN).enumerate() {
        context.line(format!("{}{}", if i == 0 { "\n" } else { "" }, printable(line)))?;
    }
    if lines.len() > SHOWN {
        context.line(format!("… and {} more (--json has all that were noted)", lines.len() - SHOWN))?;
    }
    Ok(())
}

fn line(namespace: &Namespace) -> [String; 7] {
    let time = |t: Option<jiff::Timestamp>| t.map_or_else(|| "–".to_owned(), |t| format!("{t:.0}"));
    [
        name(namespace).to_owned(),
        word(namespace.state).to_owned(),
        namespace.objects.to_string(),
        namespace.excluded.values().sum::<u64>().to_string(),
        time(namespace.last),
        time(namespace.since),
        namespace.why.clone().unwrap_or_default(),
    ]
}

fn name(namespace: &Namespace) -> &str {
    if namespace.name.is_empty() { "_cluster" } else { &namespace.name }
}

fn word(state: State) -> &'static str {
    match state {
        State::Protected => "protected",
        State::New => "new",
        State::Never => "never",
        State::Old => "old",
        State::Excluded => "excluded",
        State::Derived => "derived",
    }
}
