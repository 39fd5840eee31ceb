// SPDX-License-Identifier: Apache-2.0
//! Makes a chain of the form that AMD's keys have: ARK, ASK, VCEK.
//!
//! Source: VCEK certificate and KDS interface specification (57230). RSA-4096 with RSASSA-PSS,
//! SHA-384 and a salt of 48 bytes for the authorities, P-384 for the chip.

use std::time::SystemTime;

use der::Encode;
use der::asn1::{Ia5String, ObjectIdentifier};
use x509_cert::ext::Extensions;

use crate::report::{Platform, Tcb};
use crate::x509::{CertificateError, CertificatePlan, DAY, Period, Signer, extension, usage};

/// Name of the product line in the certificates.
pub const PRODUCT: &str = "Genoa";

/// Who a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The root.
    Ark,
    /// The authority that signs chips.
    Ask,
    /// The chip.
    Vcek,
}

/// A certificate to make.
#[derive(Debug)]
pub struct Template<'a> {
    /// Who it is for.
    pub role: Role,
    /// The subject's public key, `SubjectPublicKeyInfo` DER.
    pub spki: &'a [u8],
    /// The chip, for a VCEK's extensions.
    pub platform: &'a Platform,
    /// When the validity begins.
    pub now: SystemTime,
}

impl Template<'_> {
    /// Makes the certificate, signed by `issuer`, DER.
    ///
    /// # Errors
    ///
    /// [`CertificateError`].
    pub fn mint(&self, issuer: &dyn Signer) -> Result<Vec<u8>, CertificateError> {
        let (serial, years, issuer_name) = match self.role {
            Role::Ark => (1_u8, 25, Role::Ark.name()),
            Role::Ask => (2, 25, Role::Ark.name()),
            Role::Vcek => (3, 7, Role::Ask.name()),
        };
        let plan = CertificatePlan {
            serial: vec![serial],
            issuer: issuer_name,
            subject: self.role.name(),
            validity: validity(self.now, years)?,
            spki: self.spki.to_vec(),
            extensions: self.extensions()?,
        };
        plan.signed_by(issuer)
    }

    fn extensions(&self) -> Result<Extensions, CertificateError> {
        match self.role {
            Role::Ark | Role::Ask => usage(true),
            Role::Vcek => Endorsement {
                struct_version: 0,
                product: PRODUCT.to_owned(),
                levels: legacy_levels(self.platform.tcb),
                hardware_id: Some(self.platform.chip_id.to_vec()),
                provider: None,
            }
            .extensions(),
        }
    }
}

impl Role {
    /// The subject, in the string form of RFC 4514.
    fn name(self) -> String {
        let common = match self {
            Self::Ark => format!("ARK-{PRODUCT}"),
            Self::Ask => format!("SEV-{PRODUCT}"),
            Self::Vcek => "SEV-VCEK".to_owned(),
        };
        subject(&common)
    }
}

/// A simulated subject of this common name, in the string form of RFC 4514.
#[must_use]
pub fn subject(common: &str) -> String {
    format!("CN={common} simulated,O=Casemate simulated TEE,OU=simulated")
}

/// What a chip's or a leased key's certificate says beyond its subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsement {
    /// Names the form of the extensions.
    pub struct_version: u8,
    /// Product line, possibly with a stepping.
    pub product: String,
    /// Patch levels: the last arc of the extension's id, and the level.
    pub levels: Vec<(u32, u8)>,
    /// The chip, in a VCEK.
    pub hardware_id: Option<Vec<u8>>,
    /// The provider, in a VLEK.
    pub provider: Option<String>,
}

/// Last arcs of the ids of patch levels.
pub mod level {
    /// Boot loader.
    pub const BOOTLOADER: u32 = 1;
    /// Operating system of the PSP.
    pub const TEE: u32 = 2;
    /// SNP firmware.
    pub const SNP: u32 = 3;
    /// Microcode.
    pub const MICROCODE: u32 = 8;
    /// The controller's firmware, from Turin on.
    pub const FMC: u32 = 9;
}

impl Endorsement {
    /// The extensions, in AMD's order.
    ///
    /// # Errors
    ///
    /// [`CertificateError`].
    pub fn extensions(&self) -> Result<Extensions, CertificateError> {
        let mut extensions = vec![
            extension(STRUCT_VERSION, false, self.struct_version.to_der()?)?,
            extension(PRODUCT_NAME, false, Ia5String::new(&self.product)?.to_der()?)?,
        ];
        for (arc, patch) in &self.levels {
            let id = LEVELS.push_arc(*arc).map_err(der::Error::from)?;
            extensions.push(extension(id, false, patch.to_der()?)?);
        }
        if let Some(chip) = &self.hardware_id {
            // AMD puts the bytes there bare, without an ASN.1 type around them.
            extensions.push(extension(HARDWARE_ID, false, chip.clone())?);
        }
        if let Some(provider) = &self.provider {
            extensions.push(extension(PROVIDER, false, Ia5String::new(provider)?.to_der()?)?);
        }
        Ok(extensions)
    }
}

const STRUCT_VERSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.1");
const PRODUCT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.2");
const LEVELS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3");
const HARDWARE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");
const PROVIDER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.5");

/// Levels of Milan and Genoa in the order of their certificates; 4 to 7 are reserved and zero.
#[must_use]
pub fn legacy_levels(tcb: Tcb) -> Vec<(u32, u8)> {
    vec![
        (level::BOOTLOADER, tcb.bootloader),
        (level::TEE, tcb.tee),
        (4, 0),
        (5, 0),
        (6, 0),
        (7, 0),
        (level::SNP, tcb.snp),
        (level::MICROCODE, tcb.microcode),
    ]
}

/// The same of Turin.
#[must_use]
pub fn turin_levels(fmc: u8, tcb: Tcb) -> Vec<(u32, u8)> {
    vec![
        (level::FMC, fmc),
        (level::BOOTLOADER, tcb.bootloader),
        (level::TEE, tcb.tee),
        (level::SNP, tcb.snp),
        (5, 0),
        (6, 0),
        (7, 0),
        (level::MICROCODE, tcb.microcode),
    ]
}

/// From the day before, for clocks that differ a little.
fn validity(now: SystemTime, years: u64) -> Result<Period, CertificateError> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| CertificateError::Clock)?;
    let from = now.as_secs().checked_sub(DAY).ok_or(CertificateError::Clock)?;
    Ok(Period { from, to: from.saturating_add(years * 365 * DAY) })
}
