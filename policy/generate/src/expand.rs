// SPDX-License-Identifier: Apache-2.0
//! `$(NAME)` in commands, arguments and variables.

use crate::error::GenerateError;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup<'a> {
    /// This value.
    Known(&'a str),
    /// A value that only the host knows; with the field that wants it.
    Hole(&'a str),
    /// Nothing: the reference stays as it is.
    Unknown,
}

/// Replaces `$(NAME)` by the variable's value and `$$` by `$`, as kubelet does: a reference to an
/// unknown variable, an open one and a lone `$` stay as they are.
pub(crate) fn expand<'a>(
    text: &str,
    lookup: &dyn Fn(&str) -> Lookup<'a>,
) -> Result<String, GenerateError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let reference = rest.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        let Some((name, after)) = reference else {
            out.push('$');
            continue;
        };
        match lookup(name) {
            Lookup::Known(value) => out.push_str(value),
            Lookup::Unknown => {
                out.push_str("$(");
                out.push_str(name);
                out.push(')');
            }
            Lookup::Hole(path) => {
                return Err(GenerateError::refused(
                    path,
                    "it takes in a variable whose value only the host knows",
                    "read the variable inside the container",
                ));
            }
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Lookup<'static> {
        match name {
            "A" => Lookup::Known("one"),
            "LOOP" => Lookup::Known("$(A)"),
            "IP" => Lookup::Hole("spec"),
            _ => Lookup::Unknown,
        }
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(expand(text, &lookup).unwrap(), expected, "{text}");
    }

    #[test]
    fn expands_as_kubelet_does() {
        check("$(A)", "one");
        check("x$(A)y$(A)", "xoneyone");
        check("$(B) $(LOOP)", "$(B) $(A)");
        check("$$(A) $$$(A)", "$(A) $one");
        check("$ $x $( $(A", "$ $x $( $(A");
        check("$(A", "$(A");
        check("a$", "a$");
        check("é$é(A)", "é$é(A)");
        check("", "");
    }

    #[test]
    fn refuses_values_of_the_host() {
        assert!(matches!(expand("$(IP)", &lookup), Err(GenerateError::Refused { .. })));
    }
}
