// SPDX-License-Identifier: Apache-2.0
//! What the VMM uses of the host: the sandbox's own statistics.

use std::fs;
use std::path::PathBuf;

use casemate_agent_api::proto;

use crate::error::ShimError;

/// CPU time and memory of a process, from its `stat` (proc_pid_stat(5)).
pub(super) fn of_process(pid: u32) -> Result<proto::StatsReply, ShimError> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let stat = fs::read_to_string(&path).map_err(|source| ShimError::File {
        action: "read",
        path,
        source,
    })?;
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(0);
    parse(&stat, ticks, page).ok_or(ShimError::Malformed {
        field: "process state",
        reason: "a field is missing".to_owned(),
    })
}

fn parse(stat: &str, ticks_per_second: u64, page_bytes: u64) -> Option<proto::StatsReply> {
    // The name in field 2 may hold anything; field 3 follows its last parenthesis.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<u64> =
        rest.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    let field = |number: usize| fields.get(number.checked_sub(3)?).copied();
    let microseconds = |ticks: u64| ticks.saturating_mul(1_000_000) / ticks_per_second;
    let (user, system) = (microseconds(field(14)?), microseconds(field(15)?));
    Some(proto::StatsReply {
        cpu_usage_usec: user.saturating_add(system),
        cpu_user_usec: user,
        cpu_system_usec: system,
        memory_usage: field(24)?.saturating_mul(page_bytes),
        memory_pgfault: field(10)?,
        memory_pgmajfault: field(12)?,
        pids_current: field(20)?,
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_the_manual() {
        let stat =
            "42 (qemu (x)) S 1 1 1 0 -1 4194560 100 0 7 0 250 50 0 0 20 0 3 0 777 9999 512 1";
        let stats = parse(stat, 100, 4096).unwrap();
        assert_eq!((stats.cpu_user_usec, stats.cpu_system_usec), (2_500_000, 500_000));
        assert_eq!(stats.cpu_usage_usec, 3_000_000);
        assert_eq!(stats.memory_usage, 512 * 4096);
        assert_eq!((stats.memory_pgfault, stats.memory_pgmajfault), (100, 7));
        assert_eq!(stats.pids_current, 3);
        assert!(parse("42 (qemu) S 1", 100, 4096).is_none());
        assert!(of_process(std::process::id()).unwrap().memory_usage > 0);
    }
}
