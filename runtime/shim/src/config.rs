// SPDX-License-Identifier: Apache-2.0
//! The shim's configuration file.
//!
//! ```
//! let config = casemate_shim::config::Config::parse(
//!     r#"
//!     tee = "sim"
//!     guest_image = "/usr/share/casemate/guest"
//!     qemu = "/usr/bin/qemu-system-x86_64"
//!     tee_sim_socket = "/run/casemate/tee-sim.sock"
//!     "#,
//! )?;
//! assert_eq!(config.vcpus.get(), 1);
//! # Ok::<(), casemate_shim::config::ConfigError>(())
//! ```

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_vmm::Acceleration;
use casemate_vmm::MemoryMib;
use casemate_vmm::SnpOptions;
use casemate_vmm::SnpPolicy;
use casemate_vmm::TdxOptions;
use casemate_vmm::Tee;
use casemate_vmm::VcpuCount;
use serde::Deserialize;

/// The configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The TEE that must protect every VM.
    pub tee: Tee,
    /// Folder of the guest image.
    pub guest_image: PathBuf,
    /// The QEMU program.
    pub qemu: PathBuf,
    /// vCPUs of a pod without a CPU limit.
    pub vcpus: VcpuCount,
    /// Memory of a pod without a memory limit, and what is added to a limit for the guest itself
    /// and for the unpacked images.
    pub memory: MemoryMib,
    /// KVM or TCG with `tee = "sim"`; none finds out by trying.
    pub acceleration: Option<Acceleration>,
    /// Folder for the serial console of each VM, for debugging.
    pub console_dir: Option<PathBuf>,
    /// Folder of the runtime state.
    pub state_dir: PathBuf,
    /// Folder of the guests' audit logs, which outlive their pods.
    pub audit_dir: PathBuf,
    /// Deadlines.
    pub deadlines: Deadlines,
}

/// Deadlines of the shim; each bounds something that a broken guest could make endless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// From the launch to the agent's first answer.
    pub boot: Duration,
    /// From the network to the attested guest.
    pub attest: Duration,
    /// For one create with its image pull; kubelet's own limit is two minutes.
    pub create: Duration,
    /// For any other request to the agent.
    pub request: Duration,
    /// Silence of the agent after which its VM is killed.
    pub silence: Duration,
    /// From a polite stop of the VM to its kill.
    pub stop: Duration,
}

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]; its text names the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text))
            .map_err(read)?;
        Self::parse(&text)
            .map_err(|error| ConfigError::InFile { path: path.to_owned(), source: Box::new(error) })
    }

    /// Parses the text of the file.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: unknown keys are errors, so that a misspelt one is never ignored.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let file: ConfigFile = toml::from_str(text)
            .map_err(|error| ConfigError::Syntax { reason: error.message().replace('\n', " ") })?;
        let tee = tee(&file)?;
        Ok(Self {
            tee,
            guest_image: absolute("guest_image", file.guest_image)?,
            qemu: absolute("qemu", file.qemu.unwrap_or_else(|| DEFAULT_QEMU.into()))?,
            vcpus: VcpuCount::new(file.vcpus.unwrap_or(DEFAULT_VCPUS)).map_err(value)?,
            memory: MemoryMib::new(file.memory_mib.unwrap_or(DEFAULT_MEMORY_MIB)).map_err(value)?,
            acceleration: file.acceleration.map(|acceleration| match acceleration {
                AccelerationKey::Kvm => Acceleration::Kvm,
                AccelerationKey::Tcg => Acceleration::Tcg,
            }),
            console_dir: file.console_dir.map(|dir| absolute("console_dir", dir)).transpose()?,
            state_dir: absolute(
                "state_dir",
                file.state_dir.unwrap_or_else(|| DEFAULT_STATE_DIR.into()),
            )?,
            audit_dir: absolute(
                "audit_dir",
                file.audit_dir.unwrap_or_else(|| DEFAULT_AUDIT_DIR.into()),
            )?,
            deadlines: deadlines(&file.deadlines)?,
        })
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something in the file is wrong.
    #[error("{}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<ConfigError>,
    },
    /// The text is not the TOML that is expected.
    #[error("{reason}")]
    Syntax {
        /// What the parser said, one line.
        reason: String,
    },
    /// A value is not allowed.
    #[error("{source}")]
    Value {
        /// Which and why.
        source: casemate_vmm::ConfigError,
    },
    /// A path is relative.
    #[error("{key} must be an absolute path")]
    RelativePath {
        /// The key.
        key: &'static str,
    },
    /// A deadline is zero or longer than a day.
    #[error("deadlines.{key} must be 1 to {MAX_DEADLINE_S} seconds")]
    Deadline {
        /// The key.
        key: &'static str,
    },
    /// A table of one TEE's options with another TEE.
    #[error("the table [{table}] belongs to tee = \"{table}\"")]
    OtherTee {
        /// The table.
        table: &'static str,
    },
    /// `tee = "sim"` without its socket, or the socket with another TEE.
    #[error("tee_sim_socket belongs to tee = \"sim\" and to it alone")]
    SimSocket,
}

