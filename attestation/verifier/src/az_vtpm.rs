// SPDX-License-Identifier: Apache-2.0
//! Verdicts on Azure's confidential VMs: the hardware's report binds the key of a TPM, and the TPM
//! quotes registers over the nonce.
//!
//! Beside the checks of the hardware's report: its report_data is the hash of the paravisor's data,
//! the attestation key in that data signed the quote, the quote is over the nonce of this session,
//! it speaks of every register that is looked at, and the registers' values give its digest. From
//! version 2 of the form on, the paravisor's data holds the nonce too.
//!
//! # Security
//!
//! A register that the quote does not speak of has no value, whatever stands beside the quote.
//!
//! The hardware measured the provider's paravisor, which is the same for every customer. What the
//! customer's own system is, the registers say: 4 has every boot program, as the firmware measured
//! it; 9 (GRUB, Linux' EFI stub) or 11 (systemd's stub of unified kernel images) the kernel and
//! initramfs, as those programs measured them. Without references for both, nothing said what should
//! run, and the verdict is unbound. Zero is no reference: nothing was measured into that register.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use casemate_evidence::az_vtpm::AttestationKey;
use casemate_evidence::az_vtpm::AzSnpEvidence;
use casemate_evidence::az_vtpm::AzTdxEvidence;
use casemate_evidence::az_vtpm::HclReport;
use casemate_evidence::az_vtpm::PCRS;
use casemate_evidence::az_vtpm::TpmQuote;
use casemate_evidence::collateral::Collateral;
use casemate_evidence::snp;
use ring::digest;
use ring::signature;

use crate::Code;
use crate::Source;
use crate::Verdict;
use crate::snp as hardware;
use crate::tdx;
use crate::verdict::Findings;
use crate::verdict::hex_of;
use crate::verdict::one_of;

mod rules;

/// What this one quote must bind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expected {
    /// What the quote was asked for with; `None` leaves the verdict unbound.
    pub nonce: Option<Vec<u8>>,
    /// SHA-256 of the initdata, which the guest extends into register 8; `None` when none came.
    pub init_data: Option<[u8; 32]>,
}

/// What the owner demands of the TPM's registers, SHA-256 bank.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requirements {
    /// Accepted values by register. A register that is named must be quoted.
    pub pcrs: BTreeMap<usize, BTreeSet<[u8; 32]>>,
}

impl Requirements {
    /// Whether there are references for what the customer's system is.
    pub(crate) fn binds_system(&self) -> bool {
        let says = |index| self.pcrs.get(index).is_some_and(|set| !set.contains(&NOT_EXTENDED));
        says(&BOOT_PCR) && LOADED_PCRS.iter().any(says)
    }
}

/// Judges the evidence of an SNP guest on Azure at `now`, seconds since 1970.
///
/// HOST_DATA that `platform` accepts are digests of initdata, which Azure's guests extend into
/// register 8: that is what they are compared with.
#[must_use]
pub fn verify_snp(
    evidence: &AzSnpEvidence,
    roots: &[crate::Root],
    expected: &Expected,
    requirements: &Requirements,
    platform: &hardware::Requirements,
    now: u64,
) -> Verdict {
    let AzSnpEvidence { report, certificates, .. } = evidence;
    let inner = snp::Evidence { report: report.clone(), certificates: certificates.clone() };
    let bound = hardware::Expected { report_data: Some(binding(&evidence.hcl)), host_data: None };
    let mut platform = platform.clone();
    let accepted = platform.host_data.take();
    let verdict = hardware::verify(&inner, roots, &bound, &platform, now);
    let tpm = Tpm { version: evidence.version, hcl: &evidence.hcl, quote: &evidence.quote };
    tpm.judge(verdict, expected, accepted.as_ref(), requirements)
}

