// SPDX-License-Identifier: Apache-2.0

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::entry::parse_generation;
use super::model::{FOLDER, Step, TsmModel};
use super::*;

const DATA: ReportData = ReportData([0xa5; 64]);

/// A report that says what it was made from.
fn make(inblob: &[u8], level: u8) -> io::Result<Vec<u8>> {
    Ok([&[level], inblob].concat())
}

fn snp() -> TsmModel {
    TsmModel::new(Provider::SevGuest, make)
}

fn tdx() -> TsmModel {
    TsmModel::new(Provider::TdxGuest, make)
}

/// The result, and how many entries were made; none may be left.
fn ask(
    model: TsmModel,
    provider: Provider,
    level: Option<PrivilegeLevel>,
) -> (Result<TsmReport, TsmError>, u32) {
    let model = Arc::new(model);
    let reports = TsmReports::with_files(Path::new(FOLDER), Arc::<TsmModel>::clone(&model));
    let result = reports.report(provider, &DATA, level);
    let (made, left) = model.entries();
    assert_eq!(left, 0, "an entry is left");
    (result, made)
}

fn refused(model: TsmModel, provider: Provider) -> TsmError {
    ask(model, provider, None).0.unwrap_err()
}

fn fails_with(step: Step<'static>, errno: i32) -> TsmModel {
    snp().meddled(
        move |_, at| {
            if at == step { Err(io::Error::from_raw_os_error(errno)) } else { Ok(()) }
        },
    )
}

#[test]
fn gives_report_and_certificates_of_the_request() {
    let model = snp().with(|state| state.auxblob = Some(b"table".to_vec()));
    let (report, made) = ask(model, Provider::SevGuest, None);
    let expected = TsmReport { outblob: make(&DATA.0, 0).unwrap(), auxblob: b"table".to_vec() };
    assert_eq!((report.unwrap(), made), (expected, 1));
}

#[test]
fn a_driver_without_certificates_gives_none() {
    let (report, _) = ask(tdx(), Provider::TdxGuest, None);
    assert_eq!(report.unwrap(), TsmReport { outblob: make(&DATA.0, 0).unwrap(), auxblob: vec![] });
}

#[test]
fn a_privilege_level_is_set_or_refused_but_never_dropped() {
    let (report, _) = ask(snp(), Provider::SevGuest, Some(PrivilegeLevel::Vmpl2));
    assert_eq!(report.unwrap().outblob, make(&DATA.0, 2).unwrap());

    let floor = snp().with(|state| state.level_floor = Some(2));
    let (error, _) = ask(floor, Provider::SevGuest, Some(PrivilegeLevel::Vmpl1));
    let error = error.unwrap_err();
    let expected = matches!(error, TsmError::PrivilegeLevel { level: PrivilegeLevel::Vmpl1, .. });
    assert!(expected, "{error:?}");

    let (error, _) = ask(tdx(), Provider::TdxGuest, Some(PrivilegeLevel::Vmpl0));
    assert!(matches!(error.unwrap_err(), TsmError::NoPrivilegeLevels));

    let busy = fails_with(Step::Write("privlevel"), libc::EBUSY);
    let (error, _) = ask(busy, Provider::SevGuest, Some(PrivilegeLevel::Vmpl0));
    let error = error.unwrap_err();
    assert!(matches!(error, TsmError::Write { attribute: "privlevel", .. }), "{error:?}");
    assert!(error.is_retryable());
}

/// Another process writes once, when `step` is about to happen for the first time.
fn disturbed_once(step: Step<'static>) -> TsmModel {
    let done = AtomicBool::new(false);
    snp().meddled(move |state, at| {
        if at == step && !done.swap(true, Ordering::Relaxed) {
            state.write_into_all(&[0; 64]);
        }
        Ok(())
    })
}

#[test]
fn a_write_of_another_process_at_any_step_is_found_and_the_request_repeated() {
    // The report of the disturbed request may be right or wrong; it is never used.
    for step in [Step::Write("inblob"), Step::Read("outblob"), Step::Read("auxblob")] {
        let (report, made) = ask(disturbed_once(step), Provider::SevGuest, None);
        assert_eq!(report.unwrap().outblob, make(&DATA.0, 0).unwrap(), "{step:?}");
        assert_eq!(made, 2, "{step:?}");
    }
}

