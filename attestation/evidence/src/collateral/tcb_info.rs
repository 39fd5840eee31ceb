// SPDX-License-Identifier: Apache-2.0
//! TCB information, version 3, for TDX (PCS API 4, "Get TDX TCB Info").

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

/// What Intel says of the TCBs of one kind of platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcbInfo {
    /// When it was made, seconds since 1970.
    pub issue_date: u64,
    /// When the next one is due, seconds since 1970.
    pub next_update: u64,
    /// The kind of platform.
    pub fmspc: [u8; 6],
    /// The provisioning certification enclave.
    pub pce_id: [u8; 2],
    /// Number of the TCB evaluation data, which only grows.
    pub evaluation_number: u32,
    /// MRSIGNER and attributes of modules of TDX 1.0.
    pub module: ModuleIdentity,
    /// The modules since TDX 1.5, by their major version.
    pub modules: Vec<ModuleIdentity>,
    /// TCB levels, highest first.
    pub levels: Vec<TcbLevel>,
}

/// A TDX module that Intel signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleIdentity {
    /// Major version, `TEE_TCB_SVN[1]`; 0 for TDX 1.0.
    pub version: u8,
    /// MRSIGNERSEAM.
    pub mr_signer: [u8; 48],
    /// SEAM attributes.
    pub attributes: u64,
    /// Which of their bits are compared.
    pub attributes_mask: u64,
    /// Levels, highest first; none for TDX 1.0.
    pub levels: Vec<ModuleLevel>,
}

/// One level of a TDX module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleLevel {
    /// The least `TEE_TCB_SVN[0]` of the level.
    pub security_version: u8,
    /// Since when it is so, seconds since 1970.
    pub date: u64,
    /// The level's status.
    pub status: TcbStatus,
    /// What is missing.
    pub advisories: Advisories,
}

/// One TCB level of a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcbLevel {
    /// Least SGX components, as in a PCK certificate.
    pub sgx: [u8; 16],
    /// Least PCESVN.
    pub pce_svn: u16,
    /// Least TDX components, as in TEE_TCB_SVN.
    pub tdx: [u8; 16],
    /// Since when it is so, seconds since 1970.
    pub date: u64,
    /// The level's status.
    pub status: TcbStatus,
    /// What is missing.
    pub advisories: Advisories,
}

impl TcbInfo {
    /// Reads the text that Intel signed.
    ///
    /// # Errors
    ///
    /// [`CollateralError`] when it is malformed, not for TDX, of another version, or has a member
    /// twice anywhere.
    pub fn parse(text: &str) -> Result<Self, CollateralError> {
        let json = |source| CollateralError::Json { part: PART, source };
        refuse_duplicates(text.as_bytes()).map_err(json)?;
        let wire: WireTcbInfo<'_> = serde_json::from_str(text).map_err(json)?;
        if wire.id != "TDX" {
            return Err(CollateralError::NotTdx { part: PART });
        }
        if wire.version != VERSION || wire.tcb_type != 0 {
            return Err(CollateralError::Version { part: PART, version: wire.version });
        }
        if wire.tcb_levels.len() > MAX_LEVELS || wire.tdx_module_identities.len() > MAX_LEVELS {
            return Err(CollateralError::TooLarge);
        }
        let mut levels: Vec<TcbLevel> =
            wire.tcb_levels.into_iter().map(WireLevel::read).collect::<Result<_, _>>()?;
        // The order of the text does not count: the highest level that a platform reaches is its.
        levels.sort_by_key(|level| Reverse((level.sgx, level.pce_svn, level.tdx)));
        let modules: Vec<ModuleIdentity> = wire
            .tdx_module_identities
            .into_iter()
            .map(WireModule::read)
            .collect::<Result<_, _>>()?;
        for (index, module) in modules.iter().enumerate() {
            if modules.iter().skip(index.saturating_add(1)).any(|m| m.version == module.version) {
                return Err(CollateralError::Member { member: "tdxModuleIdentities" });
            }
        }
        Ok(Self {
            issue_date: seconds(&wire.issue_date, "TCB issueDate")?,
            next_update: seconds(&wire.next_update, "TCB nextUpdate")?,
            fmspc: hex_array(&wire.fmspc, "fmspc")?,
            pce_id: hex_array(&wire.pce_id, "pceId")?,
            evaluation_number: wire.tcb_evaluation_data_number,
            module: wire.tdx_module.read(0, Vec::new())?,
            modules,
            levels,
        })
    }
}