/// Judges the evidence of a TD on Azure at `now`, seconds since 1970. Collateral that is absent is a
/// reason to refuse.
///
/// MRCONFIGID that `platform` accepts are digests of initdata, padded with zeros: they are compared
/// with register 8, as in [`verify_snp`]. A value that is no padded SHA-256 accepts nothing.
#[must_use]
pub fn verify_tdx(
    evidence: &AzTdxEvidence,
    roots: &[tdx::Root],
    collateral: Option<&Collateral>,
    expected: &Expected,
    requirements: &Requirements,
    platform: &tdx::Requirements,
    now: u64,
) -> Verdict {
    let bound = tdx::Expected { report_data: Some(binding(&evidence.hcl)), mr_config_id: None };
    let mut platform = platform.clone();
    let accepted = platform.mr_config_ids.take();
    let accepted = accepted.map(|ids| ids.iter().filter_map(unpadded).collect());
    let verdict = tdx::verify(&evidence.td, roots, collateral, None, &bound, &platform, now);
    let tpm = Tpm { version: evidence.version, hcl: &evidence.hcl, quote: &evidence.quote };
    tpm.judge(verdict, expected, accepted.as_ref(), requirements)
}

/// The TPM's part of the evidence.
struct Tpm<'a> {
    version: u32,
    hcl: &'a HclReport,
    quote: &'a TpmQuote,
}

impl Tpm<'_> {
    /// Adds what the TPM says to the verdict on the hardware's report, whose report_data was
    /// compared with [`binding`].
    fn judge(
        &self,
        hardware: Verdict,
        expected: &Expected,
        initdata: Option<&BTreeSet<[u8; 32]>>,
        requirements: &Requirements,
    ) -> Verdict {
        let (mut findings, root, guest) =
            Findings::reopen(hardware, Code::ReportData, &rules::AK_BINDING);
        self.check_quote(&mut findings, expected);
        self.check_registers(&mut findings, expected, initdata, requirements);
        self.check_initdata(&mut findings, expected, initdata);
        findings.conclude(root, guest.measurement, guest.guest)
    }

    /// Key and nonce.
    fn check_quote(&self, findings: &mut Findings, expected: &Expected) {
        let (quote, source) = (self.quote, Source::Tpm);
        let value = format!("RSA with {} bits", self.hcl.key().n.len().saturating_mul(8));
        findings.check(&rules::SIGNATURE, value, None, source, signed(quote, self.hcl.key()));
        let value = hex::encode(quote.nonce());
        let Some(nonce) = &expected.nonce else {
            findings.not_checked(&rules::NONCE, value, source);
            return;
        };
        let reference = hex::encode(nonce);
        findings.check(&rules::NONCE, value, reference.clone(), source, quote.nonce() == nonce);
        if self.version >= USER_DATA_VERSION {
            let data = self.hcl.user_data().unwrap_or_default();
            let (head, tail) = data.split_at_checked(nonce.len()).unwrap_or((&[], data));
            let kept = !nonce.is_empty() && head == nonce && tail.iter().all(|byte| *byte == 0);
            findings.check(&rules::USER_DATA, hex::encode(data), reference, source, kept);
        }
    }

    /// Selection, digest and values.
    fn check_registers(
        &self,
        findings: &mut Findings,
        expected: &Expected,
        initdata: Option<&BTreeSet<[u8; 32]>>,
        requirements: &Requirements,
    ) {
        let (quote, source) = (self.quote, Source::Tpm);
        let mut wanted: BTreeSet<usize> = requirements.pcrs.keys().copied().collect();
        if expected.init_data.is_some() || initdata.is_some() {
            wanted.insert(INIT_DATA_PCR);
        }
        let quoted: Vec<usize> = (0..PCRS).filter(|index| quote.is_selected(*index)).collect();
        let kept = !quoted.is_empty() && wanted.iter().all(|index| quote.is_selected(*index));
        let reference = (!wanted.is_empty()).then(|| list(wanted.iter().copied()));
        findings.check(&rules::SELECTION, list(quoted.iter().copied()), reference, source, kept);

        let mut context = digest::Context::new(&digest::SHA256);
        let selected = |index: &usize| quote.pcrs().get(*index);
        quoted.iter().filter_map(selected).for_each(|value| context.update(value));
        let digest = context.finish();
        let kept = digest.as_ref() == quote.digest();
        let (value, reference) = (hex::encode(digest), hex::encode(quote.digest()));
        findings.check(&rules::DIGEST, value, reference, source, kept);

        for (index, accepted) in &requirements.pcrs {
            let value = quote.pcrs().get(*index).filter(|_| quote.is_selected(*index));
            let text = value.map_or_else(|| "not quoted".to_owned(), hex::encode);
            let reference = one_of(accepted, hex_of);
            let kept = value.is_some_and(|value| accepted.contains(value));
            findings.check(&rules::PCR, format!("{index}: {text}"), reference, source, kept);
        }
        let compared = list(requirements.pcrs.keys().copied());
        if requirements.binds_system() {
            findings.check(&rules::SYSTEM, compared, None, source, true);
        } else {
            let value = if compared.is_empty() { "none".to_owned() } else { compared };
            findings.not_checked(&rules::SYSTEM, value, source);
        }
    }

    /// Register 8: the digest of the initdata that came along, and one that the owner accepts.
    fn check_initdata(
        &self,
        findings: &mut Findings,
        expected: &Expected,
        initdata: Option<&BTreeSet<[u8; 32]>>,
    ) {
        let value = self.quote.pcrs().get(INIT_DATA_PCR);
        let value = value.filter(|_| self.quote.is_selected(INIT_DATA_PCR));
        let text = value.map_or_else(|| "not quoted".to_owned(), hex::encode);
        let given = expected.init_data.map(|digest| BTreeSet::from([digest]));
        let digests = match (given, initdata) {
            (Some(given), Some(accepted)) => given.intersection(accepted).copied().collect(),
            (Some(given), None) => given,
            (None, Some(accepted)) => accepted.clone(),
            (None, None) => {
                findings.not_checked(&rules::INIT_DATA, text, Source::Tpm);
                return;
            }
        };
        let wanted: BTreeSet<[u8; 32]> = digests.iter().map(extended).collect();
        let kept = value.is_some_and(|value| wanted.contains(value));
        let reference = one_of(&wanted, hex_of);
        findings.check(&rules::INIT_DATA, text, reference, Source::Tpm, kept);
    }
}

