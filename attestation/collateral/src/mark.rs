// SPDX-License-Identifier: Apache-2.0
//! High-water marks: which number of a document or list was seen.

use std::fmt;

use casemate_verifier::Moment;
use serde::Deserialize;
use serde::Serialize;

/// Which of a row of documents or lists it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// tcbEvaluationDataNumber or CRL number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<Number>,
    /// When it was made, seconds since 1970; counts where lists have no number.
    made: u64,
}

/// A number of up to [`MAX_NUMBER_BYTES`], big-endian without leading zeros, as hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Number(Vec<u8>);

/// Longest CRL number (RFC 5280, section 5.2.3).
const MAX_NUMBER_BYTES: usize = 20;

impl Mark {
    /// A mark of a big-endian number, if there is one that can be kept, and a time.
    pub(crate) fn new(number: Option<&[u8]>, made: u64) -> Self {
        Self { number: number.and_then(Number::new), made }
    }

    pub(crate) fn of_number(number: u64, made: u64) -> Self {
        Self::new(Some(&number.to_be_bytes()), made)
    }

    /// Whether it comes before one that was seen: an attempt to roll back.
    pub(crate) fn is_below(&self, seen: &Self) -> bool {
        match (&self.number, &seen.number) {
            (Some(number), Some(seen)) => number.is_below(seen),
            // A list that lost its number is older than one that has it.
            (None, Some(_)) => true,
            (Some(_), None) => false,
            (None, None) => self.made < seen.made,
        }
    }
}

impl Number {
    fn new(bytes: &[u8]) -> Option<Self> {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let number = bytes.get(zeros..).filter(|number| number.len() <= MAX_NUMBER_BYTES)?;
        Some(Self(number.to_vec()))
    }

    fn is_below(&self, other: &Self) -> bool {
        (self.0.len(), &self.0) < (other.0.len(), &other.0)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Number(bytes)) = &self.number else {
            return write!(f, "made at {}", Moment(self.made));
        };
        let small = bytes
            .iter()
            .try_fold(0_u64, |number, byte| number.checked_mul(256)?.checked_add(u64::from(*byte)));
        match small {
            Some(number) => write!(f, "number {number}"),
            None => write!(f, "number 0x{}", hex::encode(bytes)),
        }
    }
}

impl From<Number> for String {
    fn from(Number(bytes): Number) -> Self {
        hex::encode(bytes)
    }
}

impl TryFrom<String> for Number {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let bytes = hex::decode(&text).ok();
        let number = bytes.and_then(|bytes| Self::new(&bytes).filter(|n| n.0 == bytes));
        number.ok_or("a number is hexadecimal digits without leading zeros")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lower_numbers_are_below() {
        // D17: rollback.
        let mark = |number: u64| Mark::of_number(number, 7);
        assert!(mark(17).is_below(&mark(18)));
        assert!(!mark(18).is_below(&mark(18)));
        assert!(!mark(256).is_below(&mark(255)));
        assert!(mark(0).is_below(&mark(1)));
        let none = |made| Mark::new(None, made);
        assert!(none(u64::MAX).is_below(&mark(0)));
        assert!(!mark(0).is_below(&none(9)));
        assert!(none(8).is_below(&none(9)) && !none(9).is_below(&none(9)));
        assert_eq!(Mark::new(Some(&[1; 21]), 9), none(9));
    }

    #[test]
    fn marks_are_shown_for_people() {
        assert_eq!(Mark::of_number(18, 0).to_string(), "number 18");
        assert_eq!(Mark::new(None, 5).to_string(), "made at 1970-01-01T00:00:05Z");
        assert_eq!(Mark::new(Some(&[1; 9]), 0).to_string(), "number 0x010101010101010101");
    }

    proptest! {
        #[test]
        fn order_is_that_of_numbers(a: u64, b: u64) {
            prop_assert_eq!(Mark::of_number(a, 0).is_below(&Mark::of_number(b, 0)), a < b);
        }

        #[test]
        fn files_round_trip(number in proptest::collection::vec(any::<u8>(), 0..24), made: u64) {
            let mark = Mark::new(Some(&number), made);
            let json = serde_json::to_string(&mark).unwrap();
            prop_assert_eq!(serde_json::from_str::<Mark>(&json).unwrap(), mark);
        }
    }
}
