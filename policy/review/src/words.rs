// SPDX-License-Identifier: Apache-2.0
//! Values as people read them.

/// A text of the document, escaped so that it drives no terminal, quoted where that is needed to see
/// where it ends, and shortened (E19).
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:=@%+,-".contains(c);
    if !text.is_empty() && text.chars().count() <= SHOWN && text.chars().all(plain) {
        return text.to_owned();
    }
    let head: String = text.chars().take(SHOWN).collect();
    let rest = text.chars().count().saturating_sub(SHOWN);
    let more = if rest > 0 { format!("… and {rest} characters more") } else { String::new() };
    format!("\"{}\"{more}", head.escape_debug())
}

/// An argument list.
pub(crate) fn command(argv: &[String]) -> String {
    let mut words: Vec<String> = argv.iter().take(SHOWN_ARGUMENTS).map(|a| quoted(a)).collect();
    let rest = argv.len().saturating_sub(SHOWN_ARGUMENTS);
    if rest > 0 {
        words.push(format!("… and {rest} arguments more"));
    }
    words.join(" ")
}

/// "a", "a and b", "a, b and c".
pub(crate) fn all<T: ToString>(items: &[T]) -> String {
    joined(items, "and")
}

/// "a", "a or b", "a, b or c".
pub(crate) fn any<T: ToString>(items: &[T]) -> String {
    joined(items, "or")
}

fn joined<T: ToString>(items: &[T], word: &str) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    match items.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} {word} {last}", before.join(", ")),
    }
}

/// Bytes in the largest unit that divides them.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = |(shift, _): &&(u32, &str)| bytes > 0 && bytes.trailing_zeros() >= *shift;
    match units.iter().find(whole) {
        Some((shift, unit)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}

/// Thousandths of a CPU.
pub(crate) fn cpus(millis: u64) -> String {
    match (millis / 1000, millis % 1000) {
        (1, 0) => "1 CPU".to_owned(),
        (whole, 0) => format!("{whole} CPUs"),
        _ => format!("{millis}m of a CPU"),
    }
}

/// A signal by number, signal(7) on x86-64.
pub(crate) fn signal(number: u32) -> String {
    let name = SIGNALS.iter().find(|(known, _)| *known == number).map(|(_, name)| name);
    name.map_or_else(|| format!("signal {number}"), |name| format!("SIG{name} ({number})"))
}

/// "1 container", "2 containers".
pub(crate) fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// "1 process", "2 processes".
pub(crate) fn count_large(number: u64, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

/// What a capability allows, for those that go beyond the container's own files and processes.
pub(crate) fn power(capability: &str) -> Option<&'static str> {
    POWERS.iter().find(|(name, _)| *name == capability).map(|(_, power)| *power)
}

const SHOWN: usize = 300;
const SHOWN_ARGUMENTS: usize = 64;

const SIGNALS: &[(u32, &str)] = &[
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (6, "ABRT"),
    (9, "KILL"),
    (10, "USR1"),
    (12, "USR2"),
    (13, "PIPE"),
    (14, "ALRM"),
    (15, "TERM"),
    (18, "CONT"),
    (19, "STOP"),
    (28, "WINCH"),
    (37, "RTMIN+3"),
];

/// Capabilities that reach the guest's kernel or other containers, capability(7).
const POWERS: &[(&str, &str)] = &[
    ("CAP_BPF", "loads programs into the guest's kernel"),
    ("CAP_CHECKPOINT_RESTORE", "reads and rewrites the state of processes"),
    ("CAP_DAC_READ_SEARCH", "reads every file it can name, past all permissions"),
    ("CAP_LINUX_IMMUTABLE", "changes files that are marked as unchangeable"),
    ("CAP_MAC_ADMIN", "changes the rules of security modules"),
    ("CAP_MAC_OVERRIDE", "ignores the rules of security modules"),
    ("CAP_MKNOD", "makes device files; the guest filters which of them open"),
    ("CAP_NET_ADMIN", "changes the pod's network: addresses, routes, firewall"),
    ("CAP_NET_RAW", "forges and reads raw packets of the pod's network"),
    ("CAP_PERFMON", "watches the guest's kernel and other processes"),
    ("CAP_SYSLOG", "reads the guest kernel's log and addresses"),
    ("CAP_SYS_ADMIN", "mounts, and much else: close to root of the guest"),
    ("CAP_SYS_BOOT", "restarts the VM or loads another kernel"),
    ("CAP_SYS_MODULE", "loads code into the guest's kernel"),
    ("CAP_SYS_PTRACE", "reads and changes the memory of other processes"),
    ("CAP_SYS_RAWIO", "reaches devices and memory past the kernel"),
    ("CAP_SYS_RESOURCE", "ignores limits"),
    ("CAP_SYS_TIME", "sets the guest's clock"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_people_write_them() {
        assert_eq!(bytes(64 << 20), "64 MiB");
        assert_eq!(bytes(1536 << 10), "1536 KiB");
        assert_eq!(bytes(1001), "1001 bytes");
        assert_eq!(
            (cpus(1000), cpus(2000), cpus(250)),
            ("1 CPU".into(), "2 CPUs".into(), "250m of a CPU".into())
        );
        assert_eq!(signal(15), "SIGTERM (15)");
        assert_eq!(signal(50), "signal 50");
        assert_eq!(any(&["a", "b", "c"]), "a, b or c");
        assert_eq!(all(&["a"]), "a");
        assert_eq!(
            command(&["/bin/sh".into(), "-c".into(), "echo hi".into()]),
            "/bin/sh -c \"echo hi\""
        );
    }

    #[test]
    fn no_text_drives_a_terminal() {
        // E19
        let shown = quoted("a\u{1b}[31m\n");
        assert!(!shown.chars().any(char::is_control), "{shown}");
        assert_eq!(quoted(""), "\"\"");
        assert!(quoted(&"x".repeat(5000)).ends_with("and 4700 characters more"));
    }
}
