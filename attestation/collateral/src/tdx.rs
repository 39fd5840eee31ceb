// SPDX-License-Identifier: Apache-2.0
//! All collateral that a TDX quote needs.

use casemate_evidence::collateral::Collateral;
use casemate_evidence::collateral::CollateralError;
use casemate_evidence::collateral::Parts;
use casemate_evidence::tdx::Certificate;
use casemate_evidence::tdx::CertificateError;
use casemate_evidence::tdx::Crl;
use casemate_evidence::tdx::Quote;
use serde::Serialize;

use crate::answer::Answer;
use crate::check::CheckError;
use crate::check::document_signer;
use crate::check::list_signer;
use crate::client::Client;
use crate::error::FetchError;
use crate::item::Item;
use crate::item::PckCa;
use crate::item::Update;

/// Which platform made a quote, as far as collateral needs to know. The quote says it itself, so
/// this is a question to a service and proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platform {
    /// Kind of platform.
    pub fmspc: [u8; 6],
    /// Who certified its key.
    pub ca: PckCa,
}

/// A quote does not say which platform made it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// Its certificates are malformed.
    #[error("the quote's certificates are malformed")]
    Certificate {
        /// Why.
        #[source]
        source: CertificateError,
    },
    /// It has no PCK certificate, or one of an unknown CA.
    #[error("the quote has no PCK certificate of a platform or processor CA")]
    NoPck,
}

impl Platform {
    /// Reads a quote's PCK certificate.
    ///
    /// # Errors
    ///
    /// [`PlatformError`].
    pub fn of(quote: &Quote) -> Result<Self, PlatformError> {
        let certificates = Certificate::parse_chain(quote.pck_chain())
            .map_err(|source| PlatformError::Certificate { source })?;
        let leaf = certificates.iter().find(|c| c.pck().is_some()).ok_or(PlatformError::NoPck)?;
        let issuer = certificates.iter().find(|c| c.subject() == leaf.issuer());
        let ca = issuer.and_then(|ca| PckCa::from_common_name(ca.common_name()));
        let (Some(pck), Some(ca)) = (leaf.pck(), ca) else { return Err(PlatformError::NoPck) };
        Ok(Self { fmspc: pck.fmspc, ca })
    }
}

/// Collateral for one platform, checked.
#[derive(Debug)]
pub struct TdxCollateral {
    /// The items that it is made of.
    pub items: Vec<(Item, Answer)>,
    /// What could not be renewed.
    pub setbacks: Vec<FetchError>,
    collateral: Collateral,
    json: String,
}

impl TdxCollateral {
    /// As the verifier takes it.
    #[must_use]
    pub fn collateral(&self) -> &Collateral {
        &self.collateral
    }

    /// In the JSON form of `dcap-qvl`, which other tools read too.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }
}

impl Client {
    /// Gets all collateral of a platform at `now`, seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`FetchError`] when a part cannot be had, or a key that signed one is revoked.
    pub async fn tdx(
        &self,
        platform: Platform,
        update: Update,
        now: u64,
    ) -> Result<TdxCollateral, FetchError> {
        let mut setbacks = Vec::new();
        let mut items = Vec::new();
        for item in [
            Item::IntelRootCrl,
            Item::PckCrl { ca: platform.ca },
            Item::TcbInfo { fmspc: platform.fmspc, update },
            Item::QeIdentity { update },
        ] {
            let fetched = self.get(&item, now).await?;
            setbacks.extend(fetched.setback);
            items.push((item, fetched.answer));
        }
        let assembled = self.assemble(&items, now);
        let (collateral, json) = assembled
            .map_err(|(item, source)| FetchError::Offered { item, source: Box::new(source) })?;
        Ok(TdxCollateral { items, setbacks, collateral, json })
    }

    /// Puts the parts together, and asks the root's list about those who signed them.
    fn assemble(
        &self,
        items: &[(Item, Answer)],
        now: u64,
    ) -> Result<(Collateral, String), (&'static str, CheckError)> {
        let [(_, root_list), (_, pck_list), (_, tcb_info), (_, qe_identity)] = items else {
            return Err(("collateral", CheckError::NotVouched));
        };
        let collateral = Collateral::from_parts(&Parts {
            tcb_info: tcb_info.text(),
            tcb_info_chain: chain(tcb_info).as_bytes(),
            qe_identity: qe_identity.text(),
            qe_identity_chain: chain(qe_identity).as_bytes(),
            pck_crl: &pck_list.body,
            pck_crl_chain: chain(pck_list).as_bytes(),
            root_crl: &root_list.body,
        });
        let malformed = |source: CollateralError| CheckError::IntelDocument { source };
        let collateral = collateral.map_err(|error| ("collateral", malformed(error)))?;
        let root = self.anchors().intel();
        for (part, signer) in [
            ("TCB information", document_signer(tcb_info, &collateral.tcb_info, root, now)),
            ("QE identity", document_signer(qe_identity, &collateral.qe_identity, root, now)),
            ("PCK list", list_signer(pck_list, root, now).map(|(_, signer)| signer)),
        ] {
            let revoked = signer.and_then(|signer| unrevoked(&signer, &collateral.root_crl));
            revoked.map_err(|error| (part, error))?;
        }
        let json = json(&collateral, [tcb_info, qe_identity, pck_list].map(chain));
        Ok((collateral, json))
    }
}

fn unrevoked(signer: &Certificate, root_list: &Crl) -> Result<(), CheckError> {
    if root_list.revokes(signer.serial()) {
        Err(CheckError::Revoked { signer: signer.common_name().to_owned() })
    } else {
        Ok(())
    }
}

fn chain(answer: &Answer) -> &str {
    answer.issuer_chain.as_deref().unwrap_or_default()
}

fn json(collateral: &Collateral, chains: [&str; 3]) -> String {
    let Collateral { tcb_info, qe_identity, pck_crl, root_crl, .. } = collateral;
    let [tcb_chain, qe_chain, pck_chain] = chains;
    let file = File {
        pck_crl_issuer_chain: pck_chain,
        root_ca_crl: hex::encode(root_crl.der()),
        pck_crl: hex::encode(pck_crl.der()),
        tcb_info_issuer_chain: tcb_chain,
        tcb_info: &tcb_info.text,
        tcb_info_signature: hex::encode(tcb_info.signature),
        qe_identity_issuer_chain: qe_chain,
        qe_identity: &qe_identity.text,
        qe_identity_signature: hex::encode(qe_identity.signature),
    };
    // Text has nothing that JSON cannot say.
    serde_json::to_string_pretty(&file).unwrap_or_default()
}

/// The JSON form of `dcap-qvl`.
#[derive(Serialize)]
struct File<'a> {
    pck_crl_issuer_chain: &'a str,
    root_ca_crl: String,
    pck_crl: String,
    tcb_info_issuer_chain: &'a str,
    tcb_info: &'a str,
    tcb_info_signature: String,
    qe_identity_issuer_chain: &'a str,
    qe_identity: &'a str,
    qe_identity_signature: String,
}
