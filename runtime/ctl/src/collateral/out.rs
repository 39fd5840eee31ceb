// SPDX-License-Identifier: Apache-2.0
//! The files that `casemate verify` takes.

use std::path::Path;

use casemate_collateral::SnpCertificates;
use casemate_collateral::TdxCollateral;
use casemate_evidence::snp::Certificate;
use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::Crl;
use casemate_evidence::snp::TableEntry;
use pem_rfc7468::LineEnding;

use crate::failure::Failure;
use crate::file;

/// Writes `chain.pem` with the signer's certificate and the one above it, and `crl.der`.
pub(super) fn snp(dir: &Path, found: &SnpCertificates) -> Result<(), Failure> {
    make(dir)?;
    // An older list would be taken for one that was fetched now.
    let list = found.entries.iter().find(|entry| entry.kind == CertificateKind::Crl);
    if list.is_none() {
        remove(&dir.join("crl.der"))?;
    }
    if let Some(name) = list.and_then(|list| revoked(&list.data, &found.entries)) {
        eprintln!(
            "warning: the revocation list names {name:?}, which certifies the signer: evidence \
             that it signed will be refused"
        );
    }
    let mut chain = String::new();
    for entry in &found.entries {
        if entry.kind == CertificateKind::Crl {
            put(dir, "crl.der", &entry.data)?;
        } else {
            let encoded = pem_rfc7468::encode_string("CERTIFICATE", LineEnding::LF, &entry.data);
            chain += &encoded.map_err(|error| {
                Failure::new("internal", error, "report this as a bug of Casemate")
            })?;
        }
    }
    put(dir, "chain.pem", chain.as_bytes())
}

/// Which of the certificates a list names.
fn revoked(list: &[u8], entries: &[TableEntry]) -> Option<String> {
    let list = Crl::parse(list).ok()?;
    let certificates = entries.iter().filter(|entry| entry.kind != CertificateKind::Crl);
    let mut certificates = certificates.filter_map(|entry| Certificate::parse(&entry.data).ok());
    let named =
        certificates.find(|c| c.kind() == Some(CertificateKind::Ask) && list.names(c.serial()))?;
    Some(named.common_name().to_owned())
}

fn remove(path: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let message = format!("failed to remove {}: {error}", path.display());
            Err(Failure::new("file", message, "check the path and its permissions"))
        }
        _ => Ok(()),
    }
}

/// Writes `collateral.json`.
pub(super) fn tdx(dir: &Path, found: &TdxCollateral) -> Result<(), Failure> {
    make(dir)?;
    put(dir, "collateral.json", found.json().as_bytes())
}

fn put(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let path = dir.join(name);
    file::write_bytes(&path, bytes)?;
    println!("{}", path.display());
    Ok(())
}

fn make(dir: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(dir).map_err(|error| {
        let message = format!("failed to make {}: {error}", dir.display());
        Failure::new("file", message, "check the path and its permissions")
    })
}
