// SPDX-License-Identifier: Apache-2.0
//! The ioctls of `/dev/sev-guest` over CUSE.
//!
//! CUSE hands an ioctl's argument over as a number. To reach the caller's memory the device answers
//! "come again with these pieces": first the argument's struct, then the request and response that
//! it points to, and for an extended report the certificate buffer that the request points to. Each
//! round carries all pieces of the earlier ones and is judged by its own content alone.
//!
//! Deviations from the kernel's driver: no derived keys, and no 32-bit callers.

use casemate_attester::abi::{
    CERTIFICATES_MAX, ExitInfo, ExtendedReportRequest, GET_EXT_REPORT, GET_REPORT, GuestRequest,
    PAGE, RESPONSE_LEN, ReportRequest, VMM_BUSY, VMM_INVALID_LEN,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::cuse::{Ioctl, IoctlReply, Piece};
use crate::wire::{Kind, Request, Response};

/// The way to the PSP.
pub trait Psp {
    /// Asks and waits for the answer.
    ///
    /// # Errors
    ///
    /// [`PspError`].
    fn ask(&mut self, request: &Request) -> Result<Response, PspError>;
}

/// Why the PSP gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PspError {
    /// It does not answer in time.
    #[error("the software PSP does not answer")]
    Busy,
    /// It is gone or speaks otherwise.
    #[error("the software PSP cannot be reached")]
    Gone {
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Judges one round of an ioctl.
pub fn handle(ioctl: &Ioctl<'_>, psp: &mut dyn Psp) -> IoctlReply {
    if ioctl.compat {
        return refuse(Errno::NotTty);
    }
    match ioctl.command {
        GET_REPORT => get_report(ioctl, psp),
        GET_EXT_REPORT => get_extended_report(ioctl, psp),
        _ => refuse(Errno::NotTty),
    }
}

/// The errnos that the kernel's driver uses.
#[derive(Clone, Copy)]
enum Errno {
    Invalid,
    NotTty,
}

/// Firmware error of the kernel's driver for "the firmware was not called".
const NO_FIRMWARE_CALL: u32 = 0xff;
const ARGUMENT: usize = size_of::<GuestRequest>();
const REPORT: usize = ARGUMENT + size_of::<ReportRequest>();
const EXTENDED: usize = ARGUMENT + size_of::<ExtendedReportRequest>();

fn get_report(ioctl: &Ioctl<'_>, psp: &mut dyn Psp) -> IoctlReply {
    let Some(argument) = argument(ioctl) else { return first_round(ioctl) };
    if argument.msg_version == 0 {
        return refuse(Errno::Invalid);
    }
    let head = piece(ioctl.argument, ARGUMENT);
    let response = piece(argument.resp_data.get(), RESPONSE_LEN);
    if ioctl.input.len() == ARGUMENT {
        let request = piece(argument.req_data.get(), size_of::<ReportRequest>());
        return IoctlReply::Retry { input: vec![head, request], output: vec![head, response] };
    }
    let request = ioctl.input.get(ARGUMENT..REPORT).map(ReportRequest::read_from_bytes);
    let (Some(Ok(request)), REPORT) = (request, ioctl.input.len()) else {
        return refuse(Errno::Invalid);
    };
    let (exit, answer) = exchange(psp, Request::new(Kind::Report, request));
    let head = with_exit(argument, exit);
    match answer {
        Some(answer) => done(0, &[head.as_bytes(), answer.response.as_slice()]),
        None => done(-EIO, &[head.as_bytes()]),
    }
}

fn get_extended_report(ioctl: &Ioctl<'_>, psp: &mut dyn Psp) -> IoctlReply {
    let Some(argument) = argument(ioctl) else { return first_round(ioctl) };
    if argument.msg_version == 0 {
        return refuse(Errno::Invalid);
    }
    let head = piece(ioctl.argument, ARGUMENT);
    let request_piece = piece(argument.req_data.get(), size_of::<ExtendedReportRequest>());
    let response = piece(argument.resp_data.get(), RESPONSE_LEN);
    if ioctl.input.len() == ARGUMENT {
        let output = vec![head, request_piece, response];
        return IoctlReply::Retry { input: vec![head, request_piece], output };
    }
    let request = ioctl.input.get(ARGUMENT..EXTENDED).map(ExtendedReportRequest::read_from_bytes);
    let (Some(Ok(mut request)), EXTENDED) = (request, ioctl.input.len()) else {
        return refuse(Errno::Invalid);
    };
    let Some(room) = certificate_room(&request) else { return refuse(Errno::Invalid) };
    // The next round comes with the certificate buffer.
    let without_certificates = EXTENDED + RESPONSE_LEN;
    if room > 0 && ioctl.out_size == without_certificates {
        let certificates = piece(request.certs_address.get(), room);
        let output = vec![head, request_piece, response, certificates];
        return IoctlReply::Retry { input: vec![head, request_piece], output };
    }
    if ioctl.out_size != without_certificates + room {
        // The caller changed its request between the rounds.
        return refuse(Errno::Invalid);
    }
    let (exit, answer) = exchange(psp, Request::new(Kind::ExtendedReport, request.data));
    let Some(answer) = answer else {
        return done(-EIO, &[with_exit(argument, exit).as_bytes()]);
    };
    if answer.certificates.len() > room {
        let needed = answer.certificates.len().next_multiple_of(PAGE);
        request.certs_len = u32::try_from(needed).unwrap_or(u32::MAX).into();
        let exit = ExitInfo { firmware: 0, vmm: VMM_INVALID_LEN };
        return done(-EIO, &[with_exit(argument, exit).as_bytes(), request.as_bytes()]);
    }
    let mut certificates = answer.certificates;
    certificates.resize(room, 0);
    let head = with_exit(argument, exit);
    done(0, &[head.as_bytes(), request.as_bytes(), answer.response.as_slice(), &certificates])
}

/// The buffer as the kernel's driver judges it; `None` is refused.
fn certificate_room(request: &ExtendedReportRequest) -> Option<usize> {
    let len = usize::try_from(request.certs_len.get()).ok()?;
    if len == 0 || request.certs_address.get() == 0 {
        return Some(0);
    }
    (len <= CERTIFICATES_MAX && len.is_multiple_of(PAGE)).then_some(len)
}

fn exchange(psp: &mut dyn Psp, request: Request) -> (ExitInfo, Option<Response>) {
    match psp.ask(&request) {
        Ok(answer) if answer.firmware_error == 0 => {
            (ExitInfo { firmware: 0, vmm: 0 }, Some(answer))
        }
        Ok(answer) => (ExitInfo { firmware: answer.firmware_error, vmm: 0 }, None),
        Err(PspError::Busy) => (ExitInfo { firmware: 0, vmm: VMM_BUSY }, None),
        Err(PspError::Gone { .. }) => (ExitInfo { firmware: NO_FIRMWARE_CALL, vmm: 0 }, None),
    }
}

/// The argument's struct, from the second round on.
fn argument(ioctl: &Ioctl<'_>) -> Option<GuestRequest> {
    GuestRequest::read_from_prefix(ioctl.input).ok().map(|(argument, _)| argument)
}

fn first_round(ioctl: &Ioctl<'_>) -> IoctlReply {
    let head = piece(ioctl.argument, ARGUMENT);
    IoctlReply::Retry { input: vec![head], output: vec![head] }
}

fn with_exit(argument: GuestRequest, exit: ExitInfo) -> GuestRequest {
    GuestRequest { exitinfo2: exit.to_raw().into(), ..argument }
}

fn piece(base: u64, len: usize) -> Piece {
    Piece { base, len: u64::try_from(len).unwrap_or(u64::MAX) }
}

const EIO: i32 = 5;

fn refuse(errno: Errno) -> IoctlReply {
    let result = match errno {
        Errno::Invalid => -22,
        Errno::NotTty => -25,
    };
    done(result, &[])
}

fn done(result: i32, output: &[&[u8]]) -> IoctlReply {
    IoctlReply::Done { result, output: output.concat() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use casemate_attester::ReportData;
    use proptest::prelude::*;

    use super::*;

    /// A PSP that answers with constant bytes.
    struct Fake {
        certificates: usize,
        failure: Option<fn() -> PspError>,
        firmware_error: u32,
        asked: Vec<Request>,
    }

    impl Psp for Fake {
        fn ask(&mut self, request: &Request) -> Result<Response, PspError> {
            self.asked.push(*request);
            match self.failure {
                Some(failure) => Err(failure()),
                None => Ok(Response {
                    firmware_error: self.firmware_error,
                    response: Box::new([0xbb; RESPONSE_LEN]),
                    certificates: vec![0xcc; self.certificates],
                }),
            }
        }
    }

    fn fake(certificates: usize) -> Fake {
        Fake { certificates, failure: None, firmware_error: 0, asked: Vec::new() }
    }

    const ARG: u64 = 0x1000;
    const REQ: u64 = 0x2000;
    const RESP: u64 = 0x3000;
    const CERTS: u64 = 0x8000;

    /// The caller's memory and the kernel's part of the rounds.
    struct Caller(BTreeMap<u64, Vec<u8>>);

    impl Caller {
        fn new(certs_len: u32) -> Self {
            let argument = GuestRequest {
                msg_version: 1,
                reserved: [0; 7],
                req_data: REQ.into(),
                resp_data: RESP.into(),
                exitinfo2: 0.into(),
            };
            let request = ExtendedReportRequest {
                data: ReportRequest::new(&ReportData([0xaa; 64])),
                certs_address: if certs_len == 0 { 0.into() } else { CERTS.into() },
                certs_len: certs_len.into(),
                reserved: 0.into(),
            };
            Self(BTreeMap::from([
                (ARG, argument.as_bytes().to_vec()),
                (REQ, request.as_bytes().to_vec()),
                (RESP, vec![0; RESPONSE_LEN]),
                (CERTS, vec![0; CERTIFICATES_MAX]),
            ]))
        }

        /// What `fuse_do_ioctl` does.
        fn call(&mut self, command: u32, psp: &mut Fake) -> i32 {
            let (mut input, mut output) = (Vec::new(), Vec::<Piece>::new());
            for _ in 0..5 {
                let bytes: Vec<u8> = input
                    .iter()
                    .flat_map(|p: &Piece| {
                        self.0[&p.base][..usize::try_from(p.len).unwrap()].to_vec()
                    })
                    .collect();
                let out_size = output.iter().map(|p| usize::try_from(p.len).unwrap()).sum();
                let ioctl =
                    Ioctl { command, argument: ARG, input: &bytes, out_size, compat: false };
                match handle(&ioctl, psp) {
                    IoctlReply::Retry { input: i, output: o } => (input, output) = (i, o),
                    IoctlReply::Done { result, output: data } => {
                        assert!(data.len() <= out_size);
                        let mut data = data.as_slice();
                        for p in output {
                            let len = data.len().min(usize::try_from(p.len).unwrap());
                            let (now, later) = data.split_at(len);
                            self.0.get_mut(&p.base).unwrap()[..len].copy_from_slice(now);
                            data = later;
                        }
                        return result;
                    }
                }
            }
            panic!("the rounds do not end")
        }

        fn exit(&self) -> ExitInfo {
            let argument = GuestRequest::read_from_bytes(&self.0[&ARG]).unwrap();
            ExitInfo::from_raw(argument.exitinfo2.get())
        }

        fn certs_len(&self) -> u32 {
            ExtendedReportRequest::read_from_bytes(&self.0[&REQ]).unwrap().certs_len.get()
        }
    }

    #[test]
    fn a_report_comes_back() {
        let (mut caller, mut psp) = (Caller::new(0), fake(100));
        assert_eq!(caller.call(GET_REPORT, &mut psp), 0);
        assert_eq!(caller.0[&RESP], [0xbb; RESPONSE_LEN]);
        assert_eq!(caller.exit(), ExitInfo { firmware: 0, vmm: 0 });
        assert_eq!(psp.asked.len(), 1);
        assert_eq!(psp.asked[0].report().user_data, [0xaa; 64]);
    }

    #[test]
    fn an_extended_report_comes_back_with_certificates() {
        let (mut caller, mut psp) = (Caller::new(8192), fake(5000));
        assert_eq!(caller.call(GET_EXT_REPORT, &mut psp), 0);
        assert_eq!(caller.0[&RESP], [0xbb; RESPONSE_LEN]);
        assert_eq!(caller.0[&CERTS][..5000], [0xcc; 5000]);
        assert_eq!(caller.0[&CERTS][5000..], [0; CERTIFICATES_MAX - 5000]);
    }

    #[test]
    fn a_small_buffer_learns_the_right_size() {
        for certs_len in [0, 4096] {
            let (mut caller, mut psp) = (Caller::new(certs_len), fake(5000));
            assert_eq!(caller.call(GET_EXT_REPORT, &mut psp), -5);
            assert_eq!(caller.exit(), ExitInfo { firmware: 0, vmm: VMM_INVALID_LEN });
            assert_eq!(caller.certs_len(), 8192);
            assert_eq!(caller.0[&RESP], [0; RESPONSE_LEN], "no report yet");
        }
    }

    #[test]
    fn buffers_that_the_kernel_refuses_are_refused() {
        for certs_len in [1, 4095, 0x5000] {
            let (mut caller, mut psp) = (Caller::new(certs_len), fake(1));
            assert_eq!(caller.call(GET_EXT_REPORT, &mut psp), -22);
            assert!(psp.asked.is_empty());
        }
    }

    #[test]
    fn failures_of_the_psp_are_told_as_the_kernel_does() {
        let busy: fn() -> PspError = || PspError::Busy;
        let gone: fn() -> PspError =
            || PspError::Gone { source: std::io::ErrorKind::BrokenPipe.into() };
        for (failure, firmware_error, firmware, vmm) in
            [(Some(busy), 0, 0, VMM_BUSY), (Some(gone), 0, 0xff, 0), (None, 0x27, 0x27, 0)]
        {
            for command in [GET_REPORT, GET_EXT_REPORT] {
                let mut psp = Fake { failure, firmware_error, ..fake(0) };
                let mut caller = Caller::new(4096);
                assert_eq!(caller.call(command, &mut psp), -5);
                assert_eq!(caller.exit(), ExitInfo { firmware, vmm });
            }
        }
    }

    #[test]
    fn other_commands_versions_and_callers_are_refused() {
        let mut caller = Caller::new(0);
        assert_eq!(caller.call(0xc020_5301, &mut fake(0)), -25);
        caller.0.get_mut(&ARG).unwrap()[0] = 0;
        assert_eq!(caller.call(GET_REPORT, &mut fake(0)), -22);
        assert_eq!(caller.call(GET_EXT_REPORT, &mut fake(0)), -22);
        let compat =
            Ioctl { command: GET_REPORT, argument: 0, input: &[], out_size: 0, compat: true };
        assert_eq!(handle(&compat, &mut fake(0)), refuse(Errno::NotTty));
    }

    proptest! {
        /// Whatever the rounds carry: no panic, and never more output than was announced.
        #[test]
        fn hostile_rounds_are_harmless(
            command in prop_oneof![Just(GET_REPORT), Just(GET_EXT_REPORT), any::<u32>()],
            input in proptest::collection::vec(any::<u8>(), 0..200),
            out_size in 0_usize..30_000,
        ) {
            let ioctl = Ioctl { command, argument: ARG, input: &input, out_size, compat: false };
            let _ = handle(&ioctl, &mut fake(5000));
        }
    }
}
