//! A line over time, as SVG that stretches to its place; its words stand beside it, so that they stay readable on a phone.
//! Pure.

use super::html::Html;
use jiff::Timestamp;

/// The picture's own units.
const WIDTH: i64 = 1000;
const HEIGHT: i64 = 100;

/// What is drawn.
pub(super) struct Chart<'a> {
    pub(super) title: &'static str,
    pub(super) note: &'a str,
    /// Seconds since 1970, and a value; ascending in time.
    pub(super) points: &'a [(i64, u64)],
    /// The highest value, for people.
    pub(super) show: fn(u64) -> String,
}

impl Chart<'_> {
    pub(super) fn write(&self, html: &mut Html) {
        html.markup("<div class=chart><h3>").markup(self.title).markup(" <span>").text(self.note);
        html.markup("</span></h3>");
        let (Some((from, _)), Some((until, _))) = (self.points.first(), self.points.last()) else {
            html.markup("<p>Nothing yet</p></div>");
            return;
        };
        let most = self.points.iter().map(|p| p.1).max().unwrap_or(0);
        let span = (until - from).max(1);
        let x = |time: i64| scale(time - from, span, WIDTH);
        let y = |value: u64| {
            let (value, most) =
                (i64::try_from(value >> 1).unwrap_or(0), i64::try_from(most >> 1).unwrap_or(0));
            HEIGHT - scale(value, most.max(1), HEIGHT - 4)
        };
        let mut line: Vec<(i64, i64)> =
            self.points.iter().map(|(time, value)| (x(*time), y(*value))).collect();
        // A single point is drawn as a level.
        if line.len() == 1 {
            line.push((WIDTH, y(most)));
        }
        html.markup("<p class=max>").text(&(self.show)(most)).markup("</p><svg viewBox=\"0 0 1000 100\" ");
        html.markup("preserveAspectRatio=none role=img><polygon class=area points=\"0,100 ");
        write_points(html, &line);
        html.markup("1000,100\" /><polyline class=top points=\"");
        write_points(html, &line);
        html.markup("\" /></svg><p><span>");
        html.text(&day(*from)).markup("</span><span>").text(&day(*until)).markup("</span></p></div>");
    }
}

fn write_points(html: &mut Html, line: &[(i64, i64)]) {
    for (x, y) in line {
        html.number(*x).markup(",").number(*y).markup(" ");
    }
}

/// `part` of `whole`, on a line of `length`.
fn scale(part: i64, whole: i64, length: i64) -> i64 {
    let scaled = i128::from(part) * i128::from(length) / i128::from(whole.max(1));
    i64::try_from(scaled).unwrap_or(0).clamp(0, length)
}

fn day(seconds: i64) -> String {
    Timestamp::from_second(seconds).map(|t| t.strftime("%-d %b %Y").to_string()).unwrap_or_default()
}
