// SPDX-License-Identifier: Apache-2.0
//! The `[snp]` table.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use casemate_evidence::snp::Certificate;
use casemate_evidence::snp::Evidence;
use casemate_evidence::snp::Product;
use casemate_evidence::snp::SigningKey;
use casemate_evidence::snp::TcbVersion;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error as _;

use super::Policy;
use super::PolicyError;
use super::ReferenceValues;
use super::grace::Moment;
use super::place::AnyGenuineChip;
use super::rule::AtLeast;
use super::rule::Bound;
use super::rule::Bytes;
use super::rule::OneOf;
use super::rule::Table;
use super::rule::Values;
use super::rule::Version;
use crate::GuestRequirements;
use crate::IdBlockRequirements;
use crate::Measurement;
use crate::PlatformRequirements;
use crate::Requirements;
use crate::TcbRequirements;
use crate::snp::kind_of;

/// Demands on SNP guests. What is not demanded is as in the default of [`Requirements`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case")]
pub struct SnpPolicy {
    /// Where guests may run. It has no default.
    #[serde(rename = "where")]
    pub place: SnpWhere,
    /// Launch digests that are accepted.
    pub measurement: Option<Values<Measurement>>,
    /// HOST_DATA that is accepted.
    pub host_data: Option<Bound<32>>,
    /// Product lines that are accepted in spite of a known weakness.
    #[serde(default)]
    pub allow_products: BTreeSet<ProductName>,
    /// Product lines that are refused.
    #[serde(default)]
    pub deny_products: BTreeSet<ProductName>,
    /// Chips that are refused.
    #[serde(default)]
    pub deny_chips: BTreeSet<Bytes<64>>,
    /// A chip may hide its id.
    #[serde(default)]
    pub allow_masked_chip: bool,
    /// AMD's revocation list must come with the evidence.
    #[serde(default)]
    pub require_crl: bool,
    /// Privilege levels from which a report is accepted; 0 if absent.
    pub vmpl: Option<OneOf<u32>>,
    /// Least security version of the guest.
    pub guest_svn: Option<AtLeast<u32>>,
    /// Least firmware interface that the guest's policy must demand.
    pub abi: Option<AtLeast<Version>>,
    /// Demands on the guest's policy.
    #[serde(default)]
    pub guest: GuestRules,
    /// Demands on the platform.
    #[serde(default)]
    pub platform: PlatformRules,
    /// Demands on the identity block.
    #[serde(default)]
    pub id_block: IdBlockRules,
    /// The firmware that runs must be committed.
    #[serde(default)]
    pub forbid_provisional: bool,
    /// Firmware floors by product line. With any, a product line without one is refused.
    #[serde(default)]
    pub tcb: BTreeMap<ProductName, TcbRules>,
}

/// Where guests may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpWhere {
    /// Ids of chips whose own key (VCEK) may sign; `None` for any genuine chip.
    pub chips: Option<BTreeSet<Bytes<64>>>,
    /// Providers (CSP_ID) whose leased keys (VLEK) may sign.
    pub providers: BTreeSet<String>,
}

/// A product line by its name in small letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProductName(pub Product);

/// Demands on the policy that the guest was launched with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case", default)]
pub struct GuestRules {
    pub forbid_smt: bool,
    pub require_single_socket: bool,
    pub forbid_cxl: bool,
    pub require_aes_256_xts: bool,
    pub require_rapl_disabled: bool,
    pub require_ciphertext_hiding: bool,
    pub require_page_swap_disabled: bool,
}

/// Demands on the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case", default)]
pub struct PlatformRules {
    pub require_alias_check: Option<bool>,
    pub require_ciphertext_hiding: bool,
    pub forbid_smt: bool,
    pub require_rapl_disabled: bool,
    pub require_tsme: bool,
    pub require_ecc: bool,
    pub accept_bits: u64,
    pub launch_mitigations: Option<u64>,
    pub current_mitigations: Option<u64>,
}

/// Demands on the identity block.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case", default)]
pub struct IdBlockRules {
    pub family_id: Option<OneOf<Bytes<16>>>,
    pub image_id: Option<OneOf<Bytes<16>>>,
    pub id_key: Option<OneOf<Bytes<48>>>,
    pub author_key: Option<OneOf<Bytes<48>>>,
}

/// Firmware floors of one product line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case")]
pub struct TcbRules {
    /// For the reported and the committed TCB.
    pub floor: Option<Floor>,
    /// For the TCB at the guest's launch.
    pub launch_floor: Option<Floor>,
    /// Lower floors for a time after a TCB recovery.
    pub grace: Option<Grace>,
}

