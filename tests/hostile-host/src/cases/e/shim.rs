// SPDX-License-Identifier: Apache-2.0
//! E19, E21: the host's side: a guest that lies to the shim, and a node without a TEE.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::ensure;
use async_trait::async_trait;
use casemate_agent_api::Code;
use casemate_agent_api::mux;
use casemate_agent_api::mux::Role;
use casemate_agent_api::proto;
use casemate_agent_api::rpc::ApiServer;
use casemate_agent_api::service::Agent;
use casemate_sandbox::Id;
use casemate_shim::config::Config;
use casemate_shim::guest::Guest;
use casemate_shim::status::StatusFile;
use casemate_vmm::InitdataDigest;
use casemate_vmm::MemoryMib;
use casemate_vmm::QemuVmm;
use casemate_vmm::SnpOptions;
use casemate_vmm::TdxOptions;
use casemate_vmm::Tee;
use casemate_vmm::VcpuCount;
use casemate_vmm::VmConfig;
use casemate_vmm::VmName;
use casemate_vmm::Vmm as _;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use ttrpc::r#async::TtrpcContext;

use crate::Case;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;

pub(super) static E19: Case = Case {
    id: "E19",
    level: Level::P,
    attack: "a guest that answers the shim with huge texts, paths, escapes and no end",
    defence: Defence::Code(Guard {
        function: "casemate_agent_api::status::one_line",
        sabotage: "text.to_owned()",
    }),
    run: |_| Box::pin(lie_to_shim()),
};

pub(super) static E21: Case = Case {
    id: "E21",
    level: Level::P,
    attack: "runs a confidential pod on a node without the TEE, or without a whole guest image",
    defence: Defence::Code(Guard {
        function: "casemate_vmm::probe::snp",
        sabotage: "Ok(SnpHost { cbitpos: 51, reduced_phys_bits: 1 })",
    }),
    run: |_| Box::pin(take_tee_away()),
};

const HOSTILE: &str = "../../etc/passwd\n\u{1b}[2J\u{202e}\r";

/// An agent that was taken over.
struct Evil;

#[async_trait]
impl Agent for Evil {
    async fn hello(
        &self,
        _: &TtrpcContext,
        _: proto::HelloRequest,
    ) -> ttrpc::Result<proto::HelloReply> {
        let mark = |number: u64| proto::Mark {
            step: format!("{HOSTILE}{number}"),
            boottime_us: u64::MAX - number,
            ..Default::default()
        };
        Ok(proto::HelloReply {
            phase: proto::Phase::BOUND.into(),
            timeline: (0..10_000).map(mark).collect(),
            agent_rss_kib: u64::MAX,
            ..Default::default()
        })
    }

    async fn await_ready(
        &self,
        _: &TtrpcContext,
        _: proto::AwaitReadyRequest,
    ) -> ttrpc::Result<proto::AwaitReadyReply> {
        Ok(proto::AwaitReadyReply {
            phase: proto::Phase::FAILED.into(),
            failure_code: format!("no.such.code{HOSTILE}"),
            failure: format!("{HOSTILE}{}", "x".repeat(1 << 20)),
            ..Default::default()
        })
    }

    async fn next_event(
        &self,
        _: &TtrpcContext,
        _: proto::NextEventRequest,
    ) -> ttrpc::Result<proto::NextEventReply> {
        let mut reply = proto::NextEventReply::new();
        let id = format!("{HOSTILE}{}", "y".repeat(100_000));
        reply.set_oom(proto::OomEvent { container_id: id, ..Default::default() });
        Ok(reply)
    }

    async fn shutdown(
        &self,
        _: &TtrpcContext,
        _: proto::Empty,
    ) -> ttrpc::Result<proto::ShutdownReply> {
        let text = format!("tee.missing: {HOSTILE}{}", "z".repeat(1 << 20));
        Err(ttrpc::Error::RpcStatus(ttrpc::get_status(ttrpc::Code::UNKNOWN, text)))
    }
}

