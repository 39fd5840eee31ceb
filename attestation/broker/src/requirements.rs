// SPDX-License-Identifier: Apache-2.0
//! The owner's demands on every guest, `rules.toml`.

use std::collections::BTreeSet;
use std::path::Path;

use casemate_evidence::snp::Product;
use casemate_evidence::snp::TcbVersion;
use casemate_verifier::GuestRequirements;
use casemate_verifier::Measurement;
use casemate_verifier::PlatformRequirements;
use casemate_verifier::Requirements;
use casemate_verifier::TcbRequirements;
use serde::Deserialize;

use crate::error::BrokerError;
use crate::setup;
use crate::setup::RULES_FILE;

/// Reads the demands of `dir` and joins them with the reference values.
///
/// # Errors
///
/// [`BrokerError`] when the file is missing or malformed: a rule that cannot be read is not a rule
/// that does not exist.
pub(crate) fn load(
    dir: &Path,
    measurements: BTreeSet<Measurement>,
) -> Result<Requirements, BrokerError> {
    let path = || dir.join(RULES_FILE);
    let bytes = setup::read(dir, RULES_FILE)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| BrokerError::RequirementValue { path: path(), member: "text" })?;
    let file: File = toml::from_str(&text)
        .map_err(|source| BrokerError::Requirements { path: path(), source })?;
    let malformed = |member| BrokerError::RequirementValue { path: path(), member };
    let min_abi = match file.min_abi {
        None => None,
        Some(text) => Some(parse_abi(&text).ok_or_else(|| malformed("min_abi"))?),
    };
    let chips = match file.chips {
        None => None,
        Some(chips) => Some(
            chips
                .iter()
                .map(|chip| parse_chip(chip))
                .collect::<Option<BTreeSet<_>>>()
                .ok_or_else(|| malformed("chips"))?,
        ),
    };
    let product = |name: &String| {
        Product::ALL.into_iter().find(|line| line.name().eq_ignore_ascii_case(name))
    };
    let allow_products = file
        .allow_products
        .iter()
        .map(product)
        .collect::<Option<BTreeSet<_>>>()
        .ok_or_else(|| malformed("allow_products"))?;
    Ok(Requirements {
        measurements: Some(measurements),
        allow_products,
        chips,
        vlek_providers: file.vlek_providers,
        guest: GuestRequirements {
            forbid_smt: file.forbid_smt,
            require_single_socket: file.require_single_socket,
            min_abi,
            ..GuestRequirements::default()
        },
        platform: PlatformRequirements {
            require_alias_check: file.require_alias_check,
            ..PlatformRequirements::default()
        },
        tcb: TcbRequirements {
            floor: file.tcb_floor.map(TcbVersion::from),
            ..TcbRequirements::default()
        },
        ..Requirements::default()
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    forbid_smt: bool,
    #[serde(default)]
    require_single_socket: bool,
    #[serde(default = "yes")]
    require_alias_check: bool,
    #[serde(default)]
    allow_products: Vec<String>,
    min_abi: Option<String>,
    chips: Option<Vec<String>>,
    #[serde(default)]
    vlek_providers: BTreeSet<String>,
    tcb_floor: Option<Floor>,
}

const fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Floor {
    fmc: Option<u8>,
    bootloader: u8,
    tee: u8,
    snp: u8,
    microcode: u8,
}

impl From<Floor> for TcbVersion {
    fn from(floor: Floor) -> Self {
        let Floor { fmc, bootloader, tee, snp, microcode } = floor;
        Self { fmc, bootloader, tee, snp, microcode }
    }
}

fn parse_abi(text: &str) -> Option<(u8, u8)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn parse_chip(text: &str) -> Option<[u8; 64]> {
    let mut chip = [0; 64];
    hex::decode_to_slice(text, &mut chip).ok()?;
    Some(chip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Requirements, BrokerError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(RULES_FILE), text).unwrap();
        load(dir.path(), BTreeSet::new())
    }

    #[test]
    fn an_empty_file_demands_nothing_more() {
        let nothing_more =
            Requirements { measurements: Some(BTreeSet::new()), ..Requirements::default() };
        assert_eq!(read("").unwrap(), nothing_more);
        assert_eq!(read("# only a comment\n").unwrap(), nothing_more);
    }

    #[test]
    fn every_member_is_read() {
        let chip = "ab".repeat(64);
        let rules = read(&format!(
            "forbid_smt = true\nrequire_single_socket = true\nrequire_alias_check = false\n\
             allow_products = [\"milan\"]\nmin_abi = \"1.55\"\nchips = [\"{chip}\"]\nvlek_providers = [\"a\"]\n\
             [tcb_floor]\nbootloader = 1\ntee = 2\nsnp = 3\nmicrocode = 4\n"
        ))
        .unwrap();
        assert!(rules.guest.forbid_smt && rules.guest.require_single_socket);
        assert!(!rules.platform.require_alias_check);
        assert_eq!(rules.allow_products, BTreeSet::from([Product::Milan]));
        assert_eq!(rules.guest.min_abi, Some((1, 55)));
        assert_eq!(rules.chips, Some(BTreeSet::from([[0xAB; 64]])));
        assert_eq!(rules.vlek_providers, BTreeSet::from(["a".to_owned()]));
        let floor = TcbVersion { fmc: None, bootloader: 1, tee: 2, snp: 3, microcode: 4 };
        assert_eq!(rules.tcb.floor, Some(floor));
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_no_missing_rule() {
        for bad in [
            "forbid_smtt = true",
            "forbid_smt = 1",
            "forbid_smt = true\nforbid_smt = false",
            "min_abi = \"1\"",
            "min_abi = \"1.999\"",
            "chips = [\"ab\"]",
            "allow_products = [\"rome\"]",
            "[tcb_floor]\nbootloader = 1",
            "[tcb_floor]\nbootloader = 256\ntee = 0\nsnp = 0\nmicrocode = 0",
            "[tcb_floor]\nbootloader = 1\ntee = 0\nsnp = 0\nmicrocode = 0\nucode = 1",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(
            load(empty.path(), BTreeSet::new()),
            Err(BrokerError::File { action: "read", .. })
        ));
    }
}
