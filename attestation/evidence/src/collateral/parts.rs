// SPDX-License-Identifier: Apache-2.0
//! Collateral as Intel's provisioning certification service, or a cache of it, answers.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Collateral;
use super::CollateralError;
use super::MAX_COLLATERAL_BYTES;
use super::QeIdentity;
use super::Signed;
use super::TcbInfo;
use super::levels::hex_array;
use crate::tdx::Certificate;
use crate::tdx::Crl;

/// The service's answers, each as it came.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// Body of `/tdx/certification/v4/tcb`: `{"tcbInfo": …, "signature": …}`.
    pub tcb_info: &'a str,
    /// Its header `TCB-Info-Issuer-Chain`, with the URL encoding taken off: PEM.
    pub tcb_info_chain: &'a [u8],
    /// Body of `/tdx/certification/v4/qe/identity`: `{"enclaveIdentity": …, "signature": …}`.
    pub qe_identity: &'a str,
    /// Its header `SGX-Enclave-Identity-Issuer-Chain`, PEM.
    pub qe_identity_chain: &'a [u8],
    /// Body of `/sgx/certification/v4/pckcrl`: DER or PEM.
    pub pck_crl: &'a [u8],
    /// Its header `SGX-PCK-CRL-Issuer-Chain`, PEM.
    pub pck_crl_chain: &'a [u8],
    /// The root's list: DER or PEM.
    pub root_crl: &'a [u8],
}

impl Parts<'_> {
    pub(super) fn read(&self) -> Result<Collateral, CollateralError> {
        let total = [self.tcb_info_chain, self.qe_identity_chain, self.pck_crl_chain]
            .into_iter()
            .chain([self.pck_crl, self.root_crl])
            .chain([self.tcb_info.as_bytes(), self.qe_identity.as_bytes()])
            .fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        if total > MAX_COLLATERAL_BYTES {
            return Err(CollateralError::TooLarge);
        }
        Ok(Collateral {
            tcb_info: tcb_info(self.tcb_info)?,
            tcb_info_chain: chain(self.tcb_info_chain, "TCB information's chain")?,
            qe_identity: qe_identity(self.qe_identity)?,
            qe_identity_chain: chain(self.qe_identity_chain, "QE identity's chain")?,
            pck_crl: list(self.pck_crl, "PCK revocation list")?,
            pck_crl_chain: chain(self.pck_crl_chain, "PCK revocation list's chain")?,
            root_crl: list(self.root_crl, "root revocation list")?,
        })
    }
}

impl Signed<TcbInfo> {
    /// Reads the service's answer, `{"tcbInfo": …, "signature": …}`.
    ///
    /// # Errors
    ///
    /// [`CollateralError`] when it is malformed.
    pub fn from_answer(body: &str) -> Result<Self, CollateralError> {
        tcb_info(body)
    }
}

impl Signed<QeIdentity> {
    /// Reads the service's answer, `{"enclaveIdentity": …, "signature": …}`.
    ///
    /// # Errors
    ///
    /// [`CollateralError`] when it is malformed.
    pub fn from_answer(body: &str) -> Result<Self, CollateralError> {
        qe_identity(body)
    }
}

fn tcb_info(body: &str) -> Result<Signed<TcbInfo>, CollateralError> {
    let wire: WireTcbInfo<'_> = serde_json::from_str(body)
        .map_err(|source| CollateralError::Json { part: "TCB information", source })?;
    // The signature is over the very text, so that is what is kept.
    let text = wire.tcb_info.get();
    Ok(Signed {
        document: TcbInfo::parse(text)?,
        text: text.to_owned(),
        signature: hex_array(&wire.signature, "TCB signature")?,
    })
}

fn qe_identity(body: &str) -> Result<Signed<QeIdentity>, CollateralError> {
    let wire: WireQeIdentity<'_> = serde_json::from_str(body)
        .map_err(|source| CollateralError::Json { part: "QE identity", source })?;
    let text = wire.enclave_identity.get();
    Ok(Signed {
        document: QeIdentity::parse(text)?,
        text: text.to_owned(),
        signature: hex_array(&wire.signature, "QE signature")?,
    })
}

pub(super) fn chain(pem: &[u8], part: &'static str) -> Result<Vec<Certificate>, CollateralError> {
    Certificate::parse_chain(pem).map_err(|source| CollateralError::Certificate { part, source })
}

/// As [`chain`], after another one was read: mostly both end in the same certificate.
pub(super) fn chain_after(
    pem: &[u8],
    (other_pem, other): (&[u8], &[Certificate]),
    part: &'static str,
) -> Result<Vec<Certificate>, CollateralError> {
    Certificate::parse_chain_after(pem, other_pem, other)
        .map_err(|source| CollateralError::Certificate { part, source })
}

pub(super) fn list(bytes: &[u8], part: &'static str) -> Result<Crl, CollateralError> {
    Crl::parse(bytes).map_err(|source| CollateralError::Crl { part, source })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object", rename_all = "camelCase")]
struct WireTcbInfo<'a> {
    #[serde(borrow)]
    tcb_info: &'a RawValue,
    signature: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object", rename_all = "camelCase")]
struct WireQeIdentity<'a> {
    #[serde(borrow)]
    enclave_identity: &'a RawValue,
    signature: String,
}
