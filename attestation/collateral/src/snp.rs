// SPDX-License-Identifier: Apache-2.0
//! All certificates that an SNP report needs.

use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::CpuId;
use casemate_evidence::snp::Product;
use casemate_evidence::snp::Report;
use casemate_evidence::snp::SigningKey;
use casemate_evidence::snp::TableEntry;
use casemate_verifier::Chain;
use casemate_verifier::Root;

use crate::answer::Answer;
use crate::check::CheckError;
use crate::check::Leaf;
use crate::client::Client;
use crate::error::FetchError;
use crate::item::AmdKey;
use crate::item::HardwareId;
use crate::item::Item;

/// Certificates for one report, checked.
#[derive(Debug)]
pub struct SnpCertificates {
    /// The signer's certificate, the one above it, and the root's list if it was to be had.
    pub entries: Vec<TableEntry>,
    /// What failed on the way: what came along and was not usable, what could not be renewed or
    /// not be had.
    pub setbacks: Vec<FetchError>,
}

impl Client {
    /// Completes the certificates of a report at `now`, seconds since 1970: `offered`, which came
    /// with it, if they belong to it; else kept ones; else AMD's service's.
    ///
    /// `product` is for reports that do not name their CPU (version 2). The root's revocation list
    /// comes from cache or service first, for a host may keep a new one back; what was offered
    /// counts when there is no other.
    ///
    /// # Errors
    ///
    /// [`FetchError`] when there is no certificate of the signer. A list that cannot be had is a
    /// setback.
    pub async fn snp(
        &self,
        report: &Report,
        offered: &[TableEntry],
        product: Option<Product>,
        now: u64,
    ) -> Result<SnpCertificates, FetchError> {
        let named = report.cpuid().and_then(CpuId::product);
        let product = named.or(product).ok_or(FetchError::NoProduct)?;
        let root = self.anchors().amd(product).ok_or(FetchError::NoRoot { product })?;
        let mut setbacks = Vec::new();
        let signer = Signer { report, product, root, now };
        let chain = match signer.offered(offered) {
            Some(Ok(chain)) => chain,
            other => {
                setbacks.extend(other.and_then(Result::err));
                self.signer(&signer, &mut setbacks).await?
            }
        };
        let [_, intermediate, leaf] = chain.certificates();
        let (kind, signs) = signer.kind();
        let mut entries = vec![
            TableEntry { kind, data: leaf.der().to_vec() },
            TableEntry { kind: CertificateKind::Ask, data: intermediate.der().to_vec() },
        ];
        let list = Item::AmdCrl { product, signs };
        let data = match self.get(&list, now).await {
            Ok(list) => {
                setbacks.extend(list.setback);
                Some(list.answer.body)
            }
            Err(error @ FetchError::Cache { .. }) => return Err(error),
            Err(error) => {
                setbacks.push(error);
                self.offered_list(&list, offered, &mut setbacks, now)?
            }
        };
        entries.extend(data.map(|data| TableEntry { kind: CertificateKind::Crl, data }));
        Ok(SnpCertificates { entries, setbacks })
    }

    /// The item that holds the certificate of a report's chip.
    ///
    /// # Errors
    ///
    /// [`FetchError`] when the report is not signed with a chip's own key or withholds the chip's
    /// id.
    pub fn vcek(report: &Report, product: Product) -> Result<Item, FetchError> {
        match report.signing_key() {
            SigningKey::Vcek => {}
            SigningKey::Vlek => return Err(FetchError::NoLeasedKey),
            _ => return Err(FetchError::NoKey),
        }
        let chip = HardwareId::of(report, product).ok_or(FetchError::MaskedChip)?;
        Ok(Item::Vcek { product, chip, tcb: report.reported_tcb() })
    }

    async fn signer(
        &self,
        signer: &Signer<'_>,
        setbacks: &mut Vec<FetchError>,
    ) -> Result<Chain, FetchError> {
        let item = Self::vcek(signer.report, signer.product)?;
        let fetched = self.get(&item, signer.now).await?;
        setbacks.extend(fetched.setback);
        let below = self.kept_signing_keys(&item, signer.now)?;
        signer
            .check(&fetched.answer.body, &below)
            .map_err(|source| FetchError::Offered { item: "certificate", source: Box::new(source) })
    }

    /// The list that came along, if it is good.
    fn offered_list(
        &self,
        item: &Item,
        offered: &[TableEntry],
        setbacks: &mut Vec<FetchError>,
        now: u64,
    ) -> Result<Option<Vec<u8>>, FetchError> {
        for entry in offered.iter().filter(|entry| entry.kind == CertificateKind::Crl) {
            let answer = Answer { body: entry.data.clone(), issuer_chain: None };
            match self.judge(item, &answer, &[], now)? {
                Ok(()) => return Ok(Some(answer.body)),
                Err(source) => {
                    setbacks.push(FetchError::Offered {
                        item: "revocation list",
                        source: Box::new(source),
                    });
                }
            }
        }
        Ok(None)
    }
}

/// Who signed a report.
struct Signer<'a> {
    report: &'a Report,
    product: Product,
    root: &'a Root,
    now: u64,
}

impl Signer<'_> {
    fn kind(&self) -> (CertificateKind, AmdKey) {
        match self.report.signing_key() {
            SigningKey::Vlek => (CertificateKind::Vlek, AmdKey::Vlek),
            _ => (CertificateKind::Vcek, AmdKey::Vcek),
        }
    }

    /// The chain of what came along; `None` when no certificate of the signer did.
    fn offered(&self, offered: &[TableEntry]) -> Option<Result<Chain, FetchError>> {
        let (kind, _) = self.kind();
        let leaf = offered.iter().find(|entry| entry.kind == kind)?;
        let item = match kind {
            CertificateKind::Vlek => "VLEK",
            _ => "VCEK",
        };
        let chain = self.check(&leaf.data, offered);
        Some(chain.map_err(|source| FetchError::Offered { item, source: Box::new(source) }))
    }

    fn check(&self, data: &[u8], below: &[TableEntry]) -> Result<Chain, CheckError> {
        let Self { report, product, root, now } = *self;
        match report.signing_key() {
            SigningKey::Vlek => Leaf::vlek(product, report).check(data, below, root, now),
            _ => {
                let chip = HardwareId::of(report, product);
                // Nobody can say whose key it is when the chip is withheld; whether that will do is
                // for the verdict's rules.
                if chip.is_none() && report.chip_id().iter().any(|byte| *byte != 0) {
                    return Err(CheckError::OtherChip { found: "of another form".to_owned() });
                }
                let leaf = Leaf::vcek(product, chip.as_ref(), report.reported_tcb());
                leaf.check(data, below, root, now)
            }
        }
    }
}
