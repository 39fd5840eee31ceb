// SPDX-License-Identifier: Apache-2.0
//! Compares the initdata with what the guest was launched with, as the TEE itself reports it.

use casemate_agent_api::Code;
use casemate_attester::OwnReport;
use casemate_attester::ReportData;
use casemate_attester::Source;
use casemate_attester::SourceKind;
use casemate_boot_formats::initdata::Initdata;
use casemate_evidence::snp::Report;
use casemate_evidence::snp::ReportError;
use casemate_policy::GuestConfig;
use casemate_policy::Policy;

use super::documents;
use super::documents::Documents;
use super::documents::DocumentsError;

/// What the guest was launched with, checked.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// Where the report came from that it was checked with.
    pub(crate) source: SourceKind,
    /// The whole document, as the broker wants to see it.
    pub(crate) initdata: String,
    pub(crate) policy: Policy,
    pub(crate) config: GuestConfig,
    /// The owner's extra rules, as they came.
    pub(crate) rules: Option<String>,
}

/// Gets a report and compares.
///
/// # Security
///
/// Decision 4 of the architecture; D15, D16. The report is not verified here: it comes from the
/// guest's own device, and the broker verifies one later. What counts is that no host can make the
/// security processor report another HOST_DATA, or the TDX module another MRCONFIGID, than that of
/// the launch.
pub(crate) fn check(source: SourceKind, initdata: &Initdata) -> Result<Launch, SelfCheckError> {
    let report = Source::open(source)
        .and_then(|open| open.own_report(&ReportData([0; ReportData::LEN])))
        .map_err(|source| SelfCheckError::Device { source })?;
    let Documents { policy, config, rules } = judge(initdata, &report)?;
    Ok(Launch { source, initdata: initdata.as_str().to_owned(), policy, config, rules })
}

/// The documents of initdata that the report vouches for.
pub(super) fn judge(initdata: &Initdata, report: &OwnReport) -> Result<Documents, SelfCheckError> {
    compare(initdata, report)?;
    documents::parse(initdata).map_err(|source| SelfCheckError::Documents { source })
}

fn compare(initdata: &Initdata, report: &OwnReport) -> Result<(), SelfCheckError> {
    match report {
        OwnReport::Snp(raw) => {
            let report = Report::parse(raw.as_bytes())
                .map_err(|source| SelfCheckError::Report { source })?;
            let equal = initdata.host_data() == *report.host_data();
            if equal { Ok(()) } else { Err(SelfCheckError::HostData) }
        }
        OwnReport::Tdx(report) => {
            let equal = initdata.mr_config_id() == report.mr_config_id();
            if equal { Ok(()) } else { Err(SelfCheckError::MrConfigId) }
        }
    }
}

/// The guest does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SelfCheckError {
    #[error("the TEE gives no report")]
    Device {
        #[source]
        source: casemate_attester::Error,
    },
    #[error("the TEE's report is malformed")]
    Report {
        #[source]
        source: ReportError,
    },
    #[error("the digest of the initdata is not HOST_DATA of the guest's report")]
    HostData,
    #[error("the digest of the initdata is not MRCONFIGID of the guest's report")]
    MrConfigId,
    #[error("the initdata's content is refused")]
    Documents {
        #[source]
        source: DocumentsError,
    },
}

impl SelfCheckError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Device { .. } | Self::Report { .. } => Code::TeeReport,
            Self::HostData | Self::MrConfigId => Code::InitdataMismatch,
            Self::Documents { .. } => Code::InitdataInvalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use casemate_attester::TdReport;
    use casemate_boot_formats::initdata::Algorithm;

    use super::super::documents::tests::CONFIG;
    use super::super::documents::tests::POLICY;
    use super::super::documents::tests::initdata;
    use super::*;

    fn documents() -> Initdata {
        initdata(&[("policy.toml", POLICY), ("casemate.toml", CONFIG)])
    }

    /// A report of version 2 whose only content is HOST_DATA (SEV-SNP ABI, table 23).
    fn snp_report(host_data: [u8; 32]) -> OwnReport {
        let mut bytes = [0; 1184];
        bytes[0] = 2;
        bytes[0x34] = 1;
        bytes[0xc0..0xe0].copy_from_slice(&host_data);
        OwnReport::Snp(casemate_attester::Report::from_bytes(bytes))
    }

    /// A report whose only content is MRCONFIGID (TDX module ABI, TDREPORT_STRUCT).
    fn td_report(mr_config_id: [u8; 48]) -> OwnReport {
        let mut bytes = [0; TdReport::LEN];
        bytes[0] = 0x81;
        bytes[576..624].copy_from_slice(&mr_config_id);
        OwnReport::Tdx(TdReport::parse(&bytes, &ReportData([0; 64])).unwrap())
    }

    #[test]
    fn the_launched_initdata_passes() {
        let initdata = documents();
        compare(&initdata, &snp_report(initdata.host_data())).unwrap();
        compare(&initdata, &td_report(initdata.mr_config_id())).unwrap();
    }

    #[test]
    fn every_changed_bit_of_host_data_stops_the_boot() {
        // D16.
        let initdata = documents();
        for bit in 0..256 {
            let mut host_data = initdata.host_data();
            host_data[bit / 8] ^= 1 << (bit % 8);
            let error = compare(&initdata, &snp_report(host_data)).unwrap_err();
            assert!(matches!(error, SelfCheckError::HostData));
            assert_eq!(error.code(), Code::InitdataMismatch);
        }
        assert!(compare(&initdata, &snp_report([0; 32])).is_err());
    }

    #[test]
    fn every_changed_bit_of_mr_config_id_stops_the_boot() {
        // D16. The bits behind a SHA-256 digest are its padding and count as well.
        let initdata = documents();
        assert_eq!(initdata.mr_config_id()[32..], [0; 16]);
        for bit in 0..384 {
            let mut mr_config_id = initdata.mr_config_id();
            mr_config_id[bit / 8] ^= 1 << (bit % 8);
            let error = compare(&initdata, &td_report(mr_config_id)).unwrap_err();
            assert!(matches!(error, SelfCheckError::MrConfigId));
            assert_eq!(error.code(), Code::InitdataMismatch);
        }
        assert!(compare(&initdata, &td_report([0; 48])).is_err());
    }

    #[test]
    fn mr_config_id_holds_the_digest_of_each_algorithm() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
            let entries = [("policy.toml", POLICY), ("casemate.toml", CONFIG)];
            let initdata = Initdata::build(algorithm, entries).unwrap();
            let mut padded = initdata.digest();
            padded.resize(48, 0);
            let report = td_report(padded.as_slice().try_into().unwrap());
            compare(&initdata, &report).unwrap();
            // Another document of the same algorithm.
            let other = Initdata::build(algorithm, [("policy.toml", POLICY)]).unwrap();
            assert!(compare(&other, &report).is_err());
        }
    }

    #[test]
    fn a_malformed_report_stops_the_boot() {
        let report = OwnReport::Snp(casemate_attester::Report::from_bytes([0; 1184]));
        let error = compare(&documents(), &report).unwrap_err();
        assert!(matches!(error, SelfCheckError::Report { .. }));
        assert_eq!(error.code(), Code::TeeReport);
    }

    #[test]
    fn a_guest_without_its_source_stops_the_boot() {
        for source in SourceKind::ALL {
            let error = check(source, &documents()).unwrap_err();
            assert!(matches!(error, SelfCheckError::Device { .. }), "{source}");
            assert_eq!(error.code(), Code::TeeReport);
        }
    }
}