impl From<ConfigError> for ApiError {
    fn from(error: ConfigError) -> Self {
        Self::new(Code::ConfigInvalid, error)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    tee: TeeKey,
    guest_image: PathBuf,
    qemu: Option<PathBuf>,
    tee_sim_socket: Option<PathBuf>,
    vcpus: Option<u32>,
    memory_mib: Option<u32>,
    acceleration: Option<AccelerationKey>,
    console_dir: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    audit_dir: Option<PathBuf>,
    snp: Option<SnpFile>,
    tdx: Option<TdxFile>,
    #[serde(default)]
    deadlines: DeadlinesFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SnpFile {
    policy: Option<u64>,
    #[serde(default)]
    require_id_block: bool,
    #[serde(default)]
    vcek_disabled: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TdxFile {
    mr_owner: Option<String>,
    mr_owner_config: Option<String>,
    quote_socket: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TeeKey {
    Snp,
    Tdx,
    Sim,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AccelerationKey {
    Kvm,
    Tcg,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeadlinesFile {
    boot_s: Option<u64>,
    attest_s: Option<u64>,
    create_s: Option<u64>,
    request_s: Option<u64>,
    silence_s: Option<u64>,
    stop_s: Option<u64>,
}

fn tee(file: &ConfigFile) -> Result<Tee, ConfigError> {
    if file.snp.is_some() && !matches!(file.tee, TeeKey::Snp) {
        return Err(ConfigError::OtherTee { table: "snp" });
    }
    if file.tdx.is_some() && !matches!(file.tee, TeeKey::Tdx) {
        return Err(ConfigError::OtherTee { table: "tdx" });
    }
    match (file.tee, file.tee_sim_socket.clone()) {
        (TeeKey::Snp, None) => {
            file.snp.as_ref().map_or(Ok(SnpOptions::default()), snp).map(Tee::Snp)
        }
        (TeeKey::Tdx, None) => {
            file.tdx.as_ref().map_or(Ok(TdxOptions::default()), tdx).map(Tee::Tdx)
        }
        (TeeKey::Sim, Some(socket)) => Ok(Tee::Sim { socket: absolute("tee_sim_socket", socket)? }),
        _ => Err(ConfigError::SimSocket),
    }
}

fn snp(file: &SnpFile) -> Result<SnpOptions, ConfigError> {
    let policy = file.policy.map(SnpPolicy::new).transpose().map_err(value)?;
    Ok(SnpOptions {
        policy: policy.unwrap_or_default(),
        require_id_block: file.require_id_block,
        vcek_disabled: file.vcek_disabled,
    })
}

fn tdx(file: &TdxFile) -> Result<TdxOptions, ConfigError> {
    let owner = |text: &Option<String>| text.as_deref().map(str::parse).transpose().map_err(value);
    let quote_socket = file.quote_socket.as_deref().map(str::parse).transpose().map_err(value)?;
    Ok(TdxOptions {
        mr_owner: owner(&file.mr_owner)?.unwrap_or_default(),
        mr_owner_config: owner(&file.mr_owner_config)?.unwrap_or_default(),
        quote_socket: quote_socket.unwrap_or_default(),
    })
}

fn value(source: casemate_vmm::ConfigError) -> ConfigError {
    ConfigError::Value { source }
}

fn deadlines(file: &DeadlinesFile) -> Result<Deadlines, ConfigError> {
    let seconds = |key, value: Option<u64>, default| match value.unwrap_or(default) {
        value if (1..=MAX_DEADLINE_S).contains(&value) => Ok(Duration::from_secs(value)),
        _ => Err(ConfigError::Deadline { key }),
    };
    Ok(Deadlines {
        boot: seconds("boot_s", file.boot_s, 60)?,
        attest: seconds("attest_s", file.attest_s, 60)?,
        create: seconds("create_s", file.create_s, 110)?,
        request: seconds("request_s", file.request_s, 30)?,
        silence: seconds("silence_s", file.silence_s, 60)?,
        stop: seconds("stop_s", file.stop_s, 10)?,
    })
}

fn absolute(key: &'static str, path: PathBuf) -> Result<PathBuf, ConfigError> {
    if path.is_absolute() { Ok(path) } else { Err(ConfigError::RelativePath { key }) }
}

/// Where the file is unless containerd's runtime options say otherwise.
pub const DEFAULT_PATH: &str = "/etc/casemate/config.toml";

/// Where the state of running sandboxes is.
pub const DEFAULT_STATE_DIR: &str = "/run/casemate";

/// Where the guests' audit logs are.
pub const DEFAULT_AUDIT_DIR: &str = "/var/log/casemate/audit";

/// Most bytes of the file that are read.
const MAX_FILE_BYTES: u64 = 64 * 1024;
const MAX_DEADLINE_S: u64 = 24 * 60 * 60;
const DEFAULT_QEMU: &str = "/usr/bin/qemu-system-x86_64";
const DEFAULT_VCPUS: u32 = 1;
/// Room for kernel, initramfs and agent, and for the image of a small service.
const DEFAULT_MEMORY_MIB: u32 = 512;

#[cfg(test)]
mod tests {
    use casemate_vmm::OwnerId;
    use casemate_vmm::QuoteSocket;

    use super::*;

    const SNP: &str = "tee = 'snp'\nguest_image = '/g'\n";

    fn parse(more: &str) -> Result<Config, ConfigError> {
        Config::parse(&format!("{SNP}{more}"))
    }

    #[test]
    fn the_least_is_a_tee_and_an_image() {
        let config = parse("").unwrap();
        assert_eq!(config.tee, Tee::Snp(SnpOptions::default()));
        assert_eq!(config.state_dir, Path::new("/run/casemate"));
        assert_eq!(config.audit_dir, Path::new("/var/log/casemate/audit"));
        assert_eq!(config.memory.get(), 512);
        assert_eq!(config.deadlines.create, Duration::from_secs(110));
    }

    #[test]
    fn every_key_is_taken() {
        let config = parse(
            "qemu = '/q'\nvcpus = 2\nmemory_mib = 1024\nacceleration = 'tcg'\n\
             console_dir = '/c'\nstate_dir = '/s'\naudit_dir = '/a'\n[deadlines]\nboot_s = 1\nattest_s = 2\n\
             create_s = 3\nrequest_s = 4\nsilence_s = 5\nstop_s = 6\n",
        )
        .unwrap();
        assert_eq!((config.vcpus.get(), config.memory.get()), (2, 1024));
        assert_eq!(config.acceleration, Some(Acceleration::Tcg));
        assert_eq!(config.console_dir, Some("/c".into()));
        assert_eq!((config.state_dir, config.audit_dir), ("/s".into(), "/a".into()));
        let d = config.deadlines;
        let all = [d.boot, d.attest, d.create, d.request, d.silence, d.stop];
        assert_eq!(all.map(|d| d.as_secs()), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(matches!(parse("tees = 1"), Err(ConfigError::Syntax { .. })));
        assert!(matches!(parse("[deadlines]\nboot = 1"), Err(ConfigError::Syntax { .. })));
        let none = "tee = 'none'\nguest_image = '/g'";
        assert!(matches!(Config::parse(none), Err(ConfigError::Syntax { .. })));
        assert!(matches!(Config::parse(""), Err(ConfigError::Syntax { .. })));
    }

    #[test]
    fn refuses_values_out_of_range() {
        assert!(matches!(parse("vcpus = 0"), Err(ConfigError::Value { .. })));
        assert!(matches!(parse("memory_mib = 1"), Err(ConfigError::Value { .. })));
        assert!(matches!(parse("qemu = 'q'"), Err(ConfigError::RelativePath { key: "qemu" })));
        let zero = parse("[deadlines]\nboot_s = 0");
        assert!(matches!(zero, Err(ConfigError::Deadline { key: "boot_s" })));
        assert!(matches!(parse("[deadlines]\nstop_s = 86401"), Err(ConfigError::Deadline { .. })));
    }

    #[test]
    fn takes_the_options_of_snp() {
        let config =
            parse("[snp]\npolicy = 0x20000\nrequire_id_block = true\nvcek_disabled = true")
                .unwrap();
        let policy = SnpPolicy::new(0x2_0000).unwrap();
        let options = SnpOptions { policy, require_id_block: true, vcek_disabled: true };
        assert_eq!(config.tee, Tee::Snp(options));
        // A guest that the host may debug.
        assert!(matches!(parse("[snp]\npolicy = 0xb0000"), Err(ConfigError::Value { .. })));
        assert!(matches!(parse("[snp]\npolicy = -1"), Err(ConfigError::Syntax { .. })));
        assert!(matches!(parse("[snp]\nid_block = 'f'"), Err(ConfigError::Syntax { .. })));
    }

    #[test]
    fn takes_the_options_of_tdx() {
        let parse = |more: &str| Config::parse(&format!("tee = 'tdx'\nguest_image = '/g'\n{more}"));
        assert_eq!(parse("").unwrap().tee, Tee::Tdx(TdxOptions::default()));
        let owner = "0a".repeat(48);
        let config = parse(&format!(
            "[tdx]\nmr_owner = '{owner}'\nmr_owner_config = '{owner}'\n\
             quote_socket = 'unix:/run/qgs.sock'"
        ));
        let owner = OwnerId([10; 48]);
        let options = TdxOptions {
            mr_owner: owner,
            mr_owner_config: owner,
            quote_socket: QuoteSocket::Unix("/run/qgs.sock".into()),
        };
        assert_eq!(config.unwrap().tee, Tee::Tdx(options));
        for bad in ["mr_owner = 'ab'", "mr_owner_config = ''", "quote_socket = '/run/qgs.sock'"] {
            assert!(matches!(parse(&format!("[tdx]\n{bad}")), Err(ConfigError::Value { .. })));
        }
        assert!(matches!(parse("[tdx]\nattributes = 1"), Err(ConfigError::Syntax { .. })));
    }

    #[test]
    fn options_of_another_tee_are_not_ignored() {
        let tdx = parse("[tdx]\nquote_socket = 'vsock:2:4050'");
        assert!(matches!(tdx, Err(ConfigError::OtherTee { table: "tdx" })));
        for other in ["tdx", "sim"] {
            let text =
                format!("tee = '{other}'\nguest_image = '/g'\n[snp]\nrequire_id_block = true");
            let refused = Config::parse(&text);
            assert!(matches!(refused, Err(ConfigError::OtherTee { table: "snp" })), "{refused:?}");
        }
    }

    #[test]
    fn the_simulator_must_be_named_in_full() {
        // E21: nothing switches a node to the simulator by half a setting.
        let bare = "tee = 'sim'\nguest_image = '/g'";
        assert!(matches!(Config::parse(bare), Err(ConfigError::SimSocket)));
        assert!(matches!(parse("tee_sim_socket = '/s'"), Err(ConfigError::SimSocket)));
        let full = format!("{bare}\ntee_sim_socket = '/s'");
        assert_eq!(Config::parse(&full).unwrap().tee, Tee::Sim { socket: "/s".into() });
    }

    #[test]
    fn errors_name_the_file_and_carry_the_code() {
        let error = Config::load(Path::new("/nonexistent/casemate.toml")).unwrap_err();
        let error = ApiError::from(error);
        assert_eq!(error.code(), Code::ConfigInvalid);
        assert!(error.detail().contains("/nonexistent/casemate.toml"), "{error}");
    }
}
