// SPDX-License-Identifier: Apache-2.0
//! The policy that goes with minted evidence: as strict as the good evidence keeps.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::Tcb;

/// A policy for SNP evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpPolicy {
    pub(crate) product: &'static str,
    /// Allows a product line by name that is refused otherwise.
    pub(crate) allow_product: bool,
    pub(crate) measurement: [u8; 48],
    pub(crate) host_data: [u8; 32],
    /// The chip on which the guest may run under the chip's key.
    pub(crate) chip: [u8; 64],
    /// The provider under whose leased keys it may run.
    pub(crate) provider: Option<String>,
    pub(crate) deny_chip: [u8; 64],
    pub(crate) fmc: Option<u8>,
    /// Whether there are firmware floors.
    pub(crate) floors: bool,
    pub(crate) floor: Tcb,
    /// The guest policy of good evidence: what it forbids is demanded.
    pub(crate) guest_policy: u64,
    /// The features of good evidence: what is on is demanded.
    pub(crate) platform_info: u64,
    pub(crate) guest_svn: u32,
    pub(crate) mitigations: Option<u64>,
    pub(crate) family_id: [u8; 16],
    pub(crate) image_id: [u8; 16],
    pub(crate) id_key: [u8; 48],
    pub(crate) author_key: [u8; 48],
}

impl SnpPolicy {
    /// The policy as TOML.
    ///
    /// # Errors
    ///
    /// When a number does not fit TOML's.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let line = self.product.to_ascii_lowercase();
        let floor = Floor {
            fmc: self.fmc.map(at_least),
            bootloader: at_least(self.floor.bootloader),
            tee: at_least(self.floor.tee),
            snp: at_least(self.floor.snp),
            microcode: at_least(self.floor.microcode),
        };
        let [minor, major, ..] = self.guest_policy.to_le_bytes();
        let guest = |bit: u32| self.guest_policy >> bit & 1 == 1;
        let platform = |bit: u32| self.platform_info >> bit & 1 == 1;
        let table = Snp {
            place: Place {
                chips: vec![hex::encode(self.chip)],
                providers: self.provider.iter().cloned().collect(),
            },
            measurement: hex::encode(self.measurement),
            host_data: hex::encode(self.host_data),
            allow_products: if self.allow_product { vec![line.clone()] } else { vec![] },
            deny_chips: vec![hex::encode(self.deny_chip)],
            require_crl: true,
            guest_svn: at_least(self.guest_svn),
            abi: at_least(format!("{major}.{minor}")),
            forbid_provisional: true,
            guest: Guest {
                forbid_smt: !guest(16),
                require_single_socket: guest(20),
                forbid_cxl: !guest(21),
                require_aes_256_xts: guest(22),
                require_rapl_disabled: guest(23),
                require_ciphertext_hiding: guest(24),
                require_page_swap_disabled: guest(25),
            },
            platform: Platform {
                require_alias_check: platform(5),
                require_ciphertext_hiding: platform(4),
                forbid_smt: !platform(0),
                require_rapl_disabled: platform(3),
                require_tsme: platform(1),
                require_ecc: platform(2),
                launch_mitigations: self.mitigations,
                current_mitigations: self.mitigations,
            },
            id_block: IdBlock {
                family_id: hex::encode(self.family_id),
                image_id: hex::encode(self.image_id),
                id_key: hex::encode(self.id_key),
                author_key: hex::encode(self.author_key),
            },
            tcb: if self.floors {
                [(line, Floors { floor: floor.clone(), launch_floor: floor })].into()
            } else {
                BTreeMap::new()
            },
        };
        toml::to_string(&Document { snp: Some(table), ..Document::default() })
    }
}

fn at_least(value: impl std::fmt::Display) -> String {
    format!(">= {value}")
}

