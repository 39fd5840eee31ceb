// SPDX-License-Identifier: Apache-2.0
//! AMD's certificates and revocation lists.

use casemate_evidence::snp::Certificate;
use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::Crl;
use casemate_evidence::snp::Product;
use casemate_evidence::snp::Report;
use casemate_evidence::snp::SigningKey;
use casemate_evidence::snp::TableEntry;
use casemate_evidence::snp::TcbVersion;
use casemate_verifier::Chain;
use casemate_verifier::Root;

use super::CheckError;
use super::current;
use crate::item::HardwareId;
use crate::mark::Mark;

/// Which certificate of a signer is wanted.
pub(crate) struct Leaf<'a> {
    key: SigningKey,
    product: Product,
    /// `None` for leased keys, which name no chip, and where the report withholds its chip.
    chip: Option<&'a [u8]>,
    tcb: TcbVersion,
}

impl<'a> Leaf<'a> {
    pub(crate) fn vcek(product: Product, chip: Option<&'a HardwareId>, tcb: TcbVersion) -> Self {
        Self { key: SigningKey::Vcek, product, chip: chip.map(HardwareId::as_bytes), tcb }
    }

    /// The leased key that signed a report.
    pub(crate) fn vlek(product: Product, report: &Report) -> Self {
        Self { key: SigningKey::Vlek, product, chip: None, tcb: report.reported_tcb() }
    }

    /// Checks a certificate, and returns its chain to the root.
    pub(crate) fn check(
        &self,
        data: &[u8],
        below: &[TableEntry],
        root: &Root,
        now: u64,
    ) -> Result<Chain, CheckError> {
        let kind = match self.key {
            SigningKey::Vlek => CertificateKind::Vlek,
            _ => CertificateKind::Vcek,
        };
        let leaf =
            Certificate::parse(data).map_err(|source| CheckError::AmdCertificate { source })?;
        if leaf.kind() != Some(kind) {
            return Err(CheckError::OtherKind);
        }
        let mut offered = vec![TableEntry { kind, data: data.to_vec() }];
        offered.extend(below.iter().filter(|entry| entry.kind == CertificateKind::Ask).cloned());
        let chain = Chain::find(&offered, self.key, std::slice::from_ref(root))
            .map_err(|_| CheckError::NotVouched)?;
        for (what, certificate) in
            ["the root", "the signing key", "the certificate"].into_iter().zip(chain.certificates())
        {
            current(what, certificate.not_before(), certificate.not_after(), now)?;
        }
        let name = leaf.product().unwrap_or_default();
        if Product::from_certificate_name(name) != Some(self.product) {
            return Err(CheckError::OtherProduct { found: name.to_owned() });
        }
        let found = leaf.hardware_id();
        if self.chip.is_some() && self.chip != found {
            return Err(CheckError::OtherChip { found: hex::encode(found.unwrap_or_default()) });
        }
        if leaf.tcb() != Some(self.tcb) {
            let found = leaf.tcb().map_or_else(|| "incomplete".to_owned(), |tcb| tcb.to_string());
            return Err(CheckError::OtherTcb { found });
        }
        Ok(chain)
    }
}

/// Checks certificates of the root and of keys right below it: at least one such key.
pub(super) fn chain(pem: &str, root: &Root, now: u64) -> Result<(), CheckError> {
    let certificates =
        Certificate::parse_bundle(pem).map_err(|source| CheckError::AmdCertificate { source })?;
    for certificate in &certificates {
        if !root.vouches_for_ca(certificate) {
            return Err(CheckError::NotVouched);
        }
        current("a certificate", certificate.not_before(), certificate.not_after(), now)?;
    }
    let below = |certificate: &Certificate| certificate.kind() == Some(CertificateKind::Ask);
    if certificates.iter().any(below) { Ok(()) } else { Err(CheckError::OtherKind) }
}

pub(super) fn signing_keys(pem: &str) -> Vec<TableEntry> {
    let certificates = Certificate::parse_bundle(pem).unwrap_or_default();
    let entry = |certificate: &Certificate| {
        let kind = certificate.kind().filter(|kind| *kind == CertificateKind::Ask)?;
        Some(TableEntry { kind, data: certificate.der().to_vec() })
    };
    certificates.iter().filter_map(entry).collect()
}

/// Checks a list of the root.
pub(super) fn list(bytes: &[u8], root: &Root, now: u64) -> Result<Mark, CheckError> {
    let list = Crl::parse(bytes).map_err(|source| CheckError::AmdList { source })?;
    if !root.vouches_for_list(&list) {
        return Err(CheckError::NotVouched);
    }
    current("the list", list.this_update(), list.next_update(), now)?;
    Ok(Mark::new(list.number(), list.this_update()))
}
