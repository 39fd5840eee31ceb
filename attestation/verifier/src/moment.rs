// SPDX-License-Identifier: Apache-2.0
//! Moments, for people.

use std::time::Duration;

use der::DateTime;

/// Seconds since 1970 as RFC 3339, or as a number when no calendar has them.
pub(crate) fn text(seconds: u64) -> String {
    DateTime::from_unix_duration(Duration::from_secs(seconds))
        .map_or_else(|_| seconds.to_string(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_rfc_3339() {
        assert_eq!(text(1_780_272_000), "2026-06-01T00:00:00Z");
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(u64::MAX), u64::MAX.to_string());
    }
}
