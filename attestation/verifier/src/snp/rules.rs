// SPDX-License-Identifier: Apache-2.0
//! Every rule for SNP evidence. Sources: SEV-SNP Firmware ABI (56860), tables 9, 23 and 24; VCEK
//! certificate specification (57230).

use crate::Code;
use crate::Dimension;
use crate::Rule;

pub(super) const ROOT: Rule = rule(
    "chain.root",
    Code::Root,
    Dimension::Hardware,
    "the certificates end in a configured root",
);
pub(super) const ONE_LEAF: Rule = rule(
    "chain.root",
    Code::Certificate,
    Dimension::Hardware,
    "exactly one VCEK or VLEK comes with the report",
);
pub(super) const LEAF_FORM: Rule = rule(
    "chain.root",
    Code::Certificate,
    Dimension::Hardware,
    "the signer's certificate is well-formed",
);
pub(super) const LEAF_KIND: Rule = rule(
    "chain.root",
    Code::KeyInfo,
    Dimension::Hardware,
    "the certificate is of the kind that it is labelled as",
);
pub(super) const DATES_ARK: Rule = rule(
    "chain.dates.ark",
    Code::Expired,
    Dimension::Hardware,
    "the root's certificate is valid now",
);
pub(super) const DATES_ASK: Rule = rule(
    "chain.dates.ask",
    Code::Expired,
    Dimension::Hardware,
    "the intermediate certificate is valid now",
);
pub(super) const DATES_LEAF: Rule = rule(
    "chain.dates.leaf",
    Code::Expired,
    Dimension::Hardware,
    "the signer's certificate is valid now",
);
pub(super) const REVOCATION: Rule = rule(
    "chain.revocation",
    Code::Revoked,
    Dimension::Hardware,
    "a current revocation list of the root names none of its certificates",
);
pub(super) const PRODUCT_NAME: Rule = rule(
    "chain.product-name",
    Code::Product,
    Dimension::Hardware,
    "the signer's certificate names a known product line",
);
pub(super) const PRODUCT: Rule = rule(
    "chain.product",
    Code::Product,
    Dimension::Hardware,
    "root, certificate and CPU are of one product line",
);
pub(super) const PRODUCT_ALLOWED: Rule = rule(
    "chain.product-allowed",
    Code::Product,
    Dimension::Hardware,
    "the product line is not one that is refused",
);
pub(super) const KEY_INFO: Rule = rule(
    "report.key-info",
    Code::KeyInfo,
    Dimension::Hardware,
    "the report names the kind of key that its certificate is for",
);
pub(super) const CHIP_KEY: Rule = rule(
    "report.chip-key",
    Code::KeyInfo,
    Dimension::Hardware,
    "the chip's key is not withheld from signing",
);
pub(super) const CERTIFIED_RESERVED: Rule = rule(
    "chain.reserved-levels",
    Code::Reserved,
    Dimension::Hardware,
    "every level of the signer's certificate without a meaning is zero",
);
pub(super) const CERTIFIED_TCB: Rule = rule(
    "chain.tcb",
    Code::Tcb,
    Dimension::Hardware,
    "the signing key belongs to the reported TCB",
);
pub(super) const CERTIFIED_CHIP: Rule = rule(
    "chain.chip",
    Code::Hwid,
    Dimension::InstanceIdentity,
    "the signing key belongs to the reported chip",
);
pub(super) const PROVIDER: Rule = rule(
    "chain.provider",
    Code::Provider,
    Dimension::InstanceIdentity,
    "the key is leased to an accepted provider",
);
pub(super) const SIGNATURE: Rule = rule(
    "report.signature",
    Code::Signature,
    Dimension::Hardware,
    "the certified key signed the report with ECDSA P-384",
);
pub(super) const RESERVED: Rule = rule(
    "report.reserved",
    Code::Reserved,
    Dimension::Configuration,
    "every field without a meaning is zero",
);
pub(super) const VMPL: Rule = rule(
    "guest.vmpl",
    Code::Vmpl,
    Dimension::Configuration,
    "the report was asked for at an accepted privilege level",
);
pub(super) const POLICY: Rule = rule(
    "guest.policy",
    Code::GuestPolicy,
    Dimension::Configuration,
    "the guest policy has no unknown bit",
);
pub(super) const DEBUG: Rule =
    rule("guest.debug", Code::Debug, Dimension::RuntimeOpaque, "the host may not debug the guest");
pub(super) const MIGRATION: Rule = rule(
    "guest.migration",
    Code::Migration,
    Dimension::RuntimeOpaque,
    "no migration agent may hold the guest's keys",
);
pub(super) const SMT: Rule = rule(
    "guest.smt",
    Code::Smt,
    Dimension::Configuration,
    "the guest policy forbids multithreading",
);
pub(super) const SINGLE_SOCKET: Rule = rule(
    "guest.single-socket",
    Code::SingleSocket,
    Dimension::Configuration,
    "the guest policy demands a single socket",
);
pub(super) const CXL: Rule =
    rule("guest.cxl", Code::GuestPolicy, Dimension::Configuration, "the guest policy forbids CXL");
