// SPDX-License-Identifier: Apache-2.0
//! The Task service over a real ttrpc connection, against an agent that speaks the real transport.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says by a panic that it failed"
)]

mod double;
mod ending;

use std::path::Path;
use std::time::Duration;

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use containerd_shim::protos::api;
use containerd_shim::protos::cgroups_v2::metrics::Metrics;
use double::POD;
use double::Script;
use double::Setup;
use double::Shim;
use double::container_spec;
use double::context;
use double::refusal;
use double::sandbox_spec;
use double::start;
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use rustix::fs::CWD;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::mknodat;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use ttrpc::Code as RpcCode;

fn fifo(folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    path.to_str().unwrap().to_owned()
}

fn wait(id: &str) -> api::WaitRequest {
    api::WaitRequest { id: id.to_owned(), ..Default::default() }
}

fn kill(id: &str, signal: u32) -> api::KillRequest {
    api::KillRequest { id: id.to_owned(), signal, ..Default::default() }
}

fn delete(id: &str, exec_id: &str) -> api::DeleteRequest {
    let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
    api::DeleteRequest { id, exec_id, ..Default::default() }
}

fn exec(id: &str, exec_id: &str, process: &serde_json::Value) -> api::ExecProcessRequest {
    let spec = Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
        value: process.to_string().into_bytes(),
        ..Default::default()
    };
    api::ExecProcessRequest {
        id: id.to_owned(),
        exec_id: exec_id.to_owned(),
        spec: Some(spec).into(),
        ..Default::default()
    }
}

// E2: one vCPU keeps the host's ACPI code out of an SNP guest, not out of a TDX guest.
#[tokio::test]
async fn a_pod_with_one_vcpu_takes_acpi_code_on_tdx_alone() {
    for (tee, expected) in [("snp", false), ("tdx", true)] {
        let shim = Shim::with(Setup { tee: Some(tee), ..Setup::default() }).await;
        let mut spec = double::sandbox_spec();
        spec["annotations"]["io.kubernetes.cri.sandbox-cpu-quota"] = "100000".into();
        let request = shim.create_request(double::POD, &spec);
        shim.client.create(context(), &request).await.unwrap();
        assert_eq!(shim.launched.lock().unwrap()[0].vcpus.get(), 1);
        assert_eq!(shim.status()["acpi_from_host"], expected, "{tee}");
    }
}

