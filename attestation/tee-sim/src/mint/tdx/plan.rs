// SPDX-License-Identifier: Apache-2.0
//! Everything that TDX evidence will say, before anything is signed.

use std::collections::BTreeMap;

use der::oid::ObjectIdentifier;
use zerocopy::FromZeros;
use zerocopy::little_endian::{U16, U32, U64};

use super::body::{
    Body, ECDSA_P256, EnclaveReport, Header, QE_VENDOR, TD10_LEN, TD15_LEN, TEE_TDX,
};
use super::collateral::{CollateralFile, EVALUATION_NUMBER, QeIdentity, TcbInfo};
use super::event_log::EventLog;
use super::pck::PckPlatform;
use super::quote::{Binding, QuotePlan};
use super::{Form, Options};
use crate::certificates::subject;
use crate::keys::Keys;
use crate::mint::policy::TdxPolicy;
use crate::mint::{MintError, Minted, MintedFile, Role, Tee, Told, rfc3339};
use crate::x509::{CertificatePlan, CrlPlan, DAY, Period, to_pem, usage};

/// Everything that the evidence will say.
#[derive(Clone)]
pub struct Plan {
    pub(super) options: Options,
    pub(super) quote: QuotePlan,
    pub(super) root: Certified,
    pub(super) ca: Certified,
    pub(super) pck: Certified,
    pub(super) tcb_signer: Certified,
    pub(super) platform: PckPlatform,
    /// Whose key the verifier trusts as the root's.
    pub(super) trusted: &'static str,
    pub(super) root_crl: ListPlan,
    pub(super) pck_crl: ListPlan,
    pub(super) tcb_info: TcbInfo,
    pub(super) tcb_info_key: &'static str,
    /// Dates of the TCB information; its text has them from here.
    pub(super) tcb_info_dates: Period,
    pub(super) qe_identity: QeIdentity,
    pub(super) qe_identity_key: &'static str,
    pub(super) qe_identity_dates: Period,
    /// The text of the TCB information is changed by this: from, to.
    pub(super) tcb_info_edit: Option<(&'static str, &'static str)>,
    /// Whether that happens before or after it is signed.
    pub(super) tcb_info_edit_signed: bool,
    pub(super) log: EventLog,
    pub(super) with_collateral: bool,
    pub(super) with_log: bool,
    pub(super) policy: TdxPolicy,
}

/// A certificate of the simulated Intel.
#[derive(Clone)]
pub(super) struct Certified {
    pub(super) common: &'static str,
    pub(super) issuer: &'static str,
    pub(super) key: &'static str,
    pub(super) signed_by: &'static str,
    pub(super) serial: u8,
    pub(super) validity: Period,
    pub(super) is_authority: bool,
}

/// A revocation list.
#[derive(Clone)]
pub(super) struct ListPlan {
    pub(super) issuer: &'static str,
    pub(super) signed_by: &'static str,
    pub(super) revoked: Vec<u8>,
    pub(super) validity: Period,
    pub(super) scoped: bool,
}

pub(super) const ROOT_KEY: &str = "sgx root";
pub(super) const CA_KEY: &str = "pck platform ca";
pub(super) const PCK_KEY: &str = "pck";
pub(super) const TCB_KEY: &str = "tcb signing";
pub(super) const QUOTE_KEY: &str = "attestation";
/// A key that nobody certified.
pub(super) const STRANGER: &str = "stranger";
pub(super) const CA_SERIAL: u8 = 0x21;
pub(super) const PCK_SERIAL: u8 = 0x31;
pub(super) const TCB_SERIAL: u8 = 0x22;
const ROOT: &str = "Intel SGX Root CA";
const CA: &str = "Intel SGX PCK Platform CA";
/// Signer, product and version of the simulated quoting enclave.
const QE_SIGNER: [u8; 32] = [0x51; 32];
const QE_PRODUCT: u16 = 2;
pub(super) const QE_SVN: u16 = 4;
const PCE_SVN: u8 = 13;
const COMPONENTS: [u8; 16] = [2, 2, 2, 2, 3, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0];
const FMSPC: [u8; 6] = [0x90, 0xc0, 0x6f, 0, 0, 0];
/// Digest of the simulated TDX module.
pub(super) const MR_SEAM: [u8; 48] = [0x5e; 48];
/// Name of the platform's id among the keys.
const PPID: &str = "ppid";
const YEAR: u64 = 365;

