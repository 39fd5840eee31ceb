// SPDX-License-Identifier: Apache-2.0
//! TDX evidence: a quote, the certificates from its key to a root of the minter's own, collateral
//! and an event log that replays to the quote's registers.

mod body;
mod collateral;
mod event_log;
mod faults;
mod pck;
mod plan;
mod quote;

pub use faults::TdxFault;
pub use plan::Plan;

use crate::keys::Keys;
use crate::mint::{MintError, Minted};

/// What evidence to mint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Version of the quote, and its body.
    pub form: Form,
    /// REPORTDATA.
    pub report_data: [u8; 64],
    /// MRTD.
    pub mr_td: [u8; 48],
    /// MRCONFIGID.
    pub mr_config_id: [u8; 48],
    /// TDATTRIBUTES.
    pub attributes: u64,
    /// XFAM.
    pub xfam: u64,
    /// TEE_TCB_SVN: minor and major version of the TDX module, then the platform's components.
    pub tee_tcb_svn: [u8; 16],
    /// When the verifier looks, seconds since 1970; certificates and collateral are valid then.
    pub at: u64,
}

/// Versions of quotes, and bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Version 4, body of TDX 1.0.
    V4,
    /// Version 5, body type 2: TDX 1.0.
    V5Td10,
    /// Version 5, body type 3: TDX 1.5.
    V5Td15,
}

impl Options {
    /// A TD that the host cannot debug, profile or starve of pages.
    #[must_use]
    pub fn new(form: Form, at: u64) -> Self {
        let mut tee_tcb_svn = [0; 16];
        for (place, version) in tee_tcb_svn.iter_mut().zip([MODULE_MINOR, MODULE_MAJOR, 3]) {
            *place = version;
        }
        Self {
            form,
            report_data: [0xda; 64],
            mr_td: [0x3e; 48],
            mr_config_id: [0x40; 48],
            attributes: SEPT_VE_DISABLE,
            xfam: XFAM,
            tee_tcb_svn,
            at,
        }
    }

    /// Mints good evidence, or with faults.
    ///
    /// # Errors
    ///
    /// [`MintError`].
    pub fn mint(&self, keys: &Keys, faults: &[TdxFault]) -> Result<Minted, MintError> {
        let mut options = self.clone();
        for fault in faults {
            fault.change_options(&mut options);
        }
        let mut plan = Plan::new(&options, keys)?;
        for fault in faults {
            fault.change_plan(&mut plan);
        }
        plan.mint(keys)
    }
}

/// The simulated module's versions.
const MODULE_MAJOR: u8 = 1;
const MODULE_MINOR: u8 = 6;
/// Bit 28 of TDATTRIBUTES.
const SEPT_VE_DISABLE: u64 = 1 << 28;
/// x87, SSE, AVX, AVX-512, PKRU and AMX.
const XFAM: u64 = 0x6_02e7;
