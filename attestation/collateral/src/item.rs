// SPDX-License-Identifier: Apache-2.0
//! What the vendors' services give, and its names in caches and bundles.

use std::fmt;
use std::str::FromStr;

use casemate_evidence::snp::Product;
use casemate_evidence::snp::Report;
use casemate_evidence::snp::TcbVersion;

/// One thing that a vendor's service gives.
///
/// Its text form names it in caches and bundles, for example
/// `tcb-info-90c06f000000-early`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Item {
    /// Certificate of a chip's key.
    Vcek {
        /// The chip's product line.
        product: Product,
        /// The chip.
        chip: HardwareId,
        /// The TCB that the key belongs to.
        tcb: TcbVersion,
    },
    /// Certificates of AMD's root and of a signing key below it.
    AmdChain {
        /// The product line.
        product: Product,
        /// What the signing key signs.
        signs: AmdKey,
    },
    /// List of revoked certificates of AMD's root.
    AmdCrl {
        /// The product line.
        product: Product,
        /// For which keys it is published.
        signs: AmdKey,
    },
    /// Intel's TCB information on a kind of platform.
    TcbInfo {
        /// Family, model, stepping, platform and custom SKU.
        fmspc: [u8; 6],
        /// Which edition.
        update: Update,
    },
    /// Intel's identity of the quoting enclave for TDX.
    QeIdentity {
        /// Which edition.
        update: Update,
    },
    /// List of revoked PCK certificates.
    PckCrl {
        /// Who issued them.
        ca: PckCa,
    },
    /// List of revoked certificates of Intel's root.
    IntelRootCrl,
}

/// Kinds of keys below AMD's root that sign reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AmdKey {
    /// Chips' own keys, signed by an ASK.
    Vcek,
    /// Keys leased to providers, signed by an ASVK.
    Vlek,
}

/// Which edition of Intel's documents: during a TCB recovery there are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Update {
    /// Demands a recovery's updates as soon as they are known.
    #[default]
    Early,
    /// Demands them once platforms had the time to install them.
    Standard,
}

/// Intel's CAs of PCK certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PckCa {
    /// Of platforms with several packages, as servers are.
    Platform,
    /// Of single packages.
    Processor,
}

/// Id of a chip in the form of its certificate: 8 bytes on Turin, 64 before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HardwareId(Vec<u8>);

impl HardwareId {
    /// The id of the chip that made a report; `None` when it is withheld or of another form.
    #[must_use]
    pub fn of(report: &Report, product: Product) -> Option<Self> {
        Self::new(product, report.chip_id())
    }

    fn new(product: Product, chip_id: &[u8; 64]) -> Option<Self> {
        let (id, rest) = chip_id.split_at(length(product));
        let named = id.iter().any(|byte| *byte != 0) && rest.iter().all(|byte| *byte == 0);
        named.then(|| Self(id.to_vec()))
    }

    fn parse(product: Product, digits: &str) -> Option<Self> {
        let id = hex::decode(digits).ok()?;
        let mut chip_id = [0; 64];
        chip_id.get_mut(..id.len())?.copy_from_slice(&id);
        Self::new(product, &chip_id).filter(|read| read.0 == id)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Item {
    /// Whether the vendor makes new ones: documents and lists, not the certificate of a key.
    pub(crate) fn is_renewed(&self) -> bool {
        !matches!(self, Self::Vcek { .. })
    }
}

impl AmdKey {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Vcek => "vcek",
            Self::Vlek => "vlek",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Vcek, Self::Vlek].into_iter().find(|key| key.name() == name)
    }
}

impl Update {
    /// Its name in requests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Early => "early",
            Self::Standard => "standard",
        }
    }

    /// The edition of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Early, Self::Standard].into_iter().find(|update| update.name() == name)
    }
}

