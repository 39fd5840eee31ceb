// SPDX-License-Identifier: Apache-2.0
//! One refusal per reason, and the launch that is accepted.

use std::error::Error as _;
use std::num::NonZeroU16;

use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_launch_digest::id_block::SigningKey;
use casemate_launch_digest::snp::GuestPolicy;
use casemate_launch_digest::{LaunchDigest, SnpLaunch};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};

use super::*;
use crate::config::SnpPolicy;
use firmware::Firmware as Fixture;

#[path = "../../../tests/fixtures/firmware.rs"]
mod firmware;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(firmware: Fixture) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("firmware.fd", &firmware.bytes());
        folder.write("kernel", b"kernel");
        folder.write("initramfs", b"initramfs");
        folder.write("cmdline.txt", b"quiet");
        folder.write("cmdline-smp.txt", b"quiet smp");
        folder
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.path().join(name), bytes).unwrap();
    }

    fn image(&self, vcpus: u32) -> GuestImage {
        GuestImage::open(self.0.path(), VcpuCount::new(vcpus).unwrap()).unwrap()
    }

    fn snp(&self, vcpus: u32, options: SnpOptions) -> Result<SnpImage, Error> {
        let image = self.image(vcpus);
        snp(&image, VcpuCount::new(vcpus).unwrap(), &options, &InitdataDigest::Sha256([9; 32]))
    }

    fn error(&self, vcpus: u32, options: SnpOptions) -> (String, MeasureError) {
        match self.snp(vcpus, options).unwrap_err() {
            Error::Measure { file, source } => {
                (file.file_name().unwrap().to_string_lossy().into_owned(), *source)
            }
            other => panic!("{other}"),
        }
    }

    /// Signs what another program, the predictor by file contents, says of this folder.
    fn add_id_block(&self, vcpus: u16, change: impl FnOnce(&mut IdBlock)) {
        let cmdline: &[u8] = if vcpus == 1 { b"quiet" } else { b"quiet smp" };
        let mut block = IdBlock {
            launch_digest: digest(vcpus, "EPYC-v4", cmdline),
            family_id: [1; 16],
            image_id: [2; 16],
            guest_svn: 3,
            policy: GuestPolicy::DEFAULT,
        };
        change(&mut block);
        let identity = block.sign(&key(), Some(&key()), &SystemRandom::new()).unwrap();
        self.write(&format!("id-block-{vcpus}.bin"), &block.to_bytes());
        self.write(&format!("id-auth-{vcpus}.bin"), identity.auth().to_bytes().as_slice());
    }
}

fn digest(vcpus: u16, model: &str, cmdline: &[u8]) -> LaunchDigest {
    let launch = SnpLaunch {
        firmware: &Fixture::WHOLE.bytes(),
        hashes: Some(KernelHashes::of(b"kernel", b"initramfs", cmdline).unwrap()),
        vcpu_type: model.parse().unwrap(),
        features: GuestFeatures::SNP,
    };
    launch.digest(NonZeroU16::new(vcpus).unwrap()).unwrap()
}

fn key() -> SigningKey {
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
    SigningKey::from_pkcs8(pair.as_ref(), &random).unwrap()
}

#[test]
fn an_image_without_id_block_has_a_table_and_no_identity() {
    let folder = Folder::new(Fixture::WHOLE);
    let image = folder.snp(2, SnpOptions::default()).unwrap();
    let hashes = KernelHashes::of(b"kernel", b"initramfs", b"quiet smp").unwrap();
    assert_eq!(image.hash_table, hashes.to_table());
    assert_eq!((image.hash_table_address, image.firmware_size), (0x81_0c00, 64 * 1024));
    assert!(image.identity.is_none());
}

#[test]
fn takes_the_id_block_of_exactly_this_launch() {
    let folder = Folder::new(Fixture::WHOLE);
    folder.add_id_block(1, |_| {});
    folder.add_id_block(4, |_| {});
    let options = SnpOptions { require_id_block: true, ..SnpOptions::default() };
    for vcpus in [1, 4] {
        let identity = folder.snp(vcpus, options).unwrap().identity.unwrap();
        let bytes = std::fs::read(folder.image(vcpus).id_block).unwrap();
        assert_eq!(identity.block().to_bytes().as_slice(), bytes);
        assert!(identity.auth().author_key().is_some());
    }
}

#[test]
fn refuses_firmware_that_would_boot_any_kernel() {
    // E1
    let folder = Folder::new(Fixture { hash_table: false, ..Fixture::WHOLE });
    let (file, error) = folder.error(1, SnpOptions::default());
    assert!(matches!(error, MeasureError::Firmware(OvmfError::NoHashTable)), "{error}");
    assert_eq!(file, "firmware.fd");
    folder.write("firmware.fd", &[0; 8192]);
    let (_, error) = folder.error(1, SnpOptions::default());
    assert!(matches!(error, MeasureError::Firmware(OvmfError::NoTable)), "{error}");
}

#[test]
fn several_vcpus_need_firmware_that_starts_them() {
    let folder = Folder::new(Fixture { reset_block: false, ..Fixture::WHOLE });
    assert!(folder.snp(1, SnpOptions::default()).is_ok());
    let (_, error) = folder.error(2, SnpOptions::default());
    assert!(matches!(error, MeasureError::Plan(PlanError::Vcpus(_))), "{error}");
}