#[tokio::test]
async fn a_pod_from_its_creation_to_its_end() {
    let mut shim = Shim::new().await;
    let pid = shim.run_sandbox().await;

    // What the VM was launched with.
    let config = shim.launched.lock().unwrap()[0].clone();
    assert_eq!(config.memory.get(), 512 + 256);
    // The sandbox's CPU limit is two.
    assert_eq!(config.vcpus.get(), 2);
    // E2: the operator sees which pods take the host's ACPI code.
    assert_eq!(shim.status()["acpi_from_host"], true);
    // E13: and which hide nothing from this host; this one was to.
    assert_eq!(shim.status()["confidential"], true);
    assert_eq!(config.initdata_digest.host_data().0, double::initdata().host_data());
    assert_eq!(config.network.unwrap().nics[0].tap, "casemate0");
    let image = std::fs::read(config.initdata.unwrap()).unwrap();
    assert_eq!(image, double::initdata().to_device_image().unwrap());

    // What the guest was told of the network.
    let network = shim.guest.script.lock().unwrap().network.clone().unwrap();
    assert_eq!(network.hostname, "web-0");
    assert_eq!(network.interfaces[0].addresses, ["10.88.0.3/16"]);
    assert_eq!(network.routes[0].destination, "0.0.0.0/0");

    // A container, with its output through a FIFO.
    let stdout = fifo(shim.folder.path(), "stdout");
    let mut request = shim.create_request("web", &container_spec());
    request.stdout = stdout.clone();
    let created = shim.client.create(context(), &request).await.unwrap();
    assert_eq!(created.pid, pid);
    let mut output = shim.guest.stream("stdout:web").await;
    shim.client.start(context(), &start("web")).await.unwrap();
    let mut reader = pipe::OpenOptions::new().open_receiver(&stdout).unwrap();
    output.write_all(b"hello\n").await.unwrap();
    output.shutdown().await.unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello\n");

    // Its projection: nothing of the OCI specification but the fields of the message.
    let asked = shim.guest.script.lock().unwrap().created[0].clone();
    assert_eq!((asked.name.as_str(), asked.image_digest.as_str()), ("web", double::DIGEST));
    assert_eq!(asked.argv, ["/bin/web", "-v"]);
    assert!(asked.stdout && !asked.stdin && !asked.stderr && asked.readonly_rootfs);
    let message = format!("{asked:?}");
    // A10, A12: no hook, user, capability or path of the host has a place in it.
    for absent in ["/host/", "evil", "CAP_", "1000"] {
        assert!(!message.contains(absent), "{absent} in {message}");
    }

    let status = shim.status();
    assert_eq!(status["phase"], "attested");
    assert_eq!(status["vmm_pid"], pid);
    assert_eq!(status["launch_digest"], "ab".repeat(48));
    for step in ["vm_start", "kernel", "agent_ready", "attested", "pulled:web", "first_output:web"]
    {
        assert!(status["timeline_ms"][step].is_u64(), "{step} in {status}");
    }

    // Its end.
    let waiting = shim.client.clone();
    let waiting = tokio::spawn(async move { waiting.wait(context(), &wait("web")).await });
    shim.guest.exit("web", 3);
    assert_eq!(waiting.await.unwrap().unwrap().exit_status, 3);
    let state = api::StateRequest { id: "web".to_owned(), ..Default::default() };
    let state = shim.client.state(context(), &state).await.unwrap();
    assert_eq!((state.status.enum_value(), state.exit_status), (Ok(api::Status::STOPPED), 3));
    assert_eq!(state.stdout, stdout);
    let deleted = shim.client.delete(context(), &delete("web", "")).await.unwrap();
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 3));
    assert_eq!(shim.guest.script.lock().unwrap().deleted, ["web"]);
    let expected = ["create web", "start web", "exit web web 3", "delete web 3"];
    assert_eq!(shim.events(4).await, expected);

    // The end of the pod.
    shim.client.kill(context(), &kill(POD, 9)).await.unwrap();
    let ended = shim.client.wait(context(), &wait(POD)).await.unwrap();
    assert_eq!(ended.exit_status, 137);
    shim.client.delete(context(), &delete(POD, "")).await.unwrap();
    assert_eq!(
        shim.events(2).await,
        [format!("exit {POD} {POD} 137"), format!("delete {POD} 137")]
    );
    shim.no_more_events();
    assert!(!shim.state_dir().exists());
    assert!(shim.network.attached.lock().unwrap().is_empty());
    let shutdown = api::ShutdownRequest { id: POD.to_owned(), ..Default::default() };
    shim.client.shutdown(context(), &shutdown).await.unwrap();
    shim.pod.wait_quit().await;
}

#[tokio::test]
async fn a_denial_reaches_containerd_unchanged_and_frees_the_id() {
    let denial = ApiError::new(Code::PolicyArgv, "argument 1 differs");
    let script = Script { create: vec![denial], ..Script::default() };
    let mut shim = Shim::with(Setup { script, ..Setup::default() }).await;
    shim.run_sandbox().await;
    let request = shim.create_request("web", &container_spec());
    let (code, text) = refusal(shim.client.create(context(), &request).await);
    assert_eq!(code, RpcCode::PERMISSION_DENIED);
    assert_eq!(
        text,
        "policy.argv: argument 1 differs; next: generate the policy again if the new command is \
         wanted"
    );
    shim.no_more_events();
    // kubelet tries again, with a new container of the same id here.
    shim.client.create(context(), &request).await.unwrap();
}

#[tokio::test]
async fn a_pod_without_initdata_is_refused_before_anything_is_made() {
    let mut shim = Shim::new().await;
    for (annotation, code) in [(None, "initdata.missing: "), (Some("x"), "initdata.invalid: ")] {
        let mut spec = sandbox_spec();
        let annotations = spec["annotations"].as_object_mut().unwrap();
        annotations.remove("io.casemate.initdata");
        if let Some(text) = annotation {
            annotations.insert("io.casemate.initdata".to_owned(), text.into());
        }
        let request = shim.create_request(POD, &spec);
        let (_, text) = refusal(shim.client.create(context(), &request).await);
        assert!(text.starts_with(code), "{text}");
        assert!(shim.launched.lock().unwrap().is_empty());
        assert!(!shim.state_dir().exists());
        shim.no_more_events();
        shim = Shim::new().await;
    }
}