pub(super) const AES_256_XTS: Rule = rule(
    "guest.aes-256-xts",
    Code::GuestPolicy,
    Dimension::RuntimeOpaque,
    "the guest policy demands AES-256-XTS",
);
pub(super) const RAPL: Rule = rule(
    "guest.rapl",
    Code::GuestPolicy,
    Dimension::Configuration,
    "the guest policy demands that energy counters are off",
);
pub(super) const CIPHERTEXT_HIDING: Rule = rule(
    "guest.ciphertext-hiding",
    Code::CiphertextHiding,
    Dimension::RuntimeOpaque,
    "the guest policy demands hidden ciphertext",
);
pub(super) const PAGE_SWAP: Rule = rule(
    "guest.page-swap",
    Code::GuestPolicy,
    Dimension::Configuration,
    "the guest policy forbids swapping and moving of pages",
);
pub(super) const ABI: Rule = rule(
    "guest.abi",
    Code::Abi,
    Dimension::Configuration,
    "the guest policy demands the least firmware ABI",
);
pub(super) const SVN: Rule = rule(
    "guest.svn",
    Code::Svn,
    Dimension::Executables,
    "the guest's security version is not below the floor",
);
pub(super) const FAMILY_ID: Rule =
    rule("guest.family-id", Code::IdBlock, Dimension::Executables, "the family is an accepted one");
pub(super) const IMAGE_ID: Rule =
    rule("guest.image-id", Code::IdBlock, Dimension::Executables, "the image is an accepted one");
pub(super) const ID_KEY: Rule = rule(
    "guest.id-key",
    Code::IdBlock,
    Dimension::Executables,
    "an accepted key signed the ID block",
);
pub(super) const AUTHOR_KEY: Rule = rule(
    "guest.author-key",
    Code::IdBlock,
    Dimension::Executables,
    "an accepted author signed the key of the ID block",
);
pub(super) const PLATFORM_INFO: Rule = rule(
    "platform.info",
    Code::PlatformInfo,
    Dimension::Configuration,
    "every bit of the platform's features is known or accepted",
);
pub(super) const ALIAS_CHECK: Rule = rule(
    "platform.alias-check",
    Code::AliasCheck,
    Dimension::Hardware,
    "the platform has checked for aliased memory",
);
pub(super) const PLATFORM_CIPHERTEXT_HIDING: Rule = rule(
    "platform.ciphertext-hiding",
    Code::CiphertextHiding,
    Dimension::RuntimeOpaque,
    "the platform hides ciphertext in memory",
);
pub(super) const PLATFORM_SMT: Rule =
    rule("platform.smt", Code::Smt, Dimension::Configuration, "multithreading is off");
pub(super) const PLATFORM_RAPL: Rule =
    rule("platform.rapl", Code::PlatformInfo, Dimension::Configuration, "energy counters are off");
pub(super) const TSME: Rule =
    rule("platform.tsme", Code::PlatformInfo, Dimension::Configuration, "all memory is encrypted");
pub(super) const ECC: Rule = rule(
    "platform.ecc",
    Code::PlatformInfo,
    Dimension::Configuration,
    "memory has error correction",
);
pub(super) const CHIP: Rule =
    rule("platform.chip", Code::Chip, Dimension::InstanceIdentity, "the chip is on the list");
pub(super) const CHIP_DENIED: Rule = rule(
    "platform.chip-denied",
    Code::Chip,
    Dimension::InstanceIdentity,
    "the chip is not one that is refused",
);
pub(super) const LAUNCH_MITIGATIONS: Rule = rule(
    "platform.launch-mitigations",
    Code::Mitigation,
    Dimension::Hardware,
    "the mitigations were in place at launch",
);
pub(super) const CURRENT_MITIGATIONS: Rule = rule(
    "platform.current-mitigations",
    Code::Mitigation,
    Dimension::Hardware,
    "the mitigations are in place",
);
pub(super) const TCB_REPORTED: Rule = rule(
    "tcb.reported",
    Code::Tcb,
    Dimension::Hardware,
    "no part of the reported TCB is below the floor",
);
pub(super) const TCB_COMMITTED: Rule = rule(
    "tcb.committed",
    Code::Tcb,
    Dimension::Hardware,
    "no part of the committed TCB is below the floor",
);
pub(super) const TCB_LAUNCH: Rule = rule(
    "tcb.launch",
    Code::Tcb,
    Dimension::Hardware,
    "no part of the TCB at launch is below the floor",
);
pub(super) const TCB_ORDER: Rule = rule(
    "tcb.order",
    Code::Tcb,
    Dimension::Hardware,
    "the running firmware is not older than the committed one, which genuine firmware rules out",
);
pub(super) const TCB_CURRENT: Rule =
    rule("tcb.current", Code::Tcb, Dimension::Hardware, "the running firmware is committed");
pub(super) const REPORT_DATA: Rule = rule(
    "report.data",
    Code::ReportData,
    Dimension::InstanceIdentity,
    "the report binds this nonce and key",
);
pub(super) const HOST_DATA: Rule = rule(
    "guest.host-data",
    Code::HostData,
    Dimension::Configuration,
    "HOST_DATA is the digest of the initdata",
);
pub(super) const MEASUREMENT: Rule = rule(
    "guest.measurement",
    Code::Measurement,
    Dimension::Executables,
    "the launch digest is a reference value",
);

const fn rule(claim: &'static str, code: Code, affects: Dimension, text: &'static str) -> Rule {
    Rule { claim, code, text, affects }
}
