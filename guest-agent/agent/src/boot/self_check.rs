// SPDX-License-Identifier: Apache-2.0
//! Compares the initdata with what the guest was launched with, as the TEE itself reports it.

use casemate_agent_api::Code;
use casemate_attester::ReportData;
use casemate_attester::SevGuest;
use casemate_boot_formats::initdata::Initdata;
use casemate_evidence::snp::Report;
use casemate_evidence::snp::ReportError;
use casemate_policy::GuestConfig;
use casemate_policy::Policy;

use super::Tee;
use super::documents;
use super::documents::DocumentsError;

/// What the guest was launched with, checked.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// The whole document, as the broker wants to see it.
    pub(crate) initdata: String,
    pub(crate) policy: Policy,
    pub(crate) config: GuestConfig,
}

/// Gets a report and compares.
///
/// # Security
///
/// Decision 4 of the architecture; D15, D16. The report is not verified here: it comes from the
/// guest's own device, and the broker verifies one later. What counts is that no host can make the
/// security processor report another HOST_DATA than that of the launch.
pub(crate) fn check(tee: Tee, initdata: &Initdata) -> Result<Launch, SelfCheckError> {
    match tee {
        Tee::Snp => {}
        Tee::Tdx => return Err(SelfCheckError::Unsupported),
    }
    let raw = SevGuest::open()
        .and_then(|device| device.report(&ReportData([0; ReportData::LEN])))
        .map_err(|source| SelfCheckError::Device { source })?;
    let report =
        Report::parse(raw.as_bytes()).map_err(|source| SelfCheckError::Report { source })?;
    compare(initdata, &report)?;
    let (policy, config) =
        documents::parse(initdata).map_err(|source| SelfCheckError::Documents { source })?;
    Ok(Launch { initdata: initdata.as_str().to_owned(), policy, config })
}

fn compare(initdata: &Initdata, report: &Report) -> Result<(), SelfCheckError> {
    if initdata.host_data() == *report.host_data() { Ok(()) } else { Err(SelfCheckError::Mismatch) }
}

/// The guest does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SelfCheckError {
    #[error("this guest image has no attester for TDX")]
    Unsupported,
    #[error("the TEE device gives no report")]
    Device {
        #[source]
        source: casemate_attester::Error,
    },
    #[error("the TEE device's report is malformed")]
    Report {
        #[source]
        source: ReportError,
    },
    #[error("the digest of the initdata is not HOST_DATA of the guest's report")]
    Mismatch,
    #[error("the initdata's content is refused")]
    Documents {
        #[source]
        source: DocumentsError,
    },
}

impl SelfCheckError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Unsupported | Self::Device { .. } | Self::Report { .. } => Code::TeeReport,
            Self::Mismatch => Code::InitdataMismatch,
            Self::Documents { .. } => Code::InitdataInvalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::documents::tests::CONFIG;
    use super::super::documents::tests::POLICY;
    use super::super::documents::tests::initdata;
    use super::*;

    /// A report of version 2 whose only content is HOST_DATA (SEV-SNP ABI, table 23).
    fn report(host_data: [u8; 32]) -> Report {
        let mut bytes = [0; 1184];
        bytes[0] = 2;
        bytes[0x34] = 1;
        bytes[0xc0..0xe0].copy_from_slice(&host_data);
        Report::parse(&bytes).unwrap()
    }

    #[test]
    fn the_launched_initdata_passes() {
        let initdata = initdata(&[("policy.toml", POLICY), ("casemate.toml", CONFIG)]);
        compare(&initdata, &report(initdata.host_data())).unwrap();
    }

    #[test]
    fn every_changed_bit_of_host_data_stops_the_boot() {
        // D16.
        let initdata = initdata(&[("policy.toml", POLICY), ("casemate.toml", CONFIG)]);
        for bit in 0..256 {
            let mut host_data = initdata.host_data();
            host_data[bit / 8] ^= 1 << (bit % 8);
            let error = compare(&initdata, &report(host_data)).unwrap_err();
            assert_eq!(error.code(), Code::InitdataMismatch);
        }
        assert!(compare(&initdata, &report([0; 32])).is_err());
    }

    #[test]
    fn a_guest_without_a_device_says_so() {
        let initdata = initdata(&[("policy.toml", POLICY), ("casemate.toml", CONFIG)]);
        let error = check(Tee::Snp, &initdata).unwrap_err();
        assert_eq!(error.code(), Code::TeeReport);
        assert!(matches!(check(Tee::Tdx, &initdata), Err(SelfCheckError::Unsupported)));
    }
}
