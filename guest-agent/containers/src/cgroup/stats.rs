// SPDX-License-Identifier: Apache-2.0
//! Figures from the text files of a cgroup (kernel documentation, "Control Group v2").

use crate::request::Stats;

/// Contents of the files; an empty text stands for a file that is not there.
pub(super) struct Files<'a> {
    pub(super) cpu: &'a str,
    pub(super) memory: &'a str,
    pub(super) memory_current: &'a str,
    pub(super) memory_max: &'a str,
    pub(super) memory_events: &'a str,
    pub(super) pids_current: &'a str,
    pub(super) pids_max: &'a str,
}

pub(super) fn parse(files: &Files<'_>) -> Stats {
    Stats {
        cpu_usage_usec: field(files.cpu, "usage_usec"),
        cpu_user_usec: field(files.cpu, "user_usec"),
        cpu_system_usec: field(files.cpu, "system_usec"),
        cpu_nr_periods: field(files.cpu, "nr_periods"),
        cpu_nr_throttled: field(files.cpu, "nr_throttled"),
        cpu_throttled_usec: field(files.cpu, "throttled_usec"),
        memory_usage: number(files.memory_current),
        memory_limit: number(files.memory_max),
        memory_anon: field(files.memory, "anon"),
        memory_file: field(files.memory, "file"),
        memory_inactive_file: field(files.memory, "inactive_file"),
        memory_pgfault: field(files.memory, "pgfault"),
        memory_pgmajfault: field(files.memory, "pgmajfault"),
        memory_oom_kill: field(files.memory_events, "oom_kill"),
        pids_current: number(files.pids_current),
        pids_limit: number(files.pids_max),
    }
}

/// Value of `key` in a file of `key value` lines; 0 if it is not there.
pub(super) fn field(text: &str, key: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .map_or(0, |(_, value)| number(value))
}

/// A single number; `max`, which means no limit, is 0.
fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_field() {
        let files = Files {
            cpu: "usage_usec 10\nuser_usec 6\nsystem_usec 4\nnr_periods 3\nnr_throttled 2\n\
                  throttled_usec 1\n",
            memory: "anon 100\nfile 200\ninactive_file 50\npgfault 7\npgmajfault 1\n",
            memory_current: "4096\n",
            memory_max: "8192\n",
            memory_events: "low 0\noom 1\noom_kill 2\noom_group_kill 0\n",
            pids_current: "3\n",
            pids_max: "max\n",
        };
        let expected = Stats {
            cpu_usage_usec: 10,
            cpu_user_usec: 6,
            cpu_system_usec: 4,
            cpu_nr_periods: 3,
            cpu_nr_throttled: 2,
            cpu_throttled_usec: 1,
            memory_usage: 4096,
            memory_limit: 8192,
            memory_anon: 100,
            memory_file: 200,
            memory_inactive_file: 50,
            memory_pgfault: 7,
            memory_pgmajfault: 1,
            memory_oom_kill: 2,
            pids_current: 3,
            pids_limit: 0,
        };
        assert_eq!(parse(&files), expected);
    }

    #[test]
    fn missing_files_are_zero() {
        let files = Files {
            cpu: "",
            memory: "",
            memory_current: "",
            memory_max: "",
            memory_events: "",
            pids_current: "",
            pids_max: "",
        };
        assert_eq!(parse(&files), Stats::default());
    }

    #[test]
    fn a_key_is_matched_whole() {
        assert_eq!(field("inactive_file 5\nfile 9\n", "file"), 9);
        assert_eq!(field("file_mapped 5\n", "file"), 0);
    }
}
