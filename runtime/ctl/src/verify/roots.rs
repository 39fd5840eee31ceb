// SPDX-License-Identifier: Apache-2.0
//! The roots that verdicts may end in: the vendors', and those that the caller adds.

use casemate_evidence::snp::Certificate;
use casemate_evidence::snp::Product;
use casemate_evidence::tdx as evidence;
use casemate_verifier::Root;
use casemate_verifier::RootError;
use casemate_verifier::tdx;

use super::input;
use super::input::Input;
use crate::failure::Failure;
use crate::failure::chain;

/// AMD's roots and those of `added`.
pub(crate) fn amd_and(added: &[Input]) -> Result<Vec<Root>, Failure> {
    let mut roots = Root::all_builtin().map_err(|error| {
        Failure::new("input", chain(&error), "report this as a bug of Casemate")
    })?;
    for file in added {
        let bundle = input::to_pem(&file.elements(&["CERTIFICATE"])?);
        roots.push(add(&bundle).map_err(|error| file.unusable(chain(&error)))?);
    }
    Ok(roots)
}

/// Intel's root and those of `added`.
pub(crate) fn intel_and(added: &[Input]) -> Result<Vec<tdx::Root>, Failure> {
    let mut roots = vec![tdx::Root::intel().map_err(|error| {
        Failure::new("input", chain(&error), "report this as a bug of Casemate")
    })?];
    for file in added {
        let certificates = file.elements(&["CERTIFICATE"])?;
        let [der] = certificates.as_slice() else {
            return Err(file.unusable("a root for TDX is one certificate"));
        };
        let named = evidence::Certificate::parse(der)
            .map(|certificate| name(certificate.common_name()))
            .map_err(|error| file.unusable(chain(&error)))?;
        match tdx::Root::simulated(&named, der) {
            Ok(root) => roots.push(root),
            // It is trusted already.
            Err(tdx::RootError::IsIntel) => {}
            Err(error) => return Err(file.unusable(chain(&error))),
        }
    }
    Ok(roots)
}

/// SHA-256 of the public key of the root of this name, hexadecimal.
pub(crate) fn amd_key(roots: &[Root], name: Option<&str>) -> Option<String> {
    let root = roots.iter().find(|root| Some(root.kind().to_string().as_str()) == name)?;
    Some(hex::encode(root.ark_fingerprint()))
}

/// As [`amd_key`], of roots for TDX.
pub(crate) fn intel_key(roots: &[tdx::Root], name: Option<&str>) -> Option<String> {
    let root = roots.iter().find(|root| Some(root.kind().to_string().as_str()) == name)?;
    Some(hex::encode(root.fingerprint()))
}

/// A root of the caller's: AMD's if it is one of theirs, else simulated, under the name in its own
/// certificate.
fn add(bundle: &str) -> Result<Root, RootError> {
    let certificates =
        Certificate::parse_bundle(bundle).map_err(|source| RootError::Certificate { source })?;
    let ark = certificates.iter().find(|certificate| certificate.issuer() == certificate.subject());
    match Root::simulated(&name(ark.map(Certificate::common_name).unwrap_or_default()), bundle) {
        Err(RootError::IsAmd) => Product::ALL
            .into_iter()
            .find_map(|product| Root::amd(product, bundle).ok())
            .ok_or(RootError::IsAmd),
        root => root,
    }
}

/// Small letters, digits, dots and single dashes of a common name.
fn name(common_name: &str) -> String {
    let mut name = String::new();
    for c in common_name.chars().take(MAX_NAME_CHARS) {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() || (c == '.' && !name.is_empty()) {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    match name.trim_end_matches('-') {
        "" => "unnamed".to_owned(),
        name => name.to_owned(),
    }
}

/// The verifier takes names of 64 bytes.
const MAX_NAME_CHARS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amds_roots_are_amds() {
        let roots = amd_and(&[]).ok().unwrap();
        let kinds: Vec<String> = roots.iter().map(|root| root.kind().to_string()).collect();
        assert_eq!(kinds, ["amd:milan", "amd:genoa", "amd:turin"]);
    }

    #[test]
    fn names_are_made_plain() {
        for (given, made) in [
            ("ARK-Genoa simulated", "ark-genoa-simulated"),
            ("  Übel <b> x ", "bel-b-x"),
            ("...", "unnamed"),
            ("", "unnamed"),
            ("a.b", "a.b"),
        ] {
            assert_eq!(name(given), made);
        }
        assert_eq!(name(&"x".repeat(100)).len(), 64);
    }
}
