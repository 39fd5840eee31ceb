// SPDX-License-Identifier: Apache-2.0

use std::io;
use std::path::Path;

use casemate_evidence::snp::{CertificateKind, TableEntry, write_table};

use super::*;
use crate::quote;
use crate::tsm::model::{FOLDER, TsmModel};

const DATA: ReportData = ReportData([0xa5; 64]);

fn snp_report(inblob: &[u8], level: u8) -> io::Result<Vec<u8>> {
    let mut report = vec![level; Report::LEN];
    report[0x50..0x90].copy_from_slice(inblob);
    Ok(report)
}

fn tdx_quote(inblob: &[u8], _: u8) -> io::Result<Vec<u8>> {
    Ok(quote::tests::version_4(inblob.try_into().unwrap()))
}

fn paths() -> Paths {
    Paths {
        sev_guest: "/nonexistent/sev-guest".into(),
        // A device that knows no ioctl of ours.
        tdx_guest: "/dev/null".into(),
        tsm_reports: FOLDER.into(),
        event_log: "/tsm/no entry/CCEL".into(),
    }
}

fn open(kind: SourceKind, model: TsmModel) -> Result<Source, Error> {
    Source::with_files(kind, &paths(), Arc::new(model))
}

fn snp_refusal(model: TsmModel) -> Error {
    open(SourceKind::SevTsm, model).unwrap().evidence(&DATA).unwrap_err()
}

#[test]
fn snp_through_configfs_gives_report_and_certificates() {
    let table = vec![TableEntry { kind: CertificateKind::Vcek, data: vec![1, 2, 3] }];
    let bytes = write_table(&table).unwrap();
    let model = TsmModel::new(Provider::SevGuest, snp_report);
    let source = open(SourceKind::SevTsm, model.with(|s| s.auxblob = Some(bytes))).unwrap();
    let Evidence::Snp(evidence) = source.evidence(&DATA).unwrap() else { panic!("not SNP") };
    assert_eq!(evidence.certificates, table);
    assert_eq!(evidence.report.as_bytes().as_slice(), snp_report(&DATA.0, 0).unwrap());
    assert_eq!(source.own_report(&DATA).unwrap(), OwnReport::Snp(evidence.report));
}

#[test]
fn snp_through_configfs_is_refused_for_each_reason() {
    let short = TsmModel::new(Provider::SevGuest, |_, _| Ok(vec![1; Report::LEN - 1]));
    assert!(matches!(snp_refusal(short), Error::ReportSize { size: 1183 }));
    let long = TsmModel::new(Provider::SevGuest, |_, _| Ok(vec![1; Report::LEN + 1]));
    assert!(matches!(snp_refusal(long), Error::ReportSize { size: 1185 }));
    let foreign = TsmModel::new(Provider::SevGuest, |_, _| Ok(vec![1; Report::LEN]));
    assert!(matches!(snp_refusal(foreign), Error::ForeignReportData));
    let table = TsmModel::new(Provider::SevGuest, snp_report);
    let table = table.with(|s| s.auxblob = Some(vec![1; 24]));
    assert!(matches!(snp_refusal(table), Error::Certificates(_)));
    // A guest below a service module gives no report of VMPL 0, and no other one is taken instead.
    let floor = TsmModel::new(Provider::SevGuest, snp_report).with(|s| s.level_floor = Some(2));
    assert!(matches!(snp_refusal(floor), Error::Tsm(TsmError::PrivilegeLevel { .. })));
}

#[test]
fn tdx_gives_a_quote_and_no_log_where_there_is_none() {
    let source = open(SourceKind::Tdx, TsmModel::new(Provider::TdxGuest, tdx_quote)).unwrap();
    let Evidence::Tdx(evidence) = source.evidence(&DATA).unwrap() else { panic!("not TDX") };
    assert_eq!(evidence.quote.as_bytes(), quote::tests::version_4(&DATA.0));
    assert_eq!(evidence.event_log, None);
}

#[test]
fn a_quote_over_other_data_is_refused() {
    // D8: the host's quote service replays an older quote.
    let model = TsmModel::new(Provider::TdxGuest, |_, _| Ok(quote::tests::version_4(&[0; 64])));
    let error = open(SourceKind::Tdx, model).unwrap().evidence(&DATA).unwrap_err();
    assert!(matches!(error, Error::Quote(QuoteError::ForeignReportData)), "{error:?}");
}

#[test]
fn an_own_report_of_tdx_comes_from_its_device_alone() {
    let source = open(SourceKind::Tdx, TsmModel::new(Provider::TdxGuest, tdx_quote)).unwrap();
    let error = source.own_report(&DATA).unwrap_err();
    assert!(matches!(error, Error::TdxGuest(TdxGuestError::Ioctl { .. })), "{error:?}");
}

#[test]
fn no_source_stands_in_for_another() {
    // The other driver is there and would answer.
    let tdx = || TsmModel::new(Provider::TdxGuest, tdx_quote);
    let snp = || TsmModel::new(Provider::SevGuest, snp_report);
    let error = open(SourceKind::SevTsm, tdx()).unwrap_err();
    assert!(matches!(error, Error::Tsm(TsmError::OtherProvider { .. })), "{error:?}");
    let error = open(SourceKind::Tdx, snp()).unwrap_err();
    assert!(matches!(error, Error::Tsm(TsmError::OtherProvider { .. })), "{error:?}");
    // configfs-tsm would give a report where the device is missing.
    let error = open(SourceKind::SevGuest, snp()).unwrap_err();
    assert!(matches!(error, Error::SevGuest(SevGuestError::Open { .. })), "{error:?}");
    let absent = Paths { tdx_guest: "/nonexistent/tdx_guest".into(), ..paths() };
    let error = Source::with_files(SourceKind::Tdx, &absent, Arc::new(tdx())).unwrap_err();
    assert!(matches!(error, Error::TdxGuest(TdxGuestError::Open { .. })), "{error:?}");
}

#[test]
fn a_guest_without_any_tee_has_no_source() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| Path::new(folder.path()).join(name);
    let paths = Paths {
        sev_guest: at("sev-guest"),
        tdx_guest: at("tdx_guest"),
        tsm_reports: at("tsm"),
        event_log: at("CCEL"),
    };
    for kind in SourceKind::ALL {
        assert!(Source::open_at(kind, &paths).is_err(), "{kind}");
    }
}

#[test]
fn names_are_read_back_and_nothing_else_is() {
    for kind in SourceKind::ALL {
        assert_eq!(kind.as_str().parse(), Ok(kind));
    }
    for name in ["", "sev-guest ", "SEV-GUEST", "sample", "none", "tsm"] {
        assert_eq!(name.parse::<SourceKind>(), Err(UnknownSource), "{name:?}");
    }
}

#[test]
fn asking_again_helps_against_a_busy_host_only() {
    assert!(Error::SevGuest(SevGuestError::Busy).is_retryable());
    assert!(Error::Tsm(TsmError::Empty).is_retryable());
    assert!(!Error::Tsm(TsmError::NoProvider).is_retryable());
    assert!(!Error::Quote(QuoteError::ForeignReportData).is_retryable());
    assert!(!Error::ForeignReportData.is_retryable());
}
