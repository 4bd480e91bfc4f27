//! A map that forgets what was not used for longest once it weighs too much. Knows nothing of what it holds.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shared by concurrent readers.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    state: Mutex<State<K, V>>,
    /// Together, in the unit that callers weigh with.
    capacity: usize,
}

#[derive(Debug)]
struct State<K, V> {
    held: HashMap<K, (V, usize, u64)>,
    by_use: BTreeMap<u64, K>,
    weight: usize,
    tick: u64,
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        let state = State { held: HashMap::new(), by_use: BTreeMap::new(), weight: 0, tick: 0 };
        Self { state: Mutex::new(state), capacity }
    }

    fn state(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        let mut guard = self.state();
        let state = &mut *guard;
        state.tick += 1;
        let (value, _, used) = state.held.get_mut(key)?;
        state.by_use.remove(used);
        *used = state.tick;
        let value = value.clone();
        state.by_use.insert(state.tick, key.clone());
        Some(value)
    }

    /// Keeps `value`, and forgets others to make room. What alone is over the capacity is not kept.
    pub(super) fn put(&self, key: K, value: V, weight: usize) {
        let mut guard = self.state();
        let state = &mut *guard;
        if weight > self.capacity || state.held.contains_key(&key) {
            return;
        }
        while state.weight + weight > self.capacity {
            let Some((_, oldest)) = state.by_use.pop_first() else { break };
            if let Some((_, weight, _)) = state.held.remove(&oldest) {
                state.weight -= weight;
            }
        }
        state.tick += 1;
        state.weight += weight;
        state.by_use.insert(state.tick, key.clone());
        let tick = state.tick;
        state.held.insert(key, (value, weight, tick));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_used_goes_first() {
        let cache = Cache::new(10);
        for key in 0..3 {
            cache.put(key, key, 3);
        }
        assert_eq!(cache.get(&0), Some(0));
        cache.put(3, 3, 4);
        assert_eq!(
            (cache.get(&0), cache.get(&1), cache.get(&2), cache.get(&3)),
            (Some(0), None, Some(2), Some(3))
        );
        cache.put(4, 4, 11);
        assert_eq!(cache.get(&4), None, "over the capacity");
        assert!(cache.state().weight <= 10);
    }
}
