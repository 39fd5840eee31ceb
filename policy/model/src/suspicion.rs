// SPDX-License-Identifier: Apache-2.0
//! Marks of weak spots, for those who write policies and for those who read them. The guest decides
//! nothing by them.

use crate::Exec;

/// Whether a variable of this name is likely to hold a secret. A path or an address where one is found
/// is none.
#[must_use]
pub fn looks_secret(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    SECRET_WORDS.iter().any(|word| upper.contains(word))
        && !POINTERS.iter().any(|end| upper.ends_with(end))
}

/// The shell or interpreter that a command opens to whoever runs it. A script in the argument list is
/// the owner's own and runs as it stands.
#[must_use]
pub fn open_shell(exec: &Exec) -> Option<&'static str> {
    let scripted = exec.argv.len() > 2 && !exec.stdin && !exec.terminal;
    interpreter(&exec.argv).filter(|_| !scripted)
}

/// The shell or interpreter that an argument list runs, also behind `env` and the like.
fn interpreter(argv: &[String]) -> Option<&'static str> {
    let base = |argument: &str| {
        let base = argument.rsplit('/').next().unwrap_or_default();
        let base = base.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        INTERPRETERS.iter().find(|name| **name == base).copied()
    };
    let first = argv.first()?;
    let wrapper = first.rsplit('/').next().is_some_and(|name| WRAPPERS.contains(&name));
    match (base(first), wrapper) {
        (Some(found), _) => Some(found),
        (None, true) => argv.iter().skip(1).find_map(|argument| base(argument)),
        (None, false) => None,
    }
}

const INTERPRETERS: &[&str] = &[
    "sh", "bash", "ash", "dash", "zsh", "ksh", "fish", "csh", "tcsh", "busybox", "toybox", "pwsh",
    "python", "perl", "ruby", "node", "php", "lua", "gdb", "nsenter", "chroot",
];

/// Programs that run their arguments.
const WRAPPERS: &[&str] =
    &["env", "nice", "nohup", "timeout", "setsid", "stdbuf", "sudo", "su", "tini", "dumb-init"];

const SECRET_WORDS: &[&str] = &[
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "SECRET",
    "TOKEN",
    "API_KEY",
    "APIKEY",
    "PRIVATE_KEY",
    "ACCESS_KEY",
    "CREDENTIAL",
];

const POINTERS: &[&str] = &["_FILE", "_PATH", "_URL", "_URI", "_NAME", "_DIR"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_are_known_in_any_dress() {
        let found =
            |argv: &[&str]| interpreter(&argv.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
        assert_eq!(found(&["/bin/sh"]), Some("sh"));
        assert_eq!(found(&["bash", "-l"]), Some("bash"));
        assert_eq!(found(&["/usr/bin/env", "A=b", "python3.11"]), Some("python"));
        assert_eq!(found(&["/usr/bin/curl", "sh"]), None);
        assert_eq!(found(&["/bin/show"]), None);
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn a_script_of_the_owner_opens_no_shell() {
        let exec = |argv: &[&str], stdin| Exec {
            argv: argv.iter().map(|a| (*a).to_owned()).collect(),
            stdin,
            ..Exec::default()
        };
        assert_eq!(open_shell(&exec(&["/bin/sh"], false)), Some("sh"));
        assert_eq!(open_shell(&exec(&["/bin/sh", "-c", "date"], true)), Some("sh"));
        assert_eq!(open_shell(&exec(&["/bin/sh", "-c", "date"], false)), None);
        assert_eq!(open_shell(&exec(&["/bin/date"], true)), None);
    }

    #[test]
    fn secrets_are_known_by_the_name() {
        assert!(looks_secret("DB_PASSWORD") && looks_secret("api_key"));
        assert!(!looks_secret("DB_PASSWORD_FILE") && !looks_secret("DB_HOST"));
    }
}
