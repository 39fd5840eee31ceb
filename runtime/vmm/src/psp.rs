// SPDX-License-Identifier: Apache-2.0
//! The shim's side of the software PSP's control protocol.
//!
//! One JSON object a line: a launch request, its answer, and then a silent connection that keeps
//! the VM known to the PSP until it is closed.

use std::io;
use std::path::Path;

use casemate_launch_digest::InitdataDigest;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::config::{SnpPolicy, TeeKind};
use crate::error::Error;
use crate::qemu::Sockets;
use crate::qmp::one_line;
use crate::vm::LaunchDigest;

/// A VM that the software PSP knows. Dropping it makes the PSP forget the VM.
#[derive(Debug)]
pub(crate) struct PspSession {
    pub(crate) digest: LaunchDigest,
    _connection: BufReader<UnixStream>,
}

#[derive(Serialize)]
struct Request<'a> {
    launch: Launch<'a>,
}

#[derive(Serialize)]
struct Launch<'a> {
    qmp: &'a Path,
    psp: &'a Path,
    firmware_bytes: u64,
    host_data: String,
    policy: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Answer {
    Ok { launch_digest: String },
    Error { code: String, message: String },
}

/// Longest answer in bytes.
const MAX_ANSWER: u64 = 16 * 1024;

/// Finds the PSP, before anything is started.
pub(crate) async fn connect(socket: &Path) -> Result<UnixStream, Error> {
    // E21: without its PSP the VM does not run.
    UnixStream::connect(socket).await.map_err(|source| Error::TeeMissing {
        tee: TeeKind::Sim,
        reason: format!("nobody answers at {}: {source}", socket.display()),
    })
}

/// Has the PSP fold the digest of the paused VM and start it.
pub(crate) async fn launch(
    connection: UnixStream,
    sockets: &Sockets,
    firmware_bytes: u64,
    initdata: &InitdataDigest,
) -> Result<PspSession, Error> {
    let request = Request {
        launch: Launch {
            qmp: &sockets.psp_control,
            psp: &sockets.psp,
            firmware_bytes,
            host_data: hex::encode(initdata.host_data().0),
            policy: SnpPolicy::default().get().bits(),
        },
    };
    let mut connection = BufReader::new(connection);
    let answer = exchange(&mut connection, &request)
        .await
        .map_err(|source| Error::Psp { reason: format!("the connection failed: {source}") })?;
    let digest = parse_answer(&answer)?;
    Ok(PspSession { digest, _connection: connection })
}

async fn exchange(
    connection: &mut BufReader<UnixStream>,
    request: &Request<'_>,
) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    connection.write_all(&line).await?;
    let mut answer = Vec::new();
    connection.take(MAX_ANSWER).read_until(b'\n', &mut answer).await?;
    Ok(answer)
}

fn parse_answer(answer: &[u8]) -> Result<LaunchDigest, Error> {
    let malformed = || Error::Psp { reason: "its answer is malformed".to_owned() };
    if answer.is_empty() {
        return Err(Error::Psp { reason: "it closed the connection".to_owned() });
    }
    match serde_json::from_slice(answer).map_err(|_| malformed())? {
        Answer::Ok { launch_digest } => {
            let mut digest = [0; 48];
            hex::decode_to_slice(&launch_digest, &mut digest).map_err(|_| malformed())?;
            Ok(LaunchDigest(digest))
        }
        Answer::Error { code, message } => Err(Error::Psp {
            reason: format!("{}: {}", one_line(&code, 64), one_line(&message, 512)),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_digest() {
        let answer = format!("{{\"ok\":{{\"launch_digest\":\"{}\"}}}}\n", "5a".repeat(48));
        assert_eq!(parse_answer(answer.as_bytes()).unwrap(), LaunchDigest([0x5a; 48]));
    }

    #[test]
    fn passes_refusals_on() {
        let error = parse_answer(br#"{"error":{"code":"vm.running","message":"not paused"}}"#);
        assert_eq!(
            error.unwrap_err().to_string(),
            "the software PSP refused the launch: vm.running: not paused"
        );
    }

    #[test]
    fn refuses_anything_else() {
        let short = format!("{{\"ok\":{{\"launch_digest\":\"{}\"}}}}", "5a".repeat(47));
        for bad in ["", "{}", "{\"ok\":{}}", short.as_str(), "null", "{\"ok\""] {
            assert!(matches!(parse_answer(bad.as_bytes()), Err(Error::Psp { .. })), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_missing_psp_is_a_missing_tee() {
        let error = connect(Path::new("/nonexistent/psp")).await.unwrap_err();
        assert_eq!(error.code(), casemate_agent_api::Code::TeeMissing);
    }
}
