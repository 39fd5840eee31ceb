// SPDX-License-Identifier: Apache-2.0

use std::time::Duration;

use casemate_agent_api::mux;
use casemate_agent_api::mux::Handle;
use casemate_agent_api::mux::Role;
use casemate_agent_api::mux::StreamKind;
use casemate_agent_api::request::ExecId;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

use super::*;

fn process() -> ProcessId {
    ProcessId::new(ContainerId::parse("c1").unwrap(), None)
}

/// A host connected to the hub.
fn connect(hub: &Arc<StdioHub>) -> (Handle, tokio::task::JoinHandle<mux::End>) {
    let (host_io, guest_io) = tokio::io::duplex(4096);
    let (host, _, driver) = mux::connect(host_io, Role::Host);
    let host_driver = tokio::spawn(driver);
    let (_, mut incoming, driver) = mux::connect(guest_io, Role::Guest);
    tokio::spawn(driver);
    let hub = Arc::clone(hub);
    tokio::spawn(async move {
        while let Some((kind, stream)) = incoming.accept().await {
            let _ = match kind {
                StreamKind::Rpc => continue,
                StreamKind::Stdin(process) => hub.attach_stdin(&process, stream),
                StreamKind::Stdout(process) => hub.attach_stdout(&process, stream),
                StreamKind::Stderr(process) => hub.attach_stderr(&process, stream),
            };
        }
    });
    (host, host_driver)
}

fn granted() -> Granted {
    Granted { terminal: false, stdin: true, stdout: true, stderr: true }
}

/// The process's ends of its pipes.
struct Process {
    stdin: pipe::Receiver,
    stdout: Option<pipe::Sender>,
    stderr: Option<pipe::Sender>,
}

fn start(hub: &StdioHub, granted: Granted) -> Process {
    let (to_stdin, stdin) = pipe::pipe().unwrap();
    let (stdout, from_stdout) = pipe::pipe().unwrap();
    let (stderr, from_stderr) = pipe::pipe().unwrap();
    hub.register(&process(), granted);
    let stdio = Stdio::Pipes {
        stdin: Some(to_stdin.into_nonblocking_fd().unwrap()),
        stdout: Some(from_stdout.into_nonblocking_fd().unwrap()),
        stderr: Some(from_stderr.into_nonblocking_fd().unwrap()),
    };
    hub.join(&process(), stdio).unwrap();
    Process { stdin, stdout: Some(stdout), stderr: Some(stderr) }
}

#[tokio::test]
async fn the_three_streams_reach_each_other() {
    let hub = Arc::<StdioHub>::default();
    let (host, _driver) = connect(&hub);
    let mut inside = start(&hub, granted());
    let mut stdin = host.open(StreamKind::Stdin(process())).unwrap();
    let mut stdout = host.open(StreamKind::Stdout(process())).unwrap();
    let mut stderr = host.open(StreamKind::Stderr(process())).unwrap();

    stdin.write_all(b"question").await.unwrap();
    stdin.shutdown().await.unwrap();
    let mut text = String::new();
    inside.stdin.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "question");

    inside.stdout.take().unwrap().write_all(b"answer").await.unwrap();
    inside.stderr.take().unwrap().write_all(b"remark").await.unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    stdout.read_to_string(&mut out).await.unwrap();
    stderr.read_to_string(&mut err).await.unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("answer", "remark"));
}

#[tokio::test]
async fn streams_may_be_opened_before_the_process_has_its_pipes() {
    let hub = Arc::<StdioHub>::default();
    let (host, _driver) = connect(&hub);
    hub.register(&process(), granted());
    let mut stdout = host.open(StreamKind::Stdout(process())).unwrap();
    tokio::task::yield_now().await;
    let (mut write, read) = pipe::pipe().unwrap();
    let read = read.into_nonblocking_fd().unwrap();
    let stdio = Stdio::Pipes { stdin: None, stdout: Some(read), stderr: None };
    hub.join(&process(), stdio).unwrap();
    write.write_all(b"early bird").await.unwrap();
    drop(write);
    let mut text = String::new();
    stdout.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "early bird");
}

