// SPDX-License-Identifier: Apache-2.0
//! The control protocol: what the launcher of a VM and the PSP say to each other.
//!
//! One JSON object a line over a Unix socket: a launch request, its answer, then nothing. The VM
//! is known until the launcher closes the connection.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Longest request in bytes.
pub const MAX_REQUEST: u64 = 16 * 1024;

/// A request, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Control socket of the paused QEMU.
    pub qmp: PathBuf,
    /// Socket behind the guest's port `casemate.psp`.
    pub psp: PathBuf,
    /// Size of the firmware, which ends at 4 GiB.
    pub firmware_bytes: u64,
    /// HOST_DATA of the reports.
    pub host_data: [u8; 32],
    /// Guest policy of the reports.
    pub policy: u64,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// The VM runs.
    Ok {
        /// Its launch digest, 96 hexadecimal digits.
        launch_digest: String,
    },
    /// The VM was not started.
    Error {
        /// A word for programs.
        code: &'static str,
        /// A line for people.
        message: String,
    },
}

/// Why a request is refused before anything is done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The line is not a request.
    #[error("the request is malformed: {reason}")]
    Malformed {
        /// Where.
        reason: String,
    },
    /// The size cannot be that of a firmware.
    #[error("a firmware of {bytes} bytes; expected whole pages, at most {cap}")]
    FirmwareSize {
        /// The size.
        bytes: u64,
        /// The cap.
        cap: usize,
    },
    /// The policy lacks the bit that the firmware ABI demands, or has bits that it does not know.
    #[error("the guest policy {policy:#x} is not one that a PSP accepts")]
    Policy {
        /// The policy.
        policy: u64,
    },
}

impl Launch {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub fn parse(line: &[u8]) -> Result<Self, RequestError> {
        let malformed =
            |reason: &dyn ToString| RequestError::Malformed { reason: reason.to_string() };
        let Wire::Launch(wire) = serde_json::from_slice(line).map_err(|error| malformed(&error))?;
        let mut host_data = [0; 32];
        hex::decode_to_slice(&wire.host_data, &mut host_data)
            .map_err(|error| malformed(&format!("host_data: {error}")))?;
        let cap = casemate_boot_formats::ovmf::MAX_FIRMWARE_SIZE;
        let bytes = wire.firmware_bytes;
        let fits = usize::try_from(bytes).is_ok_and(|size| (1..=cap).contains(&size));
        if !fits || !bytes.is_multiple_of(casemate_boot_formats::ovmf::PAGE_SIZE) {
            return Err(RequestError::FirmwareSize { bytes, cap });
        }
        let policy = wire.policy;
        if policy & POLICY_RESERVED_ONE == 0 || policy & !POLICY_KNOWN != 0 {
            return Err(RequestError::Policy { policy });
        }
        Ok(Self { qmp: wire.qmp, psp: wire.psp, firmware_bytes: bytes, host_data, policy })
    }
}

/// Bit 17 must be one.
const POLICY_RESERVED_ONE: u64 = 1 << 17;
/// Versions, and the bits up to 24 (56860, Guest Policy).
const POLICY_KNOWN: u64 = 0x1ff_ffff;

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wire {
    Launch(WireLaunch),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireLaunch {
    qmp: PathBuf,
    psp: PathBuf,
    firmware_bytes: u64,
    host_data: String,
    policy: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn request() -> Value {
        json!({ "launch": {
            "qmp": "/run/vm/qmp", "psp": "/run/vm/psp", "firmware_bytes": 4_194_304,
            "host_data": "5a".repeat(32), "policy": 196_608,
        }})
    }

    fn parse(change: impl FnOnce(&mut Value)) -> Result<Launch, RequestError> {
        let mut request = request();
        change(&mut request["launch"]);
        Launch::parse(request.to_string().as_bytes())
    }

    #[test]
    fn takes_a_good_request() {
        let launch = parse(|_| {}).unwrap();
        assert_eq!((launch.host_data, launch.policy), ([0x5a; 32], 0x3_0000));
    }

    #[test]
    fn refuses_each_bad_field() {
        for bad in ["5a".repeat(31), "5a".repeat(33), "zz".repeat(32)] {
            let refused = parse(|launch| launch["host_data"] = bad.into());
            assert!(matches!(refused, Err(RequestError::Malformed { .. })));
        }
        for bad in [0_u64, 1, 4097, 17 << 20, u64::MAX] {
            let refused = parse(|launch| launch["firmware_bytes"] = bad.into());
            assert!(matches!(refused, Err(RequestError::FirmwareSize { .. })), "{bad}");
        }
        for bad in [0, 0x1_0000, 1 << 40 | 0x2_0000, u64::MAX] {
            let refused = parse(|launch| launch["policy"] = bad.into());
            assert_eq!(refused, Err(RequestError::Policy { policy: bad }));
        }
        let refused = parse(|launch| launch["launch_digest"] = "00".into());
        assert!(matches!(refused, Err(RequestError::Malformed { .. })), "unknown field");
    }

    #[test]
    fn truncation_at_every_length_is_an_error() {
        let text = request().to_string();
        for len in 0..text.len() {
            assert!(Launch::parse(&text.as_bytes()[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn answers_have_the_documented_form() {
        let ok = Answer::Ok { launch_digest: "00".to_owned() };
        assert_eq!(serde_json::to_value(ok).unwrap(), json!({"ok": {"launch_digest": "00"}}));
        let error = Answer::Error { code: "vm.running", message: "m".to_owned() };
        assert_eq!(
            serde_json::to_value(error).unwrap(),
            json!({"error": {"code": "vm.running", "message": "m"}})
        );
    }
}
