// SPDX-License-Identifier: Apache-2.0
//! The earliest time that the guest believes: its clock comes from the host.

use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;

use rustix::io::Errno;
use rustix::time::ClockId;
use rustix::time::Timespec;

use crate::boot::initdata_device::read_capped;

/// Sets the clock to the floor if the host's time is before it.
///
/// The floor is the later of two dates in the measured image: when this agent was released and when
/// its kernel was built. Debian writes the latter into the kernel's banner.
///
/// # Security
///
/// E9: the host sets the clock, and the dates of certificates are judged by it. With a floor no
/// certificate that had expired when the image was made counts again. Time that is too late is
/// not detected here: certificates then have expired, and the pod does not attest.
pub(crate) fn raise_to_floor(banner: &Path) -> Result<(), ClockError> {
    let banner = read_capped(banner, MAX_BANNER)
        .map_err(|source| ClockError::Read { source })?
        .unwrap_or_default();
    raise(floor(&banner))
}

/// Sets the clock to a time that is known to have come, unless it is later already.
///
/// # Security
///
/// E9: never back. What measures a duration uses the monotonic clock, which this does not move.
pub(crate) fn raise(known: u64) -> Result<(), ClockError> {
    // Two that raise it at a time must not undo each other.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let now = rustix::time::clock_gettime(ClockId::Realtime).tv_sec;
    let Some(seconds) = step(now, known) else { return Ok(()) };
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    rustix::time::clock_settime(ClockId::Realtime, time)
        .map_err(|source| ClockError::Set { source })?;
    tracing::warn!(from = now, to = seconds, "the host's clock was before a time that has come");
    Ok(())
}

/// What to set a clock to that shows `now`, in seconds since 1970, when `known` has come.
pub(super) fn step(now: i64, known: u64) -> Option<i64> {
    let known = i64::try_from(known).ok()?;
    (now < known).then_some(known)
}

/// The later date of release and kernel.
pub(super) fn floor(banner: &[u8]) -> u64 {
    kernel_date(banner).map_or(RELEASED, |built| built.max(RELEASED))
}

/// The date in the last parentheses of the kernel's banner, as Debian's kernels have it.
fn kernel_date(banner: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(banner).ok()?.trim_end();
    let (_, date) = text.strip_suffix(')')?.rsplit_once('(')?;
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let is_date = parts.next().is_none() && [year.len(), month.len(), day.len()] == [4, 2, 2];
    let number = |text: &str| text.parse::<u64>().ok();
    seconds(number(year)?, number(month)?, number(day)?).filter(|_| is_date)
}

/// Midnight UTC of a day of the Gregorian calendar, from 1970 on.
const fn seconds(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || year > 9999 || month < 1 || month > 12 || day < 1 || day > 31 {
        return None;
    }
    // Days since 1970 by the days since the first of March in the year 0, as if years began then:
    // 719468 of them had passed. A year's first months belong to the year before.
    let early = month <= 2;
    let (year, month) = if early { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5;
    Some((days + day - 1 - 719_468) * 86_400)
}

/// Why the guest's clock cannot be trusted as far as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ClockError {
    #[error("failed to read the kernel's banner")]
    Read {
        #[source]
        source: io::Error,
    },
    #[error("failed to set the clock, which is before a time that has come")]
    Set {
        #[source]
        source: Errno,
    },
}

/// No agent of these sources ran before: 2026-11-23.
const RELEASED: u64 = 1_795_392_000;
/// Longest banner; Linux has about 250 bytes.
const MAX_BANNER: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const YEARS: i64 = 10 * 365 * 86_400;
    const DEBIAN: &[u8] =
        b"Linux version 6.12.117+deb12-cloud-amd64 (debian-kernel@lists.debian.org) \
        (x86_64-linux-gnu-gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0) \
        #1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1~deb12u1 (2027-03-01)\n";

    #[test]
    fn a_clock_ten_years_back_is_set_to_the_floor() {
        // E9.
        let known = floor(DEBIAN);
        let floor = i64::try_from(known).unwrap();
        assert_eq!(step(floor - YEARS, known), Some(floor));
        assert_eq!(step(floor - 1, known), Some(floor));
        assert_eq!(step(0, known), Some(floor));
        assert_eq!(step(i64::MIN, known), Some(floor));
    }

    #[test]
    fn a_clock_that_is_later_is_never_set_back() {
        // E9: nor ten years ahead; certificates have expired then.
        let known = floor(DEBIAN);
        let floor = i64::try_from(known).unwrap();
        assert_eq!(step(floor, known), None);
        assert_eq!(step(floor + YEARS, known), None);
        assert_eq!(step(0, u64::MAX), None);
    }

    #[test]
    fn the_later_of_both_dates_is_the_floor() {
        assert_eq!(floor(DEBIAN), seconds(2027, 3, 1).unwrap());
        assert_eq!(floor(b"Linux (2020-01-01)"), RELEASED);
        assert_eq!(seconds(2026, 11, 23), Some(RELEASED));
        for other in [
            &b""[..],
            b"Linux #1 SMP Wed Jul 3 12:00:00 UTC 2030",
            b"Linux (2030-1-1)",
            b"Linux (2030-13-01)",
            b"Linux (2030-00-01)",
            b"Linux (2030-01-01) more",
            b"Linux (2030-01-01-01)",
            b"Linux (+030-01-01)\xff",
            b"2030-01-01)",
        ] {
            assert_eq!(floor(other), RELEASED, "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        // `date -u -d @N` of coreutils.
        for ((year, month, day), expected) in [
            ((1970, 1, 1), 0),
            ((1972, 2, 29), 68_169_600),
            ((1999, 12, 31), 946_598_400),
            ((2000, 2, 29), 951_782_400),
            ((2000, 3, 1), 951_868_800),
            ((2100, 3, 1), 4_107_542_400),
        ] {
            assert_eq!(seconds(year, month, day), Some(expected), "{year}-{month}-{day}");
        }
        assert_eq!(seconds(1969, 12, 31), None);
    }

    #[test]
    fn a_clock_that_is_right_is_not_touched() {
        raise(0).unwrap();
        let error = raise_to_floor(Path::new("/nonexistent")).unwrap_err();
        assert!(matches!(error, ClockError::Read { .. }));
    }
}
