//! What the watches have told so far. Knows nothing of what it means.

use crate::cluster::own::OwnEvent;
use crate::kinds::{Backup, BackupSchedule, VolumeBackup};
use std::collections::BTreeMap;

/// Objects of one kind by name.
#[derive(Debug)]
pub struct Objects<T> {
    now: BTreeMap<String, T>,
    /// What a new list holds so far.
    coming: Option<BTreeMap<String, T>>,
    /// Whether a list was complete once.
    whole: bool,
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self { now: BTreeMap::new(), coming: None, whole: false }
    }
}

/// An object with a name.
pub trait Named {
    fn name(&self) -> Option<&str>;
}

impl Named for Backup {
    fn name(&self) -> Option<&str> {
        self.metadata.name.as_deref()
    }
}

impl Named for BackupSchedule {
    fn name(&self) -> Option<&str> {
        self.metadata.name.as_deref()
    }
}

impl Named for VolumeBackup {
    fn name(&self) -> Option<&str> {
        self.metadata.name.as_deref()
    }
}

impl<T: Named> Objects<T> {
    /// Takes one event; true when what is known may have changed.
    pub fn take(&mut self, event: OwnEvent<T>) -> bool {
        match event {
            OwnEvent::Restart => self.coming = Some(BTreeMap::new()),
            OwnEvent::There(object) => {
                let Some(name) = object.name().map(str::to_owned) else { return false };
                let into = self.coming.as_mut().unwrap_or(&mut self.now);
                into.insert(name, *object);
                return self.coming.is_none();
            }
            OwnEvent::Gone(object) => {
                if let Some(name) = object.name() {
                    self.now.remove(name);
                }
                return true;
            }
            OwnEvent::Whole => {
                self.now = self.coming.take().unwrap_or_default();
                self.whole = true;
                return true;
            }
            OwnEvent::Trouble(why) => tracing::warn!(why, "watching Lifeboat's objects; going on"),
        }
        false
    }

    /// An answer to a write of our own, ahead of the watch.
    pub fn put(&mut self, object: T) {
        if let Some(name) = object.name().map(str::to_owned) {
            self.now.insert(name, object);
        }
    }

    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    #[must_use]
    pub fn all(&self) -> &BTreeMap<String, T> {
        &self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::BackupSpec;

    fn backup(name: &str) -> Box<Backup> {
        Box::new(Backup::new(name, BackupSpec::default()))
    }

    #[test]
    fn a_new_list_replaces_all_at_once() {
        let mut objects = Objects::default();
        objects.take(OwnEvent::Restart);
        assert!(!objects.take(OwnEvent::There(backup("a"))) && !objects.is_whole());
        assert!(objects.take(OwnEvent::Whole) && objects.is_whole());
        assert!(objects.take(OwnEvent::There(backup("b"))));
        objects.take(OwnEvent::Restart);
        objects.take(OwnEvent::There(backup("c")));
        assert_eq!(objects.all().len(), 2, "until the list is whole");
        objects.take(OwnEvent::Whole);
        assert_eq!(objects.all().keys().collect::<Vec<_>>(), ["c"]);
        objects.take(OwnEvent::Gone(backup("c")));
        assert!(objects.all().is_empty());
    }
}