#[derive(Deserialize)]
#[serde(expecting = "an object", rename_all = "camelCase")]
struct WireTcbInfo<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    version: u32,
    #[serde(borrow)]
    issue_date: Cow<'a, str>,
    #[serde(borrow)]
    next_update: Cow<'a, str>,
    #[serde(borrow)]
    fmspc: Cow<'a, str>,
    #[serde(borrow)]
    pce_id: Cow<'a, str>,
    tcb_type: u32,
    tcb_evaluation_data_number: u32,
    #[serde(borrow)]
    tdx_module: WireSigner<'a>,
    #[serde(borrow, default)]
    tdx_module_identities: Vec<WireModule<'a>>,
    #[serde(borrow)]
    tcb_levels: Vec<WireLevel<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object", rename_all = "camelCase")]
struct WireSigner<'a> {
    #[serde(borrow)]
    mrsigner: Cow<'a, str>,
    #[serde(borrow)]
    attributes: Cow<'a, str>,
    #[serde(borrow)]
    attributes_mask: Cow<'a, str>,
}

impl WireSigner<'_> {
    fn read(
        &self,
        version: u8,
        levels: Vec<ModuleLevel>,
    ) -> Result<ModuleIdentity, CollateralError> {
        // Attributes are bytes in memory order, as in the quote.
        let attributes = hex_array(&self.attributes, "TDX module attributes")?;
        let mask = hex_array(&self.attributes_mask, "TDX module attributesMask")?;
        Ok(ModuleIdentity {
            version,
            mr_signer: hex_array(&self.mrsigner, "TDX module mrsigner")?,
            attributes: u64::from_le_bytes(attributes),
            attributes_mask: u64::from_le_bytes(mask),
            levels,
        })
    }
}

#[derive(Deserialize)]
#[serde(expecting = "an object", rename_all = "camelCase")]
struct WireModule<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    mrsigner: Cow<'a, str>,
    #[serde(borrow)]
    attributes: Cow<'a, str>,
    #[serde(borrow)]
    attributes_mask: Cow<'a, str>,
    #[serde(borrow)]
    tcb_levels: Vec<WireModuleLevel<'a>>,
}

impl WireModule<'_> {
    fn read(self) -> Result<ModuleIdentity, CollateralError> {
        let member = "TDX module id";
        let digits = self
            .id
            .get(..MODULE_PREFIX.len())
            .filter(|prefix| prefix.eq_ignore_ascii_case(MODULE_PREFIX));
        let digits = digits.and_then(|_| self.id.get(MODULE_PREFIX.len()..));
        let [version] = hex_array(digits.unwrap_or_default(), member)?;
        if self.tcb_levels.len() > MAX_LEVELS {
            return Err(CollateralError::TooLarge);
        }
        let mut levels: Vec<ModuleLevel> =
            self.tcb_levels.into_iter().map(WireModuleLevel::read).collect::<Result<_, _>>()?;
        levels.sort_by_key(|level| Reverse(level.security_version));
        let Self { mrsigner, attributes, attributes_mask, .. } = self;
        WireSigner { mrsigner, attributes, attributes_mask }.read(version, levels)
    }
}

#[derive(Deserialize)]
#[serde(expecting = "an object", rename_all = "camelCase")]
struct WireModuleLevel<'a> {
    tcb: WireModuleTcb,
    #[serde(borrow)]
    tcb_date: Cow<'a, str>,
    tcb_status: TcbStatus,
    #[serde(rename = "advisoryIDs", default)]
    advisory_ids: Advisories,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct WireModuleTcb {
    isvsvn: u8,
}

impl WireModuleLevel<'_> {
    fn read(self) -> Result<ModuleLevel, CollateralError> {
        Ok(ModuleLevel {
            security_version: self.tcb.isvsvn,
            date: seconds(&self.tcb_date, "TDX module tcbDate")?,
            status: self.tcb_status,
            advisories: self.advisory_ids,
        })
    }
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
    sgxtcbcomponents: [WireComponent; 16],
    pcesvn: u16,
    tdxtcbcomponents: [WireComponent; 16],
}

#[derive(Clone, Copy, Deserialize)]
#[serde(expecting = "an object")]
struct WireComponent {
    svn: u8,
}

impl WireLevel<'_> {
    fn read(self) -> Result<TcbLevel, CollateralError> {
        Ok(TcbLevel {
            sgx: self.tcb.sgxtcbcomponents.map(|component| component.svn),
            pce_svn: self.tcb.pcesvn,
            tdx: self.tcb.tdxtcbcomponents.map(|component| component.svn),
            date: seconds(&self.tcb_date, "tcbDate")?,
            status: self.tcb_status,
            advisories: self.advisory_ids,
        })
    }
}

const PART: &str = "TCB information";
const VERSION: u32 = 3;
const MODULE_PREFIX: &str = "TDX_";
