//! The status page: one page, made here, without scripts and without anything from elsewhere. Pure, beside the reading of
//! what is drawn over time. Every string goes through `html`, whoever wrote it.

mod calendar;
mod chart;
mod html;
#[cfg(test)]
mod tests;

use crate::catalog::{Catalogue, SnapshotRow, State, Usage};
use crate::primary;
use crate::setup::SetupError;
use crate::status::{ClusterStatus, Status, Warning, duration, made, size};
use crate::vault::{self, Vault};
use base64::Engine as _;
use calendar::Calendar;
use chart::Chart;
use html::Html;
use jiff::Timestamp;
use lifeboat_common::config::ReplicatorConfig;
use lifeboat_format::id::Sha256;
use std::collections::{BTreeMap, BTreeSet};

const STYLE: &str = include_str!("page/style.css");
/// Alarms of one cluster that are shown.
const ALARMS: usize = 50;
/// Points of a chart.
const POINTS: usize = 1100;
/// Days of lag that are shown.
const LAG_DAYS: i64 = 90;
const DAY: i64 = 86_400;

/// What the page may load: its own style and nothing else, from nowhere.
/// Source: W3C, "Content Security Policy Level 3".
#[must_use]
pub fn policy() -> String {
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::of(STYLE.as_bytes()).0);
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
}

/// One cluster over time.
#[derive(Debug, Default)]
pub struct History {
    calendar: Calendar,
    /// When a snapshot was made, and the seconds until the vault had it whole.
    lag: Vec<(i64, u64)>,
    /// Bytes in the vault.
    size: Vec<(i64, u64)>,
}

/// Reads what is drawn, of every cluster of `status` that is configured.
///
/// # Errors
/// If catalogue or vault cannot be read.
pub fn histories(
    catalogue: &Catalogue,
    config: &ReplicatorConfig,
    status: &Status,
) -> Result<BTreeMap<String, History>, SetupError> {
    let vault = Vault::look(vault::directory(&config.vault)?, config.state.as_deref())?;
    let mut histories = BTreeMap::new();
    for source in &config.sources {
        let name = source.cluster.as_str();
        let rows = catalogue.snapshots(name)?;
        let gone = primary::forgotten(&vault, &source.cluster)?;
        let history = History::new(&rows, &gone, &catalogue.usage(name, 0)?, status.now);
        histories.insert(name.to_owned(), history);
    }
    Ok(histories)
}

fn head(html: &mut Html) {
    html.markup("<!doctype html><html lang=en><head><meta charset=utf-8><title>Lifeboat</title>");
    html.markup("<meta name=viewport content=\"width=device-width, initial-scale=1\">");
    html.markup("<meta http-equiv=refresh content=60><link rel=icon href=\"data:,\"><style>");
    html.markup(STYLE).markup("</style></head><body>").markup(LOGO);
}

const LOGO: &str = "<header><div class=name><svg viewBox=\"0 0 26 26\" fill=none>\
<circle cx=13 cy=13 r=9 fill=none stroke=#e2582e stroke-width=6 />\
<path d=\"M13 1v6M13 19v6M1 13h6M19 13h6\" stroke=#fff stroke-width=4 /></svg>Lifeboat replicator</div>";

/// Instead of a page, when nothing can be read.
#[must_use]
pub fn unreadable(why: &str) -> String {
    let mut html = Html::default();
    head(&mut html);
    html.markup("<h1 class=bad>The state of the backups cannot be read</h1><p>").text(why);
    html.markup("</p></header></body></html>");
    html.finish()
}

/// The page.
#[must_use]
pub fn render(status: &Status, histories: &BTreeMap<String, History>) -> String {
    let mut html = Html::default();
    head(&mut html);
    verdict(&mut html, status);
    html.markup("</header><main>");
    for warning in &status.warnings {
        write_warning(&mut html, warning);
    }
    for cluster in &status.clusters {
        html.markup("<section>");
        write_cluster(&mut html, cluster, status.now);
        if let Some(history) = histories.get(&cluster.name) {
            history.write(&mut html);
        }
        html.markup("</section>");
    }
    html.markup("</main><footer>As of ").text(&minute(status.now));
    html.markup(" (days and times are UTC). This page renews itself every minute.</footer></body></html>");
    html.finish()
}