#[tokio::test]
async fn a_pod_on_the_hosts_network_is_refused() {
    let shim = Shim::new().await;
    let mut spec = sandbox_spec();
    spec["linux"]["namespaces"] = serde_json::json!([]);
    let request = shim.create_request(POD, &spec);
    let (_, text) = refusal(shim.client.create(context(), &request).await);
    assert!(text.starts_with("network.refused: "), "{text}");
}

#[tokio::test]
async fn a_broken_configuration_is_named() {
    let shim = Shim::new().await;
    let request = shim.create_request(POD, &sandbox_spec());
    std::fs::write(shim.folder.path().join("config.toml"), "tee = 'none'").unwrap();
    let (_, text) = refusal(shim.client.create(context(), &request).await);
    assert!(text.starts_with("config.invalid: "), "{text}");
    assert!(text.contains("config.toml"), "{text}");
}

/// E13.
#[tokio::test]
async fn a_pod_under_the_software_tee_is_called_not_confidential() {
    let mut shim = Shim::new().await;
    let path = shim.folder.path().join("config.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let simulated = config.replace("tee = 'snp'", "tee = 'sim'\ntee_sim_socket = '/psp'");
    assert_ne!(simulated, config);
    std::fs::write(&path, simulated).unwrap();
    shim.run_sandbox().await;
    assert_eq!(shim.status()["confidential"], false);
}

#[tokio::test]
async fn a_namespace_that_serves_another_pod_is_left_as_it_is() {
    let shim = Shim::new().await;
    let spec = sandbox_spec();
    let spaces = spec["linux"]["namespaces"].as_array().unwrap();
    let path = spaces.iter().find_map(|space| space["path"].as_str()).unwrap();
    shim.network.attached.lock().unwrap().push(path.into());
    let request = shim.create_request(POD, &spec);
    let (_, text) = refusal(shim.client.create(context(), &request).await);
    assert!(text.starts_with("network.refused: "), "{text}");
    assert_eq!(*shim.network.attached.lock().unwrap(), [std::path::PathBuf::from(path)]);
    assert!(!shim.state_dir().exists());
}

#[tokio::test]
async fn a_failed_launch_leaves_nothing() {
    // E21: a node without the TEE
    let mut shim = Shim::with(Setup { launch_fails: true, ..Setup::default() }).await;
    let request = shim.create_request(POD, &sandbox_spec());
    let (_, text) = refusal(shim.client.create(context(), &request).await);
    assert!(text.starts_with("tee.missing: "), "{text}");
    assert!(!shim.state_dir().exists());
    assert!(shim.network.attached.lock().unwrap().is_empty());
    shim.no_more_events();
    // containerd deletes what it could not create, and has done with the shim.
    let (code, _) = refusal(shim.client.delete(context(), &delete(POD, "")).await);
    assert_eq!(code, RpcCode::NOT_FOUND);
    let shutdown = api::ShutdownRequest { id: POD.to_owned(), ..Default::default() };
    shim.client.shutdown(context(), &shutdown).await.unwrap();
    shim.pod.wait_quit().await;
}

/// Creates and starts the sandbox; the start fails. Then it is removed as containerd does.
async fn start_fails(mut shim: Shim) -> String {
    let request = shim.create_request(POD, &sandbox_spec());
    shim.client.create(context(), &request).await.unwrap();
    let (_, text) = refusal(shim.client.start(context(), &start(POD)).await);
    assert_eq!(shim.status()["phase"], "failed");
    assert!(text.starts_with(shim.status()["failure"]["code"].as_str().unwrap()), "{text}");
    // A guest that failed is ended at once; containerd's kill may find it gone.
    shim.client.wait(context(), &wait(POD)).await.unwrap();
    assert_eq!(refusal(shim.client.kill(context(), &kill(POD, 9)).await).0, RpcCode::NOT_FOUND);
    shim.client.delete(context(), &delete(POD, "")).await.unwrap();
    assert!(!shim.state_dir().exists());
    let expected = [
        format!("launched {POD} true"),
        format!("create {POD}"),
        format!("exit {POD} {POD} 137"),
        format!("delete {POD} 137"),
    ];
    assert_eq!(shim.events(4).await, expected);
    text
}

#[tokio::test]
async fn a_guest_that_refuses_to_boot_says_why() {
    let fatal = Some((Code::InitdataMismatch, "HOST_DATA differs".to_owned()));
    let script = Script { fatal, ..Script::default() };
    let shim = Shim::with(Setup { script, ..Setup::default() }).await;
    let text = start_fails(shim).await;
    assert!(text.starts_with("initdata.mismatch: HOST_DATA differs; next: "), "{text}");
}

#[tokio::test]
async fn a_guest_that_is_not_attested_says_why() {
    let attest_failure = Some(("attest.refused".to_owned(), "unknown measurement".to_owned()));
    let script = Script { attest_failure, ..Script::default() };
    let shim = Shim::with(Setup { script, ..Setup::default() }).await;
    let text = start_fails(shim).await;
    assert!(text.starts_with("attest.refused: unknown measurement; next: "), "{text}");
}

#[tokio::test]
async fn hostile_reasons_are_one_bounded_line() {
    // E19: a code that does not exist, a text with control characters and without end
    let failure = format!("line\n\u{1b}[2Jtwo {}", "x".repeat(100_000));
    let attest_failure = Some(("no such code".to_owned(), failure));
    let script = Script { attest_failure, ..Script::default() };
    let shim = Shim::with(Setup { script, ..Setup::default() }).await;
    let text = start_fails(shim).await;
    assert!(text.starts_with("internal: line  [2Jtwo xxx"), "{text}");
    assert!(text.len() < 1000 && !text.contains(char::is_control), "{text}");
}

#[tokio::test]
async fn a_guest_that_never_answers_is_given_up() {
    let script = Script { mute: true, ..Script::default() };
    let shim = Shim::with(Setup { script, deadlines: "boot_s = 1", ..Setup::default() }).await;
    let text = start_fails(shim).await;
    assert!(text.starts_with("vm.boot: "), "{text}");
}

#[tokio::test]
async fn a_pull_in_progress_is_asked_again() {
    let pending = || ApiError::new(Code::PullInProgress, "layer 1 of 2");
    let script = Script { create: vec![pending(), pending()], ..Script::default() };
    let mut shim = Shim::with(Setup { script, ..Setup::default() }).await;
    shim.run_sandbox().await;
    shim.run_container().await;
    assert_eq!(shim.guest.script.lock().unwrap().created.len(), 3);
}

#[tokio::test]
async fn a_pull_that_takes_too_long_is_returned_as_such() {
    let create = vec![ApiError::new(Code::PullInProgress, "layer 1 of 2"); 1000];
    let script = Script { create, ..Script::default() };
    let setup = Setup { script, deadlines: "create_s = 1", ..Setup::default() };
    let mut shim = Shim::with(setup).await;
    shim.run_sandbox().await;
    let request = shim.create_request("web", &container_spec());
    let (code, text) = refusal(shim.client.create(context(), &request).await);
    assert_eq!(code, RpcCode::UNAVAILABLE);
    assert!(text.starts_with("pull.in-progress: "), "{text}");
}

#[tokio::test]
async fn the_death_of_the_vm_is_the_exit_of_everything() {
    let mut shim = Shim::new().await;
    let pid = shim.run_sandbox().await;
    shim.run_container().await;
    let waiting = shim.client.clone();
    let waiting = tokio::spawn(async move { waiting.wait(context(), &wait("web")).await });
    // Somebody kills the VMM.
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().exit_status, 137);
    let expected = ["exit web web 137".to_owned(), format!("exit {POD} {POD} 137")];
    assert_eq!(shim.events(2).await, expected);
    // The rest goes as with a pod that ended by itself.
    shim.client.delete(context(), &delete("web", "")).await.unwrap();
    shim.client.delete(context(), &delete(POD, "")).await.unwrap();
    assert!(!shim.state_dir().exists());
}

