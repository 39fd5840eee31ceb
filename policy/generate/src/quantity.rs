// SPDX-License-Identifier: Apache-2.0
//! Amounts of CPU and memory as pods write them: `250m`, `1.5`, `64Mi`, `1e3`.

use std::str::FromStr;

/// An amount, exact to a billionth, never negative (Kubernetes, `resource.Quantity`; billionths are its
/// smallest unit, too, and smaller ones are rounded up).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    billionths: u128,
}

impl Quantity {
    /// The amount in whole units (bytes, CPUs), rounded up.
    #[must_use]
    pub fn units(self) -> u64 {
        saturated(self.billionths.div_ceil(ONE))
    }

    /// The amount in thousandths, rounded up: CPUs in milli-CPUs.
    #[must_use]
    pub fn thousandths(self) -> u64 {
        saturated(self.billionths.div_ceil(ONE / 1000))
    }

    /// How often `divisor` fits, rounded up, as `resourceFieldRef` counts; `None` for a divisor of 0.
    #[must_use]
    pub fn divided_by(self, divisor: Self) -> Option<u64> {
        (divisor.billionths > 0).then(|| saturated(self.billionths.div_ceil(divisor.billionths)))
    }

    /// So many whole units.
    #[must_use]
    pub fn of_units(units: u64) -> Self {
        Self { billionths: u128::from(units).saturating_mul(ONE) }
    }

    /// The sum, capped at the largest amount.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { billionths: self.billionths.saturating_add(other.billionths) }
    }
}

impl FromStr for Quantity {
    type Err = BadQuantity;

    /// Reads digits with at most one point, then a suffix: `n u m k M G T P E`, `Ki Mi Gi Ti Pi Ei`, or a
    /// decimal exponent.
    fn from_str(text: &str) -> Result<Self, BadQuantity> {
        let number = text.strip_prefix('+').unwrap_or(text);
        let end = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
        let (number, suffix) = number.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || digits.len() > MAX_DIGITS || fraction.contains('.') {
            return Err(BadQuantity);
        }
        let digits: u128 = digits.parse().map_err(|_| BadQuantity)?;
        let point = i32::try_from(fraction.len()).map_err(|_| BadQuantity)?;
        let (factor, exponent) = scale(suffix).ok_or(BadQuantity)?;
        let shift = exponent.checked_sub(point).and_then(|e| e.checked_add(BILLIONTHS));
        let shift = shift.ok_or(BadQuantity)?;
        let value = digits.checked_mul(factor).ok_or(BadQuantity)?;
        let power = |n: i32| 10_u128.checked_pow(n.unsigned_abs()).ok_or(BadQuantity);
        let billionths = if shift < 0 {
            value.div_ceil(power(shift)?)
        } else {
            value.checked_mul(power(shift)?).ok_or(BadQuantity)?
        };
        Ok(Self { billionths })
    }
}

/// The text is no amount, or one that no machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no quantity such as 250m or 64Mi")]
pub struct BadQuantity;

/// Binary factor and decimal exponent of a suffix.
fn scale(suffix: &str) -> Option<(u128, i32)> {
    if let Some((_, found)) = SUFFIXES.iter().find(|(known, _)| *known == suffix) {
        return Some(*found);
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let exponent: i32 = exponent.parse().ok()?;
    (exponent.abs() <= MAX_EXPONENT).then_some((1, exponent))
}

fn saturated(amount: u128) -> u64 {
    u64::try_from(amount).unwrap_or(u64::MAX)
}

const SUFFIXES: &[(&str, (u128, i32))] = &[
    ("", (1, 0)),
    ("n", (1, -9)),
    ("u", (1, -6)),
    ("m", (1, -3)),
    ("k", (1, 3)),
    ("M", (1, 6)),
    ("G", (1, 9)),
    ("T", (1, 12)),
    ("P", (1, 15)),
    ("E", (1, 18)),
    ("Ki", (1 << 10, 0)),
    ("Mi", (1 << 20, 0)),
    ("Gi", (1 << 30, 0)),
    ("Ti", (1 << 40, 0)),
    ("Pi", (1 << 50, 0)),
    ("Ei", (1 << 60, 0)),
];

const ONE: u128 = 1_000_000_000;
const BILLIONTHS: i32 = 9;
/// Most digits that are read.
const MAX_DIGITS: usize = 30;
/// Largest decimal exponent that is read.
const MAX_EXPONENT: i32 = 18;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    #[test]
    fn reads_every_notation() {
        for (text, thousandths, units) in [
            ("0", 0, 0),
            ("1", 1000, 1),
            ("+2", 2000, 2),
            ("250m", 250, 1),
            ("1.5", 1500, 2),
            (".5", 500, 1),
            ("5.", 5000, 5),
            ("1n", 1, 1),
            ("100u", 1, 1),
            ("1k", 1_000_000, 1000),
            ("64Mi", 67_108_864_000, 67_108_864),
            ("0.5Gi", 536_870_912_000, 536_870_912),
            ("1e3", 1_000_000, 1000),
            ("1E3", 1_000_000, 1000),
            ("25e-1", 2500, 3),
            ("1E", u64::MAX, 10_u64.pow(18)),
            ("0.0000000001", 1, 1),
        ] {
            let quantity = parse(text);
            assert_eq!((quantity.thousandths(), quantity.units()), (thousandths, units), "{text}");
        }
    }

    #[test]
    fn rejects_other_texts() {
        for text in [
            "",
            ".",
            "-1",
            "1..2",
            "1.2.3",
            "m",
            "1 Mi",
            "1mi",
            "1KiB",
            "1e",
            "1e99",
            "1e-99",
            "0x1",
            "1Ki1",
            "999999999999999999999999999999999",
            "9999999999999999999999999999Ei",
            "٣",
        ] {
            assert_eq!(text.parse::<Quantity>(), Err(BadQuantity), "{text}");
        }
    }

    #[test]
    fn counts_as_the_downward_api() {
        assert_eq!(parse("1500m").divided_by(parse("1")), Some(2));
        assert_eq!(parse("1500m").divided_by(parse("1m")), Some(1500));
        assert_eq!(parse("64Mi").divided_by(parse("1Mi")), Some(64));
        assert_eq!(parse("65M").divided_by(parse("1Mi")), Some(62));
        assert_eq!(parse("1").divided_by(parse("0")), None);
        assert_eq!(parse("1").plus(parse("500m")).thousandths(), 1500);
        assert_eq!(Quantity::of_units(3), parse("3"));
    }

    proptest! {
        #[test]
        fn never_panics(text in "[0-9.eEmKi+-]{0,40}") {
            let _ = text.parse::<Quantity>();
        }
    }
}
