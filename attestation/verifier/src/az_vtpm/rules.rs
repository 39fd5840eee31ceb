// SPDX-License-Identifier: Apache-2.0
//! Every rule for a TPM's quote beside a report of the hardware.

use crate::Code;
use crate::Dimension;
use crate::Rule;

pub(super) const AK_BINDING: Rule = Rule {
    claim: "tpm.ak-binding",
    code: Code::AkBinding,
    text: "the hardware's report binds the paravisor's data, and with it the attestation key",
    affects: Dimension::InstanceIdentity,
};
pub(super) const SIGNATURE: Rule = Rule {
    claim: "tpm.signature",
    code: Code::Signature,
    text: "the attestation key signed the quote",
    affects: Dimension::InstanceIdentity,
};
pub(super) const NONCE: Rule = Rule {
    claim: "tpm.nonce",
    code: Code::Nonce,
    text: "the quote is over this nonce",
    affects: Dimension::InstanceIdentity,
};
pub(super) const USER_DATA: Rule = Rule {
    claim: "tpm.user-data",
    code: Code::Nonce,
    text: "the paravisor's data is over this nonce",
    affects: Dimension::InstanceIdentity,
};
pub(super) const SELECTION: Rule = Rule {
    claim: "tpm.pcr-selection",
    code: Code::Pcr,
    text: "the quote speaks of every register that is looked at",
    affects: Dimension::Executables,
};
pub(super) const DIGEST: Rule = Rule {
    claim: "tpm.pcr-digest",
    code: Code::Pcr,
    text: "the values of the quoted registers give the digest that was quoted",
    affects: Dimension::Executables,
};
pub(super) const PCR: Rule = Rule {
    claim: "tpm.pcr",
    code: Code::Pcr,
    text: "the register has an accepted value",
    affects: Dimension::Executables,
};
pub(super) const SYSTEM: Rule = Rule {
    claim: "tpm.system",
    code: Code::Measurement,
    text: "registers 4, and 9 or 11, which hold the customer's system, have references other than zero",
    affects: Dimension::Executables,
};
pub(super) const INIT_DATA: Rule = Rule {
    claim: "tpm.init-data",
    code: Code::HostData,
    text: "register 8 was extended with the digest of the initdata and nothing else",
    affects: Dimension::Configuration,
};