#[tokio::test]
async fn a_silent_agent_costs_the_vm_its_life() {
    let script = Script { mute_after_boot: true, ..Script::default() };
    let setup = Setup { script, deadlines: "silence_s = 1", ..Setup::default() };
    let mut shim = Shim::with(setup).await;
    shim.run_sandbox().await;
    assert_eq!(shim.events(1).await, [format!("exit {POD} {POD} 137")]);
}

#[tokio::test]
async fn an_exec_with_input_and_output() {
    let mut shim = Shim::new().await;
    shim.run_sandbox().await;
    shim.run_container().await;
    let process = serde_json::json!({"args": ["/bin/cat"], "env": ["A=b"], "cwd": "/"});
    let mut request = exec("web", "e1", &process);
    request.stdin = fifo(shim.folder.path(), "stdin");
    request.stdout = fifo(shim.folder.path(), "stdout");
    shim.client.exec(context(), &request).await.unwrap();
    let started = api::StartRequest { exec_id: "e1".to_owned(), ..start("web") };
    shim.client.start(context(), &started).await.unwrap();
    let asked = shim.guest.script.lock().unwrap().execs[0].clone();
    assert_eq!((asked.container_id.as_str(), asked.exec_id.as_str()), ("web", "e1"));
    assert_eq!(asked.argv, ["/bin/cat"]);
    let mut input = shim.guest.stream("stdin:web/e1").await;
    let mut writer = pipe::OpenOptions::new().open_sender(&request.stdin).unwrap();
    writer.write_all(b"in").await.unwrap();
    let id = "web".to_owned();
    let exec_id = "e1".to_owned();
    let close = api::CloseIORequest { id, exec_id, stdin: true, ..Default::default() };
    shim.client.close_io(context(), &close).await.unwrap();
    let mut text = String::new();
    input.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "in");
    shim.guest.exit("web/e1", 0);
    let waited = api::WaitRequest { exec_id: "e1".to_owned(), ..wait("web") };
    assert_eq!(shim.client.wait(context(), &waited).await.unwrap().exit_status, 0);
    shim.guest.until(|script| script.stdin_closed == ["web/e1"]).await;
    shim.client.delete(context(), &delete("web", "e1")).await.unwrap();
    assert_eq!(shim.guest.script.lock().unwrap().deleted, ["web/e1"]);
    let expected = ["exec-added web e1", "exec-started web e1", "exit web e1 0"];
    assert_eq!(shim.events(3).await, expected);
}

