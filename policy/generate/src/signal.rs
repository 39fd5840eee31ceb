// SPDX-License-Identifier: Apache-2.0
//! Signal names, as images and pods write them.

/// The number of a signal on x86-64 Linux (signal(7)): `SIGTERM`, `TERM`, `15` or `SIGRTMIN+3`.
pub(crate) fn number(text: &str) -> Option<u32> {
    if let Ok(number) = text.parse::<u32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |offset: &str| offset.parse::<u32>().ok().filter(|n| *n <= REAL_TIME_SPAN);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        return match offset.strip_prefix('+') {
            Some(offset) => Some(REAL_TIME_MIN + real_time(offset)?),
            None => offset.is_empty().then_some(REAL_TIME_MIN),
        };
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        return match offset.strip_prefix('-') {
            Some(offset) => Some(REAL_TIME_MAX - real_time(offset)?),
            None => offset.is_empty().then_some(REAL_TIME_MAX),
        };
    }
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The signal that no process can hold off.
pub(crate) const KILL: u32 = 9;
/// What a container gets on a stop unless its image says otherwise.
pub(crate) const TERM: u32 = 15;

/// First real-time signal that the C library leaves to programs.
const REAL_TIME_MIN: u32 = 34;
const REAL_TIME_MAX: u32 = 64;
const REAL_TIME_SPAN: u32 = REAL_TIME_MAX - REAL_TIME_MIN;

const NAMES: &[(&str, u32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", KILL),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", TERM),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<u32>) {
        assert_eq!(number(text), expected, "{text}");
    }

    #[test]
    fn knows_names_and_numbers() {
        check("SIGTERM", Some(15));
        check("quit", Some(3));
        check("64", Some(64));
        check("SIGRTMIN+3", Some(37));
        check("RTMAX-1", Some(63));
        check("SIGRTMIN", Some(34));
    }

    #[test]
    fn rejects_others() {
        for text in ["", "0", "65", "-1", "SIG", "SIGFOO", "RTMIN+31", "RTMAX-", "RTMIN3"] {
            check(text, None);
        }
    }
}
