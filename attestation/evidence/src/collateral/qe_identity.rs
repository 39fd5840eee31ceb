// SPDX-License-Identifier: Apache-2.0
//! The identity of the quoting enclave for TDX (PCS API 4, "Get TDX QE Identity").

use std::borrow::Cow;
use std::cmp::Reverse;

use serde::Deserialize;

use super::CollateralError;
use super::MAX_LEVELS;
use super::levels::Advisories;
use super::levels::TcbStatus;
use super::levels::hex_array;
use super::levels::seconds;
use crate::json::refuse_duplicates;

/// Which quoting enclave is Intel's, and which of its versions are up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QeIdentity {
    /// When it was made, seconds since 1970.
    pub issue_date: u64,
    /// When the next one is due, seconds since 1970.
    pub next_update: u64,
    /// Number of the TCB evaluation data, which only grows.
    pub evaluation_number: u32,
    /// MISCSELECT.
    pub misc_select: u32,
    /// Which of its bits are compared.
    pub misc_select_mask: u32,
    /// ATTRIBUTES.
    pub attributes: [u8; 16],
    /// Which of their bits are compared.
    pub attributes_mask: [u8; 16],
    /// MRSIGNER.
    pub mr_signer: [u8; 32],
    /// ISVPRODID.
    pub product_id: u16,
    /// Levels, highest first.
    pub levels: Vec<QeLevel>,
}

/// One level of the quoting enclave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QeLevel {
    /// The least ISVSVN of the level.
    pub security_version: u16,
    /// Since when it is so, seconds since 1970.
    pub date: u64,
    /// The level's status.
    pub status: TcbStatus,
    /// What is missing.
    pub advisories: Advisories,
}

impl QeIdentity {
    /// Reads the text that Intel signed.
    ///
    /// # Errors
    ///
    /// [`CollateralError`] when it is malformed, not for TDX, of another version, or has a member
    /// twice anywhere.
    pub fn parse(text: &str) -> Result<Self, CollateralError> {
        let json = |source| CollateralError::Json { part: PART, source };
        refuse_duplicates(text.as_bytes()).map_err(json)?;
        let wire: WireIdentity<'_> = serde_json::from_str(text).map_err(json)?;
        if wire.id != "TD_QE" {
            return Err(CollateralError::NotTdx { part: PART });
        }
        if !VERSIONS.contains(&wire.version) {
            return Err(CollateralError::Version { part: PART, version: wire.version });
        }
        if wire.tcb_levels.len() > MAX_LEVELS {
            return Err(CollateralError::TooLarge);
        }
        let mut levels: Vec<QeLevel> =
            wire.tcb_levels.into_iter().map(WireLevel::read).collect::<Result<_, _>>()?;
        levels.sort_by_key(|level| Reverse(level.security_version));
        // Like attributes, MISCSELECT is written as bytes in memory order.
        let misc_select = hex_array(&wire.miscselect, "miscselect")?;
        let misc_select_mask = hex_array(&wire.miscselect_mask, "miscselectMask")?;
        Ok(Self {
            issue_date: seconds(&wire.issue_date, "QE issueDate")?,
            next_update: seconds(&wire.next_update, "QE nextUpdate")?,
            evaluation_number: wire.tcb_evaluation_data_number,
            misc_select: u32::from_le_bytes(misc_select),
            misc_select_mask: u32::from_le_bytes(misc_select_mask),
            attributes: hex_array(&wire.attributes, "QE attributes")?,
            attributes_mask: hex_array(&wire.attributes_mask, "QE attributesMask")?,
            mr_signer: hex_array(&wire.mrsigner, "QE mrsigner")?,
            product_id: wire.isvprodid,
            levels,
        })
    }
}

#[derive(Deserialize)]
#[serde(expecting = "an object", rename_all = "camelCase")]
struct WireIdentity<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    version: u32,
    #[serde(borrow)]
    issue_date: Cow<'a, str>,
    #[serde(borrow)]
    next_update: Cow<'a, str>,
    tcb_evaluation_data_number: u32,
    #[serde(borrow)]
    miscselect: Cow<'a, str>,
    #[serde(borrow)]
    miscselect_mask: Cow<'a, str>,
    #[serde(borrow)]
    attributes: Cow<'a, str>,
    #[serde(borrow)]
    attributes_mask: Cow<'a, str>,
    #[serde(borrow)]
    mrsigner: Cow<'a, str>,
    isvprodid: u16,
    #[serde(borrow)]
    tcb_levels: Vec<WireLevel<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object", rename_all = "camelCase")]
struct WireLevel<'a> {
    tcb: WireTcb,
    #[serde(borrow)]
    tcb_date: Cow<'a, str>,
    tcb_status: TcbStatus,
    #[serde(rename = "advisoryIDs", default)]
    advisory_ids: Advisories,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct WireTcb {
    isvsvn: u16,
}

impl WireLevel<'_> {
    fn read(self) -> Result<QeLevel, CollateralError> {
        Ok(QeLevel {
            security_version: self.tcb.isvsvn,
            date: seconds(&self.tcb_date, "QE tcbDate")?,
            status: self.tcb_status,
            advisories: self.advisory_ids,
        })
    }
}

const PART: &str = "QE identity";
const VERSIONS: [u32; 1] = [2];
