// SPDX-License-Identifier: Apache-2.0
//! Usage figures as the host gets them.
//!
//! E16: read often, exact figures tell what a program does: each page that it touches, each branch
//! that takes longer. So they are rounded to steps that autoscalers and eviction do not notice.
//! Limits and ended processes are the host's knowledge anyway and stay exact.

use casemate_containers::Stats;

/// The figures in coarse steps. Counters stay monotonic.
pub(crate) fn coarse(exact: Stats) -> Stats {
    let memory = |bytes| {
        let up = up(bytes, MEMORY_STEP);
        if exact.memory_limit == 0 { up } else { up.min(exact.memory_limit) }
    };
    Stats {
        cpu_usage_usec: up(exact.cpu_usage_usec, CPU_STEP),
        cpu_user_usec: up(exact.cpu_user_usec, CPU_STEP),
        cpu_system_usec: up(exact.cpu_system_usec, CPU_STEP),
        cpu_throttled_usec: up(exact.cpu_throttled_usec, CPU_STEP),
        memory_usage: memory(exact.memory_usage),
        memory_anon: memory(exact.memory_anon),
        memory_file: memory(exact.memory_file),
        // Down: the working set, which is the usage without it, is never less than it was.
        memory_inactive_file: exact.memory_inactive_file / MEMORY_STEP * MEMORY_STEP,
        memory_pgfault: up(exact.memory_pgfault, FAULT_STEP),
        memory_pgmajfault: up(exact.memory_pgmajfault, FAULT_STEP),
        ..exact
    }
}

fn up(value: u64, step: u64) -> u64 {
    value.checked_next_multiple_of(step).unwrap_or(u64::MAX)
}

/// Microseconds: a hundredth of a second.
const CPU_STEP: u64 = 10_000;
/// Bytes: one MiB.
const MEMORY_STEP: u64 = 1 << 20;
/// Page faults.
const FAULT_STEP: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_in_steps() {
        let exact = Stats {
            cpu_usage_usec: 10_001,
            cpu_user_usec: 10_000,
            cpu_system_usec: 1,
            cpu_nr_periods: 3,
            cpu_nr_throttled: 2,
            cpu_throttled_usec: 7,
            memory_usage: (2 << 20) + 1,
            memory_limit: 5 << 19,
            memory_anon: 4096,
            memory_file: 0,
            memory_inactive_file: (2 << 20) - 1,
            memory_pgfault: 1025,
            memory_pgmajfault: 1,
            memory_oom_kill: 1,
            pids_current: 3,
            pids_limit: 100,
        };
        let expected = Stats {
            cpu_usage_usec: 20_000,
            cpu_user_usec: 10_000,
            cpu_system_usec: 10_000,
            cpu_throttled_usec: 10_000,
            // Never above the limit.
            memory_usage: 5 << 19,
            memory_anon: 1 << 20,
            memory_inactive_file: 1 << 20,
            memory_pgfault: 2048,
            memory_pgmajfault: 1024,
            ..exact
        };
        assert_eq!(coarse(exact), expected);
        // E16: what one page or one microsecond more would tell.
        let later =
            Stats { cpu_usage_usec: 10_002, memory_anon: 8192, memory_pgfault: 1026, ..exact };
        assert_eq!(coarse(later), expected);
        assert_eq!(coarse(Stats::default()), Stats::default());
    }
}
