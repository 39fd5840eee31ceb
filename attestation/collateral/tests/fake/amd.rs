// SPDX-License-Identifier: Apache-2.0
//! What AMD's service would give for simulated chips.

use casemate_collateral::Anchors;
use casemate_evidence::snp::CertificateKind;
use casemate_evidence::snp::Product;
use casemate_evidence::snp::Report;
use casemate_evidence::snp::TableEntry;
use casemate_tee_sim::authority;
use casemate_tee_sim::authority::Authority;
use casemate_tee_sim::authority::Names;
use casemate_verifier::Root;

use super::Fake;

/// Periods before, around and after the time of the tests.
pub(crate) const PAST: (&str, &str) = ("260401000000Z", "260501000000Z");
pub(crate) const AROUND: (&str, &str) = ("260520000000Z", "260815000000Z");
pub(crate) const FUTURE: (&str, &str) = ("260701000000Z", "260801000000Z");

pub(crate) const DATA: [u8; 64] = [0xDA; 64];
pub(crate) const MEASUREMENT: [u8; 48] = [0x3E; 48];

/// A report and everything that belongs to it.
pub(crate) struct Chip {
    pub(crate) report: Report,
    authority: Authority,
}

impl Chip {
    pub(crate) fn genoa() -> Self {
        Self::of(&names(), 0, |_| {})
    }

    /// The same names, other keys.
    pub(crate) fn of_another_root() -> Self {
        Self::of(&names(), 1, |_| {})
    }

    /// A report of version 2, which does not name the CPU.
    pub(crate) fn unnamed() -> Self {
        Self::of(&names(), 0, |report| {
            report[0] = 2;
            report[0x188..0x18B].fill(0);
        })
    }

    /// A report that withholds its chip.
    pub(crate) fn masked() -> Self {
        Self::of(&names(), 0, |report| report[0x1A0..0x1E0].fill(0))
    }

    /// A report that is signed with a provider's key.
    pub(crate) fn leased() -> Self {
        let names = Names { provider: Some("CN=cloud.example"), ..names() };
        Self::of(&names, 0, |report| report[0x48] = 1 << 2)
    }

    pub(crate) fn turin() -> Self {
        let names = Names {
            product: "Turin",
            chip: vec![0xC7; 8],
            tcb: [2, 1, 4, 75],
            fmc: Some(9),
            ..names()
        };
        Self::of(&names, 0, |report| {
            report[0x188..0x18B].copy_from_slice(&[0x1A, 0x02, 1]);
            report[0x1A8..0x1E0].fill(0);
            for at in [0x38, 0x180, 0x1E0, 0x1F0] {
                report[at..at + 8].copy_from_slice(&[9, 2, 1, 4, 0, 0, 0, 75]);
            }
        })
    }

    fn of(names: &Names, pair: usize, change: impl FnOnce(&mut [u8])) -> Self {
        let authority = Authority::with(names, pair);
        let mut report = authority::report(&DATA, &MEASUREMENT, &[0; 32]);
        change(&mut report);
        authority.sign(&mut report);
        Self { report: Report::parse(&report).unwrap(), authority }
    }

    /// The certificate of the key that signed the report.
    pub(crate) fn vcek(&self) -> &[u8] {
        &self.authority.vcek
    }

    /// Signing key and root, as the service gives them.
    pub(crate) fn chain(&self) -> String {
        authority::pem("CERTIFICATE", &self.authority.ask) + &self.authority.ark_pem()
    }

    /// The root with its signing key.
    pub(crate) fn root(&self) -> Root {
        Root::simulated("test", &self.chain()).unwrap()
    }

    pub(crate) fn anchors(&self, product: Product) -> Anchors {
        Anchors::vendors().unwrap().with_amd(product, self.root())
    }

    /// The root alone.
    pub(crate) fn bare_anchors(&self, product: Product) -> Anchors {
        let root = Root::simulated("test", &self.authority.ark_pem()).unwrap();
        Anchors::vendors().unwrap().with_amd(product, root)
    }

    pub(crate) fn crl(&self, number: u8, dates: (&str, &str)) -> Vec<u8> {
        self.authority.crl_numbered(number, dates)
    }

    /// The leaf as a host gives it.
    pub(crate) fn offered(&self) -> Vec<TableEntry> {
        let kind = match self.report.signing_key() {
            casemate_evidence::snp::SigningKey::Vlek => CertificateKind::Vlek,
            _ => CertificateKind::Vcek,
        };
        vec![TableEntry { kind, data: self.vcek().to_vec() }]
    }

    /// A service that has it all.
    pub(crate) fn service(&self) -> Fake {
        let fake = Fake::default();
        fake.serve("/vcek/v1/", self.vcek());
        fake.serve("/cert_chain", self.chain().as_bytes());
        fake.serve("/crl", &self.crl(7, AROUND));
        fake
    }
}

/// What the certificate of [`Chip::genoa`] says.
fn names() -> Names {
    Names { leaf_validity: ("250601000000Z", "320601000000Z"), ..Names::default() }
}

/// A certificate of the same signing key as that of [`Chip::genoa`], which says something else.
pub(crate) fn vcek(change: impl FnOnce(&mut Names)) -> Vec<u8> {
    let mut names = names();
    change(&mut names);
    Authority::with(&names, 0).vcek
}
