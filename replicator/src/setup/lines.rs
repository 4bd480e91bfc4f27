//! Where in a configuration file a key stands. Pure; knows no meaning of any key.

use toml::de::{DeTable, DeValue};

/// One step on the way to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At<'a> {
    Key(&'a str),
    /// An element of an array of tables, from 0.
    Number(usize),
}

/// The line of a key, from 1; of the last step on the way that is there; none in what is no TOML.
pub(super) fn line(text: &str, way: &[At<'_>]) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let mut offset = None;
    let (mut table, mut array) = (Some(root.get_ref()), None);
    for step in way {
        let (at, value) = match step {
            At::Key(name) => match table.and_then(|t| t.iter().find(|(k, _)| k.get_ref() == name)) {
                Some((key, value)) => (key.span().start, value),
                None => break,
            },
            At::Number(n) => match array.and_then(|a: &toml::de::DeArray<'_>| a.get(*n)) {
                Some(value) => (value.span().start, value),
                None => break,
            },
        };
        offset = Some(at);
        (table, array) = match value.get_ref() {
            DeValue::Table(inner) => (Some(inner), None),
            DeValue::Array(inner) => (None, Some(inner)),
            _ => (None, None),
        };
    }
    Some(text.get(..offset?)?.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::At::{Key, Number};
    use super::*;

    const TEXT: &str = "# note\nvault = \"file:///v\"\n\n[[source]]\ncluster = \"a\"\n[source.retain]\nmax_percent = 1\n\n\
                        [[source]]\ncluster = \"b\"\nretain = { max_percent = 300 }\n";

    #[test]
    fn a_key_is_found_where_it_stands() {
        assert_eq!(line(TEXT, &[Key("vault")]), Some(2));
        let of = |n| [Key("source"), Number(n), Key("retain"), Key("max_percent")];
        assert_eq!(line(TEXT, &of(0)), Some(7));
        assert_eq!(line(TEXT, &of(1)), Some(11));
    }

    #[test]
    fn what_is_not_there_is_where_it_should_be() {
        assert_eq!(line(TEXT, &[Key("source"), Number(1), Key("heal")]), Some(9));
        assert_eq!(line(TEXT, &[Key("poll_seconds")]), None);
        assert_eq!(line("no toml", &[Key("vault")]), None);
    }
}
