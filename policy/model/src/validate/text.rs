// SPDX-License-Identifier: Apache-2.0
//! Rules of single texts, and of lists whatever is in them.

use std::collections::BTreeSet;

use crate::DocumentError;
use crate::error::FieldPath;
use crate::error::Problem;

/// An argument, or the value of a variable.
pub(super) fn check_text(text: &str, path: &FieldPath) -> Result<(), DocumentError> {
    if text.contains('\0') {
        return Err(path.clone().error(Problem::ForbiddenCharacter));
    }
    if text.len() > MAX_TEXT {
        return Err(path.clone().error(Problem::TooLong));
    }
    Ok(())
}

/// An absolute path in a container.
pub(super) fn check_path(text: &str, path: &FieldPath) -> Result<(), DocumentError> {
    if text.len() > MAX_PATH {
        return Err(path.clone().error(Problem::TooLong));
    }
    if text.chars().any(char::is_control) {
        return Err(path.clone().error(Problem::ForbiddenCharacter));
    }
    if !is_normal_path(text) {
        return Err(path.clone().error(Problem::NotNormalPath));
    }
    Ok(())
}

/// Absolute, no empty, `.` or `..` component, no slash at the end (but `/` itself).
fn is_normal_path(text: &str) -> bool {
    text.strip_prefix('/').is_some_and(|rest| rest.is_empty() || is_relative_path(rest))
}

/// Relative, no empty, `.` or `..` component, no control character.
pub(super) fn is_relative_path(text: &str) -> bool {
    text.len() <= MAX_PATH
        && !text.chars().any(char::is_control)
        && text.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Whether `path` is `root` or lies below it; both are normal.
pub(super) fn is_under(path: &str, root: &str) -> bool {
    root == "/"
        || path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A hostname: labels with dots between them, 64 bytes at most (Linux HOST_NAME_MAX).
///
/// B14: no newline, blank or other character that could break out of a line of `/etc/hosts`; upper
/// case never occurs in what Kubernetes makes.
#[must_use]
pub fn is_hostname(text: &str) -> bool {
    text.len() <= 64 && is_host_name(text)
}

/// A name of a host in `/etc/hosts`: as [`is_hostname`], but as long as DNS lets it be.
pub(super) fn is_host_name(text: &str) -> bool {
    text.len() <= 253
        && text != "localhost"
        && !text.starts_with("localhost.")
        && text.split('.').all(is_dns_label)
}

/// A DNS label as Kubernetes has it (RFC 1123): lower-case letters, digits and inner hyphens.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let outer = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.len() <= 63
        && outer(text.bytes().next())
        && outer(text.bytes().next_back())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// A name of a file in a volume: one component of at most 255 bytes, without control characters.
///
/// A13: neither `.` nor anything that begins with `..`, under which the guest keeps its own entries.
#[must_use]
pub fn is_file_name(text: &str) -> bool {
    (1..=MAX_FILE_NAME).contains(&text.len())
        && text != "."
        && !text.starts_with("..")
        && !text.contains('/')
        && !text.chars().any(char::is_control)
}

/// Kubernetes' relaxed rule for environment variables: printable ASCII but for `=`.
pub(super) fn is_env_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_ENV_NAME
        && text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=')
}

pub(super) fn limit(found: usize, max: usize, path: &FieldPath) -> Result<(), DocumentError> {
    if found > max { Err(path.clone().error(Problem::TooMany)) } else { Ok(()) }
}

pub(super) fn unique<T: Ord>(items: &[T], path: &FieldPath) -> Result<(), DocumentError> {
    let mut seen = BTreeSet::new();
    match items.iter().position(|item| !seen.insert(item)) {
        Some(index) => Err(path.index(index).error(Problem::Duplicate)),
        None => Ok(()),
    }
}

/// Longest argument or value in bytes; execve(2) takes 128 KiB a string.
const MAX_TEXT: usize = 128 * 1024 - 1;
/// Longest path in bytes (Linux PATH_MAX with its NUL).
const MAX_PATH: usize = 4095;
/// Longest name of a file in bytes (Linux NAME_MAX).
const MAX_FILE_NAME: usize = 255;
/// Longest name of an environment variable in bytes.
const MAX_ENV_NAME: usize = 255;
