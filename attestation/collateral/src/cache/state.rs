// SPDX-License-Identifier: Apache-2.0
//! What is remembered beside the items: the newest numbers, and who wants to be left alone.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::check::CheckError;
use crate::mark::Mark;
use crate::retry::MAX_WAIT;

/// Marks by name of item and root, waits by endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    marks: BTreeMap<String, Mark>,
    waits: BTreeMap<String, u64>,
}

impl State {
    /// Refuses what is older than what was seen.
    pub(crate) fn compare(&self, name: &str, mark: &Mark) -> Result<(), CheckError> {
        match self.marks.get(name) {
            Some(seen) if mark.is_below(seen) => {
                Err(CheckError::RolledBack { found: mark.clone(), seen: seen.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Remembers a mark, unless it is older than what was seen.
    pub(crate) fn raise(&mut self, name: &str, mark: Mark) -> Result<(), CheckError> {
        self.compare(name, &mark)?;
        self.marks.insert(name.to_owned(), mark);
        Ok(())
    }

    /// Until when an endpoint wants to be left alone, if it still does.
    ///
    /// A time that no answer could have set (the clock was moved) does not count.
    pub(crate) fn wait(&self, endpoint: &str, now: u64) -> Option<u64> {
        let until = self.waits.get(endpoint).copied()?;
        (now < until && until <= now.saturating_add(MAX_WAIT)).then_some(until)
    }

    /// Remembers that an endpoint wants to be left alone; forgets who no longer does.
    pub(crate) fn set_wait(&mut self, endpoint: &str, until: u64, now: u64) {
        self.waits.retain(|_, until| now < *until);
        self.waits.insert(endpoint.to_owned(), until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_only_rise() {
        // D17
        let mut state = State::default();
        let mark = |number| Mark::of_number(number, 0);
        state.raise("a", mark(17)).unwrap();
        state.raise("a", mark(18)).unwrap();
        state.raise("a", mark(18)).unwrap();
        assert!(matches!(state.raise("a", mark(17)), Err(CheckError::RolledBack { .. })));
        assert!(state.compare("a", &mark(18)).is_ok());
        assert!(state.raise("b", mark(1)).is_ok());
    }

    #[test]
    fn waits_end_and_impossible_ones_do_not_count() {
        let mut state = State::default();
        state.set_wait("https://a", 160, 100);
        assert_eq!(state.wait("https://a", 100), Some(160));
        assert_eq!(state.wait("https://a", 159), Some(160));
        assert_eq!(state.wait("https://a", 160), None);
        assert_eq!(state.wait("https://b", 100), None);
        // The clock went back further than any wait can be long.
        state.set_wait("https://a", 100_000, 100_000 - MAX_WAIT);
        assert_eq!(state.wait("https://a", 90_000), None);
    }
}
