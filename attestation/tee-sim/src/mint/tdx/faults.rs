// SPDX-License-Identifier: Apache-2.0
//! The faults of TDX evidence. Everything beside the named thing is right.

use zerocopy::little_endian::{U16, U32, U64};

use super::body::{TD10_LEN, TD15_LEN};
use super::collateral::OUT_OF_DATE;
use super::event_log::{EFI_ACTION, Event};
use super::plan::{CA_SERIAL, PCK_SERIAL, Plan, QE_SVN, STRANGER, TCB_SERIAL};
use super::quote::{Binding, Edit, Lie};
use super::{Form, Options};
use crate::mint::fault::faults;
use crate::x509::DAY;

faults! {
    /// A fault of TDX evidence.
    TdxFault: Options, Plan;

    // certificates
    RootUnknown "root-unknown" "D2" ["root" "signature"] []
        "the chain ends in a root of the right names whose key is not the trusted one",
        |plan| plan.trusted = STRANGER;
    CaForged "ca-forged" "D2" ["root" "signature" "certificate"] []
        "the PCK authority has the right names and is signed by another key than the root's",
        |plan| plan.ca.signed_by = STRANGER;
    PckForged "pck-forged" "D2" ["root" "signature" "certificate"] []
        "the PCK certificate has the right names and is signed by another key",
        |plan| plan.pck.signed_by = STRANGER;
    CaNotAuthority "ca-not-authority" "D2" ["root" "certificate"] []
        "the PCK authority's certificate is not that of an authority",
        |plan| plan.ca.is_authority = false;
    PckExpired "pck-expired" "D2" ["expired"] [At] "the PCK certificate is past its date",
        |plan| plan.pck.validity = plan.past();
    PckNotYetValid "pck-not-yet-valid" "D2" ["expired"] [At]
        "the PCK certificate begins to be valid tomorrow",
        |plan| plan.pck.validity.from = plan.options.at.saturating_add(DAY);
    CaExpired "ca-expired" "D2" ["expired" "collateral-expired"] [At] "the PCK authority is past its date",
        |plan| plan.ca.validity = plan.past();
    RootExpired "root-expired" "D2" ["expired"] [At] "the root is past its date",
        |plan| plan.root.validity = plan.past();
    TcbSignerExpired "tcb-signer-expired" "D2" ["expired" "collateral-expired"] [At Collateral]
        "the certificate that the collateral is signed with is past its date",
        |plan| plan.tcb_signer.validity = plan.past();
    PckRevoked "pck-revoked" "D2" ["revoked"] [Collateral]
        "the authority's revocation list names the PCK certificate",
        |plan| plan.pck_crl.revoked = vec![PCK_SERIAL];
    CaRevoked "ca-revoked" "D2" ["revoked"] [Collateral]
        "the root's revocation list names the PCK authority",
        |plan| plan.root_crl.revoked = vec![CA_SERIAL];
    TcbSignerRevoked "tcb-signer-revoked" "D2" ["revoked"] [Collateral]
        "the root's revocation list names the signer of the collateral",
        |plan| plan.root_crl.revoked = vec![TCB_SERIAL];
    PckCrlForged "pck-crl-forged" "D2" ["collateral-signature" "revoked"] [Collateral]
        "the authority's revocation list is signed by another key",
        |plan| plan.pck_crl.signed_by = STRANGER;
    RootCrlForged "root-crl-forged" "D2" ["collateral-signature" "revoked"] [Collateral]
        "the root's revocation list is signed by another key",
        |plan| plan.root_crl.signed_by = STRANGER;
    PckCrlExpired "pck-crl-expired" "D2" ["collateral-expired"] [Collateral At]
        "the authority's revocation list is past its next update",
        |plan| plan.pck_crl.validity = plan.past();
    RootCrlExpired "root-crl-expired" "D2" ["collateral-expired"] [Collateral At]
        "the root's revocation list is past its next update",
        |plan| plan.root_crl.validity = plan.past();
    PckCrlScoped "pck-crl-scoped" "D2" [] [Collateral]
        "the authority's revocation list is of end entities alone, and does not say so critically",
        |plan| plan.pck_crl.scoped = true;
    RootCrlScoped "root-crl-scoped" "D2" [] [Collateral]
        "the root's revocation list is of end entities alone, and does not say so critically",
        |plan| plan.root_crl.scoped = true;

    // collateral
    CollateralMissing "collateral-missing" "D2" ["collateral-missing"] [Collateral]
        "there is no collateral",
        |plan| plan.with_collateral = false;
    TcbInfoExpired "tcb-info-expired" "D6" ["collateral-expired"] [Collateral At]
        "the TCB information is past its next update",
        |plan| plan.tcb_info_dates = plan.past();
    TcbInfoFromFuture "tcb-info-from-future" "D17" ["collateral-expired"] [Collateral At]
        "the TCB information is of tomorrow",
        |plan| plan.tcb_info_dates.from = plan.options.at.saturating_add(DAY);
    TcbInfoOtherKey "tcb-info-other-key" "D17" ["collateral-signature"] [Collateral]
        "another key signed the TCB information",
        |plan| plan.tcb_info_key = STRANGER;
    TcbInfoChanged "tcb-info-changed" "D17" ["collateral-signature"] [Collateral]
        "a level of the TCB information is changed after it was signed",
        |plan| plan.tcb_info_edit = Some(("\"pcesvn\":13", "\"pcesvn\":12"));
    TcbInfoDuplicateKey "tcb-info-duplicate-key" "D7" [] [Collateral]
        "the signed TCB information names its platform family twice",
        |plan| {
            plan.tcb_info_edit = Some(("\"pceId\"", "\"fmspc\":\"00A06D080000\",\"pceId\""));
            plan.tcb_info_edit_signed = true;
        };
    TcbInfoSgx "tcb-info-sgx" "D17" ["fmspc" "collateral-signature"] [Collateral]
        "the TCB information is for SGX, not for TDX",
        |plan| plan.tcb_info.id = "SGX";
    TcbInfoFmspc "tcb-info-fmspc" "D6" ["fmspc"] [Collateral]
        "the TCB information is of another platform family than the certificate",
        |plan| plan.tcb_info.fmspc = "00A06D080000".to_owned();
    TcbInfoPceId "tcb-info-pce-id" "D6" ["fmspc"] [Collateral]
        "the TCB information is of another provisioning enclave than the certificate",
        |plan| plan.tcb_info.pce_id = "0001".to_owned();
    PckFmspc "pck-fmspc" "D6" ["fmspc"] [Collateral]
        "the PCK certificate is of another platform family than the collateral",
        |plan| plan.platform.fmspc = [0, 0xa0, 0x6d, 8, 0, 0];
    EvaluationNumber "evaluation-number" "D17" ["tcb"] [Collateral Policy]
        "the TCB information is of an older evaluation than one already seen",
        |plan| plan.tcb_info.tcb_evaluation_data_number -= 1;
    PlatformNotListed "platform-not-listed" "D5" ["where"] [Policy]
        "the platform is not on the list",
        |plan| plan.policy.platform = [0x77; 16];
    QeIdentityExpired "qe-identity-expired" "D6" ["collateral-expired"] [Collateral At]
        "the quoting enclave's identity is past its next update",
        |plan| plan.qe_identity_dates = plan.past();
    QeIdentityOtherKey "qe-identity-other-key" "D17" ["collateral-signature"] [Collateral]
        "another key signed the quoting enclave's identity",
        |plan| plan.qe_identity_key = STRANGER;
    QeIdentitySgx "qe-identity-sgx" "D17" ["qe-identity"] [Collateral]
        "the identity is of the quoting enclave for SGX",
        |plan| plan.qe_identity.id = "QE";

    // TCB status
    StatusOutOfDate "tcb-out-of-date" "D6" ["tcb-status"] [Collateral]
        "the platform's level is out of date",
        |plan| status(plan, OUT_OF_DATE);
    StatusRevoked "tcb-revoked" "D6" ["tcb-status"] [Collateral]
        "the platform's level is revoked",
        |plan| status(plan, "Revoked");
    StatusConfiguration "tcb-configuration-needed" "D6" ["tcb-status"] [Collateral]
        "the platform needs configuration",
        |plan| status(plan, "ConfigurationNeeded");
    StatusHardening "tcb-hardening-needed" "D6" ["tcb-status"] [Collateral]
        "software must work around what the platform lacks",
        |plan| status(plan, "SWHardeningNeeded");
    StatusOutOfDateConfiguration "tcb-out-of-date-configuration" "D6" ["tcb-status"] [Collateral]
        "the platform's level is out of date and needs configuration",
        |plan| status(plan, "OutOfDateConfigurationNeeded");
    TcbLevelLower "tcb-level-lower" "D6" ["tcb-status"] [Collateral]
        "the certificate's components reach an older level only",
        |plan| plan.platform.components.iter_mut().take(1).for_each(|svn| *svn -= 1);
    TcbLevelNone "tcb-level-none" "D6" ["tcb-status" "tcb"] [Collateral]
        "the platform reaches no level of the TCB information",
        |plan| plan.platform.components = [0; 16];
    TcbTdxComponent "tcb-tdx-component" "D6" ["tcb-status" "tcb"] [Collateral]
        "a TDX component of the quote reaches no level",
        |plan| plan.quote.body.tee_tcb_svn.iter_mut().skip(2).take(1).for_each(|svn| *svn = 0);
    ModuleOutOfDate "module-out-of-date" "D6" ["tcb-status"] [Collateral]
        "the TDX module is of an older version",
        |plan| plan.quote.body.tee_tcb_svn.iter_mut().take(1).for_each(|svn| *svn -= 2);
    ModuleUnknown "module-unknown" "D6" ["tcb-status" "mrseam" "tcb"] [Collateral]
        "the TDX module's major version is not in the TCB information",
        |plan| plan.quote.body.tee_tcb_svn.iter_mut().skip(1).take(1).for_each(|svn| *svn = 9);

    // quoting enclave
    QeSigner "qe-signer" "D6" ["qe-identity"] [Collateral]
        "somebody else than Intel signed the quoting enclave",
        |plan| plan.quote.qe.mr_signer = [0x52; 32];
    QeProduct "qe-product" "D6" ["qe-identity"] [Collateral]
        "the enclave is another product of the signer",
        |plan| plan.quote.qe.isv_prod_id = U16::new(1);
    QeDebug "qe-debug" "D6" ["qe-identity"] [Collateral] "the quoting enclave is debuggable",
        |plan| plan.quote.qe.attributes.iter_mut().take(1).for_each(|byte| *byte |= 2);
    QeMiscSelect "qe-misc-select" "D6" ["qe-identity"] [Collateral]
        "MISCSELECT of the quoting enclave is another",
        |plan| plan.quote.qe.misc_select = U32::new(1);
    QeOutOfDate "qe-out-of-date" "D6" ["qe-identity" "tcb-status"] [Collateral]
        "the quoting enclave is out of date",
        |plan| plan.quote.qe.isv_svn = U16::new(QE_SVN - 1);
    QeNoLevel "qe-no-level" "D6" ["qe-identity" "tcb-status"] [Collateral]
        "the quoting enclave is older than every level",
        |plan| plan.quote.qe.isv_svn = U16::new(0);
    QeBindingOtherKey "qe-binding-other-key" "D6" ["qe-binding"] []
        "the quoting enclave vouches for another attestation key",
        |plan| plan.quote.binding = Binding::OtherKey;
    QeBindingAuthData "qe-binding-auth-data" "D6" ["qe-binding"] []
        "the quoting enclave does not vouch for the authentication data",
        |plan| plan.quote.binding = Binding::KeyAlone;
    QeBindingTail "qe-binding-tail" "D6" ["qe-binding"] []
        "something stands behind the digest that the quoting enclave vouches for",
        |plan| plan.quote.binding = Binding::Tail;
    QeOtherKey "qe-other-key" "D2" ["signature" "qe-binding"] []
        "another key than the PCK's signed the quoting enclave's report",
        |plan| plan.quote.qe_signed_by = STRANGER;

    // signature
    QuoteOtherKey "quote-other-key" "D2" ["signature"] []
        "another key signed the quote than the one it names",
        |plan| plan.quote.signed_by = STRANGER;
    QuoteSignatureFlipped "quote-signature-flipped" "D1" ["signature"] []
        "a bit of the quote's signature is flipped",
        |plan| plan.quote.edits.push(Edit::FlipSignature);
    QuoteSignatureRZero "quote-signature-r-zero" "D1" ["signature"] [] "r is zero",
        |plan| plan.quote.edits.push(Edit::ZeroSignature(0));
    QuoteSignatureSZero "quote-signature-s-zero" "D1" ["signature"] [] "s is zero",
        |plan| plan.quote.edits.push(Edit::ZeroSignature(32));
    QuoteHeaderFlipped "quote-header-flipped" "D1" ["signature"] []
        "a bit of the header's user data is flipped after signing",
        |plan| plan.quote.edits.push(Edit::Flip(28));

    // TD
    Debug "debug" "D6" ["debug"] [] "the host may debug the TD", |plan| attribute(plan, 0);
    Profiling "profiling" "D6" ["debug" "attributes"] []
        "a bit beside DEBUG that makes the TD untrusted is set",
        |plan| attribute(plan, 4);
    Perfmon "perfmon" "D6" ["attributes"] [Policy] "the TD uses performance counters",
        |plan| attribute(plan, 63);
    SeptVe "sept-ve" "D6" ["attributes"] [] "the host can raise #VE by taking pages away",
        |plan| plan.quote.body.attributes = U64::new(plan.quote.body.attributes.get() & !(1 << 28));
    Migratable "migratable" "D6" ["attributes" "migration"] [] "the TD can be migrated",
        |plan| attribute(plan, 29);
    AttributeUnknown "attribute-unknown" "D6" ["attributes" "reserved"] []
        "an attribute without a meaning is set",
        |plan| attribute(plan, 40);
    XfamExtra "xfam-extra" "D6" ["xfam"] [Policy]
        "the TD may use more processor state than demanded",
        |plan| plan.quote.body.xfam = U64::new(plan.quote.body.xfam.get() | 1 << 15);
    XfamUnknown "xfam-unknown" "D6" ["xfam"] []
        "the TD may use processor state that no TD has",
        |plan| plan.quote.body.xfam = U64::new(plan.quote.body.xfam.get() | 1 << 30);
    MrSeam "mr-seam" "D6" ["mrseam"] [Policy] "the TDX module is no known one",
        |plan| plan.quote.body.mr_seam = [0x5f; 48];
    MrSignerSeam "mr-signer-seam" "D6" ["mrseam"] [Collateral]
        "somebody else than Intel signed the TDX module",
        |plan| plan.quote.body.mr_signer_seam = [1; 48];
    SeamAttributes "seam-attributes" "D6" ["seam-attributes"] []
        "the TDX module has an attribute: it is for debugging",
        |plan| plan.quote.body.seam_attributes = U64::new(1);
    MrConfigIdZero "mr-config-id-zero" "D6" ["host-data"] [HostData]
        "MRCONFIGID is zero: no initdata is bound",
        |plan| plan.quote.body.mr_config_id = [0; 48];
    MrConfigId "mr-config-id" "D15" ["host-data"] [HostData] "MRCONFIGID is of other initdata",
        |plan| plan.quote.body.mr_config_id = [0x41; 48];
    MrOwner "mr-owner" "D6" ["mr-owner"] [Policy] "MROWNER is set",
        |plan| plan.quote.body.mr_owner = [1; 48];
    MrOwnerConfig "mr-owner-config" "D6" ["mr-owner"] [Policy] "MROWNERCONFIG is set",
        |plan| plan.quote.body.mr_owner_config = [1; 48];
    ServiceTd "service-td" "D6" ["service-td"] [] "a service TD is bound",
        @from |options| options.form = Form::V5Td15,
        |plan| plan.quote.body.mr_service_td = [1; 48];
    ReportData "report-data" "D8" ["report-data"] [ReportData]
        "REPORTDATA is of another session",
        |plan| plan.quote.body.report_data = [0xdb; 64];
    Measurement "measurement" "D14" ["measurement"] [Measurement] "MRTD is of another image",
        |plan| plan.quote.body.mr_td = [0x3f; 48];

    // registers and log
    Rtmr0 "rtmr0" "D6" ["rtmr"] [EventLog] "RTMR0 is not what the log replays to",
        |plan| register(plan, 0);
    Rtmr1 "rtmr1" "D6" ["rtmr"] [EventLog] "RTMR1 is not what the log replays to",
        |plan| register(plan, 1);
    Rtmr2 "rtmr2" "D6" ["rtmr"] [EventLog] "RTMR2 is not what the log replays to",
        |plan| register(plan, 2);
    Rtmr3 "rtmr3" "D20" ["rtmr"] [EventLog]
        "RTMR3 was extended, and the log has no event for it",
        |plan| register(plan, 3);
    RtmrReference "rtmr-reference" "D6" ["rtmr"] [Policy]
        "registers and log agree, but are not of the expected boot",
        |plan| plan.policy.rtmrs = [[0x77; 48]; 4];
    LogMissing "event-log-missing" "D20" ["event-log"] [EventLog Policy]
        "there is no event log, and the policy demands one",
        |plan| plan.with_log = false;
    LogReordered "event-log-reordered" "D20" ["rtmr"] [EventLog]
        "two events of the log stand in the other order",
        |plan| plan.log.events.swap(2, 3);
    LogText "event-log-text" "D20" ["event-log"] [EventLog]
        "the text of an event is changed, its digest is not",
        |plan| {
            let events = plan.log.events.iter_mut().filter(|event| event.kind == EFI_ACTION);
            events.take(1).for_each(|event| event.data = b"Calling something else".to_vec());
        };
    LogDigest "event-log-digest" "D20" ["rtmr" "event-log"] [EventLog]
        "text and digest of an event are changed",
        |plan| {
            let events = plan.log.events.iter_mut().filter(|event| event.kind == EFI_ACTION);
            events.take(1).for_each(|event| {
                *event = Event::of_text(event.register, EFI_ACTION, b"Calling something else");
            });
        };
    LogExtra "event-log-extra" "D20" ["rtmr"] [EventLog] "the log has an event too many",
        |plan| plan.log.events.push(Event::of_text(4, EFI_ACTION, b"extra"));
    LogShort "event-log-short" "D20" ["rtmr"] [EventLog] "the log lacks its last event",
        |plan| { plan.log.events.pop(); };
    LogCount "event-log-count" "D20" ["event-log"] [EventLog]
        "an event claims more digests than there are",
        |plan| plan.log.events.iter_mut().take(1).for_each(|event| event.count = 2);
    LogTrailing "event-log-trailing" "D7" ["event-log"] [EventLog]
        "an event is hidden behind the end of the log",
        |plan| plan.log.rest.extend(b"hidden");

    // form
    VersionUnknown "version-unknown" "D4" [] [] "the quote has a version that does not exist yet",
        |plan| plan.quote.header.version = U16::new(6);
    Version3 "version-3" "D4" [] [] "the quote has a version that no TD's quote has",
        |plan| plan.quote.header.version = U16::new(3);
    TeeSgx "tee-sgx" "D4" [] [] "the header says that the quote is of an SGX enclave",
        |plan| plan.quote.header.tee_type = U32::new(0);
    KeyType "key-type" "D4" [] [] "the header names another kind of attestation key",
        |plan| plan.quote.header.key_type = U16::new(3);
    Vendor "vendor" "D4" [] [] "another vendor's quoting enclave made the quote",
        |plan| plan.quote.header.vendor = [1; 16];
    BodyMixV4 "body-mix-v4" "D6" [] [] "a quote of version 4 has the body of TDX 1.5",
        @from |options| options.form = Form::V4,
        |plan| plan.quote.len = TD15_LEN;
    BodyMixV5Short "body-mix-v5-short" "D6" [] []
        "a quote of version 5 claims the body of TDX 1.5 and has that of TDX 1.0",
        @from |options| options.form = Form::V5Td15,
        |plan| plan.quote.len = TD10_LEN;
    BodyMixV5Type "body-mix-v5-type" "D6" [] []
        "a quote of version 5 names the type of TDX 1.0 with the size of TDX 1.5",
        @from |options| options.form = Form::V5Td15,
        |plan| plan.quote.kind = Some((2, TD15_LEN));
    BodyUnknown "body-unknown" "D6" [] [] "a quote of version 5 has an unknown type of body",
        @from |options| options.form = Form::V5Td15,
        |plan| plan.quote.kind = Some((7, TD15_LEN));
    TrailingByte "trailing-byte" "D7" [] [] "a byte that is not zero follows the quote",
        |plan| plan.quote.edits.push(Edit::Append(1));
    Truncated "truncated" "D7" [] [] "the quote lacks its last byte",
        |plan| plan.quote.edits.push(Edit::Truncate);
    LengthSignature "length-signature" "D7" [] []
        "the signature data claims to be longer than what follows",
        |plan| plan.quote.lies.push(Lie::Signature(1));
    LengthSignatureShort "length-signature-short" "D7" [] []
        "the signature data claims to be shorter than what it holds",
        |plan| plan.quote.lies.push(Lie::Signature(-8));
    LengthCertification "length-certification" "D7" [] []
        "the certification data reaches beyond the signature data",
        |plan| plan.quote.lies.push(Lie::Certification(64));
    LengthCertificationShort "length-certification-short" "D7" [] []
        "the certification data claims to be shorter than what it holds",
        |plan| plan.quote.lies.push(Lie::Certification(-4));
    LengthAuth "length-auth" "D7" ["qe-binding"] []
        "the authentication data claims to be longer than it is",
        |plan| plan.quote.lies.push(Lie::Auth(4096));
    LengthChain "length-chain" "D7" [] []
        "the certificate chain reaches beyond the certification data",
        |plan| plan.quote.lies.push(Lie::Chain(16));
    ChainType "chain-type" "D7" [] [] "the certificate chain has an unknown type",
        |plan| plan.quote.lies.push(Lie::ChainType(1));
    CertificationType "certification-type" "D7" [] []
        "the quoting enclave's report is labelled a certificate chain",
        |plan| plan.quote.lies.push(Lie::CertificationType(5));
}

/// The level that the platform reaches has this status.
fn status(plan: &mut Plan, status: &'static str) {
    plan.tcb_info.tcb_levels.iter_mut().take(1).for_each(|level| level.tcb_status = status);
}

fn attribute(plan: &mut Plan, bit: u32) {
    plan.quote.body.attributes = U64::new(plan.quote.body.attributes.get() | 1 << bit);
}

fn register(plan: &mut Plan, index: usize) {
    let registers = plan.quote.body.rtmrs.iter_mut().skip(index);
    registers.take(1).flatten().take(1).for_each(|byte| *byte ^= 1);
}
