// SPDX-License-Identifier: Apache-2.0
//! The cases: good evidence of every form, and every fault.

use crate::keys::Keys;
use crate::mint::az_vtpm::{self, AzFault, Version};
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
    /// Good evidence of a TPM, on SNP or TDX.
    GoodAz(Tee, &'static GoodAz),
    /// Faulty SNP evidence.
    Snp(SnpFault),
    /// Faulty TDX evidence.
    Tdx(TdxFault),
    /// Faulty evidence of a TPM, on SNP or TDX.
    Az(Tee, AzFault),
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

/// A form of good evidence of a TPM.
#[derive(Debug)]
pub struct GoodAz {
    name: &'static str,
    text: &'static str,
    version: Version,
}

/// All cases; plain good evidence is the first.
#[must_use]
pub fn cases(tee: Tee) -> Vec<Case> {
    match tee {
        Tee::Snp => {
            let faults = SnpFault::ALL.iter().copied().map(Case::Snp);
            GOOD_SNP.iter().map(Case::GoodSnp).chain(faults).collect()
        }
        Tee::Tdx => {
            let faults = TdxFault::ALL.iter().copied().map(Case::Tdx);
            GOOD_TDX.iter().map(Case::GoodTdx).chain(faults).collect()
        }
        Tee::AzSnpVtpm | Tee::AzTdxVtpm => {
            let faults = AzFault::of(tee).into_iter().map(|fault| Case::Az(tee, fault));
            GOOD_AZ.iter().map(|good| Case::GoodAz(tee, good)).chain(faults).collect()
        }
    }
}

impl Case {
    /// Which technology.
    #[must_use]
    pub const fn tee(&self) -> Tee {
        match self {
            Self::GoodSnp(_) | Self::Snp(_) => Tee::Snp,
            Self::GoodTdx(_) | Self::Tdx(_) => Tee::Tdx,
            Self::GoodAz(tee, _) | Self::Az(tee, _) => *tee,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::GoodSnp(good) => good.name,
            Self::GoodTdx(good) => good.name,
            Self::GoodAz(_, good) => good.name,
            Self::Snp(fault) => fault.fault().name,
            Self::Tdx(fault) => fault.fault().name,
            Self::Az(_, fault) => fault.fault().name,
        }
    }

    /// What is good or wrong.
    #[must_use]
    pub const fn text(&self) -> &'static str {
        match self {
            Self::GoodSnp(good) => good.text,
            Self::GoodTdx(good) => good.text,
            Self::GoodAz(_, good) => good.text,
            Self::Snp(fault) => fault.fault().text,
            Self::Tdx(fault) => fault.fault().text,
            Self::Az(_, fault) => fault.fault().text,
        }
    }

    /// The fault, if it is one.
    #[must_use]
    pub const fn fault(&self) -> Option<&'static Fault> {
        match self {
            Self::GoodSnp(_) | Self::GoodTdx(_) | Self::GoodAz(..) => None,
            Self::Snp(fault) => Some(fault.fault()),
            Self::Tdx(fault) => Some(fault.fault()),
            Self::Az(_, fault) => Some(fault.fault()),
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
            Self::GoodAz(..) => &[Need::Pcrs],
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
        let az = |tee: &Tee| match tee {
            Tee::Tdx | Tee::AzTdxVtpm => az_vtpm::Options::tdx(at),
            Tee::Snp | Tee::AzSnpVtpm => az_vtpm::Options::snp(at),
        };
        match self {
            Self::GoodSnp(good) => {
                let options = snp::Options::new(good.product, at);
                let options =
                    snp::Options { version: good.version, signer: good.signer, ..options };
                options.mint(keys, &[])
            }
            Self::GoodTdx(good) => tdx::Options::new(good.form, at).mint(keys, &[]),
            Self::GoodAz(tee, good) => {
                az_vtpm::Options { version: good.version, ..az(tee) }.mint(keys, &[])
            }
            Self::Az(tee, fault) => az(tee).mint(keys, &[*fault]),
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

static GOOD_AZ: [GoodAz; 3] = [
    GoodAz { name: "good", text: "version 2 of the JSON", version: Version::V2 },
    GoodAz { name: "good-v1", text: "version 1 of the JSON", version: Version::V1 },
    GoodAz { name: "good-v0", text: "JSON before there were versions", version: Version::V0 },
];
