// SPDX-License-Identifier: Apache-2.0
//! The cases: good evidence of every form, and every fault.

use crate::keys::Keys;
use crate::mint::fault::{Fault, Need};
use crate::mint::snp::{self, Product, ReportVersion, SignerKind, SnpFault};
use crate::mint::tdx::{self, Form, TdxFault};
use crate::mint::{MintError, Minted, Tee};

/// One case.
#[derive(Debug, Clone, Copy)]
pub enum Case {
    /// Good SNP evidence.
    GoodSnp(&'static GoodSnp),
    /// Good TDX evidence.
    GoodTdx(&'static GoodTdx),
    /// Faulty SNP evidence.
    Snp(SnpFault),
    /// Faulty TDX evidence.
    Tdx(TdxFault),
}

/// A form of good SNP evidence.
#[derive(Debug)]
pub struct GoodSnp {
    name: &'static str,
    text: &'static str,
    product: Product,
    version: ReportVersion,
    signer: SignerKind,
    needs: &'static [Need],
}

/// A form of good TDX evidence.
#[derive(Debug)]
pub struct GoodTdx {
    name: &'static str,
    text: &'static str,
    form: Form,
}

/// All cases; plain good evidence is the first.
pub fn cases(tee: Tee) -> impl Iterator<Item = Case> {
    let snp =
        GOOD_SNP.iter().map(Case::GoodSnp).chain(SnpFault::ALL.iter().copied().map(Case::Snp));
    let tdx =
        GOOD_TDX.iter().map(Case::GoodTdx).chain(TdxFault::ALL.iter().copied().map(Case::Tdx));
    snp.chain(tdx).filter(move |case| case.tee() == tee)
}

impl Case {
    /// Which technology.
    #[must_use]
    pub const fn tee(&self) -> Tee {
        match self {
            Self::GoodSnp(_) | Self::Snp(_) => Tee::Snp,
            Self::GoodTdx(_) | Self::Tdx(_) => Tee::Tdx,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::GoodSnp(good) => good.name,
            Self::GoodTdx(good) => good.name,
            Self::Snp(fault) => fault.fault().name,
            Self::Tdx(fault) => fault.fault().name,
        }
    }

    /// What is good or wrong.
    #[must_use]
    pub const fn text(&self) -> &'static str {
        match self {
            Self::GoodSnp(good) => good.text,
            Self::GoodTdx(good) => good.text,
            Self::Snp(fault) => fault.fault().text,
            Self::Tdx(fault) => fault.fault().text,
        }
    }

    /// The fault, if it is one.
    #[must_use]
    pub const fn fault(&self) -> Option<&'static Fault> {
        match self {
            Self::GoodSnp(_) | Self::GoodTdx(_) => None,
            Self::Snp(fault) => Some(fault.fault()),
            Self::Tdx(fault) => Some(fault.fault()),
        }
    }

    /// Whether a verifier should accept it.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.fault().is_none()
    }

    pub(super) fn attack(&self) -> &'static str {
        self.fault().map_or("", |fault| fault.attack)
    }

    pub(super) fn codes(&self) -> &'static [&'static str] {
        self.fault().map_or(&[], |fault| fault.codes)
    }

    /// What a verifier must be given for its answer to mean something.
    #[must_use]
    pub fn needs(&self) -> &'static [Need] {
        match self {
            Self::GoodSnp(good) => good.needs,
            _ => self.fault().map_or(&[], |fault| fault.needs),
        }
    }

    /// Mints it.
    ///
    /// # Errors
    ///
    /// [`MintError`].
    pub fn mint(&self, keys: &Keys, at: u64) -> Result<Minted, MintError> {
        let snp = snp::Options::new(Product::Genoa, at);
        let tdx = tdx::Options::new(Form::V4, at);
        match self {
            Self::GoodSnp(good) => {
                let options = snp::Options::new(good.product, at);
                let options =
                    snp::Options { version: good.version, signer: good.signer, ..options };
                options.mint(keys, &[])
            }
            Self::GoodTdx(good) => tdx::Options::new(good.form, at).mint(keys, &[]),
            Self::Snp(fault) => snp.mint(keys, &[*fault]),
            Self::Tdx(fault) => tdx.mint(keys, &[*fault]),
        }
    }
}

static GOOD_SNP: [GoodSnp; 7] = [
    good(
        "good",
        "Genoa, version 5, VCEK",
        Product::Genoa,
        ReportVersion::V5,
        SignerKind::Vcek,
        &[],
    ),
    good(
        "good-genoa-v3",
        "Genoa, version 3, VCEK",
        Product::Genoa,
        ReportVersion::V3,
        SignerKind::Vcek,
        &[],
    ),
    good(
        "good-siena-v4",
        "Siena, version 4, VCEK",
        Product::Siena,
        ReportVersion::V4,
        SignerKind::Vcek,
        &[],
    ),
    good(
        "good-turin-v5",
        "Turin, version 5, VCEK",
        Product::Turin,
        ReportVersion::V5,
        SignerKind::Vcek,
        &[],
    ),
    good(
        "good-vlek",
        "Genoa, version 5, VLEK of an accepted provider",
        Product::Genoa,
        ReportVersion::V5,
        SignerKind::Vlek,
        &[Need::Policy],
    ),
    good(
        "good-milan-v2",
        "Milan, allowed by name, version 2, VCEK",
        Product::Milan,
        ReportVersion::V2,
        SignerKind::Vcek,
        &[Need::Policy],
    ),
    good(
        "good-milan-v3",
        "Milan, allowed by name, version 3, VCEK",
        Product::Milan,
        ReportVersion::V3,
        SignerKind::Vcek,
        &[Need::Policy],
    ),
];

const fn good(
    name: &'static str,
    text: &'static str,
    product: Product,
    version: ReportVersion,
    signer: SignerKind,
    needs: &'static [Need],
) -> GoodSnp {
    GoodSnp { name, text, product, version, signer, needs }
}

static GOOD_TDX: [GoodTdx; 3] = [
    GoodTdx { name: "good", text: "version 4", form: Form::V4 },
    GoodTdx { name: "good-v5-td10", text: "version 5, body of TDX 1.0", form: Form::V5Td10 },
    GoodTdx { name: "good-v5-td15", text: "version 5, body of TDX 1.5", form: Form::V5Td15 },
];
