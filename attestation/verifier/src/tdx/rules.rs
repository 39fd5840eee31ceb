// SPDX-License-Identifier: Apache-2.0
//! Every rule for TDX evidence. Sources: Intel TDX Module ABI (348551), sections 3.4 and 3.9; Intel
//! PCS API, version 4; Intel SGX PCK Certificate and CRL Profile Specification.

use crate::Code;
use crate::Dimension;
use crate::Rule;

const fn rule(claim: &'static str, code: Code, affects: Dimension, text: &'static str) -> Rule {
    Rule { claim, code, text, affects }
}

use Dimension::Configuration;
use Dimension::Executables;
use Dimension::Hardware;
use Dimension::InstanceIdentity;
use Dimension::RuntimeOpaque;

// Who signed.
pub(super) const CERTIFICATE: Rule = rule(
    "chain.certificate",
    Code::Certificate,
    Hardware,
    "one PCK certificate and its issuers come with the quote, and nothing else",
);
pub(super) const ROOT: Rule =
    rule("chain.root", Code::Root, Hardware, "the certificates end in a configured root");
pub(super) const DATES_ROOT: Rule =
    rule("chain.dates.root", Code::Expired, Hardware, "the certificate is valid now");
pub(super) const DATES_CA: Rule =
    rule("chain.dates.ca", Code::Expired, Hardware, "the certificate is valid now");
pub(super) const DATES_PCK: Rule =
    rule("chain.dates.pck", Code::Expired, Hardware, "the certificate is valid now");
pub(super) const REVOKED_CA: Rule = rule(
    "chain.revocation.ca",
    Code::Revoked,
    Hardware,
    "the root's revocation list names no certificate in use",
);
pub(super) const REVOKED_PCK: Rule = rule(
    "chain.revocation.pck",
    Code::Revoked,
    Hardware,
    "the issuer's revocation list does not name the PCK certificate",
);
pub(super) const QE_SIGNATURE: Rule = rule(
    "quote.qe-signature",
    Code::Signature,
    Hardware,
    "the PCK key signed the quoting enclave's report",
);
pub(super) const QE_BINDING: Rule = rule(
    "quote.qe-binding",
    Code::QeBinding,
    Hardware,
    "the quoting enclave's report binds the attestation key",
);
pub(super) const SIGNATURE: Rule =
    rule("quote.signature", Code::Signature, Hardware, "the attestation key signed the quote");
pub(super) const PLATFORM: Rule =
    rule("platform.id", Code::Where, InstanceIdentity, "the platform is on the list");

// Collateral.
pub(super) const COLLATERAL: Rule =
    rule("collateral.given", Code::CollateralMissing, Hardware, "collateral came with the quote");
pub(super) const TCB_INFO_SIGNATURE: Rule = rule(
    "collateral.tcb-info.signature",
    Code::CollateralSignature,
    Hardware,
    "a TCB signing key of the same root signed the TCB information",
);
pub(super) const QE_IDENTITY_SIGNATURE: Rule = rule(
    "collateral.qe-identity.signature",
    Code::CollateralSignature,
    Hardware,
    "a TCB signing key of the same root signed the quoting enclave's identity",
);
pub(super) const PCK_CRL_SIGNATURE: Rule = rule(
    "collateral.pck-crl.signature",
    Code::CollateralSignature,
    Hardware,
    "the PCK certificate's issuer signed its revocation list",
);
pub(super) const ROOT_CRL_SIGNATURE: Rule = rule(
    "collateral.root-crl.signature",
    Code::CollateralSignature,
    Hardware,
    "the root signed its revocation list",
);
pub(super) const TCB_INFO_DATES: Rule = rule(
    "collateral.tcb-info.dates",
    Code::CollateralExpired,
    Hardware,
    "the TCB information is valid now",
);
pub(super) const QE_IDENTITY_DATES: Rule = rule(
    "collateral.qe-identity.dates",
    Code::CollateralExpired,
    Hardware,
    "the quoting enclave's identity is valid now",
);
pub(super) const PCK_CRL_DATES: Rule = rule(
    "collateral.pck-crl.dates",
    Code::CollateralExpired,
    Hardware,
    "the PCK revocation list is valid now",
);
pub(super) const ROOT_CRL_DATES: Rule = rule(
    "collateral.root-crl.dates",
    Code::CollateralExpired,
    Hardware,
    "the root's revocation list is valid now",
);
pub(super) const SIGNER_DATES: Rule = rule(
    "collateral.signers.dates",
    Code::CollateralExpired,
    Hardware,
    "the certificates that sign collateral are valid now",
);

// The quoting enclave.
pub(super) const QE_SIGNER: Rule = rule(
    "qe.signer",
    Code::QeIdentity,
    Hardware,
    "the quoting enclave's signer is the one of its identity",
);
pub(super) const QE_PRODUCT: Rule =
    rule("qe.product", Code::QeIdentity, Hardware, "the enclave is the quoting enclave for TDX");
pub(super) const QE_MISC_SELECT: Rule = rule(
    "qe.misc-select",
    Code::QeIdentity,
    Hardware,
    "the quoting enclave's MISCSELECT is that of its identity",
);
pub(super) const QE_ATTRIBUTES: Rule = rule(
    "qe.attributes",
    Code::QeIdentity,
    Hardware,
    "the quoting enclave's attributes are those of its identity",
);
pub(super) const QE_TCB: Rule = rule(
    "qe.tcb",
    Code::QeIdentity,
    Hardware,
    "the quoting enclave's version is a known one that is not revoked",
);