#[derive(Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    snp: Option<Snp>,
    tdx: Option<Tdx>,
    az_vtpm: Option<AzVtpm>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Snp {
    measurement: String,
    host_data: String,
    allow_products: Vec<String>,
    deny_chips: Vec<String>,
    require_crl: bool,
    guest_svn: String,
    abi: String,
    forbid_provisional: bool,
    #[serde(rename = "where")]
    place: Place,
    guest: Guest,
    platform: Platform,
    id_block: IdBlock,
    tcb: BTreeMap<String, Floors>,
}

#[derive(Serialize)]
struct Place {
    chips: Vec<String>,
    providers: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Guest {
    forbid_smt: bool,
    require_single_socket: bool,
    forbid_cxl: bool,
    require_aes_256_xts: bool,
    require_rapl_disabled: bool,
    require_ciphertext_hiding: bool,
    require_page_swap_disabled: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Platform {
    require_alias_check: bool,
    require_ciphertext_hiding: bool,
    forbid_smt: bool,
    require_rapl_disabled: bool,
    require_tsme: bool,
    require_ecc: bool,
    launch_mitigations: Option<u64>,
    current_mitigations: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct IdBlock {
    family_id: String,
    image_id: String,
    id_key: String,
    author_key: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Floors {
    floor: Floor,
    launch_floor: Floor,
}

#[derive(Clone, Serialize)]
struct Floor {
    fmc: Option<String>,
    bootloader: String,
    tee: String,
    snp: String,
    microcode: String,
}

/// A policy for TDX evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxPolicy {
    pub(crate) measurement: [u8; 48],
    pub(crate) mr_config_id: [u8; 48],
    pub(crate) mr_seam: [u8; 48],
    pub(crate) xfam: u64,
    pub(crate) rtmrs: [[u8; 48]; 4],
    /// The platform on which the TD may run, by PPID.
    pub(crate) platform: [u8; 16],
    pub(crate) evaluation_number: u32,
    pub(crate) require_event_log: bool,
}

impl TdxPolicy {
    /// The policy as TOML.
    ///
    /// # Errors
    ///
    /// When a number does not fit TOML's.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let [rtmr0, rtmr1, rtmr2, rtmr3] = self.rtmrs.map(hex::encode);
        let table = Tdx {
            mrtd: hex::encode(self.measurement),
            mr_config_id: hex::encode(self.mr_config_id),
            rtmr0,
            rtmr1,
            rtmr2,
            rtmr3,
            require_event_log: self.require_event_log,
            tcb_evaluation_number: at_least(self.evaluation_number),
            mrseam: hex::encode(self.mr_seam),
            allow_xfam: format!("{:#x}", self.xfam),
            place: Platforms { platforms: vec![hex::encode(self.platform)] },
        };
        toml::to_string(&Document { tdx: Some(table), ..Document::default() })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Tdx {
    mrtd: String,
    mr_config_id: String,
    rtmr0: String,
    rtmr1: String,
    rtmr2: String,
    rtmr3: String,
    require_event_log: bool,
    tcb_evaluation_number: String,
    mrseam: String,
    allow_xfam: String,
    #[serde(rename = "where")]
    place: Platforms,
}

#[derive(Serialize)]
struct Platforms {
    platforms: Vec<String>,
}

/// What a policy for evidence of a TPM has beside the table of the hardware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmPolicy {
    /// The values that registers must have.
    pub(crate) pcrs: BTreeMap<usize, [u8; 32]>,
}

impl TpmPolicy {
    /// The table as TOML, to stand behind that of the hardware.
    ///
    /// # Errors
    ///
    /// When a number does not fit TOML's.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let pcrs = self.pcrs.iter().map(|(index, value)| (index.to_string(), hex::encode(value)));
        let table = AzVtpm { pcr: pcrs.collect() };
        toml::to_string(&Document { az_vtpm: Some(table), ..Document::default() })
    }
}

#[derive(Serialize)]
struct AzVtpm {
    pcr: BTreeMap<String, String>,
}
