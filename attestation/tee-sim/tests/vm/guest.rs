// SPDX-License-Identifier: Apache-2.0
//! A simulated guest image with a small agent, and a software PSP to launch it under.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::time::Duration;

use casemate_boot_formats::sev_hashes::KernelHashes;
use casemate_evidence::snp::{TableEntry, parse_table};
use casemate_guest_image::{BuildInputs, Kind, build, inputs::DebianInputs};
use casemate_vmm::{Acceleration, InitdataDigest, MemoryMib, Tee, VcpuCount, Vm, VmConfig, VmName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::judge::Judge;

pub(crate) const HOST_DATA: [u8; 32] = [0x5a; 32];
/// Where the AmdSev firmware has its table; the test itself says so, the product reads it from the
/// firmware.
pub(crate) const HASH_TABLE: u64 = 0x81_0c00;
const QEMU: &str = "/usr/bin/qemu-system-x86_64";
/// A boot takes some five seconds; the machine may be loaded.
const BOOT_LIMIT: Duration = Duration::from_secs(120);

/// What a test needs, found or skipped.
pub(crate) struct Bench {
    pub(crate) image: PathBuf,
    pub(crate) judge: Judge,
    folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn find(name: &str) -> Option<Self> {
        match Self::try_find(name) {
            Ok(bench) => Some(bench),
            Err(reason) => {
                assert!(
                    std::env::var_os("CASEMATE_REQUIRE").is_none_or(|value| value != "1"),
                    "{reason}"
                );
                eprintln!("skipped: {reason}");
                None
            }
        }
    }

    fn try_find(name: &str) -> Result<Self, String> {
        if !Path::new(QEMU).exists() {
            return Err(format!("needs {QEMU}"));
        }
        let judge = Judge::find()?;
        let image = image()?;
        let folder = tempfile::Builder::new().prefix(name).tempdir_in("/tmp").unwrap();
        Ok(Self { image, judge, folder })
    }

    /// A folder of this test.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// The hash table of the image for so many vCPUs.
    pub(crate) fn table(&self, vcpus: u32) -> [u8; 176] {
        let read = |name: &str| std::fs::read(self.image.join(name)).unwrap();
        let cmdline = read(super::judge::cmdline(vcpus));
        KernelHashes::of(&read("kernel"), &read("initramfs"), &cmdline).unwrap().to_table()
    }

    pub(crate) fn image_with_command_line(&self, addition: &str) -> PathBuf {
        let changed = self.folder("image");
        for name in ["firmware.fd", "kernel", "initramfs"] {
            std::fs::copy(self.image.join(name), changed.join(name)).unwrap();
        }
        let line = std::fs::read_to_string(self.image.join("cmdline.txt")).unwrap();
        std::fs::write(changed.join("cmdline.txt"), line + addition).unwrap();
        changed
    }

    /// A program in QEMU's place that adds words to its command line.
    pub(crate) fn hostile_qemu(&self, additions: &[&str]) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder("hostile").join("qemu");
        let script = format!("#!/bin/sh\nexec {QEMU} \"$@\" {}\n", additions.join(" "));
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    pub(crate) fn config_without_psp(&self, vcpus: u32) -> VmConfig {
        VmConfig {
            name: VmName::new("test").unwrap(),
            tee: Tee::Sim { socket: "/nonexistent".into() },
            vcpus: VcpuCount::new(vcpus).unwrap(),
            memory: MemoryMib::new(512).unwrap(),
            guest_image: self.image.clone(),
            initdata: None,
            initdata_digest: InitdataDigest::Sha256(HOST_DATA),
            network: None,
            runtime_dir: self.folder("vm"),
            cgroups: Vec::new(),
            qemu: QEMU.into(),
            acceleration: Some(Acceleration::Tcg),
            console: None,
        }
    }

    pub(crate) fn config(&self, vcpus: u32, psp: &Psp) -> VmConfig {
        let tee = Tee::Sim { socket: psp.socket.clone() };
        VmConfig { tee, ..self.config_without_psp(vcpus) }
    }

    /// The program `casemate-tee-sim`, as a user runs it.
    pub(crate) fn psp(&self) -> Psp {
        let socket = self.folder("psp").join("control.sock");
        let child = Command::new(PSP_PROGRAM)
            .arg("serve")
            .arg("--dir")
            .arg(installation())
            .arg("--socket")
            .arg(&socket)
            .spawn()
            .unwrap();
        let psp = Psp { child, socket };
        let deadline = std::time::Instant::now() + BOOT_LIMIT;
        while !psp.socket.exists() {
            assert!(std::time::Instant::now() < deadline, "the PSP does not serve");
            std::thread::sleep(Duration::from_millis(10));
        }
        psp
    }
}

const PSP_PROGRAM: &str = env!("CARGO_BIN_EXE_casemate-tee-sim");

/// Made once for all tests of a run: RSA keys take seconds. Stays in the build folder.
fn installation() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tee-sim");
        let status =
            Command::new(PSP_PROGRAM).arg("init").arg("--dir").arg(&folder).status().unwrap();
        assert!(status.success());
        folder
    })
}