#[test]
fn a_write_before_the_first_look_changes_nothing() {
    let (report, made) = ask(disturbed_once(Step::Read("provider")), Provider::SevGuest, None);
    assert_eq!(report.unwrap().outblob, make(&DATA.0, 0).unwrap());
    assert_eq!(made, 1);
}

#[test]
fn endless_disturbance_ends_in_an_error() {
    let model = snp().meddled(|state, at| {
        if at == Step::Read("outblob") {
            state.write_into_all(&[0; 64]);
        }
        Ok(())
    });
    let (error, made) = ask(model, Provider::SevGuest, None);
    let error = error.unwrap_err();
    assert!(matches!(error, TsmError::Disturbed { attempts: 5 }), "{error:?}");
    assert_eq!(made, 5);
    assert!(error.is_retryable());
}

#[test]
fn a_request_spoilt_by_another_process_is_repeated_too() {
    // Emptied, so that reading fails: the failure belongs to the other process' request.
    let done = AtomicBool::new(false);
    let model = snp().meddled(move |state, at| {
        if at == Step::Read("outblob") && !done.swap(true, Ordering::Relaxed) {
            state.write_into_all(&[]);
        }
        Ok(())
    });
    let (report, made) = ask(model, Provider::SevGuest, None);
    assert_eq!(report.unwrap().outblob, make(&DATA.0, 0).unwrap());
    assert_eq!(made, 2);
}

#[test]
fn a_write_that_the_kernel_dropped_in_silence_is_found() {
    // The kernel drops a refusal of `inblob`; nothing but the generation shows it.
    let model = snp().meddled(|state, at| {
        if at == Step::Read("outblob") {
            for request in state.entries.values_mut() {
                request.written -= 1;
            }
        }
        Ok(())
    });
    let (error, _) = ask(model, Provider::SevGuest, None);
    assert!(matches!(error.unwrap_err(), TsmError::Disturbed { .. }));
}

#[test]
fn the_generation_may_wrap() {
    let model = snp().with(|state| state.start = u64::MAX);
    let (report, made) = ask(model, Provider::SevGuest, Some(PrivilegeLevel::Vmpl0));
    assert!(report.is_ok());
    assert_eq!(made, 1);
}

#[test]
fn another_driver_is_refused() {
    let error = refused(tdx(), Provider::SevGuest);
    let expected = matches!(
        &error,
        TsmError::OtherProvider { expected: Provider::SevGuest, found } if found == "tdx_guest"
    );
    assert!(expected, "{error:?}");
    // A name that only begins right, and one that would write on a terminal.
    let longer = snp().with(|state| state.provider = b"sev_guest2\n".to_vec());
    assert!(matches!(refused(longer, Provider::SevGuest), TsmError::OtherProvider { .. }));
    let control = snp().with(|state| state.provider = b"\x1b[2Jx\n".to_vec());
    let TsmError::OtherProvider { found, .. } = refused(control, Provider::SevGuest) else {
        panic!("another error")
    };
    assert_eq!(found, "[2Jx");
}

#[test]
fn a_check_makes_no_report() {
    let model = TsmModel::new(Provider::TdxGuest, |_, _| panic!("a report was made"));
    let model = Arc::new(model);
    let reports = TsmReports::with_files(Path::new(FOLDER), Arc::<TsmModel>::clone(&model));
    reports.check(Provider::TdxGuest).unwrap();
    let error = reports.check(Provider::SevGuest).unwrap_err();
    assert!(matches!(error, TsmError::OtherProvider { .. }));
    assert_eq!(model.entries(), (2, 0));
}

