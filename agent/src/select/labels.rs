//! Label selectors as `kubectl -l` takes them, equality and set based. Pure.

use std::collections::BTreeMap;

/// Requirements that must all hold; none at all lets everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    /// Holds without the label, too.
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

/// A selector that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Could not read the label selector {selector:?}: {why}; write it as for kubectl -l, for example app=shop,tier in (web,db),!test"
)]
pub struct LabelSelectorError {
    pub selector: String,
    pub why: String,
}

impl LabelSelector {
    /// # Errors
    /// If the text is no selector; the error says where.
    pub fn parse(selector: &str) -> Result<Self, LabelSelectorError> {
        let requirements = split_top(selector)
            .and_then(|parts| parts.into_iter().map(requirement).collect::<Result<Vec<_>, _>>())
            .map_err(|why| LabelSelectorError { selector: selector.to_owned(), why })?;
        Ok(Self { requirements })
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Missing(key) => !labels.contains_key(key),
        })
    }
}

/// Splits at commas that are not inside parentheses.
fn split_top(selector: &str) -> Result<Vec<&str>, String> {
    if selector.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut parts = Vec::new();
    let (mut open, mut from) = (false, 0);
    for (at, c) in selector.char_indices() {
        match c {
            '(' if open => return Err("a parenthesis inside parentheses".to_owned()),
            '(' => open = true,
            ')' if !open => return Err("a closing parenthesis without an opening one".to_owned()),
            ')' => open = false,
            ',' if !open => {
                parts.push(&selector[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    if open {
        return Err("a parenthesis is not closed".to_owned());
    }
    parts.push(&selector[from..]);
    Ok(parts)
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("there is nothing between two commas".to_owned());
    }
    if let Some((head, values)) = text.split_once('(') {
        return set_based(head.trim_end(), values);
    }
    for (operator, negative) in [("!=", true), ("==", false), ("=", false)] {
        if let Some((key, value)) = text.split_once(operator) {
            let (key, value) = (label_key(key)?, label_value(value)?);
            return Ok(if negative {
                Requirement::NotIn(key, vec![value])
            } else {
                Requirement::In(key, vec![value])
            });
        }
    }
    if let Some(key) = text.strip_prefix('!') {
        return Ok(Requirement::Missing(label_key(key)?));
    }
    Ok(Requirement::Exists(label_key(text)?))
}

fn set_based(head: &str, values: &str) -> Result<Requirement, String> {
    let values = values.strip_suffix(')').ok_or("something follows a closing parenthesis")?;
    let values = values.split(',').map(label_value).collect::<Result<Vec<_>, _>>()?;
    let (key, operator) =
        head.rsplit_once(char::is_whitespace).ok_or("in or notin is missing before a parenthesis")?;
    let key = label_key(key)?;
    match operator {
        "in" => Ok(Requirement::In(key, values)),
        "notin" => Ok(Requirement::NotIn(key, values)),
        other => Err(format!("{other:?} is neither in nor notin")),
    }
}

fn label_key(text: &str) -> Result<String, String> {
    let key = text.trim();
    let name = match key.split_once('/') {
        Some((prefix, name)) => {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
            if prefix.is_empty() || prefix.len() > 253 || !prefix.chars().all(fits) {
                return Err(format!("{key:?} is no label key: its prefix must be a DNS name"));
            }
            name
        }
        None => key,
    };
    if name.is_empty() || !name_like(name) {
        return Err(format!("{key:?} is no label key"));
    }
    Ok(key.to_owned())
}

fn label_value(text: &str) -> Result<String, String> {
    let value = text.trim();
    if value.is_empty() || name_like(value) {
        Ok(value.to_owned())
    } else {
        Err(format!("{value:?} is no label value"))
    }
}

/// At most 63 letters, digits, `-`, `_`, `.`, with a letter or digit at either end.
fn name_like(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && ends(text.chars().next())
        && ends(text.chars().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn selectors_mean_what_kubectl_means() {
        let web = labels(&[("app", "shop"), ("tier", "web"), ("x.dev/y", "")]);
        for (selector, fits) in [
            ("", true),
            ("app=shop", true),
            ("app == shop , tier!=db", true),
            ("app!=shop", false),
            ("missing!=x", true),
            ("tier in (web, db)", true),
            ("tier notin (web,db)", false),
            ("missing notin (a)", true),
            ("tier,!missing", true),
            ("!tier", false),
            ("x.dev/y=", true),
            ("x.dev/y", true),
            ("app=shop,tier=db", false),
        ] {
            assert_eq!(LabelSelector::parse(selector).unwrap().matches(&web), fits, "{selector}");
        }
        assert!(LabelSelector::parse(" ").unwrap().is_empty());
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (selector, why) in [
            ("a in (b", "not closed"),
            ("a)", "without an opening"),
            ("a in b", "no label key"),
            ("a of (b)", "neither in nor notin"),
            ("(b)", "in or notin is missing"),
            ("a,,b", "nothing between"),
            ("a=b c", "no label value"),
            ("=b", "no label key"),
            ("a in (b) c", "something follows"),
            ("/x=y", "DNS name"),
            ("a>1", "no label key"),
        ] {
            let error = LabelSelector::parse(selector).unwrap_err();
            assert!(error.why.contains(why), "{selector}: {error}");
        }
    }
}