#[tokio::test]
async fn output_survives_a_host_that_comes_back() {
    let hub = Arc::<StdioHub>::default();
    let (host, driver) = connect(&hub);
    let mut inside = start(&hub, granted());
    let mut stdout = host.open(StreamKind::Stdout(process())).unwrap();
    let writer = inside.stdout.as_mut().unwrap();
    writer.write_all(b"one ").await.unwrap();
    let mut first = [0; 4];
    stdout.read_exact(&mut first).await.unwrap();
    // Lets the acknowledgement arrive: what is not acknowledged comes twice.
    tokio::time::sleep(Duration::from_millis(20)).await;
    writer.write_all(b"two ").await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    driver.abort();
    tokio::time::sleep(Duration::from_millis(20)).await;
    writer.write_all(b"three").await.unwrap();
    drop(inside.stdout.take());

    let (host, _driver) = connect(&hub);
    let mut stdout = host.open(StreamKind::Stdout(process())).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).await.unwrap();
    assert_eq!((&first, rest.as_str()), (b"one ", "two three"));
    // Everything was read: a further stream is empty.
    let mut again = host.open(StreamKind::Stdout(process())).unwrap();
    assert_eq!(again.read_to_string(&mut rest).await.unwrap(), 0);
}

#[tokio::test]
async fn a_process_is_held_back_while_nobody_reads() {
    let hub = Arc::<StdioHub>::default();
    let (host, _driver) = connect(&hub);
    let mut inside = start(&hub, granted());
    let mut writer = inside.stdout.take().unwrap();
    let writing = tokio::spawn(async move { writer.write_all(&vec![7; 1024 * 1024]).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!writing.is_finished());
    let mut stdout = host.open(StreamKind::Stdout(process())).unwrap();
    let mut all = Vec::new();
    stdout.read_to_end(&mut all).await.unwrap();
    assert_eq!(all.len(), 1024 * 1024);
    writing.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_not_granted_is_empty_and_drained() {
    // A16.
    let hub = Arc::<StdioHub>::default();
    let (host, _driver) = connect(&hub);
    let mut inside = start(&hub, Granted::default());
    // More than a pipe holds: it can only pass if somebody drains it.
    let mut writer = inside.stdout.take().unwrap();
    writer.write_all(&vec![7; 1024 * 1024]).await.unwrap();
    let mut stdout = host.open(StreamKind::Stdout(process())).unwrap();
    let mut text = Vec::new();
    assert_eq!(stdout.read_to_end(&mut text).await.unwrap(), 0);
    // Nothing of the host's reaches the process.
    let mut stdin = host.open(StreamKind::Stdin(process())).unwrap();
    let _ = stdin.write_all(b"evil").await;
    assert_eq!(inside.stdin.read_to_end(&mut text).await.unwrap(), 0);
}

#[tokio::test]
async fn streams_of_unknown_processes_are_reset() {
    let hub = Arc::<StdioHub>::default();
    let (host, _driver) = connect(&hub);
    let exec = ExecId::parse("nobody").unwrap();
    let unknown = ProcessId::new(ContainerId::parse("c1").unwrap(), Some(exec));
    let mut stream = host.open(StreamKind::Stdout(unknown)).unwrap();
    assert!(stream.read(&mut [0; 1]).await.is_err());
}

#[tokio::test]
async fn close_stdin_ends_input_after_what_came_before() {
    let hub = Arc::<StdioHub>::default();
    let (host, _driver) = connect(&hub);
    let mut inside = start(&hub, granted());
    let mut stdin = host.open(StreamKind::Stdin(process())).unwrap();
    stdin.write_all(b"last").await.unwrap();
    stdin.delivered().await.unwrap();
    hub.close_stdin(&process());
    let mut text = String::new();
    inside.stdin.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "last");
}

#[tokio::test]
async fn removing_a_process_ends_its_streams() {
    let hub = Arc::<StdioHub>::default();
    let (host, _driver) = connect(&hub);
    let mut inside = start(&hub, granted());
    let mut stdout = host.open(StreamKind::Stdout(process())).unwrap();
    inside.stdout.as_mut().unwrap().write_all(b"x").await.unwrap();
    stdout.read_exact(&mut [0; 1]).await.unwrap();
    hub.remove_container(process().container());
    assert!(stdout.read(&mut [0; 1]).await.is_err());
}
