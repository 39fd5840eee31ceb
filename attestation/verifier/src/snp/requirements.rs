// SPDX-License-Identifier: Apache-2.0
//! What an owner demands of SNP guests.

use std::collections::BTreeSet;

use casemate_evidence::snp::Product;
use casemate_evidence::snp::TcbVersion;

use crate::Measurement;

/// What this one report must bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expected {
    /// The field that binds nonce and key; `None` leaves the verdict unbound.
    pub report_data: Option<[u8; 64]>,
    /// The digest of the initdata that came with the evidence; `None` when none came.
    pub host_data: Option<[u8; 32]>,
}

/// What the owner demands of any guest. A set that is there and empty accepts nothing; one that is
/// `None` leaves its line unchecked.
///
/// The default refuses what needs no reference to be refused: debugging, migration, another
/// privilege level than 0, bits without a meaning, a leased key, a platform that has not checked its
/// memory for aliases, and Milan, whose chips' root seeds can be extracted by software.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirements {
    /// Launch digests that are accepted; `None` leaves the verdict unbound.
    pub measurements: Option<BTreeSet<Measurement>>,
    /// HOST_DATA that is accepted, beside what [`Expected`] says.
    pub host_data: Option<BTreeSet<[u8; 32]>>,
    /// Product lines that are accepted in spite of a known weakness: Milan.
    pub allow_products: BTreeSet<Product>,
    /// Product lines that are refused.
    pub deny_products: BTreeSet<Product>,
    /// Chips that are accepted; `None` for any.
    pub chips: Option<BTreeSet<[u8; 64]>>,
    /// Chips that are refused: a revocation list names no single chip.
    pub deny_chips: BTreeSet<[u8; 64]>,
    /// A chip may hide its id, which leaves unchecked that its certificate is its own. Rules on
    /// chips refuse it still.
    pub allow_masked_chip: bool,
    /// Cloud providers whose leased keys are accepted; empty for none.
    pub vlek_providers: BTreeSet<String>,
    /// A revocation list of AMD must come with the evidence.
    pub require_crl: bool,
    /// Privilege levels from which a report is accepted.
    pub vmpls: BTreeSet<u32>,
    /// Demands on the guest's policy.
    pub guest: GuestRequirements,
    /// Demands on the platform.
    pub platform: PlatformRequirements,
    /// Demands on firmware versions.
    pub tcb: TcbRequirements,
    /// Demands on the identity block.
    pub id_block: IdBlockRequirements,
}

/// Demands on the policy that the guest was launched with. What it states, the firmware enforces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuestRequirements {
    /// It must forbid simultaneous multithreading.
    pub forbid_smt: bool,
    /// It must demand a single socket.
    pub require_single_socket: bool,
    /// It must forbid CXL.
    pub forbid_cxl: bool,
    /// It must demand AES-256-XTS for memory.
    pub require_aes_256_xts: bool,
    /// It must demand that the energy counters (RAPL) are off.
    pub require_rapl_disabled: bool,
    /// It must demand hidden ciphertext.
    pub require_ciphertext_hiding: bool,
    /// It must forbid swapping and moving of pages.
    pub require_page_swap_disabled: bool,
    /// Least firmware ABI, major and minor, that it must demand.
    pub min_abi: Option<(u8, u8)>,
    /// Least security version of the guest, from its ID block.
    pub min_svn: Option<u32>,
}

/// Demands on the platform, as it says of itself at the time of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformRequirements {
    /// It must have checked for aliased memory (AMD-SB-3015). On by default.
    pub require_alias_check: bool,
    /// It must hide ciphertext in memory.
    pub require_ciphertext_hiding: bool,
    /// Simultaneous multithreading must be off.
    pub forbid_smt: bool,
    /// Energy counters (RAPL) must be off.
    pub require_rapl_disabled: bool,
    /// All its memory must be encrypted (TSME).
    pub require_tsme: bool,
    /// Its memory must have error correction.
    pub require_ecc: bool,
    /// Bits of PLATFORM_INFO that are accepted though this version knows no meaning of them.
    pub accept_bits: u64,
    /// Mitigations that must have been in place at launch (report version 5).
    pub launch_mitigations: Option<u64>,
    /// Mitigations that must be in place now (report version 5).
    pub current_mitigations: Option<u64>,
}

/// Demands on firmware versions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TcbRequirements {
    /// Least TCB, applied to the reported and to the committed one, part by part.
    pub floor: Option<TcbVersion>,
    /// Least TCB at the guest's launch.
    pub launch_floor: Option<TcbVersion>,
    /// There are floors, of other product lines only: no version of this one is known to be good.
    pub other_products_only: bool,
    /// The firmware that runs must be committed: honest clouds run provisional firmware for a time.
    pub forbid_provisional: bool,
}

/// Demands on the identity block, with which an author signs a guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdBlockRequirements {
    /// Families that are accepted.
    pub family_ids: Option<BTreeSet<[u8; 16]>>,
    /// Images that are accepted.
    pub image_ids: Option<BTreeSet<[u8; 16]>>,
    /// SHA-384 of keys that may sign the block; all zero is no key.
    pub id_keys: Option<BTreeSet<[u8; 48]>>,
    /// SHA-384 of keys that may sign those keys; all zero is no key.
    pub author_keys: Option<BTreeSet<[u8; 48]>>,
}

impl Default for Requirements {
    fn default() -> Self {
        Self {
            measurements: None,
            host_data: None,
            allow_products: BTreeSet::new(),
            deny_products: BTreeSet::new(),
            chips: None,
            deny_chips: BTreeSet::new(),
            allow_masked_chip: false,
            vlek_providers: BTreeSet::new(),
            require_crl: false,
            vmpls: BTreeSet::from([0]),
            guest: GuestRequirements::default(),
            platform: PlatformRequirements::default(),
            tcb: TcbRequirements::default(),
            id_block: IdBlockRequirements::default(),
        }
    }
}

impl Default for PlatformRequirements {
    fn default() -> Self {
        Self {
            require_alias_check: true,
            require_ciphertext_hiding: false,
            forbid_smt: false,
            require_rapl_disabled: false,
            require_tsme: false,
            require_ecc: false,
            accept_bits: 0,
            launch_mitigations: None,
            current_mitigations: None,
        }
    }
}

impl Requirements {
    /// Whether guests on this product line are refused whatever else is true of them.
    ///
    /// # Security
    ///
    /// Milan: software can extract the seed of a chip's keys (2026), so that its VCEK proves
    /// nothing (D5).
    #[must_use]
    pub fn refuses_product(&self, product: Product) -> bool {
        self.deny_products.contains(&product)
            || (product == Product::Milan && !self.allow_products.contains(&product))
    }
}