impl Plan {
    /// The plan of good evidence.
    ///
    /// # Errors
    ///
    /// [`MintError::Time`].
    pub fn new(options: &Options, keys: &Keys) -> Result<Self, MintError> {
        let log = EventLog::good();
        let body = body(options, &log);
        let platform = PckPlatform {
            ppid: keys.bytes(PPID),
            components: COMPONENTS,
            pce_svn: PCE_SVN,
            pce_id: [0; 2],
            fmspc: FMSPC,
            instance: keys.bytes("platform instance"),
        };
        let documents = Period::around(options.at, 5, 25);
        let dates = (rfc3339(documents.from)?, rfc3339(documents.to)?);
        let validity = Period::around(options.at, YEAR, 6 * YEAR);
        let certified = |common, key, serial| Certified {
            common,
            issuer: ROOT,
            key,
            signed_by: ROOT_KEY,
            serial,
            validity,
            is_authority: true,
        };
        let list = |issuer, signed_by| ListPlan {
            issuer,
            signed_by,
            revoked: Vec::new(),
            validity: Period::around(options.at, 5, 25),
            scoped: false,
        };
        Ok(Self {
            quote: QuotePlan {
                header: header(options.form),
                kind: match options.form {
                    Form::V4 => None,
                    Form::V5Td10 => Some((2, TD10_LEN)),
                    Form::V5Td15 => Some((3, TD15_LEN)),
                },
                len: if options.form == Form::V5Td15 { TD15_LEN } else { TD10_LEN },
                body: body.clone(),
                qe: quoting_enclave(),
                binding: Binding::Good,
                key: QUOTE_KEY,
                signed_by: QUOTE_KEY,
                qe_signed_by: PCK_KEY,
                auth_data: (0..32).collect(),
                lies: Vec::new(),
                edits: Vec::new(),
            },
            root: Certified {
                validity: Period::around(options.at, 3 * YEAR, 20 * YEAR),
                ..certified(ROOT, ROOT_KEY, 0x11)
            },
            ca: certified(CA, CA_KEY, CA_SERIAL),
            pck: Certified {
                issuer: CA,
                signed_by: CA_KEY,
                is_authority: false,
                ..certified("Intel SGX PCK Certificate", PCK_KEY, PCK_SERIAL)
            },
            tcb_signer: Certified {
                is_authority: false,
                ..certified("Intel SGX TCB Signing", TCB_KEY, TCB_SERIAL)
            },
            trusted: ROOT_KEY,
            root_crl: list(ROOT, ROOT_KEY),
            pck_crl: list(CA, CA_KEY),
            tcb_info: TcbInfo::good(
                dates.clone(),
                platform.fmspc,
                platform.pce_id,
                platform.components,
                (PCE_SVN, options.tee_tcb_svn),
            ),
            tcb_info_key: TCB_KEY,
            tcb_info_dates: documents,
            qe_identity: QeIdentity::good(dates, QE_SIGNER, QE_PRODUCT, QE_SVN),
            qe_identity_key: TCB_KEY,
            qe_identity_dates: documents,
            tcb_info_edit: None,
            tcb_info_edit_signed: false,
            platform,
            log,
            with_collateral: true,
            with_log: true,
            policy: TdxPolicy::of(options, &body, keys),
            options: options.clone(),
        })
    }

    /// The quote of a TD behind a paravisor: REPORTDATA is the paravisor's; the initdata, which the
    /// policy still names, is no matter of the hardware, and there is no event log.
    pub(in crate::mint) fn put_behind_paravisor(&mut self, report_data: [u8; 64]) {
        self.quote.body.report_data = report_data;
        self.quote.body.mr_config_id = [0; 48];
        self.with_log = false;
        self.policy.require_event_log = false;
    }

    /// Signs and writes all.
    ///
    /// # Errors
    ///
    /// [`MintError`].
    pub fn mint(&self, keys: &Keys) -> Result<Minted, MintError> {
        let root = to_pem(&self.root.mint(keys, None)?);
        let trusted = Certified { key: self.trusted, signed_by: self.trusted, ..self.root.clone() };
        let trusted = to_pem(&trusted.mint(keys, None)?);
        let ca = to_pem(&self.ca.mint(keys, None)?);
        let pck = to_pem(&self.pck.mint(keys, Some(&self.platform))?);
        let chain = pck + &ca + &root;
        let file = |role, name, bytes| MintedFile { role, name, bytes };
        let mut files = vec![
            file(Role::Quote, "quote.bin", self.quote.mint(&chain, keys)?),
            file(Role::Chain, "chain.pem", chain.into_bytes()),
            file(Role::Root, "root.pem", trusted.into_bytes()),
            file(Role::Policy, "policy.toml", self.policy.to_toml()?.into_bytes()),
        ];
        if self.with_log {
            files.push(file(Role::EventLog, "event-log.bin", self.log.encode()?));
        }
        if self.with_collateral {
            let collateral = serde_json::to_vec(&self.collateral(&ca, &root, keys)?)?;
            files.push(file(Role::Collateral, "collateral.json", collateral));
        }
        let told = Told {
            tee: Tee::Tdx,
            at: rfc3339(self.options.at)?,
            report_data: hex::encode(self.options.report_data),
            measurement: hex::encode(self.options.mr_td),
            host_data: hex::encode(self.options.mr_config_id),
            pcrs: BTreeMap::new(),
        };
        Ok(Minted { files, told })
    }

