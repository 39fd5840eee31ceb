// SPDX-License-Identifier: Apache-2.0
//! What a fault is.

use serde::Serialize;

/// One fault: everything else about the evidence is right.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Stable name.
    pub name: &'static str,
    /// What is wrong, one sentence.
    pub text: &'static str,
    /// Id in the list of attacks of the threat model.
    pub attack: &'static str,
    /// Reason codes of which a verifier should give one; none: the evidence is unusable.
    pub codes: &'static [&'static str],
    /// What a verifier must be given to be able to find it.
    pub needs: &'static [Need],
}

/// What a verifier must be given, beside evidence, certificates and root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// The time.
    At,
    /// The revocation list.
    Crl,
    /// The expected REPORT_DATA.
    ReportData,
    /// The expected HOST_DATA or MRCONFIGID.
    HostData,
    /// The expected launch digest or MRTD.
    Measurement,
    /// The event log.
    EventLog,
    /// Collateral.
    Collateral,
    /// The expected registers of the TPM, or the policy, which has them.
    Pcrs,
    /// The policy file: without one nobody said that this is not wanted.
    Policy,
}

impl Need {
    /// The placeholder that gives it.
    #[must_use]
    pub const fn placeholder(self) -> &'static str {
        match self {
            Self::At => "at",
            Self::Crl => "crl",
            Self::ReportData => "report_data",
            Self::HostData => "host_data",
            Self::Measurement => "measurement",
            Self::EventLog => "event_log",
            Self::Collateral => "collateral",
            Self::Pcrs => "pcr4",
            Self::Policy => "policy",
        }
    }
}

/// Declares an enum of faults: for each variant its name, attack, codes, needs and text, the
/// change of options that it starts from, if any, and the change of the plan.
macro_rules! faults {
    (
        $(#[$meta:meta])*
        $name:ident: $options:ty, $plan:ty;
        $($variant:ident $fault:literal $attack:literal [$($code:literal)*] [$($need:ident)*]
            $text:literal, $(@from $base:expr,)? $change:expr;)+
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = $text] $variant,)+
        }

        impl $name {
            /// Every fault.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The fault of this name.
            #[must_use]
            pub fn by_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|fault| fault.fault().name == name)
            }

            /// What it is.
            #[must_use]
            pub const fn fault(self) -> &'static $crate::mint::fault::Fault {
                match self {
                    $(Self::$variant => &$crate::mint::fault::Fault {
                        name: $fault,
                        text: $text,
                        attack: $attack,
                        codes: &[$($code),*],
                        needs: &[$($crate::mint::fault::Need::$need),*],
                    },)+
                }
            }

            /// Changes what the plan is made from.
            pub fn change_options(self, options: &mut $options) {
                match self {
                    $(Self::$variant => {
                        $(let change: fn(&mut $options) = $base; change(options);)?
                    })+
                }
                // Most faults start from any options.
                let _ = options;
            }

            /// Puts the fault into a plan.
            pub fn change_plan(self, plan: &mut $plan) {
                let change: fn(&mut $plan) = match self { $(Self::$variant => $change,)+ };
                change(plan);
            }
        }
    };
}

pub(crate) use faults;
