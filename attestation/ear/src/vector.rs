// SPDX-License-Identifier: Apache-2.0
//! The trustworthiness vector of AR4SI (draft-ietf-rats-ar4si, section 2.3) and its tiers.

use serde::Deserialize;
use serde::Serialize;

/// What a verifier says of eight aspects of a guest, each a number whose range is its tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TrustVector {
    /// Which instance it is.
    #[serde(default)]
    pub instance_identity: i8,
    /// How it is configured.
    #[serde(default)]
    pub configuration: i8,
    /// What it booted.
    #[serde(default)]
    pub executables: i8,
    /// What its file system holds.
    #[serde(default)]
    pub file_system: i8,
    /// What hardware and firmware it runs on.
    #[serde(default)]
    pub hardware: i8,
    /// Whether its memory is opaque to others.
    #[serde(default)]
    pub runtime_opaque: i8,
    /// Whether its storage is opaque to others.
    #[serde(default)]
    pub storage_opaque: i8,
    /// Where its data comes from.
    #[serde(default)]
    pub sourced_data: i8,
}

/// A tier of trustworthiness, from "nothing is said" to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing is said, or the verifier failed: -1 to 1.
    None,
    /// The verifier affirms it: -32 to 31 without the values of [`Status::None`].
    Affirming,
    /// The verifier warns of it: -96 to 95 without the values of the tiers above.
    Warning,
    /// The verifier advises against it: what remains.
    Contraindicated,
}

impl Status {
    /// The tier of one claim.
    #[must_use]
    pub fn of(claim: i8) -> Self {
        match claim {
            -1..=1 => Self::None,
            -32..=31 => Self::Affirming,
            -96..=95 => Self::Warning,
            _ => Self::Contraindicated,
        }
    }
}

impl TrustVector {
    /// The eight claims, in the order of the specification.
    #[must_use]
    pub fn claims(&self) -> [i8; 8] {
        [
            self.instance_identity,
            self.configuration,
            self.executables,
            self.file_system,
            self.hardware,
            self.runtime_opaque,
            self.storage_opaque,
            self.sourced_data,
        ]
    }

    /// The worst tier among the claims.
    #[must_use]
    pub fn status(&self) -> Status {
        self.claims().into_iter().map(Status::of).max().unwrap_or(Status::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_end_where_the_specification_says() {
        let tiers = [
            (Status::None, &[-1, 0, 1][..]),
            (Status::Affirming, &[-32, -2, 2, 31]),
            (Status::Warning, &[-96, -33, 32, 95]),
            (Status::Contraindicated, &[-128, -97, 96, 127]),
        ];
        for (tier, claims) in tiers {
            for claim in claims {
                assert_eq!(Status::of(*claim), tier, "{claim}");
            }
        }
    }

    #[test]
    fn the_worst_claim_decides() {
        let mut vector = TrustVector { hardware: 2, executables: 3, ..TrustVector::default() };
        assert_eq!(vector.status(), Status::Affirming);
        vector.configuration = 36;
        assert_eq!(vector.status(), Status::Warning);
        vector.hardware = 97;
        assert_eq!(vector.status(), Status::Contraindicated);
        assert_eq!(TrustVector::default().status(), Status::None);
    }

    #[test]
    fn claims_outside_of_eight_bits_and_unknown_ones_are_errors() {
        for bad in [r#"{"hardware":128}"#, r#"{"hardware":2.0}"#, r#"{"hardwear":2}"#] {
            assert!(serde_json::from_str::<TrustVector>(bad).is_err(), "{bad}");
        }
    }
}