impl PckCa {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Processor => "processor",
        }
    }

    /// The CA by the common name of its certificate, for example `Intel SGX PCK Platform CA`.
    #[must_use]
    pub fn from_common_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let mut named = [Self::Platform, Self::Processor].into_iter();
        named.find(|ca| name.split(' ').any(|word| word == ca.name()))
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Platform, Self::Processor].into_iter().find(|ca| ca.name() == name)
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vcek { product, chip, tcb } => {
                let TcbVersion { fmc, bootloader, tee, snp, microcode } = tcb;
                write!(f, "vcek-{}-{}-", lower(*product), hex::encode(&chip.0))?;
                if let Some(fmc) = fmc {
                    write!(f, "{fmc}.")?;
                }
                write!(f, "{bootloader}.{tee}.{snp}.{microcode}")
            }
            Self::AmdChain { product, signs } => {
                write!(f, "amd-chain-{}-{}", lower(*product), signs.name())
            }
            Self::AmdCrl { product, signs } => {
                write!(f, "amd-crl-{}-{}", lower(*product), signs.name())
            }
            Self::TcbInfo { fmspc, update } => {
                write!(f, "tcb-info-{}-{}", hex::encode(fmspc), update.name())
            }
            Self::QeIdentity { update } => write!(f, "qe-identity-{}", update.name()),
            Self::PckCrl { ca } => write!(f, "pck-crl-{}", ca.name()),
            Self::IntelRootCrl => f.write_str("intel-root-crl"),
        }
    }
}

/// Text names no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text names nothing that a vendor's service gives")]
pub struct ItemError;

impl FromStr for Item {
    type Err = ItemError;

    fn from_str(text: &str) -> Result<Self, ItemError> {
        // One name for each: what is written otherwise is refused.
        read(text).filter(|item| item.to_string() == text).ok_or(ItemError)
    }
}

fn read(text: &str) -> Option<Item> {
    let amd = |rest: &str| {
        let (product, signs) = rest.split_once('-')?;
        Some((product_of(product)?, AmdKey::from_name(signs)?))
    };
    if let Some(rest) = text.strip_prefix("vcek-") {
        let (product, rest) = rest.split_once('-')?;
        let (chip, levels) = rest.split_once('-')?;
        let product = product_of(product)?;
        let chip = HardwareId::parse(product, chip)?;
        return Some(Item::Vcek { product, chip, tcb: tcb(product, levels)? });
    }
    if let Some(rest) = text.strip_prefix("amd-chain-") {
        let (product, signs) = amd(rest)?;
        return Some(Item::AmdChain { product, signs });
    }
    if let Some(rest) = text.strip_prefix("amd-crl-") {
        let (product, signs) = amd(rest)?;
        return Some(Item::AmdCrl { product, signs });
    }
    if let Some(rest) = text.strip_prefix("tcb-info-") {
        let (digits, update) = rest.split_once('-')?;
        let mut fmspc = [0; 6];
        hex::decode_to_slice(digits, &mut fmspc).ok()?;
        return Some(Item::TcbInfo { fmspc, update: Update::from_name(update)? });
    }
    if let Some(update) = text.strip_prefix("qe-identity-") {
        return Some(Item::QeIdentity { update: Update::from_name(update)? });
    }
    if let Some(ca) = text.strip_prefix("pck-crl-") {
        return Some(Item::PckCrl { ca: PckCa::from_name(ca)? });
    }
    (text == "intel-root-crl").then_some(Item::IntelRootCrl)
}

fn tcb(product: Product, levels: &str) -> Option<TcbVersion> {
    let levels: Vec<u8> = levels.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    let (fmc, [bootloader, tee, snp, microcode]) = match (product, levels.as_slice()) {
        (Product::Turin, [fmc, rest @ ..]) => (Some(*fmc), rest.try_into().ok()?),
        (_, rest) => (None, <[u8; 4]>::try_from(rest).ok()?),
    };
    Some(TcbVersion { fmc, bootloader, tee, snp, microcode })
}

fn lower(product: Product) -> String {
    product.name().to_ascii_lowercase()
}

fn product_of(name: &str) -> Option<Product> {
    Product::ALL.into_iter().find(|product| lower(*product) == name)
}

