// SPDX-License-Identifier: Apache-2.0

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::DuplexStream;

use super::frame::Hello;
use super::frame::VERSION;
use super::*;
use crate::request::ContainerId;

/// Both ends of a connection with their drivers running.
fn pair() -> (Handle, Handle, Incoming) {
    let (host_io, guest_io) = tokio::io::duplex(10_000);
    let (host, _, driver) = connect(host_io, Role::Host);
    tokio::spawn(driver);
    let (guest, incoming, driver) = connect(guest_io, Role::Guest);
    tokio::spawn(driver);
    (host, guest, incoming)
}

fn stdout(name: &str) -> StreamKind {
    StreamKind::Stdout(ProcessId::new(ContainerId::parse(name).unwrap(), None))
}

#[tokio::test]
async fn megabytes_cross_in_both_directions_at_once() {
    let (host, _guest, mut incoming) = pair();
    let stream = host.open(StreamKind::Rpc).unwrap();
    let echo = tokio::spawn(async move {
        let (_, stream) = incoming.accept().await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.shutdown().await.unwrap();
        incoming
    });
    let sent: Vec<u8> = (0..3_000_000u32).map(|n| n.to_le_bytes()[1]).collect();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let expected = sent.clone();
    let write = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
        writer
    });
    let mut got = Vec::new();
    reader.read_to_end(&mut got).await.unwrap();
    assert!(got == expected);
    write.await.unwrap();
    echo.await.unwrap();
}

#[tokio::test]
async fn output_that_nobody_reads_does_not_block_the_rpc() {
    let (host, _guest, mut incoming) = pair();
    let _unread = host.open(stdout("noisy")).unwrap();
    let mut rpc = host.open(StreamKind::Rpc).unwrap();
    let (kind, mut noisy) = incoming.accept().await.unwrap();
    assert_eq!(kind, stdout("noisy"));
    let (_, mut served) = incoming.accept().await.unwrap();

    let writer = tokio::spawn(async move { noisy.write_all(&vec![0; 4 * WINDOW]).await });
    for _ in 0..100 {
        rpc.write_all(b"ping").await.unwrap();
        let mut buffer = [0; 4];
        served.read_exact(&mut buffer).await.unwrap();
        served.write_all(b"pong").await.unwrap();
        rpc.read_exact(&mut buffer).await.unwrap();
    }
    assert!(!writer.is_finished(), "the noisy stream is held back by its window");
    writer.abort();
}

#[tokio::test]
async fn delivered_means_read_by_the_other_side() {
    let (host, _guest, mut incoming) = pair();
    let mut reader = host.open(stdout("web")).unwrap();
    let (_, mut writer) = incoming.accept().await.unwrap();
    writer.write_all(b"hello").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(20), writer.delivered()).await;
    assert!(early.is_err(), "nobody has read it");
    reader.read_exact(&mut [0; 5]).await.unwrap();
    writer.delivered().await.unwrap();
    assert!(writer.into_unacknowledged().is_empty());
}

#[tokio::test]
async fn end_of_the_carrier_resets_every_stream_and_a_new_connection_starts_clean() {
    let (host_io, guest_io) = tokio::io::duplex(100);
    let (host, _, host_driver) = connect(host_io, Role::Host);
    let host_driver = tokio::spawn(host_driver);
    let (guest, mut incoming, guest_driver) = connect(guest_io, Role::Guest);
    let guest_driver = tokio::spawn(guest_driver);
    let _stream = host.open(stdout("web")).unwrap();
    let (_, mut out) = incoming.accept().await.unwrap();
    out.write_all(b"not yet read").await.unwrap();
    host_driver.abort();
    assert_eq!(guest_driver.await.unwrap(), End::Eof);
    assert_eq!(guest.ended().await, End::Eof);
    assert!(incoming.accept().await.is_none());
    assert_eq!(out.write(b"x").await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let kept = out.into_unacknowledged();

    let (host, _guest, mut incoming) = pair();
    let mut stream = host.open(stdout("web")).unwrap();
    let (_, mut out) = incoming.accept().await.unwrap();
    out.write_all(&kept).await.unwrap();
    let mut text = [0; 12];
    stream.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"not yet read");
}

