//! Objects by namespace and kind, and what became of them: what `lifeboat coverage` is made of. Pure.

use super::classify::Class;
use crate::cluster::{Item, Resource};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// Pairs of a namespace and a kind that are counted one by one.
const MAX_CELLS: usize = 200_000;

/// The objects of one kind in one namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Cell {
    pub stored: u64,
    pub excluded: u64,
    pub derived: u64,
    /// Of those stored: made after the time that was asked about.
    pub newer: u64,
}

/// All of them. Cluster-scoped kinds have the namespace "".
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// Since when an object is new.
    since: Option<Timestamp>,
    pub cells: BTreeMap<String, BTreeMap<String, Cell>>,
    /// When each Namespace was made.
    pub made: BTreeMap<String, Timestamp>,
    number: usize,
    /// Objects that found no place.
    pub beyond: u64,
}

impl Table {
    /// `since`: the beginning of the last backup; what was made later is new.
    #[must_use]
    pub fn new(since: Option<Timestamp>) -> Self {
        Self { since, ..Self::default() }
    }

    pub fn count(&mut self, resource: &Resource, item: &Item, class: Class) {
        let created = item.meta.created.as_deref().and_then(|t| t.parse::<Timestamp>().ok());
        if resource.is("", "namespaces")
            && let Some(created) = created
        {
            self.made.insert(item.meta.name.clone(), created);
        }
        let newer = matches!((created, self.since), (Some(created), Some(since)) if created > since);
        let Some(cell) = self.cell(item.meta.namespace.as_deref().unwrap_or_default(), &resource.kind_key())
        else {
            self.beyond += 1;
            return;
        };
        match class {
            Class::Stored => {
                cell.stored += 1;
                cell.newer += u64::from(newer);
            }
            Class::Excluded(_) => cell.excluded += 1,
            Class::Derived(_) => cell.derived += 1,
            Class::Skipped(_) => {}
        }
    }

    fn cell(&mut self, namespace: &str, kind: &str) -> Option<&mut Cell> {
        let there = self.cells.get(namespace).is_some_and(|kinds| kinds.contains_key(kind));
        if !there {
            if self.number >= MAX_CELLS {
                return None;
            }
            self.number += 1;
            self.cells.entry(namespace.to_owned()).or_default().insert(kind.to_owned(), Cell::default());
        }
        self.cells.get_mut(namespace)?.get_mut(kind)
    }
}
