// SPDX-License-Identifier: Apache-2.0
//! Runs containers for the cases.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use casemate_containers::ContainerId;
use casemate_containers::CreateSpec;
use casemate_containers::ExecSpec;
use casemate_containers::Limits;
use casemate_containers::ProcessId;
use casemate_containers::Runtime;
use casemate_containers::RuntimeConfig;
use casemate_containers::Stdio;
use casemate_containers::StdioRequest;
use casemate_containers::Volume;
use casemate_policy::Container;
use casemate_policy::User;
use rustix::fs::OFlags;
use serde_json::Value;
use serde_json::json;

use crate::guest::IMAGE;

pub(crate) struct Harness {
    pub(crate) runtime: Runtime,
    next: AtomicU32,
}

/// What a process has left.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: u32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) const PIPES: StdioRequest =
    StdioRequest::Pipes { stdin: false, stdout: true, stderr: true };

impl Harness {
    pub(crate) async fn new() -> anyhow::Result<Self> {
        let runtime = Runtime::new(RuntimeConfig::default()).await.context("runtime")?;
        Ok(Self { runtime, next: AtomicU32::new(0) })
    }

    pub(crate) fn id(&self) -> ContainerId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // As long as containerd's.
        id(&format!("{number:064}"))
    }

    /// Runs a container to its end and deletes it.
    pub(crate) async fn run(&self, argv: &[&str], changes: Value) -> anyhow::Result<Output> {
        let id = self.id();
        let stdio = self.start(spec(id.clone(), argv, changes)?).await?;
        let output = self.finish(&ProcessId::init(id.clone()), stdio).await?;
        self.runtime.delete(&id).await.context("delete")?;
        Ok(output)
    }

    /// Creates and starts.
    pub(crate) async fn start(&self, create: CreateSpec) -> anyhow::Result<Stdio> {
        let id = create.id.clone();
        let created = within(self.runtime.create(create)).await?.context("create")?;
        within(self.runtime.start(&id)).await?.context("start")?;
        Ok(created.stdio)
    }

    /// A container that sleeps.
    pub(crate) async fn sleeper(&self, changes: Value) -> anyhow::Result<ContainerId> {
        let id = self.id();
        self.start(spec(id.clone(), &["sleep", "1000"], changes)?).await?;
        Ok(id)
    }

    pub(crate) async fn exec(
        &self,
        container: &ContainerId,
        argv: &[&str],
    ) -> anyhow::Result<Output> {
        self.exec_as(container, argv, None).await
    }

    /// Runs a command as another user.
    pub(crate) async fn exec_as(
        &self,
        container: &ContainerId,
        argv: &[&str],
        user: Option<User>,
    ) -> anyhow::Result<Output> {
        let exec = self.id();
        let request = ExecSpec {
            container: container.clone(),
            exec: exec.clone(),
            argv: argv.iter().map(|a| (*a).to_owned()).collect(),
            env: environment(),
            user,
            stdio: PIPES,
        };
        let created = within(self.runtime.exec(request)).await?.context("exec")?;
        let output =
            self.finish(&ProcessId::exec(container.clone(), exec.clone()), created.stdio).await?;
        self.runtime.delete_exec(container, &exec).context("delete exec")?;
        Ok(output)
    }

    pub(crate) async fn finish(&self, process: &ProcessId, stdio: Stdio) -> anyhow::Result<Output> {
        let (stdout, stderr) = match stdio {
            Stdio::Pipes { stdin, stdout, stderr } => {
                drop(stdin);
                (stdout, stderr)
            }
            Stdio::Terminal(master) => (Some(master), None),
        };
        let stdout = read_all(stdout);
        let stderr = read_all(stderr);
        let exit = within(self.runtime.wait(process)).await?.context("wait")?;
        let output = Output {
            code: exit.code,
            stdout: within(stdout).await??,
            stderr: within(stderr).await??,
        };
        Ok(output)
    }
}

impl Output {
    /// The one line that it must have written to stdout.
    pub(crate) fn line(&self) -> &str {
        self.stdout.trim_end()
    }
}

/// A container of the test image, with changes to the policy's fields.
pub(crate) fn spec(id: ContainerId, argv: &[&str], changes: Value) -> anyhow::Result<CreateSpec> {
    let mut container = json!({
        "image": format!("registry.test/image@sha256:{}", "0".repeat(64)),
        "encryption": "optional",
        "argv": argv,
        "cwd": "/",
        "user": { "uid": 0, "gid": 0 },
        "logs": "host-visible",
        "capabilities": DEFAULT_CAPABILITIES,
        "no_new_privileges": true,
        "seccomp": "default",
        "signals": [9, 15],
        "restart": "always",
    });
    let (Value::Object(fields), Value::Object(changes)) = (&mut container, changes) else {
        bail!("changes are no object")
    };
    fields.extend(changes);
    let container: Container = serde_json::from_value(container)?;
    Ok(CreateSpec {
        id,
        container,
        env: environment(),
        hostname: "pod-one".to_owned(),
        hosts: "127.0.0.1 localhost\n".to_owned(),
        resolv_conf: "nameserver 192.0.2.1\n".to_owned(),
        volumes: volumes(),
        secrets: Vec::new(),
        rootfs: PathBuf::from(IMAGE),
        stdio: PIPES,
        limits: Limits::default(),
    })
}

/// The volumes of the pod in which the tests' containers are.
fn volumes() -> BTreeMap<String, Volume> {
    let memory = |size_limit| Volume::Memory { size_limit };
    let volumes = [
        ("cache", memory(None)),
        ("other", memory(None)),
        ("parts", memory(None)),
        ("small", memory(Some(1 << 20))),
        ("conf", Volume::Content),
        ("none", Volume::Content),
    ];
    volumes.map(|(name, volume)| (name.to_owned(), volume)).into()
}

pub(crate) fn id(text: &str) -> ContainerId {
    match ContainerId::try_from(text) {
        Ok(id) => id,
        // The tests' own ids.
        Err(error) => unreachable!("{error}"),
    }
}

/// Reads to the end, in a thread; a terminal's end is an error that means the same.
pub(crate) fn read_all(descriptor: Option<OwnedFd>) -> tokio::task::JoinHandle<String> {
    tokio::task::spawn_blocking(move || {
        let Some(descriptor) = descriptor else { return String::new() };
        let mut bytes = Vec::new();
        let blocking = rustix::fs::fcntl_getfl(&descriptor)
            .and_then(|flags| rustix::fs::fcntl_setfl(&descriptor, flags - OFlags::NONBLOCK));
        let mut file = std::fs::File::from(descriptor);
        if blocking.is_ok() {
            // What came before an error counts.
            let _ = file.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A step that hangs fails.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(Duration::from_secs(60), future).await.context("a step hangs")
}

/// What container engines usually grant, without `CAP_MKNOD`.
pub(crate) const DEFAULT_CAPABILITIES: [&str; 13] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The environment of every container and command.
pub(crate) fn environment() -> Vec<String> {
    vec!["PATH=/bin".to_owned(), "GREETING=hello world".to_owned()]
}
