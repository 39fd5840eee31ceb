// SPDX-License-Identifier: Apache-2.0
//! The life of a QEMU process.
//!
//! Needs `qemu-system-x86_64`; no KVM, and root in one test. Guests never run code here: their memory holds
//! zeros and the tests look at QEMU itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

mod fixtures;

use std::io::BufRead as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use casemate_agent_api::Code;
use casemate_vmm::probe::{acceleration, runs_kernel};
use casemate_vmm::{
    Acceleration, Error, Exit, Network, Nic, QemuVmm, SnpOptions, TdxOptions, Tee, VmConfig, Vmm,
};
use fixtures::{Folder, qemu};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// E21: a TEE that is not there is an error, and nothing is started.
#[tokio::test]
async fn a_missing_tee_is_an_error() {
    let Some(qemu) = qemu() else { return };
    let folder = Folder::new();
    let mut config = folder.config(&qemu);
    for (tee, parameter) in [
        (Tee::Snp(SnpOptions::default()), "/sys/module/kvm_amd/parameters/sev_snp"),
        (Tee::Tdx(TdxOptions::default()), "/sys/module/kvm_intel/parameters/tdx"),
    ] {
        if std::fs::read_to_string(parameter).is_ok_and(|text| text == "Y\n") {
            continue;
        }
        config.tee = tee;
        let error = QemuVmm::new().launch(&config).await.err().unwrap();
        assert_eq!(error.code(), Code::TeeMissing, "{error}");
    }
    config.tee = Tee::Sim { socket: folder.path("nobody.sock") };
    let error = launch_failure(&config).await;
    assert_eq!(error.code(), Code::TeeMissing, "{error}");
}

/// E1: an image that the checks refuse is refused before QEMU starts. What they refuse is tested
/// one by one beside them.
#[tokio::test]
async fn a_useless_measurement_is_an_error() {
    let Some(qemu) = qemu() else { return };
    let folder = Folder::new();
    std::fs::write(folder.path("id-block-2.bin"), [0; 96]).unwrap();
    let _psp = FakePsp::start(&folder, "");
    let error = launch_failure(&folder.config(&qemu)).await;
    assert!(matches!(&error, Error::Measure { file, .. } if file.ends_with("id-auth-2.bin")));
    assert_eq!(error.code(), Code::ConfigInvalid);
    assert!(!folder.path("agent.sock").exists());
}

