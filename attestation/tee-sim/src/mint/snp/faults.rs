// SPDX-License-Identifier: Apache-2.0
//! The faults of SNP evidence. Everything beside the named thing is right: certificates chain,
//! signatures verify, levels and ids agree, unless it is they that are at fault.

use zerocopy::little_endian::{U32, U64};

use super::plan::{
    Edit, GUEST_SVN, INTERMEDIATE_SERIAL, Plan, SignaturePlan, certified_levels, tcb_bytes,
};
use super::{
    INFO_ALIAS_CHECK, INFO_CIPHERTEXT_HIDING, INFO_ECC, INFO_RAPL_OFF, INFO_SMT, INFO_TSME, Levels,
    Options, Product, ReportVersion, SignerKind,
};
use crate::certificates::level;
use crate::keys::Authority;
use crate::mint::Role;
use crate::mint::fault::faults;
use crate::x509::{DAY, Period};

faults! {
    /// A fault of SNP evidence.
    SnpFault: Options, Plan;

    // chain
    RootUnknown "root-unknown" "D2" ["root" "signature"] []
        "the chain ends in a root of the right names whose key is not the trusted one",
        |plan| plan.trusted = Authority::Asvk;
    AskForged "ask-forged" "D2" ["root" "signature" "certificate"] []
        "the intermediate has the right names and is signed by another key than the root's",
        |plan| plan.intermediate.signed_by = Authority::Asvk;
    LeafForged "leaf-forged" "D2" ["root" "signature" "certificate"] []
        "the leaf has the right names and is signed by another key than the intermediate's",
        |plan| plan.leaf.signed_by = Authority::Asvk;
    AskNotAuthority "ask-not-authority" "D2" ["root" "certificate"] []
        "the intermediate's certificate is not that of an authority",
        |plan| plan.intermediate.is_authority = false;
    ArkExpired "ark-expired" "D2" ["expired"] [At] "the root's certificate is past its date",
        |plan| plan.root.validity = past(plan);
    AskExpired "ask-expired" "D2" ["expired"] [At]
        "the intermediate's certificate is past its date",
        |plan| plan.intermediate.validity = past(plan);
    LeafExpired "leaf-expired" "D2" ["expired"] [At] "the leaf's certificate is past its date",
        |plan| plan.leaf.validity = past(plan);
    LeafNotYetValid "leaf-not-yet-valid" "D2" ["expired"] [At]
        "the leaf's certificate begins to be valid tomorrow",
        |plan| plan.leaf.validity = Period { from: plan.options.at.saturating_add(DAY), ..plan.leaf.validity };
    AskRevoked "ask-revoked" "D2" ["revoked"] [Crl]
        "the root's revocation list names the intermediate of chips' keys",
        |plan| plan.crl.revoked = vec![INTERMEDIATE_SERIAL];
    AsvkRevoked "asvk-revoked" "D2" ["revoked"] [Crl]
        "the root's revocation list names the intermediate of leased keys",
        @from |options| options.signer = SignerKind::Vlek,
        |plan| plan.crl.revoked = vec![INTERMEDIATE_SERIAL];
    CrlForged "crl-forged" "D2" ["revoked"] [Crl]
        "the revocation list is signed by another key than the root's",
        |plan| plan.crl.signed_by = Authority::Asvk;
    CrlExpired "crl-expired" "D2" ["revoked" "collateral-expired"] [Crl At]
        "the revocation list is past its next update",
        |plan| plan.crl.validity = past(plan);
    CrlFromFuture "crl-from-future" "D2" ["revoked" "collateral-expired"] [Crl At]
        "the revocation list is of tomorrow",
        |plan| plan.crl.validity.from = plan.options.at.saturating_add(DAY);
    CrlScoped "crl-scoped" "D2" ["revoked"] [Crl]
        "the revocation list is of end entities alone, and does not say so critically",
        |plan| plan.crl.scoped = true;
    CrlMissing "crl-missing" "D2" ["revoked"] [Crl Policy]
        "there is no revocation list, and the policy demands one",
        |plan| plan.with_crl = false;
    LeafTrailingByte "leaf-trailing-byte" "D7" ["certificate"] []
        "a byte follows the leaf's certificate",
        |plan| plan.edits.push(Edit::Append(Role::Vcek));

    // what the leaf says
    ProductCpuid "product-cpuid" "D5" ["product"] []
        "CPUID is of another product line than certificates and root",
        @from |options| *options = options.on(Product::Genoa),
        |plan| other_cpu(plan, [0x19, 0x01, 1]);
    ProductUnknownCpu "product-unknown-cpu" "D5" ["product"] []
        "CPUID is of no known product line",
        @from |options| *options = options.on(Product::Genoa),
        |plan| other_cpu(plan, [0x19, 0x7f, 1]);
    ProductCertificate "product-certificate" "D5" ["product"] []
        "the leaf names another product line than CPUID and the rest of the chain",
        @from |options| *options = options.on(Product::Genoa),
        |plan| plan.leaf.endorsement.product = "Milan".to_owned();
    ProductNameUnknown "product-name-unknown" "D5" ["product"] []
        "the leaf names a product line that does not exist",
        |plan| plan.leaf.endorsement.product = "Venice".to_owned();
    ProductDenied "product-denied" "D5" ["product"] [Policy]
        "everything is of a product line whose root seed can be extracted, and nobody allowed it",
        @from |options| *options = options.on(Product::Milan),
        |plan| plan.policy.allow_product = false;
    HwidOther "hwid-other" "D2" ["hwid"] []
        "the leaf chains and is of the right TCB, but of another chip",
        @from |options| options.signer = SignerKind::Vcek,
        |plan| other_chip(plan.leaf.endorsement.hardware_id.as_mut());
    HwidMissing "hwid-missing" "D2" ["hwid" "certificate" "key-info"] []
        "the leaf names no chip",
        @from |options| options.signer = SignerKind::Vcek,
        |plan| plan.leaf.endorsement.hardware_id = None;
    ChipNotListed "chip-not-listed" "D5" ["chip"] [Policy]
        "report and leaf are of one chip, which is not on the list",
        @from |options| options.signer = SignerKind::Vcek,
        |plan| plan.policy.chip = [0x77; 64];
    ChipDenied "chip-denied" "D5" ["chip"] [Policy]
        "the chip is on the list of those that are refused",
        |plan| plan.policy.deny_chip = plan.report.chip_id;
    ChipMasked "chip-masked" "D5" ["chip"] [Policy]
        "the report hides its chip, and a list says which chips are refused",
        @from |options| options.signer = SignerKind::Vlek,
        |plan| {
            plan.report.chip_id = [0; 64];
            set(&mut plan.report.key_info, 0b10);
        };
    ChipKeyMasked "chip-key-masked" "D4" ["key-info"] []
        "the report says that the chip's key is withheld, and the chip's key signed it",
        @from |options| options.signer = SignerKind::Vcek,
        |plan| set(&mut plan.report.key_info, 0b10);
    Provider "provider-other" "D2" ["provider"] [Policy]
        "the leased key chains, but is leased to a provider that is not accepted",
        @from |options| options.signer = SignerKind::Vlek,
        |plan| plan.leaf.endorsement.provider = Some("CN=other.example".to_owned());
    ProviderMissing "provider-missing" "D2" ["provider" "certificate" "key-info"] []
        "the leased key's certificate names no provider",
        @from |options| options.signer = SignerKind::Vlek,
        |plan| plan.leaf.endorsement.provider = None;
    KeyInfoVlek "key-info-vlek" "D2" ["key-info"] []
        "the report says that a leased key signed it, the certificate is a chip's",
        @from |options| options.signer = SignerKind::Vcek,
        |plan| set(&mut plan.report.key_info, 1 << 2);
    KeyInfoVcek "key-info-vcek" "D2" ["key-info"] []
        "the report says that the chip's key signed it, the certificate is of a leased key",
        @from |options| options.signer = SignerKind::Vlek,
        |plan| clear(&mut plan.report.key_info, 0b111 << 2);
    KeyInfoNone "key-info-none" "D2" ["key-info"] []
        "the report says that it is not signed",
        |plan| set(&mut plan.report.key_info, 7 << 2);
    KeyInfoReserved "key-info-reserved" "D4" ["key-info" "reserved"] []
        "the report names a kind of key without a meaning",
        |plan| {
            clear(&mut plan.report.key_info, 0b111 << 2);
            set(&mut plan.report.key_info, 3 << 2);
        };

    // TCB
    TcbCertificateBootloader "tcb-certificate-bootloader" "D2" ["tcb"] []
        "the leaf was issued for another boot loader than the reported one",
        |plan| other_level(plan, level::BOOTLOADER);
    TcbCertificateTee "tcb-certificate-tee" "D2" ["tcb"] []
        "the leaf was issued for another PSP system than the reported one",
        |plan| other_level(plan, level::TEE);
    TcbCertificateSnp "tcb-certificate-snp" "D2" ["tcb"] []
        "the leaf was issued for another SNP firmware than the reported one",
        |plan| other_level(plan, level::SNP);
    TcbCertificateMicrocode "tcb-certificate-microcode" "D2" ["tcb"] []
        "the leaf was issued for another microcode than the reported one",
        |plan| other_level(plan, level::MICROCODE);
    TcbCertificateFmc "tcb-certificate-fmc" "D2" ["tcb"] []
        "the leaf was issued for another controller firmware than the reported one",
        @from |options| *options = options.on(Product::Turin),
        |plan| other_level(plan, level::FMC);
    TcbCertificateReserved "tcb-certificate-reserved" "D2" ["reserved" "tcb" "certificate"] []
        "a level of the leaf without a meaning is not zero",
        |plan| other_level(plan, 5);
    TcbCertificateMissing "tcb-certificate-missing" "D2" ["tcb" "certificate"] []
        "the leaf names no level of the SNP firmware",
        |plan| plan.leaf.endorsement.levels.retain(|(arc, _)| *arc != level::SNP);
    TcbReported "tcb-reported-below-floor" "D3" ["tcb"] [Policy]
        "the reported TCB, and the leaf with it, is one microcode below the floor",
        @from above_zero,
        |plan| {
            let mut levels = plan.options.tcb;
            levels.tcb.microcode = levels.tcb.microcode.saturating_sub(1);
            plan.report.reported_tcb = tcb_bytes(plan.options.product, levels);
            plan.leaf.endorsement.levels = certified_levels(plan.options.product, levels);
        };
    TcbReportedComponent "tcb-component-below-floor" "D3" ["tcb"] [Policy]
        "one reported level is below the floor, another far above it",
        @from above_zero,
        |plan| {
            let mut levels = plan.options.tcb;
            levels.tcb.bootloader = levels.tcb.bootloader.saturating_sub(1);
            levels.tcb.microcode = 255;
            plan.report.reported_tcb = tcb_bytes(plan.options.product, levels);
            plan.leaf.endorsement.levels = certified_levels(plan.options.product, levels);
        };
    TcbReportedFmc "tcb-fmc-below-floor" "D3" ["tcb"] [Policy]
        "the reported controller firmware is below the floor",
        @from |options| *options = options.on(Product::Turin),
        |plan| {
            let levels = Levels { fmc: plan.options.tcb.fmc.saturating_sub(1), ..plan.options.tcb };
            plan.report.reported_tcb = tcb_bytes(plan.options.product, levels);
            plan.leaf.endorsement.levels = certified_levels(plan.options.product, levels);
        };
    TcbCommitted "tcb-committed-below-floor" "D3" ["tcb"] [Policy]
        "the committed TCB is below the floor: the platform can be rolled back",
        @from above_zero,
        |plan| plan.report.committed_tcb = below(plan);
    TcbLaunch "tcb-launch-below-floor" "D3" ["tcb"] [Policy]
        "the guest was launched on a TCB below the floor",
        @from above_zero,
        |plan| plan.report.launch_tcb = below(plan);

    TcbCurrent "tcb-current-below-committed" "D3" ["tcb"] []
        "the TCB that runs is below the committed one, which genuine firmware rules out",
        @from above_zero,
        |plan| plan.report.current_tcb = below(plan);
    FirmwareCurrent "firmware-below-committed" "D3" ["tcb"] []
        "the firmware that runs is older than the committed one, which genuine firmware rules out",
        |plan| plan.report.current_version = [0, 55, 1, 0];
    Provisional "tcb-provisional" "D3" ["tcb"] [Policy]
        "the firmware that runs is newer than the committed one",
        |plan| plan.report.current_version = [200, 55, 1, 0];

    // signature
    SignatureFlipped "signature-flipped" "D1" ["signature"] [] "a bit of the signature is flipped",
        |plan| plan.edits.push(Edit::Flip(0x2a0));
    BodyFlipped "body-flipped" "D1" ["signature"] []
        "a bit of REPORT_ID is flipped after signing",
        |plan| plan.edits.push(Edit::Flip(0x140));
    SignatureOtherKey "signature-other-key" "D2" ["signature"] []
        "another key signed the report than the certified one",
        |plan| plan.signature = SignaturePlan::OtherKey;
    SignatureRZero "signature-r-zero" "D1" ["signature"] [] "r is zero",
        |plan| plan.signature = SignaturePlan::R([0; 72]);
    SignatureSZero "signature-s-zero" "D1" ["signature"] [] "s is zero",
        |plan| plan.signature = SignaturePlan::S([0; 72]);
    SignatureROrder "signature-r-order" "D1" ["signature"] [] "r is the order of the curve",
        |plan| plan.signature = SignaturePlan::R(order());
    SignatureSOrder "signature-s-order" "D1" ["signature"] [] "s is the order of the curve",
        |plan| plan.signature = SignaturePlan::S(order());
    SignatureLong "signature-long" "D1" ["signature"] []
        "a byte above the 48 of r is set",
        |plan| plan.edits.push(Edit::Flip(0x2a0 + 71));
    SignatureAlgorithm "signature-algorithm" "D4" ["signature"] []
        "the report names another signature algorithm than ECDSA P-384 with SHA-384",
        |plan| plan.report.signature_algorithm = U32::new(2);

    // guest
    Vmpl "vmpl-1" "D4" ["vmpl"] [] "the report was asked for at VMPL 1",
        |plan| plan.report.vmpl = U32::new(1);
    Debug "debug" "D4" ["debug"] [] "the guest policy lets the host debug the guest",
        |plan| set64(&mut plan.report.policy, 1 << 19);
    Migration "migration" "D4" ["migration"] [] "the guest policy allows a migration agent",
        |plan| set64(&mut plan.report.policy, 1 << 18);
    Smt "smt" "D4" ["smt"] [Policy] "the guest policy allows multithreading",
        |plan| set64(&mut plan.report.policy, 1 << 16);
    Abi "abi" "D4" ["abi"] [Policy] "the guest policy demands an older firmware interface",
        |plan| plan.report.policy = U64::new((plan.report.policy.get() & !0xffff) | 0x0100);
    SingleSocket "single-socket" "D4" ["single-socket"] [Policy]
        "the guest policy allows several sockets",
        |plan| clear64(&mut plan.report.policy, 1 << 20);
    Cxl "cxl" "D4" ["guest-policy"] [Policy] "the guest policy allows CXL devices",
        |plan| set64(&mut plan.report.policy, 1 << 21);
    Aes256Xts "aes-256-xts" "D4" ["guest-policy"] [Policy]
        "the guest policy accepts weaker encryption of memory",
        |plan| clear64(&mut plan.report.policy, 1 << 22);
    GuestRapl "guest-rapl" "D4" ["guest-policy"] [Policy]
        "the guest policy accepts that power readings are on",
        |plan| clear64(&mut plan.report.policy, 1 << 23);
    GuestCiphertextHiding "guest-ciphertext-hiding" "D4" ["ciphertext-hiding" "guest-policy"] [Policy]
        "the guest policy accepts that ciphertext is visible",
        |plan| clear64(&mut plan.report.policy, 1 << 24);
    PageSwap "page-swap" "D4" ["guest-policy"] [Policy]
        "the guest policy accepts that the host swaps the guest's pages",
        |plan| clear64(&mut plan.report.policy, 1 << 25);
    PolicyReservedOne "policy-reserved-one" "D4" ["guest-policy" "reserved"] []
        "bit 17 of the guest policy, which must be one, is zero",
        |plan| clear64(&mut plan.report.policy, 1 << 17);
    PolicyUnknownBit "policy-unknown-bit" "D4" ["guest-policy" "reserved"] []
        "a bit of the guest policy without a meaning is set",
        |plan| set64(&mut plan.report.policy, 1 << 45);
    GuestSvn "guest-svn" "D4" ["svn"] [Policy] "the guest's security version is below the floor",
        |plan| plan.report.guest_svn = U32::new(GUEST_SVN - 1);
    FamilyId "family-id" "D4" ["id-block"] [Policy] "the family id is another",
        |plan| plan.report.family_id = [1; 16];
    ImageId "image-id" "D4" ["id-block"] [Policy] "the image id is another",
        |plan| plan.report.image_id = [1; 16];
    IdKey "id-key" "D4" ["id-block"] [Policy] "another key signed the ID block",
        |plan| plan.report.id_key_digest = [1; 48];
    IdBlockAbsent "id-block-absent" "D4" ["id-block"] [Policy] "there is no ID block",
        |plan| {
            plan.report.id_key_digest = [0; 48];
            plan.report.author_key_digest = [0; 48];
            clear(&mut plan.report.key_info, 1);
        };
    AuthorKey "author-key" "D4" ["id-block"] [Policy] "another author vouches for the ID key",
        |plan| plan.report.author_key_digest = [1; 48];

    // platform
    PlatformSmt "platform-smt" "D4" ["smt" "platform-info"] [Policy]
        "multithreading is on, on a platform where it must be off",
        |plan| set64(&mut plan.report.platform_info, INFO_SMT);
    AliasCheck "alias-check" "D4" ["alias-check"] [Policy]
        "the platform has not checked its memory for aliases",
        |plan| clear64(&mut plan.report.platform_info, INFO_ALIAS_CHECK);
    CiphertextHiding "ciphertext-hiding" "D4" ["ciphertext-hiding"] [Policy]
        "the platform does not hide ciphertext",
        |plan| clear64(&mut plan.report.platform_info, INFO_CIPHERTEXT_HIDING);
    Rapl "rapl" "D4" ["platform-info"] [Policy] "power readings are not switched off",
        |plan| clear64(&mut plan.report.platform_info, INFO_RAPL_OFF);
    Tsme "tsme" "D4" ["platform-info"] [Policy] "transparent memory encryption is off",
        |plan| clear64(&mut plan.report.platform_info, INFO_TSME);
    Ecc "ecc" "D4" ["platform-info"] [Policy] "memory has no error correction",
        |plan| clear64(&mut plan.report.platform_info, INFO_ECC);
    PlatformInfoUnknownBit "platform-info-unknown-bit" "D4" ["platform-info" "reserved"] []
        "a bit of PLATFORM_INFO without a meaning is set",
        |plan| set64(&mut plan.report.platform_info, 1 << 20);
    PlatformInfoOtherProduct "platform-info-other-product" "D4" ["platform-info" "reserved"] []
        "a bit of PLATFORM_INFO that has a meaning on Turin alone is set on Genoa",
        @from |options| *options = options.on(Product::Genoa),
        |plan| set64(&mut plan.report.platform_info, 1 << 6);
    MitigationLaunch "mitigation-launch" "D3" ["mitigation"] [Policy]
        "a mitigation was not in place at launch",
        @from |options| options.version = ReportVersion::V5,
        |plan| clear64(&mut plan.report.launch_mitigations, 0b10);
    MitigationCurrent "mitigation-current" "D3" ["mitigation"] [Policy]
        "a mitigation is not in place now",
        @from |options| options.version = ReportVersion::V5,
        |plan| clear64(&mut plan.report.current_mitigations, 0b10);

    // binding
    ReportData "report-data" "D8" ["report-data"] [ReportData]
        "REPORT_DATA is of another session",
        |plan| plan.report.report_data = [0xdb; 64];
    ReportDataTail "report-data-tail" "D8" ["report-data"] [ReportData]
        "only the last byte of REPORT_DATA differs",
        |plan| plan.report.report_data.iter_mut().rev().take(1).for_each(|byte| *byte ^= 1);
    HostData "host-data" "D15" ["host-data"] [HostData]
        "HOST_DATA is of other initdata",
        |plan| plan.report.host_data = [0x41; 32];
    Measurement "measurement" "D14" ["measurement"] [Measurement]
        "the launch digest is of another image",
        |plan| plan.report.measurement = [0x3f; 48];

    // form
    VersionOld "version-1" "D4" [] [] "the report has a version older than SNP",
        |plan| plan.report.version = U32::new(1);
    VersionUnknown "version-unknown" "D4" [] [] "the report has a version that does not exist yet",
        |plan| plan.report.version = U32::new(9);
    ReservedHead "reserved-head" "D4" ["reserved"] [] "reserved bytes after KEY_INFO are set",
        |plan| plan.report.reserved_1 = U32::new(1);
    ReservedMiddle "reserved-middle" "D4" ["reserved"] [] "reserved bytes after CPUID are set",
        |plan| plan.report.reserved_2 = [1; 21];
    ReservedTail "reserved-tail" "D4" ["reserved"] []
        "reserved bytes before the signature are set",
        |plan| plan.report.reserved_3 = [1; 152];
    ReservedUnsigned "reserved-unsigned" "D7" ["reserved" "signature"] []
        "reserved bytes after the signature, which it does not cover, are set",
        |plan| plan.edits.push(Edit::Flip(0x4a0 - 1));
    ReservedTcb "reserved-tcb" "D4" ["reserved" "tcb"] []
        "a reserved level of the reported TCB is set",
        @from |options| options.product = Product::Genoa,
        |plan| plan.report.reported_tcb.iter_mut().skip(3).take(1).for_each(|byte| *byte = 1);
    ReservedCpuid "reserved-cpuid" "D4" ["reserved" "product"] []
        "a report of version 2 has CPUID fields, which that version has not",
        @from |options| options.version = ReportVersion::V2,
        |plan| plan.report.cpuid = [0x19, 0x11, 1];
    ReservedMitigations "reserved-mitigations" "D4" ["reserved" "mitigation"] []
        "a report of version 3 has mitigation vectors, which that version has not",
        @from |options| options.version = ReportVersion::V3,
        |plan| plan.report.current_mitigations = U64::new(1);
    Truncated "truncated" "D7" [] [] "the report lacks its last byte",
        |plan| plan.edits.push(Edit::Truncate(Role::Report));
    TrailingByte "trailing-byte" "D7" [] [] "a byte follows the report",
        |plan| plan.edits.push(Edit::Append(Role::Report));
}