fn verdict(html: &mut Html, status: &Status) {
    let alarms: usize = status.clusters.iter().map(|c| c.alarms.len()).sum();
    let warnings = status.warnings.len() + status.clusters.iter().map(|c| c.warnings.len()).sum::<usize>();
    match (alarms, warnings) {
        (1, _) => html.markup("<h1 class=bad>One alarm is open</h1>"),
        (2.., _) => html.markup("<h1 class=bad>").text(&alarms.to_string()).markup(" alarms are open</h1>"),
        (0, 1..) => html.markup("<h1 class=warn>Something needs a look</h1>"),
        (0, 0) if status.is_well() && !status.clusters.is_empty() => {
            html.markup("<h1 class=good>All backups are well</h1>")
        }
        (0, 0) => html.markup("<h1>Nothing was pulled yet</h1>"),
    };
    let bytes: u64 = status.clusters.iter().map(|c| c.bytes).fold(0, u64::saturating_add);
    let snapshots: u64 = status.clusters.iter().map(|c| c.snapshots).sum();
    let clusters = status.clusters.len();
    let plural = if clusters == 1 { "cluster" } else { "clusters" };
    html.markup("<p>")
        .text(&format!("{snapshots} snapshots of {clusters} {plural}, {} in the vault", size(bytes)));
    if let Some(space) = &status.space {
        html.text(&format!(
            ". Its disk has {} free of {}: {}.",
            size(space.free),
            size(space.total),
            space.forecast()
        ));
    }
    html.markup("</p>");
}

fn write_warning(html: &mut Html, warning: &Warning) {
    html.markup("<div class=\"alarm warn\"><b>").text(warning.kind.name()).markup("</b><p>");
    html.text(&warning.why).markup("</p><p>").text(&warning.next).markup("</p></div>");
}

fn write_cluster(html: &mut Html, c: &ClusterStatus, now: Timestamp) {
    html.markup("<h2>").text(&c.name);
    match (c.alarms.len(), c.warnings.len()) {
        (0, 0) if c.newest.is_some() => html.markup("<span class=badge>well</span>"),
        (0, 0) => html.markup("<span class=\"badge warn\">nothing yet</span>"),
        (0, _) => html.markup("<span class=\"badge warn\">needs a look</span>"),
        (1, _) => html.markup("<span class=\"badge bad\">1 alarm</span>"),
        (n, _) => html.markup("<span class=\"badge bad\">").text(&format!("{n} alarms")).markup("</span>"),
    };
    html.markup("</h2>");
    for alarm in c.alarms.iter().take(ALARMS) {
        html.markup("<div class=alarm><b>").text(alarm.kind.name()).markup("</b> ").text(&alarm.what);
        html.markup("<p>").text(&alarm.why).markup("</p><p>").text(&alarm.next).markup("</p><time>since ");
        html.text(&minute(alarm.since)).markup("</time></div>");
    }
    if c.alarms.len() > ALARMS {
        let more =
            format!("{} more alarms; `lifeboat-replicator alarm list` has them all", c.alarms.len() - ALARMS);
        html.markup("<p>").text(&more).markup("</p>");
    }
    for warning in &c.warnings {
        write_warning(html, warning);
    }
    html.markup("<dl>");
    newest(html, c);
    both_sides(html, c);
    work(html, c, now);
    html.markup("</dl>");
}

fn newest(html: &mut Html, c: &ClusterStatus) {
    let (Some(newest), Some(age)) = (&c.newest, c.age_s) else {
        html.fact("Newest snapshot", "none yet", "");
        return;
    };
    html.markup("<div><dt>Newest snapshot</dt><dd>").text(&duration(age)).markup(" ago");
    let limit = c.rpo_hours.map(|h| i64::from(h) * 3600).filter(|l| *l > 0);
    if let Some(limit) = limit {
        let part = (age.saturating_mul(100) / limit).clamp(2, 100);
        let class = if age > limit {
            "bad"
        } else if age > limit * 9 / 10 {
            "warn"
        } else {
            "good"
        };
        html.markup("<svg class=meter viewBox=\"0 0 100 6\" preserveAspectRatio=none role=img>");
        html.markup("<rect class=rail width=100 height=6 /><rect class=\"fill ").text(class);
        html.markup("\" height=6 width=").number(part).markup(" /></svg>");
    }
    let rpo = c.rpo_hours.map(|h| format!("; may be {h} h old")).unwrap_or_default();
    html.markup("<small>").text(&format!("no. {}, {}, {}{rpo}", newest.seq, newest.coverage, newest.result));
    html.markup("</small></dd></div>");
}

