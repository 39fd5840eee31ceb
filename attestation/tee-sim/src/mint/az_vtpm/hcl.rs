// SPDX-License-Identifier: Apache-2.0
//! The paravisor's report (HCL): header, the hardware's report, and JSON with the keys of the TPM.
//!
//! All numbers are little-endian. Written apart from the verifier's parser on purpose: the two check
//! each other.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::keys::{Authority, Keys};
use crate::mint::MintError;

/// Everything that the paravisor will say.
#[derive(Clone)]
pub(super) struct HclPlan {
    pub(super) magic: [u8; 4],
    pub(super) version: u32,
    /// Kind of request that this answers.
    pub(super) request: u32,
    /// Kind of the hardware's report.
    pub(super) kind: u32,
    /// How the hardware's report binds the data.
    pub(super) hash: u32,
    pub(super) keys: Vec<KeyPlan>,
    pub(super) secure_boot: bool,
    pub(super) user_data: Option<String>,
    pub(super) lies: Vec<Lie>,
    /// A byte behind the data.
    pub(super) behind: u8,
}

/// A key of the TPM.
#[derive(Clone)]
pub(super) struct KeyPlan {
    pub(super) kid: &'static str,
    pub(super) kty: &'static str,
    pub(super) operation: &'static str,
    pub(super) key: KeySource,
}

/// Whose numbers a key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeySource {
    /// A key that signs.
    Signs(Authority),
    /// A modulus whose key nobody has: nothing is encrypted here.
    Nobody,
}

/// A size that is not what it should be: a number is added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// Of all that is used.
    Used(i64),
    /// Of the data with their header.
    Area(i64),
    /// Of the data.
    Data(i64),
}

/// Kinds of the hardware's report.
pub(super) const KIND_SNP: u32 = 2;
pub(super) const KIND_TDX: u32 = 4;
/// The kid of the key that quotes are signed with.
pub(super) const AK: &str = "HCLAkPub";
const EK: &str = "HCLEkPub";
const SHA256: u32 = 1;
const REPORT_REQUEST: u32 = 2;
/// Version of the header of the data.
const DATA_VERSION: u32 = 1;
/// Up to the hardware's report.
const HEADER_BYTES: usize = 0x20;
/// Up to the header of the data.
const DATA_HEADER: usize = HEADER_BYTES + HARDWARE_BYTES;
pub(super) const HARDWARE_BYTES: usize = 1184;
const DATA_HEADER_BYTES: usize = 20;
/// Size of the whole, as Azure's.
const HCL_BYTES: usize = 2600;
/// The field of user data.
pub(super) const USER_DATA_BYTES: usize = 64;

impl HclPlan {
    pub(super) fn good(kind: u32, user_data: Option<String>) -> Self {
        let key = |kid, operation, key| KeyPlan { kid, kty: "RSA", operation, key };
        Self {
            magic: *b"HCLA",
            version: if kind == KIND_SNP { 1 } else { 2 },
            request: REPORT_REQUEST,
            kind,
            hash: SHA256,
            keys: vec![
                key(AK, "sign", KeySource::Signs(Authority::Tpm)),
                key(EK, "encrypt", KeySource::Nobody),
            ],
            secure_boot: true,
            user_data,
            lies: Vec::new(),
            behind: 0,
        }
    }

    /// The data, whose hash the hardware's report begins with.
    pub(super) fn data(&self, keys: &Keys) -> Result<Vec<u8>, MintError> {
        let jwk = |plan: &KeyPlan| -> Result<Jwk, MintError> {
            let (n, e) = match plan.key {
                KeySource::Signs(authority) => keys.rsa(authority)?.numbers(),
                KeySource::Nobody => {
                    let mut n = keys.bytes::<256>("endorsement key").to_vec();
                    n.iter_mut().take(1).for_each(|byte| *byte |= 0x80);
                    (n, vec![1, 0, 1])
                }
            };
            Ok(Jwk {
                kid: plan.kid,
                key_ops: [plan.operation],
                kty: plan.kty,
                e: URL_SAFE_NO_PAD.encode(e),
                n: URL_SAFE_NO_PAD.encode(n),
            })
        };
        let data = Data {
            keys: self.keys.iter().map(jwk).collect::<Result<_, _>>()?,
            configuration: Configuration {
                console_enabled: true,
                secure_boot: self.secure_boot,
                tpm_enabled: true,
                id: hex::encode_upper(keys.bytes::<16>("vm id")),
            },
            user_data: self.user_data.clone(),
        };
        Ok(serde_json::to_vec(&data)?)
    }

    /// The whole, around the hardware's report.
    pub(super) fn encode(&self, hardware: &[u8], keys: &Keys) -> Result<Vec<u8>, MintError> {
        let data = self.data(keys)?;
        let area = data.len().saturating_add(DATA_HEADER_BYTES);
        let used = area.saturating_add(DATA_HEADER);
        let mut bytes = self.magic.to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.size(used, |lie| matches!(lie, Lie::Used(_)))?);
        bytes.extend(self.request.to_le_bytes());
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend(hardware.iter().take(HARDWARE_BYTES));
        bytes.resize(DATA_HEADER, 0);
        bytes.extend(self.size(area, |lie| matches!(lie, Lie::Area(_)))?);
        bytes.extend(DATA_VERSION.to_le_bytes());
        bytes.extend(self.kind.to_le_bytes());
        bytes.extend(self.hash.to_le_bytes());
        bytes.extend(self.size(data.len(), |lie| matches!(lie, Lie::Data(_)))?);
        bytes.extend(data);
        bytes.push(self.behind);
        let whole = bytes.len().max(HCL_BYTES);
        bytes.resize(whole, 0);
        Ok(bytes)
    }

    fn size(&self, size: usize, which: impl Fn(&&Lie) -> bool) -> Result<[u8; 4], MintError> {
        let by = self.lies.iter().find(which).map_or(0, |lie| match lie {
            Lie::Used(by) | Lie::Area(by) | Lie::Data(by) => *by,
        });
        let size = i64::try_from(size).ok().and_then(|size| size.checked_add(by));
        let size = size.and_then(|size| u32::try_from(size).ok());
        size.map(u32::to_le_bytes).ok_or(MintError::TooLong { what: "the paravisor's data" })
    }
}

/// What a TD's paravisor puts where an SNP report would be: a TDREPORT, of which nobody but the
/// machine itself can check more than REPORTDATA.
pub(super) fn td_report(report_data: &[u8; 64]) -> Vec<u8> {
    let mut report = vec![0; TDREPORT_BYTES];
    report.iter_mut().take(1).for_each(|byte| *byte = TDREPORT_TYPE);
    let place = report.iter_mut().skip(REPORTDATA_OFFSET);
    place.zip(report_data).for_each(|(to, from)| *to = *from);
    report
}

const TDREPORT_BYTES: usize = 1024;
const TDREPORT_TYPE: u8 = 0x81;
const REPORTDATA_OFFSET: usize = 0x80;

#[derive(Serialize)]
struct Data {
    keys: Vec<Jwk>,
    #[serde(rename = "vm-configuration")]
    configuration: Configuration,
    #[serde(rename = "user-data", skip_serializing_if = "Option::is_none")]
    user_data: Option<String>,
}

#[derive(Serialize)]
struct Jwk {
    kid: &'static str,
    key_ops: [&'static str; 1],
    kty: &'static str,
    e: String,
    n: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Configuration {
    console_enabled: bool,
    secure_boot: bool,
    tpm_enabled: bool,
    #[serde(rename = "vmUniqueId")]
    id: String,
}
