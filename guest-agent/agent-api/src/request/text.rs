// SPDX-License-Identifier: Apache-2.0
//! Checks of texts and lists that several requests share.

use super::Problem;
use super::RequestError;

/// Most bytes of a path in a container (`PATH_MAX` without its NUL).
pub(super) const MAX_PATH: usize = 4095;

/// A cap for an error.
pub(super) fn cap(max: usize) -> u64 {
    u64::try_from(max).unwrap_or(u64::MAX)
}

/// Refuses more than `max` entries or bytes.
pub(super) fn within(field: &'static str, count: usize, max: usize) -> Result<(), RequestError> {
    if count > max {
        return Err(RequestError::new(field, Problem::TooLarge { max: cap(max) }));
    }
    Ok(())
}

/// Refuses a text over `max` bytes or with a NUL.
pub(super) fn no_nul(field: &'static str, text: &str, max: usize) -> Result<(), RequestError> {
    within(field, text.len(), max)?;
    // A6: the kernel would cut the text there.
    if text.contains('\0') {
        return Err(RequestError::new(field, Problem::Character));
    }
    Ok(())
}

/// Accepts an absolute path without `.`, `..`, empty components and control characters.
pub(super) fn absolute_path(field: &'static str, path: &str) -> Result<(), RequestError> {
    within(field, path.len(), MAX_PATH)?;
    if path.chars().any(char::is_control) {
        return Err(RequestError::new(field, Problem::Character));
    }
    let form = RequestError::new(field, Problem::Form);
    let rest = path.strip_prefix('/').ok_or_else(|| form.clone())?;
    let clean = rest.is_empty() || rest.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if clean { Ok(()) } else { Err(form) }
}
