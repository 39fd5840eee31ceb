// SPDX-License-Identifier: Apache-2.0
//! The faults of TPM and paravisor, the same on both kinds of hardware. Everything beside the named
//! thing is right.

use super::hcl::{AK, KIND_SNP, KIND_TDX, KeySource, Lie};
use super::plan::{Plan, user_data};
use super::tpm::{
    ATTEST_CERTIFY, BANK_SHA1, BANK_SHA256, BOOT, CLOCK, INIT_DATA, KERNEL, extended,
};
use super::{Options, Version};
use crate::keys::Authority;
use crate::mint::fault::faults;

faults! {
    /// A fault of TPM or paravisor.
    VtpmFault: Options, Plan;

    // what the hardware binds
    AkReplaced "ak-replaced" "D9" ["ak-binding"] []
        "the paravisor's data name another attestation key, which signed the quote, than the hardware binds",
        |plan| {
            plan.bound = Some(plan.hcl.clone());
            plan.tpm.signed_by = Authority::Asvk;
            attestation_key(plan, KeySource::Signs(Authority::Asvk));
        };
    HclDataChanged "hcl-data-changed" "D1" ["ak-binding"] []
        "the paravisor's data say of the VM what the hardware does not bind",
        |plan| {
            plan.bound = Some(plan.hcl.clone());
            plan.hcl.secure_boot = false;
        };
    AkBindingTail "ak-binding-tail" "D2" ["ak-binding"] []
        "something stands behind the hash of the paravisor's data, where zeros belong",
        |plan| plan.behind_hash = 1;

    // signature
    TpmOtherKey "tpm-other-key" "D9" ["signature"] []
        "another key signed the quote than the one that the hardware binds",
        |plan| plan.tpm.signed_by = Authority::Asvk;
    TpmSignatureFlipped "tpm-signature-flipped" "D1" ["signature"] []
        "a bit of the quote's signature is flipped",
        |plan| plan.tpm.flip_signature = true;
    TpmMessageFlipped "tpm-message-flipped" "D1" ["signature"] []
        "a bit of the clock in the quote is flipped after signing",
        |plan| {
            let offset = CLOCK.saturating_add(plan.tpm.nonce.len());
            plan.tpm.flips.push(offset);
        };

    // nonce
    NonceOther "nonce-other" "D8" ["nonce"] [ReportData] "the quote is over another nonce",
        |plan| plan.tpm.nonce.iter_mut().for_each(|byte| *byte ^= 1);
    NonceLast "nonce-last-byte" "D8" ["nonce"] [ReportData]
        "only the last byte of the quote's nonce differs",
        |plan| plan.tpm.nonce.iter_mut().rev().take(1).for_each(|byte| *byte ^= 1);
    NonceEmpty "nonce-empty" "D8" ["nonce"] [ReportData] "the quote is over no nonce",
        |plan| plan.tpm.nonce.clear();
    NoncePrefix "nonce-prefix" "D8" ["nonce"] [ReportData]
        "the quote is over the beginning of the nonce",
        |plan| { plan.tpm.nonce.pop(); };
    NonceTail "nonce-tail" "D8" ["nonce"] [ReportData]
        "the quote is over the nonce and something behind it",
        |plan| plan.tpm.nonce.push(0);
    UserDataOther "user-data-other" "D8" ["nonce"] [ReportData]
        "the hardware's report is of another session: the paravisor's data hold another nonce",
        @from |options| options.version = Version::V2,
        |plan| plan.hcl.user_data = Some(user_data(&[0xdb; 48]));
    UserDataTail "user-data-tail" "D8" ["nonce"] [ReportData]
        "something stands behind the nonce in the paravisor's data, where zeros belong",
        @from |options| options.version = Version::V2,
        |plan| plan.hcl.user_data = Some(user_data(&[plan.options.nonce.as_slice(), &[1]].concat()));
    UserDataEmpty "user-data-empty" "D8" ["nonce"] [ReportData]
        "the paravisor's data hold zeros in place of the nonce",
        @from |options| options.version = Version::V2,
        |plan| plan.hcl.user_data = Some(user_data(&[]));
    UserDataMissing "user-data-missing" "D8" ["nonce"] [ReportData]
        "the paravisor's data hold no nonce, and the version of the evidence says that they do",
        @from |options| options.version = Version::V2,
        |plan| plan.hcl.user_data = None;

    // registers
    SelectionBoot "pcr-boot-not-selected" "D6" ["pcr"] [Pcrs]
        "the quote does not speak of register 4, whose value beside it is as it should be",
        |plan| plan.tpm.selected &= !(1 << BOOT);
    SelectionKernel "pcr-kernel-not-selected" "D6" ["pcr"] [Pcrs]
        "the quote does not speak of register 9, whose value beside it is as it should be",
        |plan| plan.tpm.selected &= !(1 << KERNEL);
    SelectionInitData "pcr-init-data-not-selected" "D6" ["pcr" "host-data"] [HostData]
        "the quote does not speak of register 8, whose value beside it is as it should be",
        |plan| plan.tpm.selected &= !(1 << INIT_DATA);
    SelectionNone "pcr-none-selected" "D6" ["pcr" "host-data"] []
        "the quote speaks of no register, whatever values stand beside it",
        |plan| plan.tpm.selected = 0;
    PcrBootShown "pcr-boot-shown" "D1" ["pcr"] []
        "the quote is of other boot programs, and the right value of register 4 stands beside it",
        |plan| {
            // What is shown differs from what is quoted in the bit that is changed here.
            plan.tpm.measure(BOOT, changed(plan.options.boot));
            plan.tpm.shown = Some(BOOT);
        };
    PcrShown "pcr-shown" "D1" ["pcr"] []
        "the value of a register beside the quote, which nobody looks at, is not the one that was quoted",
        |plan| plan.tpm.shown = Some(23);
    PcrOrder "pcr-order" "D1" ["pcr"] []
        "the quoted digest is of the same registers in another order",
        |plan| plan.tpm.reversed = true;
    PcrBoot "pcr-boot" "D14" ["pcr"] [Pcrs] "register 4 is of other boot programs",
        |plan| plan.tpm.measure(BOOT, [0x77; 32]);
    PcrKernel "pcr-kernel" "D14" ["pcr"] [Pcrs] "register 9 is of another kernel",
        |plan| plan.tpm.measure(KERNEL, [0x77; 32]);
    PcrZero "pcr-zero" "D14" ["pcr"] [Pcrs]
        "nothing was measured into register 4",
        |plan| plan.tpm.measure(BOOT, [0; 32]);
    InitDataOther "init-data-other" "D15" ["host-data"] [HostData]
        "register 8 was extended with the digest of other initdata",
        |plan| plan.tpm.measure(INIT_DATA, extended([0; 32], &[0x41; 32]));
    InitDataTwice "init-data-twice" "D15" ["host-data"] [HostData]
        "register 8 was extended with the digest of the initdata, and with something after it",
        |plan| {
            let first = extended([0; 32], &plan.options.init_data);
            plan.tpm.measure(INIT_DATA, extended(first, &[0x41; 32]));
        };
    InitDataBare "init-data-bare" "D15" ["host-data"] [HostData]
        "register 8 holds the digest of the initdata itself, which no extension gives",
        |plan| plan.tpm.measure(INIT_DATA, plan.options.init_data);
    InitDataMissing "init-data-missing" "D15" ["host-data"] [HostData]
        "register 8 was not extended",
        |plan| plan.tpm.measure(INIT_DATA, [0; 32]);

    // form of the paravisor's report
    HclMagic "hcl-magic" "D7" [] [] "the paravisor's report begins with another word",
        |plan| plan.hcl.magic = *b"HCLB";
    HclVersion "hcl-version" "D7" [] [] "the paravisor's report has an unknown version",
        |plan| plan.hcl.version = 9;
    HclRequest "hcl-request" "D7" [] [] "the paravisor's report answers another kind of request",
        |plan| plan.hcl.request = 1;
    HclHardware "hcl-hardware" "D7" [] []
        "the paravisor's report says that it is of the other kind of hardware",
        |plan| plan.hcl.kind = if plan.hcl.kind == KIND_SNP { KIND_TDX } else { KIND_SNP };
    HclHash "hcl-hash" "D7" [] [] "the paravisor's data are bound by another hash than SHA-256",
        |plan| plan.hcl.hash = 2;
    HclSizeUsed "hcl-size-used" "D7" [] [] "the paravisor's report claims to be longer than its parts",
        |plan| plan.hcl.lies.push(Lie::Used(1));
    HclSizeArea "hcl-size-area" "D7" [] [] "the area of the data claims to be shorter than the data",
        |plan| plan.hcl.lies.push(Lie::Area(-1));
    HclSizeData "hcl-size-data" "D7" [] [] "the data reach beyond the report",
        |plan| plan.hcl.lies.push(Lie::Data(1 << 16));
    HclTrailing "hcl-trailing" "D7" [] [] "something is hidden behind the paravisor's data",
        |plan| plan.hcl.behind = 1;
    HclKeyMissing "hcl-key-missing" "D7" [] [] "the paravisor's data name no attestation key",
        |plan| plan.hcl.keys.retain(|key| key.kid != AK);
    HclKeyTwice "hcl-key-twice" "D7" [] [] "the paravisor's data name two attestation keys",
        |plan| {
            let first = plan.hcl.keys.first().cloned();
            let second = first.map(|key| {
                super::hcl::KeyPlan { key: KeySource::Signs(Authority::Asvk), ..key }
            });
            plan.hcl.keys.extend(second);
        };
    HclKeyType "hcl-key-type" "D7" [] [] "the attestation key is said to be of another kind than RSA",
        |plan| plan.hcl.keys.iter_mut().for_each(|key| key.kty = "EC");
    HclUserDataLong "hcl-user-data-long" "D7" [] []
        "the user data of the paravisor are longer than their field",
        @from |options| options.version = Version::V2,
        |plan| plan.hcl.user_data = Some(user_data(&plan.options.nonce) + "00");

    // form of the quote and the evidence
    TpmMagic "tpm-magic" "D7" [] []
        "the key signed a message that was not made inside the TPM",
        |plan| plan.tpm.magic = [0, b'T', b'C', b'G'];
    TpmKind "tpm-kind" "D7" [] [] "the key signed another message of the TPM than a quote",
        |plan| plan.tpm.kind = ATTEST_CERTIFY;
    TpmBankSha1 "tpm-bank-sha1" "D7" [] [] "the quote is of the registers of SHA-1",
        |plan| plan.tpm.banks = vec![BANK_SHA1];
    TpmBanksTwo "tpm-banks-two" "D7" [] [] "the quote is of two banks of registers",
        |plan| plan.tpm.banks = vec![BANK_SHA256, BANK_SHA1];
    TpmBanksNone "tpm-banks-none" "D7" [] [] "the quote is of no bank of registers",
        |plan| plan.tpm.banks.clear();
    TpmTrailing "tpm-trailing" "D7" [] [] "a byte follows the quote, under its signature",
        |plan| plan.tpm.behind.push(0);
    TpmTruncated "tpm-truncated" "D7" [] [] "the quote ends before its digest does",
        |plan| plan.tpm.cut = Some(CLOCK.saturating_add(plan.tpm.nonce.len()).saturating_add(40));
    PcrsFewer "pcrs-fewer" "D7" [] [] "a register's value is missing beside the quote",
        |plan| plan.tpm.values = 23;
    JsonVersion "json-version" "D7" [] [] "the evidence has a version that does not exist yet",
        @from versioned,
        |plan| plan.edit = Some(("\"version\":2", "\"version\":9"));
    JsonTwice "json-twice" "D7" [] [] "a member of the evidence stands there twice",
        @from versioned,
        |plan| plan.edit = Some(("\"version\":2", "\"version\":2,\"version\":2"));
    JsonUnknown "json-unknown" "D7" [] [] "the evidence has an unknown member",
        @from versioned,
        |plan| plan.edit = Some(("\"version\":2", "\"version\":2,\"verdict\":\"affirming\""));
}

fn attestation_key(plan: &mut Plan, source: KeySource) {
    let keys = plan.hcl.keys.iter_mut().filter(|key| key.kid == AK);
    keys.for_each(|key| key.key = source);
}

/// The newest form.
fn versioned(options: &mut Options) {
    options.version = Version::V2;
}

/// As a value beside a quote is changed.
fn changed(mut value: [u8; 32]) -> [u8; 32] {
    value.iter_mut().take(1).for_each(|byte| *byte ^= 1);
    value
}
