// SPDX-License-Identifier: Apache-2.0
//! Everything that evidence of a TPM will say, before anything is signed.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};

use super::hcl::{HclPlan, KIND_SNP, KIND_TDX, USER_DATA_BYTES, td_report};
use super::tpm::{BOOT, KERNEL, TpmPlan, registers};
use super::wire::{self, Beside};
use super::{Hardware, Options, Version};
use crate::keys::Keys;
use crate::mint::policy::TpmPolicy;
use crate::mint::{MintError, Minted, MintedFile, Role, Tee, snp, tdx};

/// Everything that the evidence will say.
#[derive(Clone)]
pub struct Plan {
    pub(super) options: Options,
    pub(super) hcl: HclPlan,
    /// The data that the hardware binds, where they are not those that are sent.
    pub(super) bound: Option<HclPlan>,
    /// A byte behind the hash in the hardware's report, where zeros belong.
    pub(super) behind_hash: u8,
    pub(super) tpm: TpmPlan,
    pub(super) hardware: HardwarePlan,
    /// The text of the evidence is changed by this: from, to.
    pub(super) edit: Option<(&'static str, &'static str)>,
    pub(super) policy: TpmPolicy,
}

/// The hardware's part.
#[derive(Clone)]
pub(super) enum HardwarePlan {
    Snp(Box<snp::Plan>),
    Tdx(Box<tdx::Plan>),
}

impl Plan {
    /// The plan of good evidence.
    ///
    /// # Errors
    ///
    /// [`MintError`]; [`MintError::TooLong`] when the nonce has more than 64 bytes.
    pub fn new(options: &Options, keys: &Keys) -> Result<Self, MintError> {
        if options.nonce.len() > USER_DATA_BYTES {
            return Err(MintError::TooLong { what: "the nonce" });
        }
        let user_data = (options.version == Version::V2).then(|| user_data(&options.nonce));
        let (kind, hardware) = match &options.hardware {
            Hardware::Snp(hardware) => {
                let hardware = snp::Options { host_data: options.init_data, ..hardware.clone() };
                (KIND_SNP, HardwarePlan::Snp(Box::new(snp::Plan::new(&hardware, keys))))
            }
            Hardware::Tdx(hardware) => {
                let hardware =
                    tdx::Options { mr_config_id: padded(&options.init_data), ..hardware.clone() };
                (KIND_TDX, HardwarePlan::Tdx(Box::new(tdx::Plan::new(&hardware, keys)?)))
            }
        };
        let registers = registers(options.boot, options.kernel, &options.init_data, keys);
        Ok(Self {
            hcl: HclPlan::good(kind, user_data),
            bound: None,
            behind_hash: 0,
            tpm: TpmPlan::good(&options.nonce, registers),
            hardware,
            edit: None,
            policy: TpmPolicy { pcrs: [(BOOT, options.boot), (KERNEL, options.kernel)].into() },
            options: options.clone(),
        })
    }

    pub(super) const fn tee(&self) -> Tee {
        self.options.tee()
    }

    /// Signs and writes all.
    ///
    /// # Errors
    ///
    /// [`MintError`].
    pub fn mint(&self, keys: &Keys) -> Result<Minted, MintError> {
        let report_data = self.binding(keys)?;
        let Minted { mut files, mut told } = match &self.hardware {
            HardwarePlan::Snp(plan) => {
                let mut plan = plan.clone();
                plan.put_behind_paravisor(report_data);
                plan.mint(keys)?
            }
            HardwarePlan::Tdx(plan) => {
                let mut plan = plan.clone();
                plan.put_behind_paravisor(report_data);
                plan.mint(keys)?
            }
        };
        let mut take = |role| {
            let at = files.iter().position(|file| file.role == role);
            at.map(|at| files.remove(at).bytes).unwrap_or_default()
        };
        let (hardware, beside) = match &self.hardware {
            HardwarePlan::Snp(_) => (take(Role::Report), Beside::Vcek(take(Role::Vcek))),
            HardwarePlan::Tdx(_) => (td_report(&report_data), Beside::TdQuote(take(Role::Quote))),
        };
        let policy = String::from_utf8_lossy(&take(Role::Policy)).into_owned();
        let policy = policy + "\n" + &self.policy.to_toml()?;
        let hcl = self.hcl.encode(&hardware, keys)?;
        let mut json = wire::to_json(self.options.version, self.tpm.sign(keys)?, hcl, beside)?;
        if let Some((from, to)) = self.edit {
            json = json.replacen(from, to, 1);
        }
        let file = |role, name, bytes| MintedFile { role, name, bytes };
        files.insert(0, file(Role::Evidence, "evidence.json", json.into_bytes()));
        files.push(file(Role::Policy, "policy.toml", policy.into_bytes()));
        told.tee = self.tee();
        told.report_data = hex::encode(&self.options.nonce);
        told.host_data = hex::encode(self.options.init_data);
        let registers = [(BOOT, self.options.boot), (KERNEL, self.options.kernel)];
        told.pcrs = BTreeMap::from(registers.map(|(index, value)| (index, hex::encode(value))));
        Ok(Minted { files, told })
    }

    /// The hardware's REPORT_DATA: SHA-256 of the paravisor's data, then zeros.
    fn binding(&self, keys: &Keys) -> Result<[u8; 64], MintError> {
        let data = self.bound.as_ref().unwrap_or(&self.hcl).data(keys)?;
        let mut report_data = [0; 64];
        let hash = digest(&SHA256, &data);
        report_data.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        report_data.iter_mut().rev().take(1).for_each(|byte| *byte = self.behind_hash);
        Ok(report_data)
    }
}

/// The field of user data that holds a nonce.
pub(super) fn user_data(nonce: &[u8]) -> String {
    let mut field = [0; USER_DATA_BYTES];
    field.iter_mut().zip(nonce).for_each(|(to, from)| *to = *from);
    hex::encode_upper(field)
}

fn padded(digest: &[u8; 32]) -> [u8; 48] {
    let mut field = [0; 48];
    field.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    field
}
