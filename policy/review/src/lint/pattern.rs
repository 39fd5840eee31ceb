// SPDX-License-Identifier: Apache-2.0
//! How wide a pattern is: asked of it with texts that no value of a pod has.

use casemate_policy::Pattern;

/// Whether the pattern takes texts that have nothing in common.
///
/// Patterns are judged by what they match and not by how they are written: `.*`, `(.|\n)+` and
/// `[^x]*` are the same mistake.
pub(super) fn is_wide(pattern: &Pattern) -> bool {
    STRANGE.iter().filter(|text| pattern.matches(text)).count() * 2 >= STRANGE.len()
}

/// The first of these names that the pattern takes.
pub(super) fn takes<'a>(pattern: &Pattern, names: &[&'a str]) -> Option<&'a str> {
    names.iter().find(|name| pattern.matches(name)).copied()
}

/// Values that would do harm in a place that did not expect them.
const STRANGE: &[&str] = &[
    "../../etc/shadow",
    "/tmp/x.so",
    "a b",
    "$(id)",
    "`id`",
    "x;reboot",
    "x\" --unsafe \"",
    "http://attacker.invalid/x?y=z",
    "%s%s%n",
    "-oProxyCommand=id",
    "é\u{202e}",
    "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz@!",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, wide: bool) {
        assert_eq!(is_wide(&Pattern::new(pattern).unwrap()), wide, "{pattern}");
    }

    #[test]
    fn wide_is_what_takes_anything() {
        for wide in [".*", ".+", "(.|\\n)*", "[^x]*|.*", ".{1,253}", "[^\\n]+", "(?s).*"] {
            check(wide, true);
        }
        let narrow = [
            "[0-9.]+",
            "[0-9a-f:.]+",
            "[a-z0-9]([-a-z0-9]*[a-z0-9])?",
            "tcp://[0-9.]+:[0-9]+",
            "",
            "a|b",
            "\\w+",
        ];
        for narrow in narrow {
            check(narrow, false);
        }
    }
}
