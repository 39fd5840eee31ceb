// SPDX-License-Identifier: Apache-2.0
//! Everything that SNP evidence will say, before anything is signed.

use std::collections::BTreeMap;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromZeros, IntoBytes};

use super::chain::{AuthorityPlan, CrlPart, LEAF_KEY, LeafPlan};
use super::{Levels, Options, Product, ReportVersion, SignerKind};
use crate::certificates::{Endorsement, legacy_levels, turin_levels};
use crate::keys::{Authority, Keys};
use crate::mint::policy::SnpPolicy;
use crate::mint::{MintError, Minted, MintedFile, Role, Tee, Told, rfc3339};
use crate::report::{ECDSA_P384_SHA384, FIRMWARE, Layout, SIGNED_LEN};
use crate::x509::{Period, to_pem};

/// Everything that the evidence will say.
#[derive(Clone)]
pub struct Plan {
    pub(super) options: Options,
    pub(super) report: Layout,
    pub(super) signature: SignaturePlan,
    /// Bytes that are changed after all is signed.
    pub(super) edits: Vec<Edit>,
    pub(super) leaf: LeafPlan,
    pub(super) intermediate: AuthorityPlan,
    pub(super) root: AuthorityPlan,
    /// Whose key the verifier trusts.
    pub(super) trusted: Authority,
    pub(super) crl: CrlPart,
    pub(super) with_crl: bool,
    pub(super) policy: SnpPolicy,
}

/// The report's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignaturePlan {
    /// By the certified key.
    Good,
    /// By a key that nobody certified.
    OtherKey,
    /// r is replaced by these 72 bytes.
    R([u8; 72]),
    /// s is replaced by these 72 bytes.
    S([u8; 72]),
}

/// A change of a finished file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edit {
    /// Bytes are flipped at an offset of the report.
    Flip(usize),
    /// A byte is appended to a file.
    Append(Role),
    /// The last byte of a file is dropped.
    Truncate(Role),
}

/// Serial number of the intermediate, as the list names it.
pub(super) const INTERMEDIATE_SERIAL: u8 = 2;
/// The provider that leased keys are accepted from.
pub(super) const PROVIDER: &str = "CN=cloud.example";
/// Mitigations of the simulated firmware.
pub(super) const MITIGATIONS: u64 = 0b111;
/// Security version of the simulated guest.
pub(super) const GUEST_SVN: u32 = 4;
pub(super) const FAMILY_ID: [u8; 16] = [0xfa; 16];
pub(super) const IMAGE_ID: [u8; 16] = [0x1a; 16];
pub(super) const ID_KEY: [u8; 48] = [0x1d; 48];
pub(super) const AUTHOR_KEY: [u8; 48] = [0xa7; 48];
/// Bit 0 of KEY_INFO.
const AUTHOR_KEY_ENABLED: u32 = 1;
const YEARS: u64 = 365;

impl Plan {
    /// The plan of good evidence.
    #[must_use]
    pub fn new(options: &Options, keys: &Keys) -> Self {
        let line = options.product.line();
        let chip = chip_id(options.product, keys);
        let (intermediate, key) = match options.signer {
            SignerKind::Vcek => (format!("SEV-{line}"), Authority::Ask),
            SignerKind::Vlek => (format!("SEV-VLEK-{line}"), Authority::Asvk),
        };
        let root = format!("ARK-{line}");
        let long = Period::around(options.at, 2 * YEARS, 20 * YEARS);
        Self {
            report: report(options, &chip, keys),
            signature: SignaturePlan::Good,
            edits: Vec::new(),
            leaf: LeafPlan {
                common: match options.signer {
                    SignerKind::Vcek => "SEV-VCEK",
                    SignerKind::Vlek => "SEV-VLEK",
                },
                issuer: intermediate.clone(),
                signed_by: key,
                validity: Period::around(options.at, YEARS, 6 * YEARS),
                endorsement: endorsement(options, &chip),
                is_authority: false,
            },
            intermediate: AuthorityPlan {
                common: intermediate,
                issuer: root.clone(),
                key,
                signed_by: Authority::Ark,
                serial: INTERMEDIATE_SERIAL,
                validity: long,
                is_authority: true,
            },
            root: AuthorityPlan {
                common: root.clone(),
                issuer: root,
                key: Authority::Ark,
                signed_by: Authority::Ark,
                serial: 1,
                validity: long,
                is_authority: true,
            },
            trusted: Authority::Ark,
            crl: CrlPart {
                revoked: Vec::new(),
                validity: Period::around(options.at, 10, 80),
                signed_by: Authority::Ark,
                scoped: false,
            },
            with_crl: true,
            policy: SnpPolicy::of(options, &chip),
            options: options.clone(),
        }
    }