#[test]
fn refuses_an_id_block_for_other_files() {
    // E1: any byte of what is measured.
    for (name, bytes) in [
        ("kernel", b"kernem".as_slice()),
        ("initramfs", b"initramfs\0"),
        ("cmdline.txt", b"quiet init=/bin/sh"),
        ("firmware.fd", &{
            let mut firmware = Fixture::WHOLE.bytes();
            firmware[0] = 1;
            firmware
        }),
    ] {
        let folder = Folder::new(Fixture::WHOLE);
        folder.add_id_block(1, |_| {});
        assert!(folder.snp(1, SnpOptions::default()).is_ok());
        folder.write(name, bytes);
        let (file, error) = folder.error(1, SnpOptions::default());
        let digest = matches!(error, MeasureError::Plan(PlanError::OtherDigest { .. }));
        assert!(digest && file == "id-block-1.bin", "{name}: {file}: {error}");
    }
}

#[test]
fn refuses_an_id_block_for_another_number_or_model_of_vcpus() {
    // E1, and E12: an older release's block names an older digest.
    let folder = Folder::new(Fixture::WHOLE);
    for other in [digest(3, "EPYC-v4", b"quiet smp"), digest(2, "EPYC-Milan", b"quiet smp")] {
        folder.add_id_block(2, |block| block.launch_digest = other);
        let (_, error) = folder.error(2, SnpOptions::default());
        let MeasureError::Plan(PlanError::OtherDigest { block, plan }) = error else {
            panic!("{error}")
        };
        assert_eq!((block, plan), (other, digest(2, "EPYC-v4", b"quiet smp")));
    }
}

#[test]
fn refuses_an_id_block_for_another_policy() {
    let folder = Folder::new(Fixture::WHOLE);
    folder.add_id_block(1, |block| block.policy = GuestPolicy::from_bits(0x2_0000).unwrap());
    let (_, error) = folder.error(1, SnpOptions::default());
    assert!(matches!(error, MeasureError::Plan(PlanError::OtherPolicy { .. })), "{error}");
    let policy = SnpPolicy::new(0x2_0000).unwrap();
    assert!(folder.snp(1, SnpOptions { policy, ..SnpOptions::default() }).is_ok());
}

#[test]
fn refuses_an_id_block_that_its_key_did_not_sign() {
    let folder = Folder::new(Fixture::WHOLE);
    folder.add_id_block(1, |_| {});
    let auth = std::fs::read(folder.image(1).id_auth).unwrap();
    folder.add_id_block(1, |block| block.guest_svn = 4);
    folder.write("id-auth-1.bin", &auth);
    let (file, error) = folder.error(1, SnpOptions::default());
    let bad = matches!(error, MeasureError::IdAuth(IdAuthError::BadSignature { key: "ID" }));
    assert!(bad && file == "id-auth-1.bin", "{file}: {error}");
}

#[test]
fn refuses_what_is_no_id_block() {
    let folder = Folder::new(Fixture::WHOLE);
    folder.add_id_block(1, |_| {});
    let block = std::fs::read(folder.image(1).id_block).unwrap();
    folder.write("id-block-1.bin", &block[1..]);
    let (_, error) = folder.error(1, SnpOptions::default());
    assert!(
        matches!(error, MeasureError::IdBlock(IdBlockError::WrongSize { size: 95 })),
        "{error}"
    );
    folder.write("id-block-1.bin", &[block.as_slice(), &[0]].concat());
    let error = folder.snp(1, SnpOptions::default()).unwrap_err();
    assert!(matches!(error, Error::GuestImage { .. }), "{error}");
    folder.write("id-block-1.bin", &block);
    folder.write("id-auth-1.bin", &[0; 4096]);
    let (_, error) = folder.error(1, SnpOptions::default());
    assert!(matches!(error, MeasureError::IdAuth(IdAuthError::Algorithm { .. })), "{error}");
}

#[test]
fn half_an_id_block_is_not_ignored() {
    for missing in ["id-block-1.bin", "id-auth-1.bin"] {
        let folder = Folder::new(Fixture::WHOLE);
        folder.add_id_block(1, |_| {});
        std::fs::remove_file(folder.0.path().join(missing)).unwrap();
        let (file, error) = folder.error(1, SnpOptions::default());
        assert!(matches!(error, MeasureError::OnlyHalfAnIdBlock), "{error}");
        assert_eq!(file, missing);
    }
}

#[test]
fn an_id_block_can_be_demanded() {
    // E21: a pod of another size does not lose its ID block in silence.
    let folder = Folder::new(Fixture::WHOLE);
    folder.add_id_block(1, |_| {});
    let options = SnpOptions { require_id_block: true, ..SnpOptions::default() };
    assert!(folder.snp(1, options).is_ok());
    let (file, error) = folder.error(2, options);
    assert!(matches!(error, MeasureError::NoIdBlock), "{error}");
    assert_eq!(file, "id-block-2.bin");
}

#[test]
fn tdx_firmware_must_be_measured() {
    // E1
    let folder = Folder::new(Fixture::WHOLE);
    tdx(&folder.image(1)).unwrap();
    let mut firmware = Fixture::WHOLE.bytes();
    let at = firmware.windows(4).position(|window| window == b"TDVF").unwrap();
    // The attributes of the section: no MR.EXTEND.
    firmware[at + 16 + 28] = 0;
    folder.write("firmware.fd", &firmware);
    let error = tdx(&folder.image(1)).unwrap_err();
    let text = error.source().unwrap().to_string();
    let Error::Measure { source, .. } = error else { panic!("{error}") };
    assert!(matches!(*source, MeasureError::TdxFirmware(TdvfError::UnmeasuredReset)), "{text}");
    folder.write("firmware.fd", &Fixture { tdvf: false, ..Fixture::WHOLE }.bytes());
    let error = tdx(&folder.image(1)).unwrap_err();
    let Error::Measure { source, .. } = error else { panic!("{error}") };
    assert!(matches!(*source, MeasureError::TdxFirmware(TdvfError::NoMetadata)), "{source}");
}

#[test]
fn the_cpu_model_can_be_predicted() {
    assert_eq!(cpu_model().unwrap().name(), CPU_MODEL);
}