#[tokio::test]
async fn an_exec_that_the_policy_lacks_is_denied() {
    let denial = ApiError::new(Code::PolicyExec, "/bin/sh is not on the list");
    let script = Script { exec: vec![denial], ..Script::default() };
    let mut shim = Shim::with(Setup { script, ..Setup::default() }).await;
    shim.run_sandbox().await;
    shim.run_container().await;
    let request = exec("web", "e1", &serde_json::json!({"args": ["/bin/sh"], "cwd": "/"}));
    let (code, text) = refusal(shim.client.exec(context(), &request).await);
    assert_eq!(code, RpcCode::PERMISSION_DENIED);
    assert!(text.starts_with("policy.exec: /bin/sh is not on the list; next: "), "{text}");
    shim.no_more_events();
    // Nothing can be executed in the sandbox, or before a container exists.
    let request = exec(POD, "e1", &serde_json::json!({"args": ["/bin/sh"]}));
    assert_eq!(refusal(shim.client.exec(context(), &request).await).0, RpcCode::UNIMPLEMENTED);
    let request = exec("ghost", "e1", &serde_json::json!({"args": ["/bin/sh"]}));
    assert_eq!(refusal(shim.client.exec(context(), &request).await).0, RpcCode::NOT_FOUND);
}

#[tokio::test]
async fn small_requests() {
    let mut shim = Shim::new().await;
    let pid = shim.run_sandbox().await;
    shim.run_container().await;
    let id = || "web".to_owned();

    shim.guest.run_out_of_memory("web");
    assert_eq!(shim.events(1).await, ["oom web"]);

    let request = api::StatsRequest { id: id(), ..Default::default() };
    let stats = shim.client.stats(context(), &request).await.unwrap().stats.unwrap();
    assert_eq!(stats.type_url, "io.containerd.cgroups.v2.Metrics");
    let metrics = Metrics::parse_from_bytes(&stats.value).unwrap();
    assert_eq!((metrics.memory.usage, metrics.cpu.usage_usec), (4096, 7));
    let request = api::StatsRequest { id: POD.to_owned(), ..Default::default() };
    let stats = shim.client.stats(context(), &request).await.unwrap().stats.unwrap();
    assert!(Metrics::parse_from_bytes(&stats.value).unwrap().memory.usage > 0);

    let request = api::PidsRequest { id: id(), ..Default::default() };
    let pids = shim.client.pids(context(), &request).await.unwrap();
    assert_eq!(pids.processes.iter().map(|info| info.pid).collect::<Vec<_>>(), [pid]);

    let request = api::ConnectRequest { id: id(), ..Default::default() };
    let connected = shim.client.connect(context(), &request).await.unwrap();
    assert_eq!((connected.task_pid, connected.shim_pid), (pid, std::process::id()));

    let request = api::ResizePtyRequest { id: id(), width: 80, height: 24, ..Default::default() };
    shim.client.resize_pty(context(), &request).await.unwrap();
    assert_eq!(shim.guest.script.lock().unwrap().resized, [(80, 24)]);

    shim.client.kill(context(), &kill("web", 15)).await.unwrap();
    assert_eq!(shim.guest.script.lock().unwrap().signals, [("web".to_owned(), 15, false)]);

    // The shim stays while there are tasks.
    let request = api::ShutdownRequest { id: id(), ..Default::default() };
    shim.client.shutdown(context(), &request).await.unwrap();
    let quit = tokio::time::timeout(Duration::from_millis(10), shim.pod.wait_quit()).await;
    assert!(quit.is_err());
}