/// One line of bounded length that drives no terminal.
fn harmless(text: &str) -> anyhow::Result<()> {
    let control = text.chars().find(|c| c.is_control() || *c == '\u{202e}');
    ensure!(control.is_none(), "the host shows the character {control:?}");
    ensure!(text.len() < 2048, "the host shows {} bytes of the guest's", text.len());
    Ok(())
}

async fn lie_to_shim() -> Verdict {
    let (host, port) = UnixStream::pair()?;
    let (_, mut incoming, driver) = mux::connect(port, Role::Guest);
    tokio::spawn(driver);
    let mut server = ApiServer::start(Arc::new(Evil)).await?;
    tokio::spawn(async move {
        while let Some((_, stream)) = incoming.accept().await {
            server.serve(stream).await;
        }
    });
    let guest = Guest::connect(host, Duration::from_secs(20))?;

    // Its reasons are shown to people: containerd prints them, kubectl shows them.
    let error = guest.await_ready(Duration::from_secs(20)).await.err().context("ready")?;
    ensure!(error.code() == Code::Internal, "a code of the guest's: {}", error.code());
    harmless(&error.to_string())?;
    let error = guest.shutdown(Duration::from_secs(20)).await.err().context("no error")?;
    harmless(&error.to_string())?;
    // Its ids name nothing of the host's.
    let event = guest.next_event().await?;
    let id = event.oom().container_id.clone();
    ensure!(Id::new(&id).is_err(), "the guest's text is an id");
    for text in ["..", "a/b", "", "\u{1b}", ".hidden/..", &"x".repeat(1000)] {
        ensure!(Id::new(text).is_err(), "{text:?} is an id");
    }
    // What it tells of its boot does not fill the status file, and names no step of the host's.
    let hello = guest.hello(Duration::from_secs(20)).await?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("status.json");
    let status = StatusFile::new(path.clone(), "sandbox");
    status.mark("vm_start");
    status.mark_guest(&hello.timeline);
    status.update(|_| {});
    let text = fs::read_to_string(&path)?;
    ensure!(text.len() < 8192 && !text.contains("etc/passwd"), "status.json holds {text}");

    // Bytes that are no frames, or frames that claim gigabytes, end the connection and no more.
    for lie in [lying_frame, rubbish] {
        let (host, mut port) = UnixStream::pair()?;
        let (connection, _, driver) = mux::connect(host, Role::Host);
        tokio::spawn(driver);
        let mut preface = [0; 20];
        port.read_exact(&mut preface).await?;
        // The host may hang up before it has read all of it.
        let _ = port.write_all(&lie(preface)).await;
        let ended = tokio::time::timeout(Duration::from_secs(20), connection.ended()).await;
        harmless(&ended.context("a connection of rubbish goes on")?.to_string())?;
    }
    Ok(Outcome::pass(
        "texts become one bounded line, codes one of ours, ids are checked, steps are known ones, \
         and frames that lie end the connection; no text of the guest is a path",
    ))
}

/// The host's preface as a guest repeats it, then a frame of 4 GiB.
fn lying_frame(mut preface: [u8; 20]) -> Vec<u8> {
    preface[10] = 2;
    let tag = [preface[12], preface[13]];
    let frame = [&[2, 0][..], &tag, &1_u32.to_le_bytes(), &u32::MAX.to_le_bytes()].concat();
    [&preface[..], &frame, &[0; 4096]].concat()
}

/// No preface, as far as a host looks for one, and further.
fn rubbish(_: [u8; 20]) -> Vec<u8> {
    vec![0xff; 8 << 20]
}

