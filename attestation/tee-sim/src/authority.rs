// SPDX-License-Identifier: Apache-2.0
//! A vendor of a test's own: certificates, revocation lists and reports that say whatever the test
//! wants, where [`crate::mint`] makes evidence that is wrong in one thing by a plan.
//!
//! ```
//! use casemate_tee_sim::authority::{Authority, report};
//!
//! let authority = Authority::new();
//! let mut report = report(&[1; 64], &[2; 48], &[3; 32]);
//! authority.sign(&mut report);
//! assert_eq!(authority.evidence(&report).report.as_bytes(), report);
//! ```
//!
//! # Panics
//!
//! What cannot be made is a mistake of the test's, and its failure.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use casemate_evidence::snp::{CertificateKind, Evidence, Report, TableEntry};
use der::asn1::ObjectIdentifier;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromZeros, IntoBytes};

use crate::certificates::{Endorsement, level};
use crate::keys::{Authority as Role, Keys, RsaKey};
use crate::report::{ECDSA_P384_SHA384, Layout, SIGNED_LEN};
use crate::x509::{CertificatePlan, CrlPlan, Period, extension, usage};

/// A chain ARK, ASK, VCEK, and the VCEK's private key.
pub struct Authority {
    /// The root, DER.
    pub ark: Vec<u8>,
    /// The key below it, DER.
    pub ask: Vec<u8>,
    /// The key that signs reports, DER.
    pub vcek: Vec<u8>,
    keys: &'static Keys,
    /// Name of the key that signs reports.
    signer: String,
    ark_subject: &'static str,
}

/// What the certificates say.
#[derive(Debug, Clone)]
pub struct Names {
    /// Common name of the root.
    pub ark_subject: &'static str,
    /// Product line.
    pub product: &'static str,
    /// Id of the chip.
    pub chip: Vec<u8>,
    /// Levels of bootloader, tee, snp and microcode.
    pub tcb: [u8; 4],
    /// Level of the controller's firmware.
    pub fmc: Option<u8>,
    /// A level without a meaning, by the last arc of its id, and its value.
    pub reserved: Option<(&'static str, u8)>,
    /// A provider in place of the chip.
    pub provider: Option<&'static str>,
    /// Validity of the leaf, `YYMMDDhhmmssZ`.
    pub leaf_validity: (&'static str, &'static str),
    /// Whether the ASK may sign certificates.
    pub ask_is_ca: bool,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            ark_subject: "ARK-simulated",
            product: "Genoa",
            chip: CHIP.to_vec(),
            tcb: [10, 0, 25, 84],
            fmc: None,
            reserved: None,
            provider: None,
            leaf_validity: ALWAYS,
            ask_is_ca: true,
        }
    }
}

/// Id of the chip that default certificates and reports name.
pub const CHIP: [u8; 64] = [0xc7; 64];
/// Serial number of the root, as lists name it.
pub const ARK_SERIAL: u8 = 1;
/// Serial number of the ASK, as lists name it.
pub const ASK_SERIAL: u8 = 2;

const LEAF_SERIAL: u8 = 3;
const ASK: &str = "SEV-simulated";
const ALWAYS: (&str, &str) = ("200101000000Z", "491231235959Z");

/// RSA keys are slow to make: two pairs for a whole test run.
static KEYS: LazyLock<[Keys; 2]> =
    LazyLock::new(|| [b"authority 0", b"authority 1"].map(|seed| Keys::from_seed(seed, 2048)));