#[test]
fn each_failure_has_its_error() {
    let absent = refused(fails_with(Step::Make, libc::ENOENT), Provider::SevGuest);
    assert!(matches!(absent, TsmError::Absent { .. }), "{absent:?}");
    let nobody = refused(fails_with(Step::Make, libc::ENXIO), Provider::SevGuest);
    assert!(matches!(nobody, TsmError::NoProvider), "{nobody:?}");
    let taken = refused(fails_with(Step::Make, libc::EEXIST), Provider::SevGuest);
    assert!(matches!(taken, TsmError::NamesTaken { attempts: 4 }), "{taken:?}");
    let create = refused(fails_with(Step::Make, libc::EACCES), Provider::SevGuest);
    assert!(matches!(create, TsmError::Create { .. }), "{create:?}");
    let write = refused(fails_with(Step::Write("inblob"), libc::EFBIG), Provider::SevGuest);
    assert!(matches!(write, TsmError::Write { attribute: "inblob", .. }), "{write:?}");
    assert!(!write.is_retryable());
    for attribute in ["provider", "generation", "outblob", "auxblob"] {
        let read = refused(fails_with(Step::Read(attribute), libc::EIO), Provider::SevGuest);
        let expected =
            matches!(read, TsmError::Read { attribute: found, .. } if found == attribute);
        assert!(expected, "{read:?}");
        assert!(!read.is_retryable());
    }
    // A missing outblob is no missing certificate table.
    let read = refused(fails_with(Step::Read("outblob"), libc::ENOENT), Provider::SevGuest);
    assert!(matches!(read, TsmError::Read { attribute: "outblob", .. }), "{read:?}");
    // The quote service does not answer.
    let slow = refused(fails_with(Step::Read("outblob"), libc::ETIMEDOUT), Provider::SevGuest);
    assert!(slow.is_retryable());
}

#[test]
fn an_empty_or_too_large_report_is_refused() {
    let empty = TsmModel::new(Provider::TdxGuest, |_, _| Ok(Vec::new()));
    let error = refused(empty, Provider::TdxGuest);
    assert!(matches!(error, TsmError::Empty) && error.is_retryable());
    // A15
    let large = TsmModel::new(Provider::TdxGuest, |_, _| Ok(vec![1; MAX_OUTBLOB + 1]));
    let error = refused(large, Provider::TdxGuest);
    assert!(matches!(error, TsmError::TooLarge { attribute: "outblob", cap: MAX_OUTBLOB }));
    let largest = TsmModel::new(Provider::TdxGuest, |_, _| Ok(vec![1; MAX_OUTBLOB]));
    assert_eq!(ask(largest, Provider::TdxGuest, None).0.unwrap().outblob.len(), MAX_OUTBLOB);
    let large = snp().with(|state| state.auxblob = Some(vec![0; MAX_AUXBLOB + 1]));
    let error = refused(large, Provider::SevGuest);
    assert!(matches!(error, TsmError::TooLarge { attribute: "auxblob", cap: MAX_AUXBLOB }));
    let large = snp().with(|state| state.provider = vec![b'x'; 65]);
    let error = refused(large, Provider::SevGuest);
    assert!(matches!(error, TsmError::TooLarge { attribute: "provider", cap: 64 }));
}

#[test]
fn a_guest_without_the_interface_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("tsm/report");
    let error = TsmReports::at(&missing).report(Provider::TdxGuest, &DATA, None).unwrap_err();
    assert!(matches!(error, TsmError::Absent { folder } if folder == missing));
}

#[test]
fn a_folder_of_another_file_system_gives_no_report() {
    // The entry is created and has no attributes.
    let folder = tempfile::tempdir().unwrap();
    let error = TsmReports::at(folder.path()).check(Provider::TdxGuest).unwrap_err();
    assert!(matches!(error, TsmError::Read { attribute: "provider", .. }), "{error:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn only_decimal_numbers_are_generations() {
    assert_eq!(parse_generation(b"0\n"), Some(0));
    assert_eq!(parse_generation(b"18446744073709551615\n"), Some(u64::MAX));
    assert_eq!(parse_generation(b"7"), Some(7));
    for text in ["", "\n", "-1\n", "+1\n", " 1\n", "1 \n", "1\n\n", "0x1\n", "18446744073709551616"]
    {
        assert_eq!(parse_generation(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(parse_generation(b"1\xff"), None);
}

proptest! {
    #[test]
    fn generations_survive_the_kernel_s_way_of_writing(number: u64) {
        prop_assert_eq!(parse_generation(format!("{number}\n").as_bytes()), Some(number));
    }

    #[test]
    fn no_text_makes_a_generation_panic(bytes: Vec<u8>) {
        let _ = parse_generation(&bytes);
    }
}
