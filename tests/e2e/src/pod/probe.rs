// SPDX-License-Identifier: Apache-2.0
//! Probes and life-cycle hooks, as kubelet carries them out from the node.

use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Container;
use super::environment::Environment;
use crate::cri::Cri;

/// A probe of a container.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    #[serde(flatten)]
    handler: Handler,
    #[serde(default)]
    initial_delay_seconds: u64,
    #[serde(default = "default_period")]
    period_seconds: u64,
    #[serde(default = "default_timeout")]
    timeout_seconds: u64,
    #[serde(default = "default_threshold")]
    failure_threshold: u32,
}

/// What a probe or a hook does.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handler {
    exec: Option<Exec>,
    http_get: Option<HttpGet>,
    tcp_socket: Option<TcpSocket>,
    sleep: Option<Sleep>,
}

#[derive(Debug, Clone, Deserialize)]
struct Exec {
    #[serde(default)]
    command: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpGet {
    host: Option<String>,
    #[serde(default)]
    path: String,
    port: Value,
    #[serde(default)]
    http_headers: Vec<Header>,
}

#[derive(Debug, Clone, Deserialize)]
struct Header {
    name: String,
    value: String,
}

#[derive(Debug, Clone, Deserialize)]
struct TcpSocket {
    host: Option<String>,
    port: Value,
}

#[derive(Debug, Clone, Deserialize)]
struct Sleep {
    seconds: u64,
}

/// Where a handler acts.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The container.
    pub container: &'a Container,
    /// Its id.
    pub id: &'a str,
    /// The pod's address.
    pub pod_ip: &'a str,
}

impl Probe {
    /// Asks until the probe succeeds.
    ///
    /// # Errors
    ///
    /// Why it failed the last time, after as many failures as it allows.
    pub async fn until_success(&self, cri: &mut Cri, target: Target<'_>) -> anyhow::Result<()> {
        tokio::time::sleep(Duration::from_secs(self.initial_delay_seconds)).await;
        let limit = Duration::from_secs(self.timeout_seconds.max(1));
        let mut failures = 0_u32;
        loop {
            // Probes see the variables that stand in the pod as they are.
            let plain = Environment::plain(target.container);
            let Err(error) = self.handler.run(cri, target, limit, Some(&plain)).await else {
                return Ok(());
            };
            failures = failures.saturating_add(1);
            if failures >= self.failure_threshold.max(1) {
                return Err(error).with_context(|| format!("{failures} failures"));
            }
            tokio::time::sleep(Duration::from_secs(self.period_seconds.max(1))).await;
        }
    }
}

impl Container {
    /// The commands of the container's probes and hooks, as kubelet runs them.
    #[must_use]
    pub fn commands(&self) -> Vec<Vec<String>> {
        let plain = Environment::plain(self);
        let probes = [&self.startup_probe, &self.liveness_probe, &self.readiness_probe];
        let probes = probes.into_iter().flatten().filter_map(|p| p.handler.command(Some(&plain)));
        let hooks = [self.post_start(), self.pre_stop()];
        let hooks = hooks.into_iter().flatten().filter_map(|handler| handler.command(None));
        probes.chain(hooks).collect()
    }
}

impl Handler {
    /// Carries out a life-cycle hook.
    ///
    /// # Errors
    ///
    /// When it fails or takes longer than `limit`.
    pub async fn hook(
        &self,
        cri: &mut Cri,
        target: Target<'_>,
        limit: Duration,
    ) -> anyhow::Result<()> {
        // kubelet hands the command on as it stands.
        self.run(cri, target, limit, None).await
    }

    /// The command, if the handler runs one: with the variables of a probe, or as it stands.
    fn command(&self, environment: Option<&Environment>) -> Option<Vec<String>> {
        let command = &self.exec.as_ref()?.command;
        Some(environment.map_or_else(|| command.clone(), |known| known.expand_all(command)))
    }

    async fn run(
        &self,
        cri: &mut Cri,
        target: Target<'_>,
        limit: Duration,
        environment: Option<&Environment>,
    ) -> anyhow::Result<()> {
        let done = async {
            if let Some(command) = self.command(environment) {
                let words: Vec<&str> = command.iter().map(String::as_str).collect();
                let reply = cri.exec_sync(target.id, &words).await.context("exec")?;
                match reply.exit_code {
                    0 => Ok(()),
                    code => bail!("{command:?} ended with {code}"),
                }
            } else if let Some(get) = &self.http_get {
                get.run(target).await
            } else if let Some(socket) = &self.tcp_socket {
                let host = socket.host.as_deref().unwrap_or(target.pod_ip);
                let port = port(&socket.port, target.container)?;
                TcpStream::connect((host, port)).await.context("connect").map(drop)
            } else if let Some(sleep) = &self.sleep {
                tokio::time::sleep(Duration::from_secs(sleep.seconds)).await;
                Ok(())
            } else {
                bail!("a handler of another kind than exec, httpGet, tcpSocket and sleep")
            }
        };
        timeout(limit, done).await.with_context(|| format!("not done after {limit:?}"))?
    }
}

impl HttpGet {
    /// Succeeds with a status from 200 to 399, as kubelet's.
    async fn run(&self, target: Target<'_>) -> anyhow::Result<()> {
        let host = self.host.as_deref().unwrap_or(target.pod_ip);
        let port = port(&self.port, target.container)?;
        let mut stream = TcpStream::connect((host, port)).await.context("connect")?;
        let path = self.path.trim_start_matches('/');
        let mut request = format!("GET /{path} HTTP/1.1\r\nConnection: close\r\n");
        if !self.http_headers.iter().any(|header| header.name.eq_ignore_ascii_case("host")) {
            request.push_str(&format!("Host: {host}:{port}\r\n"));
        }
        for header in &self.http_headers {
            request.push_str(&format!("{}: {}\r\n", header.name, header.value));
        }
        stream.write_all(format!("{request}\r\n").as_bytes()).await.context("ask")?;
        let mut head = [0_u8; 12];
        stream.read_exact(&mut head).await.context("read the status")?;
        let head = String::from_utf8_lossy(&head).into_owned();
        let status: u16 = head.rsplit(' ').next().unwrap_or_default().parse().context("status")?;
        if !(200..400).contains(&status) {
            bail!("HTTP status {status}");
        }
        Ok(())
    }
}

/// A port by number or by its name in the container.
fn port(port: &Value, container: &Container) -> anyhow::Result<u16> {
    if let Some(number) = port.as_u64() {
        return u16::try_from(number).context("port");
    }
    let name = port.as_str().context("port")?;
    let named = container.ports.iter().find(|p| p.name == name).map(|p| p.container_port);
    named.or_else(|| name.parse().ok()).with_context(|| format!("no port {name}"))
}

fn default_period() -> u64 {
    10
}

fn default_timeout() -> u64 {
    1
}

fn default_threshold() -> u32 {
    3
}