    /// The report of a guest behind a paravisor: REPORT_DATA is the paravisor's, and the initdata,
    /// which the policy still names, is no matter of the hardware.
    pub(in crate::mint) fn put_behind_paravisor(&mut self, report_data: [u8; 64]) {
        self.report.report_data = report_data;
        self.report.host_data = [0; 32];
    }

    /// Signs and writes all.
    ///
    /// # Errors
    ///
    /// [`MintError`].
    pub fn mint(&self, keys: &Keys) -> Result<Minted, MintError> {
        let root = self.root.mint(keys)?;
        let intermediate = self.intermediate.mint(keys)?;
        // What the verifier trusts: the root of the chain, or one of the same names.
        let trusted =
            AuthorityPlan { key: self.trusted, signed_by: self.trusted, ..self.root.clone() };
        let trusted = trusted.mint(keys)?;
        let leaf = self.leaf.mint(keys)?;
        let crl = self.crl.mint(&self.root.common, keys)?;
        let report = self.signed_report(keys)?;
        let chain = to_pem(&intermediate) + &to_pem(&root);
        let leaf_name = match self.options.signer {
            SignerKind::Vcek => "vcek.der",
            SignerKind::Vlek => "vlek.der",
        };
        let file = |role, name, bytes| MintedFile { role, name, bytes };
        let mut files = vec![
            file(Role::Report, "report.bin", report),
            file(Role::Vcek, leaf_name, leaf),
            file(Role::Chain, "chain.pem", chain.into_bytes()),
            file(Role::Ask, "ask.pem", to_pem(&intermediate).into_bytes()),
            file(Role::Root, "root.pem", to_pem(&trusted).into_bytes()),
            file(Role::Crl, "crl.der", crl),
            file(Role::Policy, "policy.toml", self.policy.to_toml()?.into_bytes()),
        ];
        files.retain(|file| self.with_crl || file.role != Role::Crl);
        for edit in &self.edits {
            edit.apply(&mut files);
        }
        let told = Told {
            tee: Tee::Snp,
            at: rfc3339(self.options.at)?,
            report_data: hex::encode(self.options.report_data),
            measurement: hex::encode(self.options.measurement),
            host_data: hex::encode(self.options.host_data),
            pcrs: BTreeMap::new(),
        };
        Ok(Minted { files, told })
    }

    fn signed_report(&self, keys: &Keys) -> Result<Vec<u8>, MintError> {
        let mut bytes = self.report.as_bytes().to_vec();
        let key = match self.signature {
            SignaturePlan::OtherKey => keys.p384("another chip")?,
            _ => keys.p384(LEAF_KEY)?,
        };
        let signature = key.sign_fixed(bytes.get(..SIGNED_LEN).unwrap_or_default());
        let (r, s) = signature.split_at(48);
        let mut numbers = [[0; 72]; 2];
        for (number, bytes) in numbers.iter_mut().zip([r, s]) {
            number.iter_mut().zip(bytes.iter().rev()).for_each(|(to, from)| *to = *from);
        }
        match (self.signature, &mut numbers) {
            (SignaturePlan::R(r), [place, _]) => *place = r,
            (SignaturePlan::S(s), [_, place]) => *place = s,
            _ => {}
        }
        let places = bytes.iter_mut().skip(SIGNED_LEN);
        places.zip(numbers.as_flattened()).for_each(|(to, from)| *to = *from);
        Ok(bytes)
    }
}

impl Edit {
    fn apply(&self, files: &mut [MintedFile]) {
        let role = match self {
            Self::Flip(_) => Role::Report,
            Self::Append(role) | Self::Truncate(role) => *role,
        };
        let Some(file) = files.iter_mut().find(|file| file.role == role) else { return };
        match self {
            Self::Flip(offset) => {
                file.bytes.iter_mut().skip(*offset).take(1).for_each(|byte| *byte ^= 1);
            }
            Self::Append(_) => file.bytes.push(1),
            Self::Truncate(_) => {
                file.bytes.pop();
            }
        }
    }
}