#[tokio::test]
async fn what_a_confidential_guest_cannot_do_is_refused_clearly() {
    let mut shim = Shim::new().await;
    shim.run_sandbox().await;
    shim.run_container().await;
    let id = || "web".to_owned();
    let pause = api::PauseRequest { id: id(), ..Default::default() };
    let resume = api::ResumeRequest { id: id(), ..Default::default() };
    let checkpoint = api::CheckpointTaskRequest { id: id(), ..Default::default() };
    for (code, text) in [
        refusal(shim.client.pause(context(), &pause).await),
        refusal(shim.client.resume(context(), &resume).await),
        refusal(shim.client.checkpoint(context(), &checkpoint).await),
    ] {
        assert_eq!(code, RpcCode::UNIMPLEMENTED);
        assert!(text.contains(" is not supported: "), "{text}");
    }
}

#[tokio::test]
async fn requests_for_another_pod_are_refused() {
    let mut shim = Shim::new().await;
    shim.run_sandbox().await;
    let mut spec = container_spec();
    spec["annotations"]["io.kubernetes.cri.sandbox-id"] = "pod-2".into();
    let request = shim.create_request("web", &spec);
    let (code, _) = refusal(shim.client.create(context(), &request).await);
    assert_eq!(code, RpcCode::INVALID_ARGUMENT);
    // A13: an id is no path.
    let request = api::StateRequest { id: "../../etc".to_owned(), ..Default::default() };
    let (code, _) = refusal(shim.client.state(context(), &request).await);
    assert_eq!(code, RpcCode::INVALID_ARGUMENT);
}

#[tokio::test]
async fn an_unknown_image_is_not_asked_for() {
    let mut shim = Shim::new().await;
    shim.run_sandbox().await;
    let mut spec = container_spec();
    spec["annotations"]["io.kubernetes.cri.image-name"] = "registry.test/other:1".into();
    let request = shim.create_request("web", &spec);
    let (_, text) = refusal(shim.client.create(context(), &request).await);
    assert!(text.starts_with("image.invalid: "), "{text}");
    assert!(shim.guest.script.lock().unwrap().created.is_empty());
}

#[tokio::test]
async fn a_create_is_finished_when_containerd_goes_away_in_the_middle() {
    let pending = ApiError::new(Code::PullInProgress, "layer 1 of 2");
    let script = Script { create: vec![pending], ..Script::default() };
    let mut shim = Shim::with(Setup { script, ..Setup::default() }).await;
    shim.run_sandbox().await;
    let request = shim.create_request("web", &container_spec());
    let call = shim.raw.clone();
    let gone = async {
        let client = containerd_shim::protos::shim_async::TaskClient::new(call);
        client.create(context(), &request).await
    };
    assert!(tokio::time::timeout(Duration::from_millis(50), gone).await.is_err());
    assert_eq!(shim.events(1).await, ["create web"]);
}

#[tokio::test]
async fn older_and_newer_releases_find_their_service() {
    let mut shim = Shim::new().await;
    let pid = shim.run_sandbox().await;
    for service in ["containerd.task.v2.Task", "containerd.task.v3.Task"] {
        let connect = api::ConnectRequest { id: POD.to_owned(), ..Default::default() };
        let request = ttrpc::proto::Request {
            service: service.to_owned(),
            method: "Connect".to_owned(),
            payload: connect.write_to_bytes().unwrap(),
            ..Default::default()
        };
        let reply = shim.raw.request(request).await.unwrap();
        let reply = api::ConnectResponse::parse_from_bytes(&reply.payload).unwrap();
        assert_eq!(reply.task_pid, pid, "{service}");
    }
}