pub(crate) struct Psp {
    child: Child,
    socket: PathBuf,
}

impl Drop for Psp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a guest answered.
pub(crate) struct Evidence {
    pub(crate) report: Vec<u8>,
    pub(crate) table: Vec<TableEntry>,
}

/// The test agent's port.
pub(crate) struct Agent(UnixStream);

impl Agent {
    pub(crate) async fn connect(vm: &dyn Vm) -> Self {
        Self(vm.connect_agent().await.unwrap())
    }

    pub(crate) async fn evidence(&mut self, nonce: [u8; 64]) -> Evidence {
        timeout(BOOT_LIMIT, self.ask(nonce)).await.expect("the guest answers")
    }

    async fn ask(&mut self, nonce: [u8; 64]) -> Evidence {
        self.0.write_all(&nonce).await.unwrap();
        let status = self.0.read_u8().await.unwrap();
        let len = self.0.read_u32_le().await.unwrap();
        let mut content = vec![0; usize::try_from(len).unwrap()];
        self.0.read_exact(&mut content).await.unwrap();
        assert_eq!(status, 0, "{}", String::from_utf8_lossy(&content));
        let table = parse_table(&content[1184..]).unwrap();
        content.truncate(1184);
        Evidence { report: content, table }
    }
}

pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The simulated guest image with the test agent in the agent's place, built once a run.
fn image() -> Result<PathBuf, String> {
    static IMAGE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    IMAGE.get_or_init(build_image).clone()
}

fn build_image() -> Result<PathBuf, String> {
    let folder = workspace().join("target/casemate/inputs");
    let debian = DebianInputs::open(&folder).map_err(|error| error.to_string())?;
    let debian = debian.ok_or_else(|| format!("needs the inputs in {}", folder.display()))?;
    let programs = guest_programs();
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest");
    let inputs = BuildInputs {
        firmware: &debian.firmware,
        kernel: &debian.kernel,
        modules: &debian.modules,
        agent: &programs.join("examples/test-agent"),
        crates: &[],
        lock: debian.lock.clone(),
        kind: Kind::Simulated { device: &programs.join("casemate-tee-sim-device") },
    };
    build(&inputs, &out).map_err(|error| format!("the guest image: {error}"))?;
    Ok(out)
}

/// Builds the two static programs of the guest.
fn guest_programs() -> PathBuf {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    if let Some(built) = std::env::var_os("CASEMATE_TEST_GUEST_PROGRAMS") {
        return built.into();
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "-p",
            "casemate-tee-sim-device",
            "--bins",
            "--examples",
            "--target",
            TARGET,
        ])
        .arg("--target-dir")
        .arg(target)
        .current_dir(workspace())
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .status()
        .unwrap();
    assert!(status.success(), "the guest's programs");
    target.join(TARGET).join("debug")
}
