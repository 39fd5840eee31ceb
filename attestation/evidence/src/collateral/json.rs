// SPDX-License-Identifier: Apache-2.0
//! The JSON form of `dcap-qvl`, which other tools share.

use serde::Deserialize;

use super::Collateral;
use super::CollateralError;
use super::MAX_COLLATERAL_BYTES;
use super::QeIdentity;
use super::Signed;
use super::TcbInfo;
use super::levels::hex_array;
use super::parts::chain;
use super::parts::chain_after;
use super::parts::list;
use crate::hex_text;

pub(super) fn read(json: &str) -> Result<Collateral, CollateralError> {
    if json.len() > MAX_COLLATERAL_BYTES {
        return Err(CollateralError::TooLarge);
    }
    let wire: WireCollateral = serde_json::from_str(json)
        .map_err(|source| CollateralError::Json { part: "outer object", source })?;
    let tcb_info_chain = chain(wire.tcb_info_issuer_chain.as_bytes(), "TCB information's chain")?;
    // Intel signs both with one key, so mostly the chains are one text.
    let qe_identity_chain = if wire.qe_identity_issuer_chain == wire.tcb_info_issuer_chain {
        tcb_info_chain.clone()
    } else {
        chain(wire.qe_identity_issuer_chain.as_bytes(), "QE identity's chain")?
    };
    let other = (wire.tcb_info_issuer_chain.as_bytes(), tcb_info_chain.as_slice());
    let pck_crl_chain = wire.pck_crl_issuer_chain.as_bytes();
    let pck_crl_chain = chain_after(pck_crl_chain, other, "PCK revocation list's chain")?;
    Ok(Collateral {
        tcb_info: Signed {
            document: TcbInfo::parse(&wire.tcb_info)?,
            signature: hex_array(&wire.tcb_info_signature, "tcb_info_signature")?,
            text: wire.tcb_info,
        },
        tcb_info_chain,
        qe_identity: Signed {
            document: QeIdentity::parse(&wire.qe_identity)?,
            signature: hex_array(&wire.qe_identity_signature, "qe_identity_signature")?,
            text: wire.qe_identity,
        },
        qe_identity_chain,
        pck_crl: list(&hex_bytes(&wire.pck_crl, "pck_crl")?, "PCK revocation list")?,
        pck_crl_chain,
        root_crl: list(&hex_bytes(&wire.root_ca_crl, "root_ca_crl")?, "root revocation list")?,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct WireCollateral {
    pck_crl_issuer_chain: String,
    root_ca_crl: String,
    pck_crl: String,
    tcb_info_issuer_chain: String,
    tcb_info: String,
    tcb_info_signature: String,
    qe_identity_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
    /// The chain that the quote carries too; newer files repeat it. The quote's counts.
    #[serde(default, rename = "pck_certificate_chain")]
    _pck_certificate_chain: Option<String>,
}

fn hex_bytes(text: &str, member: &'static str) -> Result<Vec<u8>, CollateralError> {
    hex_text::bytes(text).ok_or(CollateralError::Member { member })
}
