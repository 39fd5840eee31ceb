// SPDX-License-Identifier: Apache-2.0
//! How long a service wants to be left alone (RFC 9110, section 10.2.3).

use std::time::SystemTime;

/// Longest wait that a service, or who pretends to be it, can impose, seconds.
pub const MAX_WAIT: u64 = 60 * 60;

/// Wait after a refusal that names none, seconds.
const DEFAULT_WAIT: u64 = 60;

/// Until when no request is sent, seconds since 1970.
pub(crate) fn until(retry_after: Option<&str>, now: u64) -> u64 {
    let wait = retry_after.and_then(|text| seconds(text.trim(), now)).unwrap_or(DEFAULT_WAIT);
    now.saturating_add(wait.min(MAX_WAIT))
}

/// A number of seconds, or a date.
fn seconds(text: &str, now: u64) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that does not fit is a long wait, not a malformed one.
        return Some(text.parse().unwrap_or(u64::MAX));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let date = date.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    Some(date.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_780_272_000; // Mon, 01 Jun 2026 00:00:00 GMT

    #[test]
    fn seconds_and_dates_are_understood() {
        // D17
        let wait = |text: &str| until(Some(text), NOW) - NOW;
        assert_eq!(wait("0"), 0);
        assert_eq!(wait(" 120 "), 120);
        assert_eq!(wait("Mon, 01 Jun 2026 00:05:00 GMT"), 300);
        assert_eq!(wait("Sun, 31 May 2026 23:00:00 GMT"), 0); // over already
    }

    #[test]
    fn waits_are_capped_and_never_none() {
        // D17: a proxy cannot shut us out for longer than this.
        let wait = |text: &str| until(Some(text), NOW) - NOW;
        assert_eq!(wait("999999"), MAX_WAIT);
        assert_eq!(wait("99999999999999999999999999"), MAX_WAIT);
        assert_eq!(wait("Fri, 01 Jan 2100 00:00:00 GMT"), MAX_WAIT);
        for malformed in ["", "soon", "-1", "1.5"] {
            assert_eq!(wait(malformed), DEFAULT_WAIT, "{malformed}");
        }
        assert_eq!(until(None, NOW), NOW + DEFAULT_WAIT);
        assert_eq!(until(Some("5"), u64::MAX), u64::MAX);
    }
}
