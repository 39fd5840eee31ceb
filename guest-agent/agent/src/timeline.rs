// SPDX-License-Identifier: Apache-2.0
//! When the guest reached which step.

use std::sync::Mutex;
use std::sync::PoisonError;

use casemate_agent_api::proto;
use rustix::time::ClockId;

/// Steps with the time since the guest kernel started.
///
/// # Security
///
/// Informative only: the host owns the clock, and no decision depends on it.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    marks: Mutex<Vec<(String, u64)>>,
}

impl Timeline {
    /// Notes a step; only its first time counts.
    pub(crate) fn mark(&self, step: impl Into<String>) {
        let step = step.into();
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.len() < MAX_MARKS && marks.iter().all(|(known, _)| *known != step) {
            marks.push((step, boottime_us()));
        }
    }

    /// The steps as a message.
    pub(crate) fn to_proto(&self) -> Vec<proto::Mark> {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks
            .iter()
            .map(|(step, time)| proto::Mark {
                step: step.clone(),
                boottime_us: *time,
                ..proto::Mark::default()
            })
            .collect()
    }
}

/// Microseconds since the guest kernel started.
pub(crate) fn boottime_us() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(nanos / 1000)
}

/// Most steps that are kept; the containers of a policy are far fewer.
const MAX_MARKS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_of_a_step_counts() {
        let timeline = Timeline::default();
        timeline.mark("bound");
        timeline.mark("network");
        let first = timeline.to_proto();
        timeline.mark("bound");
        assert_eq!(timeline.to_proto(), first);
        assert_eq!(first.iter().map(|m| m.step.as_str()).collect::<Vec<_>>(), ["bound", "network"]);
        assert!(first[0].boottime_us <= first[1].boottime_us);
    }

    #[test]
    fn marks_are_bounded() {
        let timeline = Timeline::default();
        (0..2 * MAX_MARKS).for_each(|n| timeline.mark(n.to_string()));
        assert_eq!(timeline.to_proto().len(), MAX_MARKS);
    }
}