#[tokio::test]
async fn a_guest_says_why_it_refuses() {
    let (host, guest, _incoming) = pair();
    let mut stream = host.open(StreamKind::Rpc).unwrap();
    guest.fatal(Code::InitdataMismatch, "HOST_DATA differs");
    let expected = End::Fatal { code: Code::InitdataMismatch, message: "HOST_DATA differs".into() };
    assert_eq!(host.ended().await, expected);
    assert!(stream.read(&mut [0; 1]).await.is_err());
    assert_eq!(guest.ended().await, End::Closed);
}

#[tokio::test]
async fn a_host_skips_what_an_earlier_connection_left() {
    let (host_io, mut raw) = tokio::io::duplex(100_000);
    let (host, _, driver) = connect(host_io, Role::Host);
    tokio::spawn(driver);
    // Half a frame and the answer to another host, then this host's own.
    raw.write_all(b"\x02\x00\x00\x01left over").await.unwrap();
    let stale = Hello { version: VERSION, role: Role::Guest, epoch: 1 };
    raw.write_all(&stale.encode()).await.unwrap();
    let mut bytes = [0; frame::HELLO];
    raw.read_exact(&mut bytes).await.unwrap();
    let theirs = Hello::decode(&bytes).unwrap();
    let answer = Hello { role: Role::Guest, ..theirs };
    raw.write_all(&answer.encode()).await.unwrap();

    let _stream = host.open(StreamKind::Rpc).unwrap();
    let mut open = [0; 13];
    raw.read_exact(&mut open).await.unwrap();
    assert_eq!(&open[2..4], &theirs.epoch.to_le_bytes()[..2]);
}

#[tokio::test]
async fn a_host_repeats_its_preface_until_the_guest_is_up() {
    tokio::time::pause();
    let (host_io, mut raw) = tokio::io::duplex(100_000);
    let (_host, _, driver) = connect(host_io, Role::Host);
    tokio::spawn(driver);
    let mut bytes = [0; 3 * frame::HELLO];
    raw.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes[..frame::HELLO], bytes[frame::HELLO..2 * frame::HELLO]);
}

async fn guest_against(raw: impl AsyncFnOnce(&mut DuplexStream)) -> End {
    let (guest_io, mut host) = tokio::io::duplex(100_000);
    let (_guest, _incoming, driver) = connect(guest_io, Role::Guest);
    let driver = tokio::spawn(driver);
    raw(&mut host).await;
    driver.await.unwrap()
}

fn hello(epoch: u64) -> [u8; frame::HELLO] {
    Hello { version: VERSION, role: Role::Host, epoch }.encode()
}

#[tokio::test]
async fn repeated_prefaces_are_ignored_and_new_ones_end_the_connection() {
    let end = guest_against(async |raw| {
        raw.write_all(&hello(5)).await.unwrap();
        raw.write_all(&hello(5)).await.unwrap();
        raw.write_all(&hello(6)).await.unwrap();
    });
    assert_eq!(end.await, End::PeerRestarted);
}

#[tokio::test]
async fn another_version_is_named() {
    let end = guest_against(async |raw| {
        let hello = Hello { version: 9, role: Role::Host, epoch: 5 };
        raw.write_all(&hello.encode()).await.unwrap();
    });
    assert_eq!(end.await, End::Version { theirs: 9 });
}

#[tokio::test]
async fn garbage_ends_the_connection_only() {
    // A24.
    let end = guest_against(async |raw| {
        raw.write_all(&hello(5)).await.unwrap();
        raw.write_all(&[0xff; 100]).await.unwrap();
    });
    assert_eq!(end.await, End::Malformed { reason: Malformed::Reserved });

    let end = guest_against(async |raw| {
        let junk = vec![0x55; 64 * 1024];
        while raw.write_all(&junk).await.is_ok() {}
    });
    assert_eq!(end.await, End::NoPreface);
}

#[tokio::test]
async fn streams_that_nobody_accepts_are_reset() {
    // A25.
    let (host, _guest, incoming) = pair();
    let mut streams: Vec<_> =
        (0..MAX_UNACCEPTED + 3).map(|_| host.open(StreamKind::Rpc).unwrap()).collect();
    let mut last = streams.pop().unwrap();
    assert!(last.read(&mut [0; 1]).await.is_err());
    drop(incoming);
}
