// SPDX-License-Identifier: Apache-2.0
//! `kubectl exec -it`: a terminal through containerd's streaming server.

use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use anyhow::ensure;
use casemate_e2e::demo::Stage;
use casemate_e2e::image;
use k8s_cri::v1::ExecRequest;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::pods;

/// The terminal in the container has the size that the client says, from the start and after a change.
pub(crate) async fn exec_with_a_terminal_is_resized(stage: &mut Stage) -> anyhow::Result<()> {
    pods::publish(
        stage,
        "shell",
        image::Recipe { env: &["PATH=/bin"], ..image::Recipe::default() },
    )?;
    let exec = "{\"main\": [{\"argv\": [\"/bin/sh\"], \"tty\": true, \"stdin\": true}]}";
    let yaml = pods::yaml("shell", "shell", exec, "echo up; sleep 3600");
    let (_, pod) = pods::prepare(stage, "shell", &yaml)?;
    let running = stage.node.start_pod(&pod).await.context("start the pod")?;
    let request = ExecRequest {
        container_id: running.containers.get("main").context("no id")?.clone(),
        cmd: vec!["/bin/sh".to_owned()],
        tty: true,
        stdin: true,
        stdout: true,
        stderr: false,
    };
    let url = stage.node.cri.runtime().exec(request).await?.into_inner().url;
    let typed = timeout(Duration::from_secs(40), type_into(&url)).await;
    stage.node.cri.remove_pod(&running.id).await?;
    typed.context("the terminal hangs")?
}

async fn type_into(url: &str) -> anyhow::Result<()> {
    let mut terminal = Terminal::open(url).await?;
    terminal.until("# ").await.context("no prompt")?;
    for (width, height) in [(91_u16, 33_u16), (120, 40)] {
        let size = format!("{{\"Width\":{width},\"Height\":{height}}}");
        terminal.send(RESIZE, size.as_bytes()).await?;
        // The size travels beside the input: ask until it is there.
        let expected = format!("{height} {width}\r\n");
        let mut seen = String::new();
        for _ in 0..20 {
            terminal.send(STDIN, b"stty size\n").await?;
            seen = terminal.until("# ").await?;
            if seen.contains(&expected) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        ensure!(seen.contains(&expected), "the terminal says {seen:?}, not {expected:?}");
    }
    terminal.send(STDIN, b"exit\n").await
}

/// A WebSocket connection to containerd's streaming server (RFC 6455) with Kubernetes' channels
/// (`v4.channel.k8s.io`: the first byte of a message names its stream).
struct Terminal {
    stream: TcpStream,
}

impl Terminal {
    async fn open(url: &str) -> anyhow::Result<Self> {
        let rest = url.strip_prefix("http://").with_context(|| format!("{url} is not http"))?;
        let (host, path) = rest.split_once('/').context("no path in the URL")?;
        let mut stream = TcpStream::connect(host).await.context("connect")?;
        let request = format!(
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.context("ask for a WebSocket")?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            ensure!(head.len() < 8192, "the answer's head does not end");
            head.push(stream.read_u8().await.context("read the answer")?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        ensure!(head.starts_with("HTTP/1.1 101 "), "the server answers {head:?}");
        Ok(Self { stream })
    }

    /// Sends a message as one masked binary frame.
    async fn send(&mut self, channel: u8, data: &[u8]) -> anyhow::Result<()> {
        let length = u8::try_from(data.len().saturating_add(1)).context("a long message")?;
        ensure!(length < 126, "a long message");
        // A mask of zeros changes nothing.
        let mut frame = vec![0x82, 0x80 | length, 0, 0, 0, 0, channel];
        frame.extend_from_slice(data);
        self.stream.write_all(&frame).await.context("send")
    }

    /// What the terminal shows until the text `end`.
    async fn until(&mut self, end: &str) -> anyhow::Result<String> {
        let mut seen = String::new();
        // busybox asks for the cursor's place after its prompt.
        while !seen.trim_end_matches(ASK_CURSOR).ends_with(end) {
            let head = [self.stream.read_u8().await?, self.stream.read_u8().await?];
            let length = match head {
                [_, 126] => usize::from(self.stream.read_u16().await?),
                [_, short @ 0..126] => usize::from(short),
                _ => bail!("a frame of {head:?} after {seen:?}"),
            };
            let mut message = vec![0; length];
            self.stream.read_exact(&mut message).await?;
            match message.split_first() {
                Some((&STDOUT, text)) => seen.push_str(&String::from_utf8_lossy(text)),
                Some((&ERROR, text)) if !text.is_empty() => {
                    bail!("{} after {seen:?}", String::from_utf8_lossy(text))
                }
                _ => {}
            }
        }
        Ok(seen)
    }
}

/// "Device Status Report", which a terminal would answer.
const ASK_CURSOR: &str = "\x1b[6n";
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