/// The PSP's refusal ends the launch and QEMU.
#[tokio::test]
async fn a_refusal_of_the_psp_ends_the_vm() {
    let Some(qemu) = qemu() else { return };
    let folder = Folder::new();
    let config = folder.config(&qemu);
    let psp = FakePsp::start(&folder, r#"{"error":{"code":"vm.memory","message":"no"}}"#);
    let error = launch_failure(&config).await;
    assert!(matches!(error, Error::Psp { .. }), "{error}");
    psp.ended().await;
}

/// A PSP that crashes in mid-answer ends the launch too.
#[tokio::test]
async fn a_silent_end_of_the_psp_ends_the_vm() {
    let Some(qemu) = qemu() else { return };
    let folder = Folder::new();
    let psp = FakePsp::start(&folder, "");
    let error = launch_failure(&folder.config(&qemu)).await;
    assert!(matches!(error, Error::Psp { .. }), "{error}");
    psp.ended().await;
}

#[tokio::test]
async fn quit_and_kill_end_qemu_and_wait_tells() {
    let Some(qemu) = qemu() else { return };
    let answer = format!(r#"{{"ok":{{"launch_digest":"{}"}}}}"#, "5a".repeat(48));
    for by_kill in [false, true] {
        let folder = Folder::new();
        let psp = FakePsp::start(&folder, &answer);
        let vm = QemuVmm::new().launch(&folder.config(&qemu)).await.unwrap();
        assert_eq!(vm.launch_digest().unwrap().to_string(), "5a".repeat(48));
        assert!(alive(vm.pid()));
        drop(vm.connect_agent().await.unwrap());
        let exit = if by_kill {
            vm.kill();
            vm.wait().await
        } else {
            vm.quit(Duration::from_secs(20)).await
        };
        assert_eq!(exit, Exit::Requested);
        assert_eq!(vm.wait().await, Exit::Requested, "also for a later caller");
        assert!(!alive(vm.pid()));
        drop(vm);
        psp.ended().await;
    }
}

#[tokio::test]
async fn a_vmm_killed_by_somebody_else_is_a_failure() {
    let Some(qemu) = qemu() else { return };
    let folder = Folder::new();
    let answer = format!(r#"{{"ok":{{"launch_digest":"{}"}}}}"#, "5a".repeat(48));
    let _psp = FakePsp::start(&folder, &answer);
    let vm = QemuVmm::new().launch(&folder.config(&qemu)).await.unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(vm.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let exit = vm.wait().await;
    assert!(matches!(exit, Exit::VmmFailed { .. }), "{exit:?}");
}

#[tokio::test]
async fn dropping_the_handle_kills_qemu() {
    let Some(qemu) = qemu() else { return };
    let folder = Folder::new();
    let answer = format!(r#"{{"ok":{{"launch_digest":"{}"}}}}"#, "5a".repeat(48));
    let psp = FakePsp::start(&folder, &answer);
    let vm = QemuVmm::new().launch(&folder.config(&qemu)).await.unwrap();
    let pid = vm.pid();
    drop(vm);
    psp.ended().await;
    gone(pid).await;
}

/// The launcher is killed, so that none of its code runs any more: QEMU dies all the same.
#[tokio::test]
async fn qemu_dies_with_its_launcher() {
    let Some(_) = qemu() else { return };
    let mut launcher = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "launcher_for_another_test", "--nocapture"])
        .env(LAUNCHER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pid = None;
    for line in std::io::BufReader::new(launcher.stdout.take().unwrap()).lines() {
        if let Some((_, number)) = line.unwrap().split_once("QEMU is ") {
            pid = Some(number.parse().unwrap());
            break;
        }
    }
    let pid = pid.expect("the launcher tells");
    assert!(alive(pid));
    launcher.kill().unwrap();
    launcher.wait().unwrap();
    gone(pid).await;
}

const LAUNCHER: &str = "CASEMATE_VMM_TEST_LAUNCHER";

/// Not a test of its own: the process that `qemu_dies_with_its_launcher` kills.
#[tokio::test]
async fn launcher_for_another_test() {
    if std::env::var_os(LAUNCHER).is_none() {
        return;
    }
    let qemu = qemu().unwrap();
    let folder = Folder::new();
    let answer = format!(r#"{{"ok":{{"launch_digest":"{}"}}}}"#, "5a".repeat(48));
    let _psp = FakePsp::start(&folder, &answer);
    let vm = QemuVmm::new().launch(&folder.config(&qemu)).await.unwrap();
    // The folder would outlive the kill; QEMU has its files open.
    drop(folder);
    println!("QEMU is {}", vm.pid());
    vm.wait().await;
}

/// QEMU runs in the pod's network namespace, finds its tap there, and stands in the given cgroups.
#[tokio::test]
async fn qemu_joins_namespace_and_cgroups() {
    let Some(qemu) = qemu() else { return };
    if !rustix::process::geteuid().is_root() {
        let reason = "needs root for a network namespace and a cgroup";
        assert!(std::env::var_os("CASEMATE_REQUIRE").is_none(), "{reason}");
        eprintln!("skipped: {reason}");
        return;
    }
    let place = Place::make();
    let folder = Folder::new();
    let mut config = folder.config(&qemu);
    config.network = Some(Network {
        namespace: place.namespace(),
        nics: vec![Nic {
            tap: "tap0".to_owned(),
            mac: "02:00:00:00:00:01".parse().unwrap(),
            mtu: 1400,
        }],
    });
    config.cgroups.clone_from(&place.cgroups);
    let answer = format!(r#"{{"ok":{{"launch_digest":"{}"}}}}"#, "5a".repeat(48));
    let _psp = FakePsp::start(&folder, &answer);
    let vm = QemuVmm::new().launch(&config).await.unwrap();
    let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_ne!(of(&vm.pid().to_string()), of("self"));
    for cgroup in &place.cgroups {
        let members = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
        assert_eq!(members.trim(), vm.pid().to_string(), "{}", cgroup.display());
    }
    vm.kill();
    vm.wait().await;
    // What is no network namespace stops the launch before QEMU runs.
    let other = Folder::new();
    let _psp = FakePsp::start(&other, "");
    let mut elsewhere = VmConfig { network: config.network, ..other.config(&qemu) };
    if let Some(network) = &mut elsewhere.network {
        network.namespace = "/proc/self/ns/mnt".into();
    }
    assert!(matches!(launch_failure(&elsewhere).await, Error::Spawn { .. }));
}

/// A network namespace with a tap, and cgroups, for one test.
struct Place {
    name: String,
    cgroups: Vec<PathBuf>,
}

impl Place {
    fn make() -> Self {
        let name = format!("casemate-vmm-{}", std::process::id());
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let hierarchies = mounts.lines().filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (path, kind) = (fields.next()?, fields.next()?);
            let options = fields.next()?;
            // One hierarchy of version 1 that needs no set-up, or version 2.
            let simple = ["memory", "pids"].iter().any(|c| options.split(',').any(|o| o == *c));
            (kind == "cgroup2" || (kind == "cgroup" && simple)).then(|| PathBuf::from(path))
        });
        let cgroups: Vec<PathBuf> = hierarchies.map(|path| path.join(&name)).collect();
        let place = Self { name, cgroups };
        for cgroup in &place.cgroups {
            std::fs::create_dir(cgroup).unwrap();
        }
        assert!(!place.cgroups.is_empty());
        place.ip(&["netns", "add", &place.name]);
        place.ip(&["-n", &place.name, "tuntap", "add", "tap0", "mode", "tap"]);
        place
    }

    fn namespace(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    fn ip(&self, arguments: &[&str]) {
        assert!(Command::new("ip").args(arguments).status().unwrap().success(), "{arguments:?}");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
        for cgroup in &self.cgroups {
            // Empty a moment after its last process has ended.
            for _ in 0..200 {
                if std::fs::remove_dir(cgroup).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Every option names a file or socket in its folder; an unusable one is QEMU's to refuse.
#[tokio::test]
async fn what_qemu_says_reaches_the_error() {
    let Some(qemu) = qemu() else { return };
    let folder = Folder::new();
    let mut config = folder.config(&qemu);
    config.initdata = Some("/nonexistent/initdata.img".into());
    let _psp = FakePsp::start(&folder, "");
    let error = launch_failure(&config).await;
    let Error::Ended { detail } = &error else { panic!("{error:?}") };
    assert!(detail.contains("/nonexistent/initdata.img"), "{detail}");
}

/// The trial behind the choice of KVM or TCG: a kernel that comes to its end is seen, one that does
/// not is not, and a KVM on a processor without virtualization is not chosen.
#[tokio::test]
async fn acceleration_is_found_out_by_trying() {
    let Some(qemu) = qemu() else { return };
    let Some(real) = real_kernel() else { return };
    let limit = Duration::from_secs(60);
    assert!(runs_kernel(&qemu, &real, Acceleration::Tcg, limit).await);
    let folder = Folder::new();
    let fake = folder.path("kernel");
    assert!(!runs_kernel(&qemu, &fake, Acceleration::Tcg, Duration::from_secs(3)).await);
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    if !flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm") {
        assert_eq!(acceleration(&qemu, &real).await, Acceleration::Tcg);
    }
}

/// The kernel of the guest image.
fn real_kernel() -> Option<PathBuf> {
    let boot =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/casemate/inputs/kernel/boot");
    let mut files = std::fs::read_dir(&boot).into_iter().flatten().flatten();
    let kernel = files.find(|file| file.file_name().to_string_lossy().starts_with("vmlinuz-"));
    if kernel.is_none() {
        let reason = format!("needs a kernel in {}", boot.display());
        assert!(std::env::var_os("CASEMATE_REQUIRE").is_none(), "{reason}");
        eprintln!("skipped: {reason}");
    }
    kernel.map(|file| file.path())
}

async fn launch_failure(config: &VmConfig) -> Error {
    let error = QemuVmm::new().launch(config).await.err().expect("the launch must fail");
    eprintln!("{error}");
    error
}

fn alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

async fn gone(pid: u32) {
    let limit = tokio::time::Instant::now() + Duration::from_secs(20);
    while alive(pid) {
        assert!(tokio::time::Instant::now() < limit, "process {pid} lives on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A software PSP that says what the test wants.
struct FakePsp(tokio::task::JoinHandle<()>);

impl FakePsp {
    fn start(folder: &Folder, answer: &str) -> Self {
        let listener = UnixListener::bind(folder.path("tee-sim.sock")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        let answer = answer.to_owned();
        Self(tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut request = String::new();
            if stream.read_line(&mut request).await.unwrap() == 0 {
                return;
            }
            let request: serde_json::Value = serde_json::from_str(&request).unwrap();
            let launch = &request["launch"];
            assert_eq!(launch["policy"], 0x3_0000);
            assert_eq!(launch["host_data"], "5a".repeat(32));
            assert!(Path::new(launch["qmp"].as_str().unwrap()).exists());
            if answer.is_empty() {
                return;
            }
            stream.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
            // Open until the VM's handle is gone.
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        }))
    }

    async fn ended(self) {
        tokio::time::timeout(Duration::from_secs(20), self.0).await.unwrap().unwrap();
    }
}