/// Each authority has a signing key of its own.
static SIGNERS: AtomicU32 = AtomicU32::new(0);

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// The default authority.
    #[must_use]
    pub fn new() -> Self {
        Self::with(&Names::default(), 0)
    }

    /// An authority with the RSA keys of pair 0 or 1.
    #[must_use]
    pub fn with(names: &Names, pair: usize) -> Self {
        let keys = &KEYS[pair];
        let certificate = |serial, (issuer, by), (subject, spki), validity, extensions| {
            let plan = CertificatePlan {
                serial: vec![serial],
                issuer: name(issuer),
                subject: name(subject),
                validity: period(validity),
                spki,
                extensions,
            };
            plan.signed_by(rsa(keys, by)).expect("a certificate of these names")
        };
        let ca = |yes| usage(yes).expect("constants encode");
        let root = (names.ark_subject, Role::Ark);
        let spki = |role| rsa(keys, role).spki().to_vec();
        let (ark_key, ask_key) = (spki(Role::Ark), spki(Role::Ask));
        let ark = certificate(ARK_SERIAL, root, (root.0, ark_key), ALWAYS, ca(true));
        let ask = certificate(ASK_SERIAL, root, (ASK, ask_key), ALWAYS, ca(names.ask_is_ca));
        let signer = format!("signer {}", SIGNERS.fetch_add(1, Ordering::Relaxed));
        let key = keys.p384(&signer).expect("a key of this name").spki();
        let extensions = names.endorsement().extensions().expect("extensions of these names");
        let leaf = ("SEV-VCEK", key);
        let vcek =
            certificate(LEAF_SERIAL, (ASK, Role::Ask), leaf, names.leaf_validity, extensions);
        Self { ark, ask, vcek, keys, signer, ark_subject: names.ark_subject }
    }

    /// The root as an owner adds it.
    #[must_use]
    pub fn ark_pem(&self) -> String {
        pem("CERTIFICATE", &self.ark)
    }

    /// A revocation list of the ARK, number 5. Dates are `YYMMDDhhmmssZ`.
    #[must_use]
    pub fn crl(&self, dates: (&str, &str), revoked: &[u8]) -> Vec<u8> {
        self.crl_with(dates, revoked, &[])
    }

    /// A revocation list with further extensions, each critical or not, without content.
    #[must_use]
    pub fn crl_with(&self, dates: (&str, &str), revoked: &[u8], more: &[(&str, bool)]) -> Vec<u8> {
        self.list(5, dates, revoked, more)
    }

    /// A revocation list of another number.
    #[must_use]
    pub fn crl_numbered(&self, number: u8, dates: (&str, &str)) -> Vec<u8> {
        self.list(number, dates, &[], &[])
    }

    /// The same, which names certificates by their serial numbers.
    #[must_use]
    pub fn crl_revoking(&self, number: u8, dates: (&str, &str), revoked: &[u8]) -> Vec<u8> {
        self.list(number, dates, revoked, &[])
    }

    fn list(
        &self,
        number: u8,
        dates: (&str, &str),
        revoked: &[u8],
        more: &[(&str, bool)],
    ) -> Vec<u8> {
        let more = more.iter().map(|(id, critical)| {
            let id = ObjectIdentifier::new(id).expect("an object identifier");
            extension(id, *critical, Vec::new()).expect("an extension without content")
        });
        let plan = CrlPlan {
            issuer: name(self.ark_subject),
            validity: period(dates),
            revoked: revoked.iter().map(|serial| vec![*serial]).collect(),
            number,
            key_id: None,
            scoped: false,
            more: more.collect(),
        };
        plan.signed_by(rsa(self.keys, Role::Ark)).expect("a list of these numbers")
    }

    /// Signs a report in place.
    pub fn sign(&self, report: &mut [u8]) {
        let key = self.keys.p384(&self.signer).expect("a key of this name");
        let signature = key.sign_fixed(&report[..SIGNED_LEN]);
        let (r, s) = signature.split_at(48);
        for (place, number) in report[SIGNED_LEN..].chunks_exact_mut(72).zip([r, s]) {
            place.fill(0);
            place.iter_mut().zip(number.iter().rev()).for_each(|(to, from)| *to = *from);
        }
    }

    /// Evidence with `report` as it is, and the table ASK and VCEK.
    #[must_use]
    pub fn evidence(&self, report: &[u8]) -> Evidence {
        Evidence {
            report: Report::parse(report).expect("a well-formed report"),
            certificates: vec![
                TableEntry { kind: CertificateKind::Ask, data: self.ask.clone() },
                TableEntry { kind: CertificateKind::Vcek, data: self.vcek.clone() },
            ],
        }
    }
}

impl Names {
    fn endorsement(&self) -> Endorsement {
        let [bootloader, tee, snp, microcode] = self.tcb;
        let mut levels = vec![
            (level::BOOTLOADER, bootloader),
            (level::TEE, tee),
            (level::SNP, snp),
            (level::MICROCODE, microcode),
        ];
        levels.extend(self.fmc.map(|fmc| (level::FMC, fmc)));
        levels.extend(self.reserved.map(|(arc, value)| (arc.parse().expect("an arc"), value)));
        Endorsement {
            struct_version: u8::from(self.fmc.is_some()),
            product: self.product.to_owned(),
            levels,
            hardware_id: self.provider.is_none().then(|| self.chip.clone()),
            provider: self.provider.map(str::to_owned),
        }
    }
}

/// An unsigned report of version 3, Genoa, at VMPL 0 without debug.
#[must_use]
pub fn report(report_data: &[u8; 64], measurement: &[u8; 48], host_data: &[u8; 32]) -> Vec<u8> {
    let tcb = [10, 0, 0, 0, 0, 0, 25, 84];
    let report = Layout {
        version: U32::new(3),
        policy: U64::new(0x3_0000),
        signature_algorithm: U32::new(ECDSA_P384_SHA384),
        platform_info: U64::new(1 << 5), // checked for aliased memory
        report_data: *report_data,
        measurement: *measurement,
        host_data: *host_data,
        report_id_ma: [0xff; 32],
        cpuid: [0x19, 0x11, 1],
        chip_id: CHIP,
        current_tcb: tcb,
        reported_tcb: tcb,
        committed_tcb: tcb,
        launch_tcb: tcb,
        ..Layout::new_zeroed()
    };
    report.as_bytes().to_vec()
}

/// DER as PEM with any label.
#[must_use]
pub fn pem(label: &str, der: &[u8]) -> String {
    der::pem::encode_string(label, der::pem::LineEnding::LF, der).expect("a label")
}

/// The time between two times of the form `YYMMDDhhmmssZ` (X.680, UTCTime).
#[must_use]
pub fn period((from, to): (&str, &str)) -> Period {
    Period { from: seconds(from), to: seconds(to) }
}

fn seconds(text: &str) -> u64 {
    let pair = |at: usize| -> u8 { text[at..at + 2].parse().expect("two digits") };
    let year = 2000 + u16::from(pair(0));
    let time = der::DateTime::new(year, pair(2), pair(4), pair(6), pair(8), pair(10));
    time.expect("a time of this form").unix_duration().as_secs()
}

fn rsa(keys: &Keys, role: Role) -> &RsaKey {
    keys.rsa(role).expect("a key of 2048 bits")
}

/// A subject of this common name alone, in the string form of RFC 4514.
fn name(common: &str) -> String {
    format!("CN={common}")
}
