// SPDX-License-Identifier: Apache-2.0
//! Failures on order.

use std::collections::VecDeque;

use casemate_launch::Call;
use casemate_launch::Refusal;
use rustix::io::Errno;

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is refused, and nothing is done.
    Refuse(Refusal),
    /// It says yes, and nothing is done.
    Ignore,
    /// At most this many pages are done. Other calls than those with pages take no notice.
    Partial(u64),
    /// All is done, and the structure that comes back says something that cannot be. Other calls
    /// than those with pages take no notice.
    Misreport,
}

/// Which calls fail, and how.
#[derive(Clone, Debug)]
pub struct Faults(Plan);

#[derive(Clone, Debug)]
enum Plan {
    None,
    Script(VecDeque<(Call, Fault)>),
    Always(Call, Fault),
    Seeded { state: u64, in_a_row: u32 },
}

impl Faults {
    /// No failures.
    #[must_use]
    pub fn none() -> Self {
        Self(Plan::None)
    }

    /// These failures, in order; each waits for the next call of its kind.
    #[must_use]
    pub fn script(faults: impl IntoIterator<Item = (Call, Fault)>) -> Self {
        Self(Plan::Script(faults.into_iter().collect()))
    }

    /// All calls of one kind fail.
    #[must_use]
    pub fn always(call: Call, fault: Fault) -> Self {
        Self(Plan::Always(call, fault))
    }

    /// Every third call or so fails in a way from which a launch recovers: EAGAIN, EINTR, some of
    /// its pages only. The same seed gives the same failures. LAUNCH_FINISH never fails, since no
    /// launch recovers from that.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        // The generator stays at zero for ever.
        Self(Plan::Seeded { state: seed | 1 << 63, in_a_row: 0 })
    }

    pub(crate) fn next(&mut self, call: Call) -> Option<Fault> {
        match &mut self.0 {
            Plan::None => None,
            Plan::Always(which, fault) => (*which == call).then_some(*fault),
            Plan::Script(faults) => {
                let is_next = faults.front().is_some_and(|(which, _)| *which == call);
                if is_next { faults.pop_front().map(|(_, fault)| fault) } else { None }
            }
            Plan::Seeded { .. } if call == Call::SnpLaunchFinish => None,
            Plan::Seeded { state, in_a_row } => {
                let random = xorshift(state);
                let fault = match random % 12 {
                    0 => Some(Fault::Refuse(Refusal::kernel(Errno::AGAIN))),
                    1 => Some(Fault::Refuse(Refusal::kernel(Errno::INTR))),
                    2..=4 => Some(Fault::Partial(random >> 8 & 7)),
                    _ => None,
                };
                *in_a_row = if fault.is_some() { in_a_row.saturating_add(1) } else { 0 };
                fault.filter(|_| *in_a_row <= MAX_IN_A_ROW)
            }
        }
    }
}

fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Failures without a call between them that is not made to fail.
const MAX_IN_A_ROW: u32 = 20;