// The platform's TCB.
pub(super) const FMSPC: Rule = rule(
    "platform.fmspc",
    Code::Fmspc,
    Hardware,
    "the TCB information is of the platform's family",
);
pub(super) const PCE_ID: Rule = rule(
    "platform.pce-id",
    Code::Fmspc,
    Hardware,
    "the TCB information is of the platform's certification enclave",
);
pub(super) const EVALUATION: Rule = rule(
    "tcb.evaluation-number",
    Code::Tcb,
    Hardware,
    "the collateral's TCB evaluation data number is not below the floor",
);
pub(super) const STATUS: Rule =
    rule("tcb.status", Code::TcbStatus, Hardware, "the TCB has an accepted status");
pub(super) const ADVISORIES: Rule = rule(
    "tcb.advisories",
    Code::TcbStatus,
    Hardware,
    "no advisory that the policy names is open on the platform",
);

// The TDX module.
pub(super) const MODULE_DIGEST: Rule =
    rule("module.mrseam", Code::Mrseam, Hardware, "the TDX module's digest is a reference value");
pub(super) const MODULE_SIGNER: Rule =
    rule("module.signer", Code::Mrseam, Hardware, "Intel signed the TDX module");
pub(super) const MODULE_ATTRIBUTES: Rule = rule(
    "module.attributes",
    Code::SeamAttributes,
    Hardware,
    "the TDX module is one for production: its attributes are zero",
);

// The TD.
pub(super) const DEBUG: Rule = rule(
    "guest.debug",
    Code::Debug,
    RuntimeOpaque,
    "the host may neither debug nor profile the TD",
);
pub(super) const SEPT_VE_DISABLE: Rule = rule(
    "guest.sept-ve-disable",
    Code::Attributes,
    RuntimeOpaque,
    "the host cannot inject exceptions by taking pages away",
);
pub(super) const MIGRATION: Rule = rule(
    "guest.migration",
    Code::Migration,
    RuntimeOpaque,
    "no migration TD may hold the TD's memory",
);
pub(super) const PERFMON: Rule =
    rule("guest.perfmon", Code::Attributes, Configuration, "the TD uses no performance counters");
pub(super) const ATTRIBUTES: Rule = rule(
    "guest.attributes",
    Code::Attributes,
    Configuration,
    "the TD has no other attribute than the allowed ones",
);
pub(super) const XFAM: Rule = rule(
    "guest.xfam",
    Code::Xfam,
    Configuration,
    "the TD has no other processor state than the allowed one",
);
pub(super) const MR_TD: Rule =
    rule("guest.measurement", Code::Measurement, Executables, "MRTD is a reference value");
pub(super) const MR_CONFIG_ID: Rule = rule(
    "guest.mr-config-id",
    Code::HostData,
    Configuration,
    "MRCONFIGID is the digest of the initdata",
);
pub(super) const MR_OWNER: Rule =
    rule("guest.mr-owner", Code::MrOwner, Configuration, "MROWNER is zero or as expected");
pub(super) const MR_OWNER_CONFIG: Rule = rule(
    "guest.mr-owner-config",
    Code::MrOwner,
    Configuration,
    "MROWNERCONFIG is zero or as expected",
);
pub(super) const SERVICE_TD: Rule = rule(
    "guest.service-td",
    Code::ServiceTd,
    RuntimeOpaque,
    "no service TD is bound, or the expected one",
);
pub(super) const REPORT_DATA: Rule =
    rule("report.data", Code::ReportData, InstanceIdentity, "the quote binds this nonce and key");

// What was measured at run time.
pub(super) const RTMRS: [Rule; 4] = [
    rule("guest.rtmr0", Code::Rtmr, Executables, "RTMR0 is a reference value"),
    rule("guest.rtmr1", Code::Rtmr, Executables, "RTMR1 is a reference value"),
    rule("guest.rtmr2", Code::Rtmr, Executables, "RTMR2 is a reference value"),
    rule("guest.rtmr3", Code::Rtmr, Executables, "RTMR3 is a reference value"),
];
pub(super) const REPLAYS: [Rule; 4] = [
    rule("event-log.rtmr0", Code::Rtmr, Executables, "the event log replays to RTMR0"),
    rule("event-log.rtmr1", Code::Rtmr, Executables, "the event log replays to RTMR1"),
    rule("event-log.rtmr2", Code::Rtmr, Executables, "the event log replays to RTMR2"),
    rule("event-log.rtmr3", Code::Rtmr, Executables, "the event log replays to RTMR3"),
];
pub(super) const EVENT_LOG: Rule = rule(
    "event-log.events",
    Code::EventLog,
    Executables,
    "each event's digest is of what its kind says, in a register that can be extended",
);
pub(super) const RUNTIME_EVENT: Rule = rule(
    "event-log.runtime",
    Code::EventLog,
    Executables,
    "what was measured at run time is on the list",
);
pub(super) const LAST_EVENT: Rule = rule(
    "event-log.last",
    Code::EventLog,
    Executables,
    "nothing was measured into RTMR3 after the event that ends the log",
);