fn both_sides(html: &mut Html, c: &ClusterStatus) {
    let back = |t: Option<Timestamp>| t.map(|t| format!("back to {}", date(t))).unwrap_or_default();
    html.fact(
        "In the vault",
        &format!("{} snapshots", c.snapshots),
        &format!("{}, {}", size(c.bytes), back(c.oldest)),
    );
    if let Some(primary) = &c.in_primary {
        html.fact("In the primary", &format!("{} snapshots", primary.snapshots), &back(primary.oldest));
    }
    let until = c.protected_until.map_or("not known".to_owned(), |t| format!("until {} at least", date(t)));
    html.fact("The newest is kept", &until, "by the policy in force, whatever else comes");
    if c.damaged.vault + c.damaged.primary > 0 {
        let damaged = format!("{} in the vault, {} in the primary", c.damaged.vault, c.damaged.primary);
        html.fact("Damaged, not healed yet", &damaged, "");
    }
}

fn work(html: &mut Html, c: &ClusterStatus, now: Timestamp) {
    if let Some(progress) = &c.progress {
        html.fact("Under way", &progress.text(), "");
    }
    let ago = |t: Timestamp| format!("{} ago", duration(now.duration_since(t).as_secs().max(0)));
    let (lag, more) = match c.pending {
        0 => ("none".to_owned(), "everything known is here".to_owned()),
        n => (duration(c.lag_s), format!("{n} snapshots are not whole yet")),
    };
    html.fact("Lag", &lag, &more);
    html.fact(
        "Last pull",
        &c.last_pull.map_or("never".to_owned(), ago),
        &c.last_pull.map(minute).unwrap_or_default(),
    );
    let scrub = c.scrub.as_ref().and_then(|s| Some((s, s.oldest?)));
    match scrub {
        Some((s, oldest)) => {
            let late = if s.overdue > 0 { format!("{} files are overdue", s.overdue) } else { String::new() };
            html.fact("Read again, all sound", &format!("since {}", date(oldest)), &late);
        }
        None => html.fact("Read again", "not yet", "the first scrub has not run"),
    }
    html.fact("Last retention", &c.last_retention.map_or("none yet".to_owned(), ago), "");
    html.fact("Restore proven", &c.proven_by_drill.map_or("not yet".to_owned(), date), "by a drill");
}

impl History {
    /// `gone` names the slots that the primary forgot.
    #[must_use]
    pub fn new(rows: &[SnapshotRow], gone: &BTreeSet<u64>, usage: &[Usage], now: Timestamp) -> Self {
        let since = now.as_second() - LAG_DAYS * DAY;
        let held = rows.iter().filter(|r| matches!(r.state, State::Held | State::Forgotten));
        let took = |r: &SnapshotRow| {
            let took = r.verified?.duration_since(made(r)).as_secs();
            Some((made(r).as_second(), u64::try_from(took).unwrap_or(0)))
        };
        let mut lag: Vec<_> = held.filter_map(took).filter(|(at, _)| *at >= since).collect();
        lag.sort_unstable();
        lag.drain(..lag.len().saturating_sub(POINTS));
        let mut size: Vec<_> = usage.iter().map(|u| (u.day * DAY, u.bytes)).collect();
        size.drain(..size.len().saturating_sub(POINTS));
        Self { calendar: Calendar::new(rows, gone, now), lag, size }
    }

    fn write(&self, html: &mut Html) {
        html.markup("<h3>Kept, day by day</h3>");
        self.calendar.write(html);
        html.markup("<div class=charts>");
        let lag = self.lag.last().map(|(_, s)| format!("the last took {}", seconds(*s))).unwrap_or_default();
        Chart { title: "From made to safe", note: &lag, points: &self.lag, show: seconds }.write(html);
        let now = self.size.last().map(|(_, bytes)| format!("now {}", size(*bytes))).unwrap_or_default();
        Chart { title: "Size in the vault", note: &now, points: &self.size, show: size }.write(html);
        html.markup("</div>");
    }
}

fn seconds(seconds: u64) -> String {
    duration(i64::try_from(seconds).unwrap_or(i64::MAX))
}

fn date(time: Timestamp) -> String {
    time.strftime("%-d %b %Y").to_string()
}

fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M").to_string()
}
