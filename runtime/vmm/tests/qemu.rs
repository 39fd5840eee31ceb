// SPDX-License-Identifier: Apache-2.0
//! The generated command lines against the installed QEMU, and the life of a QEMU process.
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

use std::io::BufRead as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use casemate_agent_api::Code;
use casemate_vmm::probe::{acceleration, runs_kernel};
use casemate_vmm::qemu::{Platform, Sockets, command_line};
use casemate_vmm::qmp::Qmp;
use casemate_vmm::{
    Acceleration, Error, Exit, GuestImage, HostData, MemoryMib, Network, Nic, QemuVmm, Tee,
    VcpuCount, VmConfig, VmName, Vmm,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// QEMU takes every option of the simulated line: it comes up, paused.
#[tokio::test]
async fn qemu_accepts_the_simulated_line() {
    let Some(qemu) = qemu() else { return };
    let folder = Folder::new();
    let mut config = folder.config(&qemu);
    config.console = Some(folder.path("console.log"));
    let platform = folder.sim();
    let line = command_line(&config, &folder.image(), &folder.sockets(), &platform).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut child = Command::new(&qemu)
        .args(line)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    ours.set_nonblocking(true).unwrap();
    let ours = tokio::net::UnixStream::from_std(ours).unwrap();
    let mut qmp = Qmp::negotiate(ours).await.unwrap();
    assert_eq!(qmp.status().await.unwrap(), "prelaunch");
    let vcpus = qmp.vcpu_paths().await.unwrap();
    assert_eq!(vcpus.len(), 2);
    assert_eq!(qmp.property(&vcpus[0], "type").await.unwrap(), "EPYC-v4-x86_64-cpu");
    let saved = folder.path("memory");
    qmp.save_memory(0x81_0c00, 176, saved.to_str().unwrap()).await.unwrap();
    assert_eq!(std::fs::read(saved).unwrap(), [0x77; 176]);
    qmp.quit().await.unwrap();
    assert!(child.wait().unwrap().success());
}

/// QEMU fails for the TEE's absence, not for the syntax of the SNP line.
#[tokio::test]
async fn qemu_parses_the_snp_line() {
    let Some(qemu) = qemu() else { return };
    let folder = Folder::new();
    let platform = Platform::Snp { cbitpos: 51, reduced_phys_bits: 1 };
    let line =
        command_line(&folder.config(&qemu), &folder.image(), &folder.sockets(), &platform).unwrap();
    if std::fs::read_to_string("/sys/module/kvm_amd/parameters/sev_snp").is_ok_and(|t| t == "Y\n") {
        eprintln!("skipped: this host has SEV-SNP, the line would work");
        return;
    }
    let said = refused(&qemu, &line);
    eprintln!("{said}");
    let absence = ["SEV", "KVM", "guest_memfd", "/dev/sev"];
    assert!(absence.iter().any(|word| said.contains(word)), "{said}");
    for syntax in ["Invalid parameter", "not found", "expects", "not valid", "no such property"] {
        assert!(!said.to_lowercase().contains(&syntax.to_lowercase()), "{said}");
    }
    // The same parser does refuse a misspelt property: the check above can fail.
    let misspelt: Vec<String> =
        line.iter().map(|argument| argument.replace("host-data=", "host-dats=")).collect();
    assert!(refused(&qemu, &misspelt).contains("host-dats"));
    // And a HOST_DATA that is no base64 of 32 bytes.
    let short: Vec<String> =
        line.iter().map(|argument| argument.replace("host-data=", "host-data=AAAA")).collect();
    assert!(refused(&qemu, &short).contains("not equal to 32"));
}

/// QEMU before 10.1 does not know TDX and says so; later ones fail for its absence.
#[tokio::test]
async fn qemu_parses_the_tdx_line_or_does_not_know_tdx() {
    let Some(qemu) = qemu() else { return };
    let folder = Folder::new();
    let line =
        command_line(&folder.config(&qemu), &folder.image(), &folder.sockets(), &Platform::Tdx)
            .unwrap();
    if std::fs::read_to_string("/sys/module/kvm_intel/parameters/tdx").is_ok_and(|t| t == "Y\n") {
        eprintln!("skipped: this host has TDX, the line would work");
        return;
    }
    let said = refused(&qemu, &line);
    let absence = ["'tdx-guest'", "TDX", "tdx", "KVM", "kvm"];
    assert!(absence.iter().any(|word| said.contains(word)), "{said}");
    for syntax in ["Invalid parameter '", "is unexpected", "expects"] {
        assert!(!said.contains(syntax), "{said}");
    }
}

/// E21: a TEE that is not there is an error, and nothing is started.
#[tokio::test]
async fn a_missing_tee_is_an_error() {
    let Some(qemu) = qemu() else { return };
    let folder = Folder::new();
    let mut config = folder.config(&qemu);
    for (tee, parameter) in [
        (Tee::Snp, "/sys/module/kvm_amd/parameters/sev_snp"),
        (Tee::Tdx, "/sys/module/kvm_intel/parameters/tdx"),
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

fn refused(qemu: &Path, line: &[String]) -> String {
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let stdin = Stdio::from(std::os::fd::OwnedFd::from(theirs));
    let output = Command::new(qemu).args(line).stdin(stdin).output().unwrap();
    assert!(!output.status.success(), "QEMU must not start");
    String::from_utf8_lossy(&output.stderr).into_owned()
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

fn qemu() -> Option<PathBuf> {
    let path = PathBuf::from("/usr/bin/qemu-system-x86_64");
    if path.exists() {
        return Some(path);
    }
    let reason = "needs qemu-system-x86_64";
    assert!(std::env::var_os("CASEMATE_REQUIRE").is_none(), "{reason}");
    eprintln!("skipped: {reason}");
    None
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

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::Builder::new().prefix("vmm").tempdir_in("/tmp").unwrap());
        std::fs::write(folder.path("firmware.fd"), firmware()).unwrap();
        std::fs::write(folder.path("kernel"), kernel()).unwrap();
        std::fs::write(folder.path("initramfs"), b"initramfs").unwrap();
        for cmdline in ["cmdline.txt", "cmdline-smp.txt"] {
            std::fs::write(folder.path(cmdline), b"quiet").unwrap();
        }
        std::fs::write(folder.path("initdata.img"), [0; 512]).unwrap();
        std::fs::write(folder.path("table"), [0x77; 176]).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn image(&self) -> GuestImage {
        GuestImage::open(self.0.path(), casemate_vmm::VcpuCount::ONE).unwrap()
    }

    fn sockets(&self) -> Sockets {
        Sockets::in_folder(self.0.path())
    }

    fn sim(&self) -> Platform {
        Platform::Sim {
            acceleration: Acceleration::Tcg,
            hash_table: self.path("table"),
            hash_table_address: 0x81_0c00,
        }
    }

    fn config(&self, qemu: &Path) -> VmConfig {
        VmConfig {
            name: VmName::new("test").unwrap(),
            tee: Tee::Sim { socket: self.path("tee-sim.sock") },
            vcpus: VcpuCount::new(2).unwrap(),
            memory: MemoryMib::new(256).unwrap(),
            guest_image: self.0.path().to_owned(),
            initdata: Some(self.path("initdata.img")),
            host_data: HostData([0x5a; 32]),
            network: None,
            runtime_dir: self.0.path().to_owned(),
            cgroups: Vec::new(),
            qemu: qemu.to_owned(),
            acceleration: Some(Acceleration::Tcg),
            console: None,
        }
    }
}

/// What QEMU takes for a bzImage that can load a RAM disk: the setup header's magic, version 2.12.
fn kernel() -> Vec<u8> {
    let mut kernel = vec![0; 64 * 1024];
    kernel[0x1f1] = 1;
    kernel[0x202..0x208].copy_from_slice(b"HdrS\x0c\x02");
    kernel[0x211] = 1;
    kernel[0x22c..0x230].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    kernel
}

/// The least firmware with a place for the hash table: footer table with hash table area and SEV
/// metadata of one section. Its code is zeros.
fn firmware() -> Vec<u8> {
    fn guid(text: &str) -> Vec<u8> {
        let bytes = hex::decode(text.replace('-', "")).unwrap();
        let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        order.iter().map(|&at| bytes[at]).collect()
    }
    fn entry(data: &[u8], name: &str) -> Vec<u8> {
        let len = u16::try_from(data.len() + 18).unwrap();
        [data, &len.to_le_bytes(), &guid(name)].concat()
    }
    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let metadata = [b"ASEV".as_slice(), &words(&[28, 1, 1, 0x81_0000, 0x1000, 0x10])].concat();
    let entries = [
        entry(&words(&[0x81_0c00, 0x400]), "7255371f-3a3b-4b04-927b-1da6efa8d454"),
        entry(&words(&[0x200]), "dc886566-984a-4798-a75e-5585a7bf67cc"),
    ]
    .concat();
    let len = u16::try_from(entries.len() + 18).unwrap();
    let table = [entries, len.to_le_bytes().to_vec(), guid("96b582de-1fb2-45f7-baea-a366c55a082d")]
        .concat();
    let mut image = vec![0; 64 * 1024];
    let end = image.len();
    image[end - 0x200..][..metadata.len()].copy_from_slice(&metadata);
    image[end - 32 - table.len()..end - 32].copy_from_slice(&table);
    image
}