/// Floors that hold until a time, and those of [`TcbRules`] from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case")]
pub struct Grace {
    /// The first second at which they hold no more.
    pub until: Moment,
    /// For the reported and the committed TCB.
    pub floor: Option<Floor>,
    /// For the TCB at the guest's launch.
    pub launch_floor: Option<Floor>,
}

/// A floor for each part of a TCB; a part that is absent may have any version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case")]
pub struct Floor {
    pub fmc: Option<AtLeast<u8>>,
    pub bootloader: Option<AtLeast<u8>>,
    pub tee: Option<AtLeast<u8>>,
    pub snp: Option<AtLeast<u8>>,
    pub microcode: Option<AtLeast<u8>>,
}

impl Policy {
    /// What the policy demands of `evidence` at `now`, seconds since 1970. Product line and kind of
    /// key are as the evidence says; the verifier refuses evidence that contradicts itself in them.
    ///
    /// # Errors
    ///
    /// The policy has no `[snp]`, or refers to reference values that are not there.
    pub fn snp(
        &self,
        evidence: &Evidence,
        references: &ReferenceValues,
        now: u64,
    ) -> Result<Requirements, PolicyError> {
        let table = self.snp.as_ref().ok_or(PolicyError::NoTable { tee: "snp" })?;
        table.requirements(evidence.report.signing_key(), product(evidence), references, now)
    }
}

impl SnpPolicy {
    /// When the grace that counts for `evidence` at `now` is over: the first second since 1970 at
    /// which it counts no more.
    #[must_use]
    pub fn grace_until(&self, evidence: &Evidence, now: u64) -> Option<u64> {
        let rules = self.tcb.get(&ProductName(product(evidence)?))?;
        let until = rules.grace.as_ref()?.until.0;
        (now < until).then_some(until)
    }

    /// Whether HOST_DATA is to be compared with the digest of initdata that comes along.
    #[must_use]
    pub fn needs_initdata(&self) -> bool {
        self.host_data == Some(Bound::Initdata)
    }

    fn requirements(
        &self,
        signer: SigningKey,
        product: Option<Product>,
        references: &ReferenceValues,
        now: u64,
    ) -> Result<Requirements, PolicyError> {
        let platform = self.platform;
        let default = Requirements::default();
        Ok(Requirements {
            measurements: self
                .measurement
                .as_ref()
                .map(|rule| super::resolve(rule, references))
                .transpose()?,
            host_data: match &self.host_data {
                Some(Bound::Listed(set)) => Some(bytes(set)),
                Some(Bound::Initdata) | None => None,
            },
            allow_products: self.allow_products.iter().map(|name| name.0).collect(),
            deny_products: self.deny_products.iter().map(|name| name.0).collect(),
            chips: self.place.chips(signer),
            deny_chips: bytes(&self.deny_chips),
            allow_masked_chip: self.allow_masked_chip,
            vlek_providers: self.place.providers.clone(),
            require_crl: self.require_crl,
            vmpls: self.vmpl.as_ref().map_or(default.vmpls, |levels| levels.0.clone()),
            guest: self.guest_requirements(),
            platform: PlatformRequirements {
                require_alias_check: platform
                    .require_alias_check
                    .unwrap_or(default.platform.require_alias_check),
                require_ciphertext_hiding: platform.require_ciphertext_hiding,
                forbid_smt: platform.forbid_smt,
                require_rapl_disabled: platform.require_rapl_disabled,
                require_tsme: platform.require_tsme,
                require_ecc: platform.require_ecc,
                accept_bits: platform.accept_bits,
                launch_mitigations: platform.launch_mitigations,
                current_mitigations: platform.current_mitigations,
            },
            tcb: self.tcb_requirements(product, now),
            id_block: IdBlockRequirements {
                family_ids: self.id_block.family_id.as_ref().map(|set| bytes(&set.0)),
                image_ids: self.id_block.image_id.as_ref().map(|set| bytes(&set.0)),
                id_keys: self.id_block.id_key.as_ref().map(|set| bytes(&set.0)),
                author_keys: self.id_block.author_key.as_ref().map(|set| bytes(&set.0)),
            },
        })
    }

    fn guest_requirements(&self) -> GuestRequirements {
        let guest = self.guest;
        GuestRequirements {
            forbid_smt: guest.forbid_smt,
            require_single_socket: guest.require_single_socket,
            forbid_cxl: guest.forbid_cxl,
            require_aes_256_xts: guest.require_aes_256_xts,
            require_rapl_disabled: guest.require_rapl_disabled,
            require_ciphertext_hiding: guest.require_ciphertext_hiding,
            require_page_swap_disabled: guest.require_page_swap_disabled,
            min_abi: self.abi.map(|least| (least.0.0, least.0.1)),
            min_svn: self.guest_svn.map(|least| least.0),
        }
    }