/// What the hardware's report_data must be: SHA-256 of the paravisor's data, then zeros.
fn binding(hcl: &HclReport) -> [u8; 64] {
    let mut data = [0; 64];
    let hash = digest::digest(&digest::SHA256, hcl.data());
    data.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    data
}

/// Whether the attestation key signed the quote (RSASSA-PKCS1-v1_5 with SHA-256).
fn signed(quote: &TpmQuote, key: &AttestationKey) -> bool {
    signature::RsaPublicKeyComponents { n: &key.n, e: &key.e }
        .verify(&signature::RSA_PKCS1_2048_8192_SHA256, quote.message(), quote.signature())
        .is_ok()
}

/// The value of a register that was zero and was extended once.
fn extended(with: &[u8; 32]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&[0; 32]);
    context.update(with);
    let mut value = [0; 32];
    let hash = context.finish();
    value.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    value
}

/// The digest of 32 bytes in a padded field.
fn unpadded(field: &[u8; 48]) -> Option<[u8; 32]> {
    let (digest, padding) = field.split_first_chunk()?;
    padding.iter().all(|byte| *byte == 0).then_some(*digest)
}

fn list(indices: impl Iterator<Item = usize>) -> String {
    indices.map(|index| index.to_string()).collect::<Vec<_>>().join(" ")
}

/// The register that the guest extends with the digest of its initdata.
const INIT_DATA_PCR: usize = 8;

/// A register that nothing was measured into.
const NOT_EXTENDED: [u8; 32] = [0; 32];

/// The register of the boot programs, as the firmware measures each that it starts.
const BOOT_PCR: usize = 4;

/// Registers of kernel and initramfs: as GRUB and Linux' EFI stub measure them, and as systemd's stub
/// does. Any program can put any value there, so they count beside [`BOOT_PCR`] alone.
const LOADED_PCRS: [usize; 2] = [9, 11];

/// First version of the form whose paravisor data holds the nonce.
const USER_DATA_VERSION: u32 = 2;