    fn collateral(&self, ca: &str, root: &str, keys: &Keys) -> Result<CollateralFile, MintError> {
        let signers = to_pem(&self.tcb_signer.mint(keys, None)?) + root;
        let sign = |text: &str, key| -> Result<String, MintError> {
            Ok(hex::encode(keys.p256(key)?.sign_fixed(text.as_bytes())))
        };
        let tcb_info = TcbInfo {
            issue_date: rfc3339(self.tcb_info_dates.from)?,
            next_update: rfc3339(self.tcb_info_dates.to)?,
            ..self.tcb_info.clone()
        };
        let plain = serde_json::to_string(&tcb_info)?;
        let (from, to) = self.tcb_info_edit.unwrap_or_default();
        let edited = if from.is_empty() { plain.clone() } else { plain.replacen(from, to, 1) };
        let signed = if self.tcb_info_edit_signed { &edited } else { &plain };
        let tcb_info_signature = sign(signed, self.tcb_info_key)?;
        let qe_identity = QeIdentity {
            issue_date: rfc3339(self.qe_identity_dates.from)?,
            next_update: rfc3339(self.qe_identity_dates.to)?,
            ..self.qe_identity.clone()
        };
        let qe_identity = serde_json::to_string(&qe_identity)?;
        Ok(CollateralFile {
            pck_crl_issuer_chain: ca.to_owned() + root,
            root_ca_crl: hex::encode(self.root_crl.mint(keys)?),
            pck_crl: hex::encode(self.pck_crl.mint(keys)?),
            tcb_info_issuer_chain: signers.clone(),
            tcb_info: edited,
            tcb_info_signature,
            qe_identity_issuer_chain: signers,
            qe_identity_signature: sign(&qe_identity, self.qe_identity_key)?,
            qe_identity,
        })
    }

    /// A period that ended the day before.
    pub(super) fn past(&self) -> Period {
        let at = self.options.at;
        Period { from: at.saturating_sub(400 * DAY), to: at.saturating_sub(DAY) }
    }
}

impl Certified {
    fn mint(&self, keys: &Keys, platform: Option<&PckPlatform>) -> Result<Vec<u8>, MintError> {
        let key = keys.p256(self.key)?;
        let mut extensions = usage(self.is_authority)?;
        extensions.push(subject_key_id(keys.bytes::<20>(self.key))?);
        if let Some(platform) = platform {
            extensions.push(platform.extension()?);
        }
        let plan = CertificatePlan {
            serial: vec![self.serial],
            issuer: subject(self.issuer),
            subject: subject(self.common),
            validity: self.validity,
            spki: key.spki(),
            extensions,
        };
        Ok(plan.signed_by(&keys.p256(self.signed_by)?)?)
    }
}

impl ListPlan {
    fn mint(&self, keys: &Keys) -> Result<Vec<u8>, MintError> {
        let plan = CrlPlan {
            issuer: subject(self.issuer),
            validity: self.validity,
            revoked: self.revoked.iter().map(|serial| vec![*serial]).collect(),
            number: 1,
            key_id: Some(keys.bytes(self.signed_by)),
            scoped: self.scoped,
            more: Vec::new(),
        };
        Ok(plan.signed_by(&keys.p256(self.signed_by)?)?)
    }
}

fn subject_key_id(
    id: [u8; 20],
) -> Result<x509_cert::ext::Extension, crate::x509::CertificateError> {
    use der::Encode;
    let value = der::asn1::OctetString::new(id)?.to_der()?;
    crate::x509::extension(ObjectIdentifier::new_unwrap("2.5.29.14"), false, value)
}

fn header(form: Form) -> Header {
    Header {
        version: U16::new(if form == Form::V4 { 4 } else { 5 }),
        key_type: U16::new(ECDSA_P256),
        tee_type: U32::new(TEE_TDX),
        reserved: [0; 4],
        vendor: QE_VENDOR,
        user_data: [0; 20],
    }
}

fn body(options: &Options, log: &EventLog) -> Body {
    Body {
        tee_tcb_svn: options.tee_tcb_svn,
        mr_seam: MR_SEAM,
        attributes: U64::new(options.attributes),
        xfam: U64::new(options.xfam),
        mr_td: options.mr_td,
        mr_config_id: options.mr_config_id,
        rtmrs: log.replay(),
        report_data: options.report_data,
        tee_tcb_svn2: options.tee_tcb_svn,
        ..Body::new_zeroed()
    }
}

fn quoting_enclave() -> EnclaveReport {
    let mut attributes = [0; 16];
    // Initialised, 64 bits, provisioning key; as the identity's mask has it.
    attributes.iter_mut().take(1).for_each(|byte| *byte = 0x11);
    EnclaveReport {
        cpu_svn: COMPONENTS,
        attributes,
        mr_enclave: [0xe5; 32],
        mr_signer: QE_SIGNER,
        isv_prod_id: U16::new(QE_PRODUCT),
        isv_svn: U16::new(QE_SVN),
        ..EnclaveReport::new_zeroed()
    }
}

impl TdxPolicy {
    /// The strictest policy that the plan's good evidence keeps.
    fn of(options: &Options, body: &Body, keys: &Keys) -> Self {
        Self {
            measurement: options.mr_td,
            mr_config_id: options.mr_config_id,
            mr_seam: MR_SEAM,
            xfam: options.xfam,
            rtmrs: body.rtmrs,
            platform: keys.bytes(PPID),
            evaluation_number: EVALUATION_NUMBER,
            require_event_log: true,
        }
    }
}