/// From Turin on the id has eight bytes.
fn chip_id(product: Product, keys: &Keys) -> [u8; 64] {
    let mut chip = keys.bytes::<64>("chip id");
    if product == Product::Turin {
        chip.iter_mut().skip(8).for_each(|byte| *byte = 0);
    }
    chip
}

pub(super) fn tcb_bytes(product: Product, levels: Levels) -> [u8; 8] {
    let Levels { fmc, tcb } = levels;
    match product {
        Product::Turin => [fmc, tcb.bootloader, tcb.tee, tcb.snp, 0, 0, 0, tcb.microcode],
        _ => [tcb.bootloader, tcb.tee, 0, 0, 0, 0, tcb.snp, tcb.microcode],
    }
}

pub(super) fn certified_levels(product: Product, levels: Levels) -> Vec<(u32, u8)> {
    match product {
        Product::Turin => turin_levels(levels.fmc, levels.tcb),
        _ => legacy_levels(levels.tcb),
    }
}

fn endorsement(options: &Options, chip: &[u8; 64]) -> Endorsement {
    let turin = options.product == Product::Turin;
    let id = if turin { chip.get(..8).unwrap_or_default() } else { chip };
    let (hardware_id, provider) = match options.signer {
        SignerKind::Vcek => (Some(id.to_vec()), None),
        SignerKind::Vlek => (None, Some(PROVIDER.to_owned())),
    };
    Endorsement {
        struct_version: u8::from(turin),
        product: options.product.line().to_owned(),
        levels: certified_levels(options.product, options.tcb),
        hardware_id,
        provider,
    }
}

fn report(options: &Options, chip: &[u8; 64], keys: &Keys) -> Layout {
    let tcb = tcb_bytes(options.product, options.tcb);
    let cpuid = if options.version == ReportVersion::V2 { [0; 3] } else { options.product.cpuid() };
    let mitigations = if options.version == ReportVersion::V5 { MITIGATIONS } else { 0 };
    let signer = match options.signer {
        SignerKind::Vcek => 0,
        SignerKind::Vlek => 1,
    };
    Layout {
        version: U32::new(options.version.number()),
        guest_svn: U32::new(GUEST_SVN),
        policy: U64::new(options.policy),
        family_id: FAMILY_ID,
        image_id: IMAGE_ID,
        signature_algorithm: U32::new(ECDSA_P384_SHA384),
        current_tcb: tcb,
        platform_info: U64::new(options.platform_info),
        key_info: U32::new(AUTHOR_KEY_ENABLED | signer << 2),
        report_data: options.report_data,
        measurement: options.measurement,
        host_data: options.host_data,
        id_key_digest: ID_KEY,
        author_key_digest: AUTHOR_KEY,
        report_id: keys.bytes("report id"),
        report_id_ma: [0xff; 32],
        reported_tcb: tcb,
        cpuid,
        chip_id: *chip,
        committed_tcb: tcb,
        current_version: FIRMWARE,
        committed_version: FIRMWARE,
        launch_tcb: tcb,
        launch_mitigations: U64::new(mitigations),
        current_mitigations: U64::new(mitigations),
        ..Layout::new_zeroed()
    }
}

impl SnpPolicy {
    /// The strictest policy that the plan's good evidence keeps.
    fn of(options: &Options, chip: &[u8; 64]) -> Self {
        Self {
            product: options.product.line(),
            allow_product: true,
            measurement: options.measurement,
            host_data: options.host_data,
            chip: *chip,
            provider: (options.signer == SignerKind::Vlek).then(|| PROVIDER.to_owned()),
            floors: true,
            deny_chip: [0xde; 64],
            fmc: (options.product == Product::Turin).then_some(options.tcb.fmc),
            floor: options.tcb.tcb,
            guest_policy: options.policy,
            platform_info: options.platform_info,
            guest_svn: GUEST_SVN,
            mitigations: (options.version == ReportVersion::V5).then_some(MITIGATIONS),
            family_id: FAMILY_ID,
            image_id: IMAGE_ID,
            id_key: ID_KEY,
            author_key: AUTHOR_KEY,
        }
    }
}