/// A bind mount as containerd plans it.
fn bind(destination: &str, source: &Path) -> serde_json::Value {
    serde_json::json!({
        "destination": destination, "type": "bind", "source": source, "options": ["rbind", "ro"]
    })
}

/// The container `web` with more mounts.
fn with_mounts(mounts: &[serde_json::Value]) -> serde_json::Value {
    let mut spec = container_spec();
    spec["mounts"].as_array_mut().unwrap().extend_from_slice(mounts);
    spec
}

/// A ConfigMap as kubelet writes it.
fn config_map(shim: &Shim, name: &str, files: &[(&str, &str)]) -> std::path::PathBuf {
    let volume = "kubelet/pods/0a1b/volumes/kubernetes.io~configmap";
    let folder = shim.folder.path().join(volume).join(name);
    std::fs::create_dir_all(folder.join("..1")).unwrap();
    for (name, content) in files {
        std::fs::write(folder.join("..1").join(name), content).unwrap();
        std::os::unix::fs::symlink(format!("..data/{name}"), folder.join(name)).unwrap();
    }
    std::os::unix::fs::symlink("..1", folder.join("..data")).unwrap();
    folder
}

#[tokio::test]
async fn the_content_of_volumes_is_there_before_the_container() {
    let mut shim = Shim::new().await;
    shim.run_sandbox().await;
    let folder = config_map(&shim, "conf", &[("app.conf", "a = 1\n")]);
    let spec = with_mounts(&[bind("/etc/conf", &folder)]);
    shim.client.create(context(), &shim.create_request("web", &spec)).await.unwrap();
    {
        let script = shim.guest.script.lock().unwrap();
        assert_eq!(script.volumes.len(), 1);
        let sent = &script.volumes[0];
        let file = &sent.files[0];
        assert_eq!((sent.volume.as_str(), sent.files.len()), ("conf", 1));
        assert_eq!((file.name.as_str(), &*file.content), ("app.conf", b"a = 1\n".as_slice()));
        // A13: no path of the host leaves it.
        let asked = format!("{:?}{:?}", script.created[0], script.volumes[0]);
        assert!(asked.contains("/etc/conf") && !asked.contains("kubelet"), "{asked}");
    }
    // Another container of the same volume: the guest has it.
    shim.client.create(context(), &shim.create_request("web2", &spec)).await.unwrap();
    assert_eq!(shim.guest.script.lock().unwrap().volumes.len(), 1);
}

#[tokio::test]
async fn a_volume_that_the_policy_lacks_is_told_at_the_create() {
    let denial = ApiError::new(Code::PolicyVolume, "app.conf: the content is not the policy's");
    let script = Script { put_volume: vec![denial], ..Script::default() };
    let mut shim = Shim::with(Setup { script, ..Setup::default() }).await;
    shim.run_sandbox().await;
    let folder = config_map(&shim, "conf", &[("app.conf", "a = 1\n")]);
    let request = shim.create_request("web", &with_mounts(&[bind("/etc/conf", &folder)]));
    let (code, text) = refusal(shim.client.create(context(), &request).await);
    assert_eq!(code, RpcCode::PERMISSION_DENIED);
    assert!(text.starts_with("policy.volume: app.conf: "), "{text}");
    assert!(shim.guest.script.lock().unwrap().created.is_empty());
    // kubelet tries again, and the guest is asked again.
    shim.client.create(context(), &request).await.unwrap();
    assert_eq!(shim.guest.script.lock().unwrap().volumes.len(), 2);
}

#[tokio::test]
async fn content_that_cannot_be_sent_is_named() {
    let mut shim = Shim::new().await;
    shim.run_sandbox().await;
    let folder = config_map(&shim, "conf", &[]);
    std::fs::create_dir(folder.join("..1/inner")).unwrap();
    let request = shim.create_request("web", &with_mounts(&[bind("/etc/conf", &folder)]));
    let (_, text) = refusal(shim.client.create(context(), &request).await);
    assert!(text.starts_with("volume.content: conf: "), "{text}");
    assert!(shim.guest.script.lock().unwrap().volumes.is_empty());
}

