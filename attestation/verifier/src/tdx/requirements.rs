// SPDX-License-Identifier: Apache-2.0
//! What an owner demands of a TD.

use std::collections::BTreeSet;

use casemate_evidence::collateral::TcbStatus;
use casemate_evidence::tdx::TdAttributes;

use crate::Measurement;

/// What this one quote must bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expected {
    /// The field that binds nonce and key. Without it the verdict is never more than unbound.
    pub report_data: Option<[u8; 64]>,
    /// MRCONFIGID: the digest of the initdata that came with the evidence, zero-padded; `None` when
    /// none came.
    pub mr_config_id: Option<[u8; 48]>,
}

/// What the owner demands of any TD. The default has no reference values, demands an up-to-date
/// platform and refuses whatever a production TD has no need of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirements {
    /// Values of MRTD that are accepted; `None` compares nothing and leaves the verdict unbound.
    pub measurements: Option<BTreeSet<Measurement>>,
    /// MRCONFIGID that is accepted, beside what [`Expected`] says.
    pub mr_config_ids: Option<BTreeSet<[u8; 48]>>,
    /// Values of RTMR0 to RTMR3 that are accepted; `None` compares nothing.
    pub rtmrs: [Option<BTreeSet<Measurement>>; 4],
    /// An event log must come with the quote.
    pub require_event_log: bool,
    /// What may be measured into RTMR3, as its text; `None` for anything.
    pub runtime_events: Option<BTreeSet<String>>,
    /// The text of the event after which nothing may be measured into RTMR3.
    pub last_event: Option<String>,
    /// Statuses of the TCB that are accepted. Revoked never is.
    pub statuses: BTreeSet<TcbStatus>,
    /// Further statuses for a while, for example during a TCB recovery.
    pub grace: Option<Grace>,
    /// Advisories that must not be open on the platform, whatever its status.
    pub refused_advisories: BTreeSet<String>,
    /// Least TCB evaluation data number of TCB information and QE identity.
    pub min_evaluation_number: Option<u32>,
    /// Platforms that are accepted, by PPID or by platform instance id; `None` for any.
    pub platforms: Option<BTreeSet<[u8; 16]>>,
    /// TDX modules that are accepted, by MRSEAM; `None` for any that the collateral knows.
    pub modules: Option<BTreeSet<Measurement>>,
    /// SEPT_VE_DISABLE must be set.
    pub require_sept_ve_disable: bool,
    /// PERFMON may be set.
    pub allow_perfmon: bool,
    /// MIGRATABLE may be set.
    pub allow_migration: bool,
    /// Attributes that may be set beside those with a rule of their own. Debugging never may.
    pub allowed_attributes: TdAttributes,
    /// Bits of XFAM that may be set.
    pub allowed_xfam: u64,
    /// MROWNER; zero unless given.
    pub mr_owner: Option<[u8; 48]>,
    /// MROWNERCONFIG; zero unless given.
    pub mr_owner_config: Option<[u8; 48]>,
    /// MRSERVICETD; zero unless given.
    pub service_td: Option<[u8; 48]>,
}

/// Statuses that are accepted until a date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grace {
    /// The statuses. Revoked never is accepted.
    pub statuses: BTreeSet<TcbStatus>,
    /// The last second of the grace, since 1970.
    pub until: u64,
}

impl Requirements {
    /// Processor state that TDX 1.5 lets a TD have (XFAM, fixed-0 mask): x87, SSE, AVX, AVX-512,
    /// PT, PKRU, CET, UINTR, LBR and AMX. Bits beyond came later or are not for TDs.
    pub const XFAM_TDX_1_5: u64 = 0x0006_DBE7;

    /// Whether a status is accepted at `now`.
    pub(super) fn accepts(&self, status: TcbStatus, now: u64) -> bool {
        let grace = self.grace.as_ref().filter(|grace| now <= grace.until);
        status != TcbStatus::Revoked
            && (self.statuses.contains(&status)
                || grace.is_some_and(|grace| grace.statuses.contains(&status)))
    }
}

impl Default for Requirements {
    fn default() -> Self {
        let harmless =
            TdAttributes::SINGLE_STEP_DEFENCE.0 | TdAttributes::LASS.0 | TdAttributes::PKS.0;
        Self {
            measurements: None,
            mr_config_ids: None,
            rtmrs: [None, None, None, None],
            require_event_log: false,
            runtime_events: None,
            last_event: None,
            statuses: BTreeSet::from([TcbStatus::UpToDate]),
            grace: None,
            refused_advisories: BTreeSet::new(),
            min_evaluation_number: None,
            platforms: None,
            modules: None,
            require_sept_ve_disable: true,
            allow_perfmon: false,
            allow_migration: false,
            allowed_attributes: TdAttributes(harmless),
            allowed_xfam: Self::XFAM_TDX_1_5,
            mr_owner: None,
            mr_owner_config: None,
            service_td: None,
        }
    }
}
