// SPDX-License-Identifier: Apache-2.0

use std::fs::File;
use std::io::Read;
use std::path::Path;

use casemate_agent_api::mux;
use casemate_agent_api::mux::Role;
use casemate_agent_api::mux::StreamKind;
use casemate_agent_api::request::ContainerId;
use casemate_agent_api::request::ProcessId;
use rustix::fs::CWD;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::mknodat;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use super::*;

const OWNER: Owner<'_> = Owner { id: "c1", namespace: "k8s.io" };

fn fifo(folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Nobody wants to know.
struct Unheard;

impl Notices for Unheard {}

/// Counts first outputs.
struct Counter(watch::Sender<u32>);

impl Notices for Counter {
    fn first_output(&self) {
        self.0.send_modify(|count| *count += 1);
    }
}

/// Both ends of one stream.
struct Wire {
    host: mux::Handle,
    guest: mux::Incoming,
}

impl Wire {
    fn new() -> Self {
        let (a, b) = tokio::io::duplex(4096);
        let (host, _, driver) = mux::connect(a, Role::Host);
        tokio::spawn(driver);
        let (_, guest, driver) = mux::connect(b, Role::Guest);
        tokio::spawn(driver);
        Self { host, guest }
    }

    async fn stream(
        &mut self,
        kind: fn(ProcessId) -> StreamKind,
    ) -> (mux::MuxStream, mux::MuxStream) {
        let process = ProcessId::new(ContainerId::parse("c1").unwrap(), None);
        let host = self.host.open(kind(process)).unwrap();
        let (_, guest) = self.guest.accept().await.unwrap();
        (host, guest)
    }
}

async fn read_end(path: &str) -> Vec<u8> {
    let mut reader = pipe::OpenOptions::new().open_receiver(path).unwrap();
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[test]
fn names_say_which_streams_there_are() {
    let uris = |terminal, stdin: &str, stdout: &str, stderr: &str| Uris {
        terminal,
        stdin: stdin.to_owned(),
        stdout: stdout.to_owned(),
        stderr: stderr.to_owned(),
    };
    let all = uris(false, "/i", "/o", "/e").streams();
    assert_eq!(all, Streams { terminal: false, stdin: true, stdout: true, stderr: true });
    assert_eq!(uris(false, "", "", "").streams(), Streams::default());
    // A terminal has one output, whatever the names say.
    assert!(!uris(true, "/i", "/o", "/e").streams().stderr);
    // A URI on stdout takes both outputs.
    assert!(uris(false, "", "file:///log", "").streams().stderr);
    assert!(uris(false, "", "binary:///bin/log", "").streams().stderr);
}

#[tokio::test]
async fn unknown_and_absent_targets_are_errors() {
    for stdout in ["/nonexistent/fifo", "npipe://x", "file://relative", "binary://relative"] {
        let uris = Uris { stdout: stdout.to_owned(), ..Uris::default() };
        let error = uris.open(OWNER).await.err().unwrap();
        assert!(matches!(error, ShimError::Stdio { stream: "stdout", .. }), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    File::create(&plain).unwrap();
    let uris = Uris { stdin: plain.to_str().unwrap().to_owned(), ..Uris::default() };
    assert!(matches!(uris.open(OWNER).await, Err(ShimError::Stdio { stream: "stdin", .. })));
}

#[tokio::test]
async fn output_goes_through_a_fifo_and_ends_with_the_stream() {
    let folder = tempfile::tempdir().unwrap();
    let stdout = fifo(folder.path(), "stdout");
    let uris = Uris { stdout: stdout.clone(), ..Uris::default() };
    let host = uris.open(OWNER).await.unwrap();
    let mut wire = Wire::new();
    let (near, mut far) = wire.stream(StreamKind::Stdout).await;
    let (_alive, life) = life();
    let (first, mut seen) = watch::channel(0);
    let pumps = Pumps { stdin: None, stdout: Some(near), stderr: None };
    let copying = tokio::spawn(pumps.run(host, life, Counter(first)));
    let reader = tokio::spawn(async move { read_end(&stdout).await });
    let output = vec![b'x'; 300_000];
    far.write_all(b"first ").await.unwrap();
    seen.changed().await.unwrap();
    far.write_all(&output).await.unwrap();
    far.shutdown().await.unwrap();
    assert_eq!(reader.await.unwrap(), [b"first ", &output[..]].concat());
    copying.await.unwrap();
    assert_eq!(*seen.borrow(), 1);
}

#[tokio::test]
async fn nothing_is_lost_while_containerd_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let stdout = fifo(folder.path(), "stdout");
    let uris = Uris { stdout: stdout.clone(), ..Uris::default() };
    let host = uris.open(OWNER).await.unwrap();
    let mut wire = Wire::new();
    let (near, mut far) = wire.stream(StreamKind::Stdout).await;
    let (alive, life) = life();
    let pumps = Pumps { stdin: None, stdout: Some(near), stderr: None };
    let copying = tokio::spawn(pumps.run(host, life, Unheard));
    // The first containerd reads a little and dies.
    let mut reader = pipe::OpenOptions::new().open_receiver(&stdout).unwrap();
    far.write_all(b"before ").await.unwrap();
    let mut read = [0; 7];
    reader.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"before ");
    drop(reader);
    // More than FIFO, buffer and window hold: the process waits, and ends while nobody reads.
    let output: Vec<u8> = (0..400_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let expected = output.clone();
    let process = tokio::spawn(async move {
        far.write_all(&output).await.unwrap();
        far.shutdown().await.unwrap();
        far.delivered().await.unwrap();
    });
    // The second one reads the rest.
    let reader = tokio::spawn(async move { read_end(&stdout).await });
    process.await.unwrap();
    alive.send_replace(Life::Exited);
    assert_eq!(reader.await.unwrap(), expected);
    copying.await.unwrap();
}

#[tokio::test]
async fn a_fifo_that_nobody_reads_is_closed_at_the_delete() {
    let folder = tempfile::tempdir().unwrap();
    let uris = Uris { stdout: fifo(folder.path(), "stdout"), ..Uris::default() };
    let host = uris.open(OWNER).await.unwrap();
    let mut wire = Wire::new();
    let (near, mut far) = wire.stream(StreamKind::Stdout).await;
    let (alive, life) = life();
    let pumps = Pumps { stdin: None, stdout: Some(near), stderr: None };
    let copying = tokio::spawn(pumps.run(host, life, Unheard));
    far.write_all(b"unread").await.unwrap();
    far.shutdown().await.unwrap();
    far.delivered().await.unwrap();
    alive.send_replace(Life::Exited);
    assert!(!copying.is_finished());
    alive.send_replace(Life::Deleted);
    copying.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_grandchild_that_holds_the_stream_does_not_hold_the_shim() {
    let mut wire = Wire::new();
    let (near, far) = wire.stream(StreamKind::Stdout).await;
    let (alive, life) = life();
    let folder = tempfile::tempdir().unwrap();
    let uris = Uris { stdout: fifo(folder.path(), "stdout"), ..Uris::default() };
    let host = uris.open(OWNER).await.unwrap();
    let pumps = Pumps { stdin: None, stdout: Some(near), stderr: None };
    let copying = tokio::spawn(pumps.run(host, life, Unheard));
    alive.send_replace(Life::Exited);
    copying.await.unwrap();
    drop(far);
}

#[tokio::test]
async fn input_goes_through_and_ends_when_containerd_closes_it() {
    let folder = tempfile::tempdir().unwrap();
    let stdin = fifo(folder.path(), "stdin");
    let uris = Uris { stdin: stdin.clone(), ..Uris::default() };
    let host = uris.open(OWNER).await.unwrap();
    let mut wire = Wire::new();
    let (near, mut far) = wire.stream(StreamKind::Stdin).await;
    let (alive, life) = life();
    let pumps = Pumps { stdin: Some(near), stdout: None, stderr: None };
    let copying = tokio::spawn(pumps.run(host, life, Unheard));
    let mut writer = pipe::OpenOptions::new().open_sender(&stdin).unwrap();
    writer.write_all(b"one ").await.unwrap();
    // containerd restarts: a writer that goes away is no end.
    drop(writer);
    let mut read = [0; 4];
    far.read_exact(&mut read).await.unwrap();
    let mut writer = pipe::OpenOptions::new().open_sender(&stdin).unwrap();
    writer.write_all(b"two").await.unwrap();
    alive.send_replace(Life::StdinClosed);
    let mut rest = String::new();
    far.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "two");
    copying.await.unwrap();
}

#[tokio::test]
async fn a_file_takes_both_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/log");
    let uris = Uris { stdout: format!("file://{}", path.display()), ..Uris::default() };
    let host = uris.open(OWNER).await.unwrap();
    let mut wire = Wire::new();
    let (out, mut far_out) = wire.stream(StreamKind::Stdout).await;
    let (err, mut far_err) = wire.stream(StreamKind::Stderr).await;
    let (_alive, life) = life();
    let pumps = Pumps { stdin: None, stdout: Some(out), stderr: Some(err) };
    let copying = tokio::spawn(pumps.run(host, life, Unheard));
    far_out.write_all(b"out ").await.unwrap();
    far_out.shutdown().await.unwrap();
    far_err.write_all(b"err ").await.unwrap();
    far_err.shutdown().await.unwrap();
    copying.await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text == "out err " || text == "err out ", "{text}");
    // It is appended to.
    drop(uris.open(OWNER).await.unwrap());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_logger_gets_both_outputs_and_its_environment() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    // Ready only once both files exist, so that the script is what is waited for.
    let script = format!(
        "exec 1>{0}; echo $CONTAINER_ID $CONTAINER_NAMESPACE; exec 5>&-; cat <&3; cat <&4",
        log.display()
    );
    let script = script.replace(' ', "+").replace('&', "%26").replace(';', "%3b");
    let uris = Uris { stdout: format!("binary:///bin/sh?-c={script}"), ..Uris::default() };
    let host = uris.open(OWNER).await.unwrap();
    let mut wire = Wire::new();
    let (out, mut far_out) = wire.stream(StreamKind::Stdout).await;
    let (err, mut far_err) = wire.stream(StreamKind::Stderr).await;
    let (_alive, life) = life();
    let pumps = Pumps { stdin: None, stdout: Some(out), stderr: Some(err) };
    let copying = tokio::spawn(pumps.run(host, life, Unheard));
    far_out.write_all(b"out\n").await.unwrap();
    far_out.shutdown().await.unwrap();
    far_err.write_all(b"err\n").await.unwrap();
    far_err.shutdown().await.unwrap();
    copying.await.unwrap();
    let mut text = String::new();
    File::open(&log).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "c1 k8s.io\nout\nerr\n");
}

#[tokio::test]
async fn a_logger_that_does_not_start_is_an_error() {
    let uris = Uris { stdout: "binary:///nonexistent/logger".to_owned(), ..Uris::default() };
    assert!(matches!(uris.open(OWNER).await, Err(ShimError::Stdio { stream: "stdout", .. })));
}
