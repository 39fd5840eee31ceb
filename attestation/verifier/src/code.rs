// SPDX-License-Identifier: Apache-2.0
//! Stable codes of the reasons for which evidence is refused.

use std::fmt;

use serde::Serialize;
use serde::Serializer;

/// Declares [`Code`] and, for each variant, its text and the next step for the reader.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal, next: $next:literal;)+) => {
        /// Why evidence is refused: stable, for scripts and for `docs/errors.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// Every code, in the order of `docs/errors.md`.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code as text, for example `host-data`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// What the reader can do next, one sentence without a full stop.
            #[must_use]
            pub const fn next_step(self) -> &'static str {
                match self { $(Self::$variant => $next,)+ }
            }
        }
    };
}

codes! {
    /// The certificates do not end in a configured root.
    Root = "root", next: "add the certificates between signer and root to the evidence, or configure the root if it is yours to trust";
    /// A certificate is missing, malformed or of the wrong kind.
    Certificate = "certificate", next: "fetch the certificate that belongs to this chip and TCB and try again";
    /// A certificate is not valid at the time of the verification.
    Expired = "expired", next: "check the clock; if it is right, fetch new certificates from the vendor";
    /// A revocation list names a certificate, or is itself not usable, for example of some
    /// certificates only.
    Revoked = "revoked", next: "fetch the newest list of the vendor; if it still names the certificate, do not use the platform";
    /// The key that the report names is of another kind than the certificate.
    KeyInfo = "key-info", next: "send the certificate of the key that signed: a VCEK or a VLEK";
    /// Root, certificate and CPU are not of one known and accepted product line.
    Product = "product", next: "run on another product line, or allow this one by name if you accept its known weakness";
    /// The certificate belongs to another chip.
    Hwid = "hwid", next: "fetch the certificate of the chip that made the report";
    /// A key is leased to a provider that is not accepted.
    Provider = "provider", next: "accept the provider's name in the policy if its leased keys are to be trusted";
    /// A signature does not verify.
    Signature = "signature", next: "ask for a new report; if it fails again, treat the host as hostile or broken";
    /// The certificate, report or collateral is of another TCB, below the floor, or of firmware that
    /// is older than what the platform is committed to.
    Tcb = "tcb", next: "have the platform's firmware updated and committed, then attest again";
    /// The report was asked for at another privilege level.
    Vmpl = "vmpl", next: "ask for the report at the level that the policy names";
    /// The host may debug the guest.
    Debug = "debug", next: "launch the guest with a policy that forbids debugging";
    /// A migration agent may hold the guest's keys.
    Migration = "migration", next: "launch the guest with a policy that forbids migration";
    /// Multithreading is allowed or on.
    Smt = "smt", next: "launch the guest with a policy that forbids multithreading, on a host that has it off";
    /// The guest demands too old a firmware interface.
    Abi = "abi", next: "launch the guest with a policy that demands the newer firmware interface";
    /// The guest may run on several sockets.
    SingleSocket = "single-socket", next: "launch the guest with a policy that demands a single socket";
    /// Another bit of the guest's policy is not as demanded.
    GuestPolicy = "guest-policy", next: "launch the guest with the policy bits that the rule names";
    /// The guest's security version is below the floor.
    Svn = "svn", next: "launch a newer image whose identity block carries the higher version";
    /// A bit of the platform's features is unknown or not as demanded.
    PlatformInfo = "platform-info", next: "have the platform configured as the rule says, or change the policy";
    /// The platform has not checked for aliased memory.
    AliasCheck = "alias-check", next: "have the platform's firmware updated to one that checks memory for aliases at boot";
    /// The platform does not hide the ciphertext of guests' memory.
    CiphertextHiding = "ciphertext-hiding", next: "have ciphertext hiding enabled in the platform's firmware setup";
    /// A mitigation is not in place.
    Mitigation = "mitigation", next: "have the platform's firmware updated, and launch the guest anew";
    /// A bit of the report, or a level of the signer's certificate, has a value that this version
    /// does not know.
    Reserved = "reserved", next: "use a newer verifier that knows the field; if there is none, treat the evidence as forged";
    /// The identity block is missing or names another image or key.
    IdBlock = "id-block", next: "launch the guest with the identity block that the policy names";
    /// The chip is not on the list.
    Chip = "chip", next: "run on a chip of the list, or add this one if it stands where you want it";
    /// The policy does not say where the guest may run.
    Where = "where", next: "name chips, providers or platforms in the policy, or `any-genuine-chip`";
    /// HOST_DATA, MRCONFIGID or, behind a vTPM, register 8 is not the expected one.
    HostData = "host-data", next: "compare the initdata that the guest was launched with; if it is right, treat the host as hostile";
    /// REPORT_DATA is not the expected one.
    ReportData = "report-data", next: "ask for a report over the value of this session";
    /// The launch digest, or MRTD, is no reference value.
    Measurement = "measurement", next: "compare the image that runs with the one whose value is expected; update the reference values if it is new";
    /// The quoting enclave is not Intel's, or out of date.
    QeIdentity = "qe-identity", next: "have the platform's quoting enclave updated";
    /// The quoting enclave did not vouch for the attestation key.
    QeBinding = "qe-binding", next: "ask for a new quote; if it fails again, treat the host as hostile or broken";
    /// The platform's TCB status is not accepted.
    TcbStatus = "tcb-status", next: "have the platform updated as the advisories say, or accept the status in the policy";
    /// The certificate is of another platform family than the collateral.
    Fmspc = "fmspc", next: "fetch the collateral of the platform family that the certificate names";
    /// An attribute of the TD is not as demanded.
    Attributes = "attributes", next: "launch the TD with the attributes that the rule names";
    /// The TD has other CPU features than demanded.
    Xfam = "xfam", next: "launch the TD with the CPU features that the policy names";
    /// The TDX module is not a known one.
    Mrseam = "mrseam", next: "have the platform's TDX module updated";
    /// The TDX module's attributes are not zero.
    SeamAttributes = "seam-attributes", next: "run on a platform with a production TDX module";
    /// The owner of the TD is not the expected one.
    MrOwner = "mr-owner", next: "launch the TD with the owner's value that the policy names";
    /// A service TD is bound.
    ServiceTd = "service-td", next: "launch the TD without a service TD, or name its value in the policy";
    /// A runtime register is not what the log replays to, or not expected.
    Rtmr = "rtmr", next: "take quote and event log at one moment, and compare what the guest booted";
    /// The event log is malformed or contradicts its digests.
    EventLog = "event-log", next: "read the event log anew; if it fails again, treat its text as invented";
    /// Collateral is missing.
    CollateralMissing = "collateral-missing", next: "fetch the collateral of this platform and pass it along";
    /// Collateral is past its date, or from the future.
    CollateralExpired = "collateral-expired", next: "fetch new collateral; check the clock";
    /// Collateral is not signed by its vendor.
    CollateralSignature = "collateral-signature", next: "fetch the collateral again; if it fails again, do not use that source";
    /// The TPM's attestation key is not the one that the hardware vouches for.
    AkBinding = "ak-binding", next: "take TPM quote and hardware report from one VM";
    /// A platform configuration register is not quoted, or not as expected.
    Pcr = "pcr", next: "quote the registers that the policy names, and compare what the guest booted";
    /// The TPM quote is over another nonce.
    Nonce = "nonce", next: "ask for a quote over the value of this session";
    /// A policy in Rego, which the owner asks beside the verifier's rules, does not affirm the guest.
    Rego = "rego", next: "compare the claims with what the owner's Rego policy demands, and its reference values with what runs";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_plain_and_distinct_and_say_what_to_do() {
        let texts: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        for code in Code::ALL {
            let plain = |b: u8| b.is_ascii_lowercase() || b == b'-';
            assert!(code.as_str().bytes().all(plain), "{code}");
            assert!(code.next_step().len() > 20 && !code.next_step().ends_with('.'), "{code}");
        }
    }
}