fn length(product: Product) -> usize {
    match product {
        Product::Turin => 8,
        _ => 64,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vcek(product: Product, id: [u8; 64], levels: [u8; 5]) -> Option<Item> {
        let [fmc, bootloader, tee, snp, microcode] = levels;
        let fmc = (product == Product::Turin).then_some(fmc);
        let tcb = TcbVersion { fmc, bootloader, tee, snp, microcode };
        Some(Item::Vcek { product, chip: HardwareId::new(product, &id)?, tcb })
    }

    #[test]
    fn names_are_those_of_files_that_exist() {
        // Changing a name orphans every cache.
        let mut turin = [0; 64];
        turin[..8].fill(0xAB);
        let (product, signs) = (Product::Genoa, AmdKey::Vlek);
        for (item, name) in [
            (
                vcek(Product::Turin, turin, [1, 2, 3, 4, 75]).unwrap(),
                "vcek-turin-abababababababab-1.2.3.4.75",
            ),
            (Item::AmdChain { product, signs }, "amd-chain-genoa-vlek"),
            (Item::AmdCrl { product, signs: AmdKey::Vcek }, "amd-crl-genoa-vcek"),
            (
                Item::TcbInfo { fmspc: [0x90, 0xC0, 0x6F, 0, 0, 0], update: Update::Early },
                "tcb-info-90c06f000000-early",
            ),
            (Item::QeIdentity { update: Update::Standard }, "qe-identity-standard"),
            (Item::PckCrl { ca: PckCa::Platform }, "pck-crl-platform"),
            (Item::IntelRootCrl, "intel-root-crl"),
        ] {
            assert_eq!(item.to_string(), name);
            assert_eq!(name.parse(), Ok(item));
        }
    }

    #[test]
    fn ids_of_chips_have_one_form() {
        assert_eq!(HardwareId::new(Product::Genoa, &[0; 64]), None); // withheld
        assert_eq!(HardwareId::new(Product::Turin, &[1; 64]), None); // not eight bytes
        let mut turin = [0; 64];
        turin[7] = 1;
        assert_eq!(HardwareId::new(Product::Turin, &turin).unwrap().as_bytes().len(), 8);
        assert_eq!(HardwareId::new(Product::Milan, &turin).unwrap().as_bytes().len(), 64);
    }

    #[test]
    fn other_texts_name_nothing() {
        for bad in [
            "",
            "intel-root-crl/",
            "../intel-root-crl",
            "INTEL-root-crl",
            "pck-crl-",
            "tcb-info-90C06F000000-early",
            "tcb-info-90c06f0000-early",
            "amd-crl-rome-vcek",
            "vcek-turin-abababababababab-2.3.4.75",
            "vcek-turin-abababababababab-01.2.3.4.75",
            "vcek-turin-0000000000000000-1.2.3.4.75",
        ] {
            assert_eq!(bad.parse::<Item>(), Err(ItemError), "{bad}");
        }
    }

    #[test]
    fn cas_are_known_by_their_names() {
        let name = PckCa::from_common_name;
        assert_eq!(name("Intel SGX PCK Platform CA"), Some(PckCa::Platform));
        assert_eq!(name("Intel SGX PCK Processor CA simulated"), Some(PckCa::Processor));
        assert_eq!(name("Intel SGX Root CA"), None);
    }

    proptest! {
        #[test]
        fn names_of_chips_round_trip(
            id in proptest::array::uniform32(any::<u8>()),
            levels: [u8; 5],
            product in 0..3_usize,
        ) {
            let product = Product::ALL[product];
            let mut chip = [0; 64];
            chip[..8].copy_from_slice(&id[..8]);
            if product != Product::Turin {
                chip[..32].copy_from_slice(&id);
            }
            if let Some(item) = vcek(product, chip, levels) {
                prop_assert_eq!(item.to_string().parse(), Ok(item));
            }
        }

        #[test]
        fn any_text_is_read_without_panic(text in "(vcek-|tcb-info-|amd-crl-|)[a-z0-9.-]{0,40}") {
            if let Ok(item) = text.parse::<Item>() {
                prop_assert_eq!(item.to_string(), text);
            }
        }
    }
}