fn update(json: &serde_json::Value) -> api::UpdateTaskRequest {
    let resources = Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".to_owned(),
        value: json.to_string().into_bytes(),
        ..Default::default()
    };
    api::UpdateTaskRequest {
        id: "web".to_owned(),
        resources: Some(resources).into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn the_guest_hears_of_limits_that_concern_it() {
    let denial = ApiError::new(Code::PolicyResources, "memory_limit: outside of the range");
    let script = Script { update: vec![denial], ..Script::default() };
    let mut shim = Shim::with(Setup { script, ..Setup::default() }).await;
    shim.run_sandbox().await;
    let mut spec = container_spec();
    let limits = |memory: u32, shares: u32| {
        serde_json::json!({
            "memory": { "limit": memory }, "cpu": { "shares": shares, "quota": 50000 },
        })
    };
    spec["linux"]["resources"] = limits(1 << 20, 512);
    shim.client.create(context(), &shim.create_request("web", &spec)).await.unwrap();
    let updates = || shim.guest.script.lock().unwrap().updates.clone();
    // Nothing that the guest could see.
    shim.client.update(context(), &update(&limits(1 << 20, 1024))).await.unwrap();
    assert!(updates().is_empty());
    // Denied: the next update starts from the limits before.
    for (attempt, denied) in [(1, true), (2, false)] {
        let result = shim.client.update(context(), &update(&limits(2 << 20, 1024))).await;
        if denied {
            let (code, text) = refusal(result);
            assert_eq!(code, RpcCode::PERMISSION_DENIED);
            assert!(text.starts_with("policy.resources: "), "{text}");
        } else {
            result.unwrap();
        }
        assert_eq!(updates().len(), attempt);
        assert_eq!(updates()[0].memory_limit, Some(2 << 20));
        assert_eq!((updates()[0].cpu_millis, updates()[0].pids), (None, None));
    }
    shim.client.update(context(), &update(&limits(2 << 20, 1024))).await.unwrap();
    assert_eq!(updates().len(), 2);
    let (code, _) = refusal(shim.client.update(context(), &update(&serde_json::json!(1))).await);
    assert_eq!(code, RpcCode::INVALID_ARGUMENT);
    let gone = serde_json::json!({ "cpu": { "quota": 50000 } });
    let (code, text) = refusal(shim.client.update(context(), &update(&gone)).await);
    assert_eq!(code, RpcCode::UNIMPLEMENTED, "{text}");
}

#[tokio::test]
async fn last_words_are_where_kubelet_looks_when_it_hears_of_the_end() {
    for (message, expected) in [
        (Some(b"out of cheese\n".to_vec()), "out of cheese\n".to_owned()),
        // E19: more than a message may have.
        (Some(vec![b'x'; 100_000]), "x".repeat(4096)),
        // The policy keeps it in the guest.
        (None, String::new()),
    ] {
        let script = Script { termination_message: message, ..Script::default() };
        let mut shim = Shim::with(Setup { script, ..Setup::default() }).await;
        shim.run_sandbox().await;
        let folder = shim.folder.path().join("kubelet/pods/0a1b/containers/web");
        std::fs::create_dir_all(&folder).unwrap();
        let log = folder.join("5f");
        std::fs::write(&log, "").unwrap();
        let spec = with_mounts(&[bind("/dev/termination-log", &log)]);
        shim.client.create(context(), &shim.create_request("web", &spec)).await.unwrap();
        shim.client.start(context(), &start("web")).await.unwrap();
        shim.guest.exit("web", 1);
        assert_eq!(shim.events(3).await, ["create web", "start web", "exit web web 1"]);
        assert_eq!(std::fs::read_to_string(&log).unwrap(), expected);
    }
}

#[tokio::test]
async fn figures_that_stay_in_the_guest_are_no_error() {
    // A27: kubelet goes on without them.
    let stats = vec![
        ApiError::new(Code::PolicyMetrics, "is not granted"),
        ApiError::new(Code::RequestId, "is unknown"),
    ];
    let mut shim =
        Shim::with(Setup { script: Script { stats, ..Script::default() }, ..Setup::default() })
            .await;
    shim.run_sandbox().await;
    shim.run_container().await;
    let request = api::StatsRequest { id: "web".to_owned(), ..Default::default() };
    let stats = shim.client.stats(context(), &request).await.unwrap().stats.unwrap();
    let metrics = Metrics::parse_from_bytes(&stats.value).unwrap();
    assert_eq!((metrics.memory.usage, metrics.cpu.usage_usec), (0, 0));
    let (_, text) = refusal(shim.client.stats(context(), &request).await);
    assert!(text.starts_with("request.id: "), "{text}");
}
