// SPDX-License-Identifier: Apache-2.0

use std::fs;
use std::io;
use std::path::Path;

use casemate_attester::EventLog;
use casemate_attester::Quote;
use casemate_attester::QuoteError;
use casemate_kbs_client::ClientError;

use super::*;

const DATA: ReportData = ReportData([0xa5; 64]);

/// A quote of version 4 over [`DATA`] without a signature.
fn quote() -> Vec<u8> {
    let mut quote = vec![0; 48 + 584];
    quote[..8].copy_from_slice(&[4, 0, 2, 0, 0x81, 0, 0, 0]);
    quote[48 + 520..].copy_from_slice(&DATA.0);
    quote
}

/// A log of the one event that every log begins with.
fn log() -> Vec<u8> {
    let mut event = b"Spec ID Event03\0".to_vec();
    event.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 12, 0, 48, 0, 0]);
    let mut log = vec![1, 0, 0, 0, 3, 0, 0, 0];
    log.extend([0; 20]);
    log.extend(u32::try_from(event.len()).unwrap().to_le_bytes());
    log.extend(event);
    log
}

fn tdx(log: Option<Vec<u8>>) -> Value {
    let event_log = log.map(|area| EventLog::from_area(area).unwrap());
    tdx_json(&TdxEvidence { quote: Quote::parse(quote(), &DATA).unwrap(), event_log })
}

fn decoded(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

#[test]
fn tdx_evidence_has_cocos_members() {
    let area = [log(), vec![0xff; 5000]].concat();
    let evidence = tdx(Some(area));
    assert_eq!(evidence.as_object().unwrap().len(), 2);
    assert_eq!(decoded(&evidence["quote"]), quote());
    assert_eq!(decoded(&evidence["cc_eventlog"]), [log(), vec![0xff; 8]].concat());
}

/// A genuine quote and its log, through this writer and the broker's reader.
#[test]
fn the_broker_reads_what_the_guest_writes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/tdx/cc-api");
    if !folder.is_dir() {
        eprintln!("skipped: no evidence of genuine hardware in {}", folder.display());
        return;
    }
    let bytes = fs::read(folder.join("quote.bin")).unwrap();
    let data = ReportData(bytes[568..632].try_into().unwrap());
    let log = EventLog::from_area(fs::read(folder.join("ccel_data.bin")).unwrap()).unwrap();
    let quote = Quote::parse(bytes.clone(), &data).unwrap();
    let json = tdx_json(&TdxEvidence { quote, event_log: Some(log.clone()) });
    let read = casemate_evidence::tdx::Evidence::from_json(&json.to_string()).unwrap();
    assert_eq!(read.quote.as_bytes(), bytes);
    assert!(read.event_log.unwrap().as_bytes().starts_with(log.as_bytes()));
}

#[test]
fn a_guest_without_an_event_log_says_null() {
    let evidence = tdx(None);
    assert_eq!(evidence.as_object().unwrap().len(), 2);
    assert!(evidence["cc_eventlog"].is_null());
}

#[test]
fn the_broker_hears_the_tee_of_the_source() {
    let tee = |source| TeeEvidence::from(source).tee();
    assert_eq!(tee(SourceKind::SevGuest), Tee::Snp);
    assert_eq!(tee(SourceKind::SevTsm), Tee::Snp);
    assert_eq!(tee(SourceKind::Tdx), Tee::Tdx);
}

#[test]
fn a_failing_quote_service_is_told_from_a_failing_device() {
    let code = |source, error: SourceError| FetchError::Source(error).code(source);
    let read = |attribute| {
        SourceError::Tsm(TsmError::Read { attribute, source: io::ErrorKind::TimedOut.into() })
    };
    assert_eq!(code(SourceKind::Tdx, TsmError::Empty.into()), Code::TeeQuote);
    assert_eq!(code(SourceKind::Tdx, read("outblob")), Code::TeeQuote);
    assert_eq!(code(SourceKind::Tdx, QuoteError::ForeignReportData.into()), Code::TeeQuote);
    assert_eq!(code(SourceKind::Tdx, read("provider")), Code::TeeReport);
    assert_eq!(code(SourceKind::Tdx, TsmError::NoProvider.into()), Code::TeeReport);
    assert_eq!(code(SourceKind::SevTsm, read("outblob")), Code::TeeReport);
    assert_eq!(code(SourceKind::SevGuest, SourceError::ForeignReportData), Code::TeeReport);
}

#[tokio::test]
async fn a_guest_without_its_tee_has_no_evidence_and_says_why() {
    for source in SourceKind::ALL {
        let error = TeeEvidence::from(source).evidence(DATA.0).await.unwrap_err();
        let error = ClientError::Evidence { source: error };
        assert_eq!(error.code(), Code::TeeReport, "{source}");
        assert!(!error.is_transient());
    }
}
