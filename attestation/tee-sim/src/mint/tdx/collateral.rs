// SPDX-License-Identifier: Apache-2.0
//! Intel's documents on platforms and enclaves, and the file that holds them with their lists.
//!
//! Source: Intel PCS API, version 4; the file is in the form of `dcap-qvl`.

use serde::Serialize;

/// TCB information, version 3, members in Intel's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TcbInfo {
    pub(super) id: &'static str,
    pub(super) version: u32,
    pub(super) issue_date: String,
    pub(super) next_update: String,
    pub(super) fmspc: String,
    pub(super) pce_id: String,
    pub(super) tcb_type: u32,
    pub(super) tcb_evaluation_data_number: u32,
    pub(super) tdx_module: Module,
    pub(super) tdx_module_identities: Vec<ModuleIdentity>,
    pub(super) tcb_levels: Vec<TcbLevel>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Module {
    pub(super) mrsigner: String,
    pub(super) attributes: String,
    pub(super) attributes_mask: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ModuleIdentity {
    pub(super) id: String,
    #[serde(flatten)]
    pub(super) module: Module,
    pub(super) tcb_levels: Vec<IsvLevel>,
}

/// A level of a module or an enclave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IsvLevel {
    pub(super) tcb: IsvTcb,
    pub(super) tcb_date: String,
    pub(super) tcb_status: &'static str,
    #[serde(rename = "advisoryIDs", skip_serializing_if = "Vec::is_empty")]
    pub(super) advisories: Vec<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct IsvTcb {
    pub(super) isvsvn: u16,
}

/// A level of the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TcbLevel {
    pub(super) tcb: Tcb,
    pub(super) tcb_date: String,
    pub(super) tcb_status: &'static str,
    #[serde(rename = "advisoryIDs", skip_serializing_if = "Vec::is_empty")]
    pub(super) advisories: Vec<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Tcb {
    pub(super) sgxtcbcomponents: [Component; 16],
    pub(super) pcesvn: u8,
    pub(super) tdxtcbcomponents: [Component; 16],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Component {
    pub(super) svn: u8,
}

/// Identity of the quoting enclave, version 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QeIdentity {
    pub(super) id: &'static str,
    pub(super) version: u32,
    pub(super) issue_date: String,
    pub(super) next_update: String,
    pub(super) tcb_evaluation_data_number: u32,
    pub(super) miscselect: String,
    pub(super) miscselect_mask: String,
    pub(super) attributes: String,
    pub(super) attributes_mask: String,
    pub(super) mrsigner: String,
    pub(super) isvprodid: u16,
    pub(super) tcb_levels: Vec<IsvLevel>,
}

/// The file.
#[derive(Serialize)]
pub(super) struct CollateralFile {
    pub(super) pck_crl_issuer_chain: String,
    pub(super) root_ca_crl: String,
    pub(super) pck_crl: String,
    pub(super) tcb_info_issuer_chain: String,
    pub(super) tcb_info: String,
    pub(super) tcb_info_signature: String,
    pub(super) qe_identity_issuer_chain: String,
    pub(super) qe_identity: String,
    pub(super) qe_identity_signature: String,
}

impl Module {
    /// Intel signed it: MRSIGNER is zero, and so are all attributes.
    fn of_intel() -> Self {
        Self {
            mrsigner: "0".repeat(96),
            attributes: "0".repeat(16),
            attributes_mask: "F".repeat(16),
        }
    }
}

impl TcbInfo {
    /// The platform of these components is up to date; one that is a step behind is not.
    pub(super) fn good(
        dates: (String, String),
        fmspc: [u8; 6],
        pce_id: [u8; 2],
        components: [u8; 16],
        (pce_svn, tee_tcb_svn): (u8, [u8; 16]),
    ) -> Self {
        let [minor, major, ..] = tee_tcb_svn;
        let level = |sgx: [u8; 16], tcb_status, advisories| TcbLevel {
            tcb: Tcb {
                sgxtcbcomponents: sgx.map(|svn| Component { svn }),
                pcesvn: pce_svn,
                // The module's version counts by its own identity, not here.
                tdxtcbcomponents: without_module(tee_tcb_svn).map(|svn| Component { svn }),
            },
            tcb_date: DATE.to_owned(),
            tcb_status,
            advisories,
        };
        let mut behind = components;
        behind.iter_mut().take(1).for_each(|svn| *svn = svn.saturating_sub(1));
        let module_level = |isvsvn, tcb_status| IsvLevel {
            tcb: IsvTcb { isvsvn },
            tcb_date: DATE.to_owned(),
            tcb_status,
            advisories: if tcb_status == UP_TO_DATE { vec![] } else { vec![ADVISORY] },
        };
        Self {
            id: "TDX",
            version: 3,
            issue_date: dates.0,
            next_update: dates.1,
            fmspc: hex::encode_upper(fmspc),
            pce_id: hex::encode_upper(pce_id),
            tcb_type: 0,
            tcb_evaluation_data_number: EVALUATION_NUMBER,
            tdx_module: Module::of_intel(),
            tdx_module_identities: vec![ModuleIdentity {
                id: format!("TDX_{major:02}"),
                module: Module::of_intel(),
                tcb_levels: vec![
                    module_level(u16::from(minor), UP_TO_DATE),
                    module_level(u16::from(minor.saturating_sub(2)), OUT_OF_DATE),
                ],
            }],
            tcb_levels: vec![
                level(components, UP_TO_DATE, vec![]),
                level(behind, OUT_OF_DATE, vec![ADVISORY]),
            ],
        }
    }
}

impl QeIdentity {
    /// The simulated enclave is up to date; older ones are not.
    pub(super) fn good(dates: (String, String), signer: [u8; 32], product: u16, svn: u16) -> Self {
        let level = |isvsvn, tcb_status, advisories| IsvLevel {
            tcb: IsvTcb { isvsvn },
            tcb_date: DATE.to_owned(),
            tcb_status,
            advisories,
        };
        Self {
            id: "TD_QE",
            version: 2,
            issue_date: dates.0,
            next_update: dates.1,
            tcb_evaluation_data_number: EVALUATION_NUMBER,
            miscselect: "0".repeat(8),
            miscselect_mask: "F".repeat(8),
            attributes: format!("11{}", "0".repeat(30)),
            attributes_mask: format!("FBFFFFFFFFFFFFFF{}", "0".repeat(16)),
            mrsigner: hex::encode_upper(signer),
            isvprodid: product,
            tcb_levels: vec![
                level(svn, UP_TO_DATE, vec![]),
                level(svn.saturating_sub(1), OUT_OF_DATE, vec![ADVISORY]),
            ],
        }
    }
}

fn without_module(mut svn: [u8; 16]) -> [u8; 16] {
    svn.iter_mut().take(2).for_each(|version| *version = 0);
    svn
}

pub(super) const UP_TO_DATE: &str = "UpToDate";
pub(super) const OUT_OF_DATE: &str = "OutOfDate";
const ADVISORY: &str = "INTEL-SA-00000";
/// Since when the levels are so.
const DATE: &str = "2024-03-13T00:00:00Z";
pub(super) const EVALUATION_NUMBER: u32 = 18;