async fn take_tee_away() -> Verdict {
    let folder = tempfile::tempdir()?;
    let config = |tee| -> anyhow::Result<VmConfig> {
        Ok(VmConfig {
            name: VmName::new("hostile-host")?,
            tee,
            vcpus: VcpuCount::new(1)?,
            memory: MemoryMib::new(512)?,
            guest_image: folder.path().to_owned(),
            initdata: None,
            initdata_digest: InitdataDigest::Sha256([0; 32]),
            network: None,
            runtime_dir: folder.path().to_owned(),
            cgroups: Vec::new(),
            qemu: "/bin/false".into(),
            acceleration: None,
            console: None,
        })
    };
    let is_on =
        |path: &str| fs::read_to_string(path).is_ok_and(|on| matches!(on.trim(), "Y" | "1"));
    let mut missing = Vec::new();
    for (name, tee, has_it) in [
        ("snp", Tee::Snp(SnpOptions::default()), is_on("/sys/module/kvm_amd/parameters/sev_snp")),
        ("tdx", Tee::Tdx(TdxOptions::default()), is_on("/sys/module/kvm_intel/parameters/tdx")),
        ("sim", Tee::Sim { socket: folder.path().join("no-socket") }, false),
    ] {
        if has_it {
            continue;
        }
        let error = QemuVmm::new().launch(&config(tee)?).await.err();
        let error = error.with_context(|| format!("a VM runs without {name}"))?;
        ensure!(error.code() == Code::TeeMissing, "without {name}: {error}");
        missing.push(name);
    }
    let left = fs::read_dir(folder.path())?.count();
    ensure!(left == 0, "a launch that failed left {left} files");
    take_image_away(&config(Tee::Sim { socket: "psp".into() })?).await?;
    // No setting means "whatever there is", and half a setting nothing.
    for bad in [
        "guest_image = '/g'",
        "tee = 'none'\nguest_image = '/g'",
        "tee = 'auto'\nguest_image = '/g'",
        "tee = 'sev'\nguest_image = '/g'",
        "tee = 'sim'\nguest_image = '/g'",
        "tee = 'snp'\nguest_image = '/g'\ntee_sim_socket = '/run/casemate/tee-sim.sock'",
        "tee = 'snp'\nguest_image = '/g'\nfallback = true",
    ] {
        ensure!(Config::parse(bad).is_err(), "this configuration is taken: {bad}");
    }
    Ok(Outcome::pass(format!(
        "without {} or without any one file of the guest image the launch is an error and leaves \
         nothing; there is no setting for a plain VM",
        missing.join(", ")
    )))
}

/// The TEE is there, and the guest image is not, or lacks one of its files: no VM, no leftovers.
async fn take_image_away(sim: &VmConfig) -> anyhow::Result<()> {
    let world = tempfile::tempdir()?;
    let socket = world.path().join("psp");
    let _psp = tokio::net::UnixListener::bind(&socket)?;
    let files = ["firmware.fd", "kernel", "initramfs", "cmdline.txt"];
    for (number, absent) in files.into_iter().map(Some).chain([None]).enumerate() {
        let guest_image = world.path().join(number.to_string());
        let runtime_dir = world.path().join(format!("run-{number}"));
        fs::create_dir(&runtime_dir)?;
        if let Some(absent) = absent {
            fs::create_dir(&guest_image)?;
            for name in files.into_iter().filter(|name| *name != absent) {
                fs::write(guest_image.join(name), "quiet")?;
            }
        }
        let tee = Tee::Sim { socket: socket.clone() };
        let config = VmConfig { tee, guest_image, runtime_dir, ..sim.clone() };
        let error = QemuVmm::new().launch(&config).await.err();
        let error = error.with_context(|| format!("a VM runs without {absent:?}"))?;
        let text = error.to_string();
        let named = absent.unwrap_or("cmdline.txt");
        ensure!(text.contains(named), "without {named}: {text}");
        let left = fs::read_dir(&config.runtime_dir)?.count();
        ensure!(left == 0, "without {named}: {left} files are left");
    }
    Ok(())
}