    /// D3, D18: the floors of the product line, or those of its grace.
    fn tcb_requirements(&self, product: Option<Product>, now: u64) -> TcbRequirements {
        let forbid_provisional = self.forbid_provisional;
        let rules = product.and_then(|product| self.tcb.get(&ProductName(product)));
        let (floor, launch_floor) = match rules {
            Some(TcbRules { grace: Some(grace), .. }) if now < grace.until.0 => {
                (grace.floor, grace.launch_floor)
            }
            Some(rules) => (rules.floor, rules.launch_floor),
            None => (None, None),
        };
        TcbRequirements {
            other_products_only: rules.is_none() && !self.tcb.is_empty(),
            floor: floor.map(|floor| floor.version(product)),
            launch_floor: launch_floor.map(|floor| floor.version(product)),
            forbid_provisional,
        }
    }
}

impl SnpWhere {
    /// Whether no guest runs in an accepted place.
    pub(super) fn is_nowhere(&self) -> bool {
        self.chips.as_ref().is_some_and(BTreeSet::is_empty) && self.providers.is_empty()
    }

    /// A leased key says nothing of the chip, so its provider is what is compared.
    fn chips(&self, signer: SigningKey) -> Option<BTreeSet<[u8; 64]>> {
        match signer {
            SigningKey::Vlek => None,
            _ => self.chips.as_ref().map(bytes),
        }
    }
}

impl Floor {
    fn version(self, product: Option<Product>) -> TcbVersion {
        let part = |least: Option<AtLeast<u8>>| least.map_or(0, |least| least.0);
        let has_fmc = product.is_some_and(has_fmc) || self.fmc.is_some_and(|least| least.0 > 0);
        TcbVersion {
            fmc: has_fmc.then(|| part(self.fmc)),
            bootloader: part(self.bootloader),
            tee: part(self.tee),
            snp: part(self.snp),
            microcode: part(self.microcode),
        }
    }
}

/// Product lines whose TCB has a version of the FMC.
fn has_fmc(product: Product) -> bool {
    product == Product::Turin
}

/// The product line as the CPU says it in the report, else as the signer's certificate does: the one
/// of the kind that the report names, and no other that a host adds (D3). With several of that kind
/// the evidence is refused.
fn product(evidence: &Evidence) -> Option<Product> {
    let from_certificate = || {
        let kind = kind_of(evidence.report.signing_key())?;
        let mut named = evidence.certificates.iter().filter(|entry| entry.kind == kind);
        let certificate = Certificate::parse(&named.next()?.data).ok()?;
        Product::from_certificate_name(certificate.product()?)
    };
    match evidence.report.cpuid() {
        Some(id) => id.product(),
        None => from_certificate(),
    }
}

fn bytes<const N: usize>(set: &BTreeSet<Bytes<N>>) -> BTreeSet<[u8; N]> {
    set.iter().map(|bytes| bytes.0).collect()
}

impl<'de> Deserialize<'de> for SnpWhere {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected \"any-genuine-chip\" or { chips = [...], providers = [...] } with hexadecimal ids"
        )]
        enum Form {
            Any(AnyGenuineChip),
            Listed(Table<Listed>),
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case")]
        struct Listed {
            chips: Option<BTreeSet<Bytes<64>>>,
            #[serde(default)]
            any_genuine_chip: bool,
            #[serde(default)]
            providers: BTreeSet<String>,
        }
        match Form::deserialize(deserializer)? {
            Form::Any(_) => Ok(Self { chips: None, providers: BTreeSet::new() }),
            Form::Listed(Table(Listed { chips: Some(_), any_genuine_chip: true, .. })) => {
                Err(D::Error::custom("where has chips, or any-genuine-chip, not both"))
            }
            Form::Listed(Table(Listed { chips, any_genuine_chip, providers })) => Ok(Self {
                chips: if any_genuine_chip { None } else { Some(chips.unwrap_or_default()) },
                providers,
            }),
        }
    }
}

impl<'de> Deserialize<'de> for ProductName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Product::ALL
            .into_iter()
            .find(|product| product.name().to_ascii_lowercase() == text)
            .map(Self)
            .ok_or_else(|| D::Error::custom(format_args!("{text:?} is no product line")))
    }
}