/// Levels that something is below.
fn above_zero(options: &mut Options) {
    let tcb = &mut options.tcb.tcb;
    for level in [&mut tcb.bootloader, &mut tcb.snp, &mut tcb.microcode] {
        *level = (*level).max(1);
    }
}

/// A period that ended the day before.
fn past(plan: &Plan) -> Period {
    Period {
        from: plan.options.at.saturating_sub(400 * DAY),
        to: plan.options.at.saturating_sub(DAY),
    }
}

/// Another CPU; the policy has no floors, which are by product line and would not be met.
fn other_cpu(plan: &mut Plan, cpuid: [u8; 3]) {
    plan.report.cpuid = cpuid;
    plan.policy.floors = false;
}

fn other_chip(id: Option<&mut Vec<u8>>) {
    id.into_iter().flatten().take(1).for_each(|byte| *byte ^= 1);
}

fn other_level(plan: &mut Plan, which: u32) {
    let levels = plan.leaf.endorsement.levels.iter_mut();
    levels.filter(|(arc, _)| *arc == which).for_each(|(_, patch)| *patch = patch.wrapping_add(1));
}

/// Levels below the floor.
fn below(plan: &Plan) -> [u8; 8] {
    let mut levels = plan.options.tcb;
    levels.tcb.snp = levels.tcb.snp.saturating_sub(1);
    tcb_bytes(plan.options.product, levels)
}

fn set(field: &mut U32, bits: u32) {
    *field = U32::new(field.get() | bits);
}

fn clear(field: &mut U32, bits: u32) {
    *field = U32::new(field.get() & !bits);
}

fn set64(field: &mut U64, bits: u64) {
    *field = U64::new(field.get() | bits);
}

fn clear64(field: &mut U64, bits: u64) {
    *field = U64::new(field.get() & !bits);
}

/// The order of P-384 (SEC 2, section 2.5.1), little-endian in 72 bytes.
fn order() -> [u8; 72] {
    let high = [0xff; 24];
    let low: [u8; 24] = [
        0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a, 0x0d, 0xb2, 0x48, 0xb0, 0xa7,
        0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
    ];
    let mut number = [0; 72];
    let bytes = low.iter().rev().chain(&high);
    number.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    number
}
