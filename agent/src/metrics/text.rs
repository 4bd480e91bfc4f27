//! The text that Prometheus scrapes. Pure: values in, text out.
//! Source: Prometheus, "Exposition formats" (text format 0.0.4).

use super::names::Described;
use metrics_exporter_prometheus::formatting::{sanitize_label_value, write_help_line, write_type_line};
use std::fmt::Write as _;

/// One scrape being written.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    /// A family and its samples: the values of its labels, in their order, and the number. None without samples.
    pub(super) fn family<const N: usize>(
        &mut self,
        of: &Described,
        samples: impl IntoIterator<Item = ([String; N], f64)>,
    ) {
        debug_assert_eq!(of.labels.len(), N, "{}", of.name);
        let mut head = true;
        for (values, number) in samples {
            if std::mem::take(&mut head) {
                write_help_line(&mut self.0, of.name, None, None, of.help);
                write_type_line(&mut self.0, of.name, None, None, of.kind);
            }
            self.0.push_str(of.name);
            for (i, (label, value)) in of.labels.iter().zip(&values).enumerate() {
                self.0.push_str(if i == 0 { "{" } else { "," });
                write!(self.0, "{label}=\"{}\"", sanitize_label_value(value)).expect("a string takes all");
            }
            let end = if N == 0 { "" } else { "}" };
            writeln!(self.0, "{end} {number}").expect("a string takes all");
        }
    }

    /// A family of one sample without labels.
    pub(super) fn one(&mut self, of: &Described, number: f64) {
        self.family(of, [([], number)]);
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}
