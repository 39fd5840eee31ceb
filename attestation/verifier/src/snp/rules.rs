// SPDX-License-Identifier: Apache-2.0
//! Every rule for SNP evidence. Sources: SEV-SNP Firmware ABI (56860), tables 9, 23 and 24; VCEK
//! certificate specification (57230).

use crate::Code;
use crate::Dimension;
use crate::Rule;

pub(super) const ROOT: Rule = Rule {
    claim: "chain.root",
    code: Code::Root,
    text: "the certificates end in a configured root",
    affects: Dimension::Hardware,
};
pub(super) const DATES_ARK: Rule = Rule {
    claim: "chain.dates.ark",
    code: Code::Expired,
    text: "the certificate is valid now",
    affects: Dimension::Hardware,
};
pub(super) const DATES_ASK: Rule = Rule {
    claim: "chain.dates.ask",
    code: Code::Expired,
    text: "the certificate is valid now",
    affects: Dimension::Hardware,
};
pub(super) const DATES_LEAF: Rule = Rule {
    claim: "chain.dates.leaf",
    code: Code::Expired,
    text: "the certificate is valid now",
    affects: Dimension::Hardware,
};
pub(super) const REVOCATION: Rule = Rule {
    claim: "chain.revocation",
    code: Code::Revoked,
    text: "no revocation list names a certificate",
    affects: Dimension::Hardware,
};
pub(super) const PRODUCT: Rule = Rule {
    claim: "chain.product",
    code: Code::Product,
    text: "root, certificate and CPU are of one product line",
    affects: Dimension::Hardware,
};
pub(super) const CERTIFIED_TCB: Rule = Rule {
    claim: "chain.tcb",
    code: Code::Tcb,
    text: "the signing key belongs to the reported TCB",
    affects: Dimension::Hardware,
};
pub(super) const CERTIFIED_CHIP: Rule = Rule {
    claim: "chain.chip",
    code: Code::Hwid,
    text: "the signing key belongs to the reported chip",
    affects: Dimension::InstanceIdentity,
};
pub(super) const PROVIDER: Rule = Rule {
    claim: "chain.provider",
    code: Code::Provider,
    text: "the key is leased to an accepted provider",
    affects: Dimension::InstanceIdentity,
};
pub(super) const SIGNATURE: Rule = Rule {
    claim: "report.signature",
    code: Code::Signature,
    text: "the certified key signed the report with ECDSA P-384",
    affects: Dimension::Hardware,
};
pub(super) const VMPL: Rule = Rule {
    claim: "guest.vmpl",
    code: Code::Vmpl,
    text: "the report was asked for at VMPL 0",
    affects: Dimension::Configuration,
};
pub(super) const POLICY: Rule = Rule {
    claim: "guest.policy",
    code: Code::GuestPolicy,
    text: "the guest policy has no unknown bit",
    affects: Dimension::Configuration,
};
pub(super) const DEBUG: Rule = Rule {
    claim: "guest.debug",
    code: Code::Debug,
    text: "the host may not debug the guest",
    affects: Dimension::RuntimeOpaque,
};
pub(super) const MIGRATION: Rule = Rule {
    claim: "guest.migration",
    code: Code::Migration,
    text: "no migration agent may hold the guest's keys",
    affects: Dimension::RuntimeOpaque,
};
pub(super) const SMT: Rule = Rule {
    claim: "guest.smt",
    code: Code::Smt,
    text: "the guest policy forbids multithreading",
    affects: Dimension::Configuration,
};
pub(super) const SINGLE_SOCKET: Rule = Rule {
    claim: "guest.single-socket",
    code: Code::SingleSocket,
    text: "the guest policy demands a single socket",
    affects: Dimension::Configuration,
};
pub(super) const ABI: Rule = Rule {
    claim: "guest.abi",
    code: Code::Abi,
    text: "the guest policy demands the least firmware ABI",
    affects: Dimension::Configuration,
};
pub(super) const ALIAS_CHECK: Rule = Rule {
    claim: "platform.alias-check",
    code: Code::AliasCheck,
    text: "the platform has checked for aliased memory",
    affects: Dimension::Hardware,
};
pub(super) const CHIP: Rule = Rule {
    claim: "platform.chip",
    code: Code::Chip,
    text: "the chip is on the list",
    affects: Dimension::InstanceIdentity,
};
pub(super) const ID_BLOCK: Rule = Rule {
    claim: "guest.id-block",
    code: Code::IdBlock,
    text: "an ID block names the guest's author",
    affects: Dimension::Executables,
};
pub(super) const TCB_REPORTED: Rule = Rule {
    claim: "tcb.reported",
    code: Code::Tcb,
    text: "the reported TCB is not below the floor",
    affects: Dimension::Hardware,
};
pub(super) const TCB_COMMITTED: Rule = Rule {
    claim: "tcb.committed",
    code: Code::Tcb,
    text: "the committed TCB is not below the floor",
    affects: Dimension::Hardware,
};
pub(super) const TCB_LAUNCH: Rule = Rule {
    claim: "tcb.launch",
    code: Code::Tcb,
    text: "the TCB at launch is not below the floor",
    affects: Dimension::Hardware,
};
pub(super) const TCB_CURRENT: Rule = Rule {
    claim: "tcb.current",
    code: Code::Tcb,
    text: "the running firmware is committed",
    affects: Dimension::Hardware,
};
pub(super) const REPORT_DATA: Rule = Rule {
    claim: "report.data",
    code: Code::ReportData,
    text: "the report binds this nonce and key",
    affects: Dimension::InstanceIdentity,
};
pub(super) const HOST_DATA: Rule = Rule {
    claim: "guest.host-data",
    code: Code::HostData,
    text: "HOST_DATA is the digest of the initdata",
    affects: Dimension::Configuration,
};
pub(super) const MEASUREMENT: Rule = Rule {
    claim: "guest.measurement",
    code: Code::Measurement,
    text: "the launch digest is a reference value",
    affects: Dimension::Executables,
};
