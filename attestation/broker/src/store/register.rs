// SPDX-License-Identifier: Apache-2.0
//! What reference values of TDs are for.

/// What of a TD a reference value is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TdRegister {
    /// MRTD: what was there at the TD's launch.
    MrTd,
    /// RTMR0, of the firmware and its settings.
    Rtmr0,
    /// RTMR1, of what the firmware started.
    Rtmr1,
    /// RTMR2, of what that started.
    Rtmr2,
    /// RTMR3, of the running system.
    Rtmr3,
}

impl TdRegister {
    /// MRTD, then RTMR0 to RTMR3.
    pub const ALL: [Self; 5] = [Self::MrTd, Self::Rtmr0, Self::Rtmr1, Self::Rtmr2, Self::Rtmr3];

    /// The name of its set of reference values, as rules refer to it.
    #[must_use]
    pub const fn set(self) -> &'static str {
        match self {
            Self::MrTd => casemate_verifier::TDX_MRTD,
            Self::Rtmr0 => "tdx_rtmr0",
            Self::Rtmr1 => "tdx_rtmr1",
            Self::Rtmr2 => "tdx_rtmr2",
            Self::Rtmr3 => "tdx_rtmr3",
        }
    }
}
