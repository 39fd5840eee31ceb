// SPDX-License-Identifier: Apache-2.0
//! Pods on a node, from their start to their end, in the order in which kubelet does it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::bail;
use k8s_cri::v1::ContainerState;
use k8s_cri::v1::PodSandboxConfig;
use tonic::Status;

use crate::node::Node;
use crate::pod::Container;
use crate::pod::Place;
use crate::pod::Pod;
use crate::pod::Target;

/// A pod that runs.
#[derive(Debug, Clone)]
pub struct RunningPod {
    /// Sandbox id.
    pub id: String,
    /// Its configuration.
    pub sandbox: PodSandboxConfig,
    /// Ids by container name: the last one created of each.
    pub containers: BTreeMap<String, String>,
    /// The pod's address.
    pub ip: String,
    uid: String,
    attempts: BTreeMap<String, u32>,
}

impl RunningPod {
    /// Number of the last creation of a container, from 0.
    #[must_use]
    pub fn attempt(&self, name: &str) -> u32 {
        self.attempts.get(name).map_or(0, |created| created.saturating_sub(1))
    }
}

impl Node {
    /// Starts the pod's sandbox.
    ///
    /// # Errors
    ///
    /// What CRI answers.
    pub async fn start_sandbox(&mut self, pod: &Pod) -> Result<RunningPod, Status> {
        let uid = fs::read_to_string("/proc/sys/kernel/random/uuid")
            .map_err(|e| Status::internal(format!("make a uid: {e}")))?;
        let uid = uid.trim().to_owned();
        let sandbox = pod.sandbox(&uid, &self.cgroup_parent, &self.root.join("pods"));
        let id = self.cri.run_pod(&sandbox, pod.handler()).await?;
        let ip = self.cri.pod_ip(&id).await?;
        let (containers, attempts) = (BTreeMap::new(), BTreeMap::new());
        Ok(RunningPod { id, sandbox, containers, ip, uid, attempts })
    }

    /// Starts a pod: init containers one after the other, then the others.
    ///
    /// # Errors
    ///
    /// What CRI answers, and what an init container, probe or hook failed with. The sandbox is
    /// removed then.
    pub async fn start_pod(&mut self, pod: &Pod) -> Result<RunningPod, Status> {
        let mut running = self.start_sandbox(pod).await?;
        match self.start_containers(&mut running, pod).await {
            Ok(()) => Ok(running),
            Err(status) => {
                // The refusal is what the caller wants to see, whatever the clean-up says.
                let _ = self.cri.remove_pod(&running.id).await;
                Err(status)
            }
        }
    }

    async fn start_containers(
        &mut self,
        running: &mut RunningPod,
        pod: &Pod,
    ) -> Result<(), Status> {
        for container in &pod.spec.init_containers {
            if container.is_sidecar() {
                self.start_container(running, pod, &container.name).await?;
                self.await_started(running, container).await?;
            } else {
                self.run_to_success(running, pod, container).await?;
            }
        }
        for container in &pod.spec.containers {
            self.start_container(running, pod, &container.name).await?;
        }
        for container in &pod.spec.containers {
            self.await_started(running, container).await?;
        }
        Ok(())
    }

    /// Runs an init container, again after failures as the restart policy says.
    async fn run_to_success(
        &mut self,
        running: &mut RunningPod,
        pod: &Pod,
        container: &Container,
    ) -> Result<(), Status> {
        let name = &container.name;
        for delay in BACK_OFF {
            tokio::time::sleep(*delay).await;
            let id = self.start_container(running, pod, name).await?;
            let code = self.wait_for_exit(&id, INIT_LIMIT).await.map_err(|e| failed(name, &e))?;
            if code == 0 {
                return Ok(());
            }
            let log = self.log(running, name).unwrap_or_default();
            let error = anyhow::anyhow!("ended with code {code} after writing {log:?}");
            // An init container of a pod that restarts always is done with once it succeeds.
            if !pod.restart_policy(container).restarts(code) {
                return Err(failed(name, &error));
            }
        }
        Err(failed(name, &anyhow::anyhow!("failed {} times", BACK_OFF.len())))
    }

    /// Pulls a container's image, creates and starts it.
    ///
    /// # Errors
    ///
    /// What CRI answers.
    pub async fn start_container(
        &mut self,
        running: &mut RunningPod,
        pod: &Pod,
        name: &str,
    ) -> Result<String, Status> {
        let image = &find(pod, name)?.image;
        self.cri.pull(image, &running.sandbox).await?;
        self.create_and_start(running, pod, name).await
    }

    /// Creates and starts a container whose image is there, and carries out its `postStart` hook.
    ///
    /// # Errors
    ///
    /// What CRI answers, and the hook's failure, after which the container is stopped.
    pub async fn create_and_start(
        &mut self,
        running: &mut RunningPod,
        pod: &Pod,
        name: &str,
    ) -> Result<String, Status> {
        let container = find(pod, name)?;
        let created = running.attempts.entry(name.to_owned()).or_default();
        let attempt = *created;
        *created = created.saturating_add(1);
        let files = self.root.join("kubelet/pods").join(&running.uid);
        let place = Place {
            pod,
            uid: &running.uid,
            pod_ip: &running.ip,
            files: &files,
            attempt,
            image_user: self.cri.image_user(&container.image).await?,
        };
        let config = container.config(&place).map_err(|e| failed(name, &e))?;
        if let Some(dir) = self.log_path(running, name, attempt).parent() {
            fs::create_dir_all(dir).map_err(|e| Status::internal(format!("log: {e}")))?;
        }
        let id = self.cri.create(&running.id, &running.sandbox, &config).await?;
        self.cri.start(&id).await?;
        running.containers.insert(name.to_owned(), id.clone());
        if let Some(hook) = container.post_start() {
            let target = Target { container, id: &id, pod_ip: &running.ip };
            if let Err(error) = hook.hook(&mut self.cri, target, HOOK_LIMIT).await {
                self.cri.stop(&id, pod.spec.termination_grace_period_seconds).await?;
                return Err(failed(name, &error.context("postStart")));
            }
        }
        Ok(id)
    }

    /// Starts a container that has ended again, if its restart policy says so. Whether it did.
    ///
    /// # Errors
    ///
    /// What CRI answers.
    pub async fn restart_if_due(
        &mut self,
        running: &mut RunningPod,
        pod: &Pod,
        name: &str,
    ) -> Result<bool, Status> {
        let container = find(pod, name)?;
        let Some(id) = running.containers.get(name).cloned() else { return Ok(false) };
        let status = self.cri.status(&id).await?;
        let ended = status.state() == ContainerState::ContainerExited;
        if !ended || !pod.restart_policy(container).restarts(status.exit_code) {
            return Ok(false);
        }
        self.create_and_start(running, pod, name).await.map(|_| true)
    }

    async fn await_started(
        &mut self,
        running: &RunningPod,
        container: &Container,
    ) -> Result<(), Status> {
        let (Some(probe), Some(id)) =
            (&container.startup_probe, running.containers.get(&container.name))
        else {
            return Ok(());
        };
        let target = Target { container, id, pod_ip: &running.ip };
        let started = probe.until_success(&mut self.cri, target).await;
        started.map_err(|error| failed(&container.name, &error.context("startupProbe")))
    }

    /// Stops a pod as kubelet does, each container with its hook and its grace, the sidecars last and in
    /// reverse order, and removes it.
    ///
    /// # Errors
    ///
    /// What CRI answers.
    pub async fn stop_pod(&mut self, running: &RunningPod, pod: &Pod) -> Result<(), Status> {
        let sidecars = pod.spec.init_containers.iter().rev().filter(|c| c.is_sidecar());
        for container in pod.spec.containers.iter().chain(sidecars) {
            let Some(id) = running.containers.get(&container.name) else { continue };
            let state = self.cri.status(id).await?.state();
            if state != ContainerState::ContainerRunning {
                continue;
            }
            let grace = pod.spec.termination_grace_period_seconds;
            if let Some(hook) = container.pre_stop() {
                let target = Target { container, id, pod_ip: &running.ip };
                let limit = Duration::from_secs(u64::from(grace));
                // kubelet tells of it in an event and goes on.
                if let Err(error) = hook.hook(&mut self.cri, target, limit).await {
                    eprintln!("container {}: preStop: {error:#}", container.name);
                }
            }
            self.cri.stop(id, grace).await?;
        }
        self.cri.remove_pod(&running.id).await
    }

    /// What a container wrote since it was last created, stdout and stderr together.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub fn log(&self, running: &RunningPod, name: &str) -> anyhow::Result<String> {
        self.log_of(running, name, running.attempt(name))
    }

    /// What a container wrote when it was created for the time with this number, from 0.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub fn log_of(&self, running: &RunningPod, name: &str, attempt: u32) -> anyhow::Result<String> {
        let path = self.log_path(running, name, attempt);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        // "<time> <stream> <P|F> <text>"
        Ok(text
            .lines()
            .map(|line| {
                let mut fields = line.splitn(4, ' ').skip(2);
                let partial = fields.next() == Some("P");
                let content = fields.next().unwrap_or_default();
                if partial { content.to_owned() } else { format!("{content}\n") }
            })
            .collect())
    }

    /// Waits until a container's output satisfies `done`.
    ///
    /// # Errors
    ///
    /// When it does not within `limit`; the output so far is in the message.
    pub async fn wait_for_output(
        &self,
        running: &RunningPod,
        name: &str,
        limit: Duration,
        done: impl Fn(&str) -> bool,
    ) -> anyhow::Result<String> {
        let begun = Instant::now();
        loop {
            let text = self.log(running, name).unwrap_or_default();
            if done(&text) {
                return Ok(text);
            }
            if begun.elapsed() > limit {
                bail!("{name} has not written what was expected within {limit:?}, but: {text:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for a container's end and returns its exit code.
    ///
    /// # Errors
    ///
    /// When it does not end within `limit`.
    pub async fn wait_for_exit(&mut self, id: &str, limit: Duration) -> anyhow::Result<i32> {
        let begun = Instant::now();
        loop {
            let status = self.cri.status(id).await.context("container status")?;
            if status.state() == ContainerState::ContainerExited {
                return Ok(status.exit_code);
            }
            if begun.elapsed() > limit {
                bail!("the container has not ended within {limit:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn log_path(&self, running: &RunningPod, name: &str, attempt: u32) -> PathBuf {
        let logs = self.root.join("pods").join(&running.uid);
        logs.join(Container::log_path(name, attempt))
    }
}

fn find<'a>(pod: &'a Pod, name: &str) -> Result<&'a Container, Status> {
    pod.container(name).ok_or_else(|| Status::not_found(format!("the pod has no container {name}")))
}

fn failed(name: &str, error: &anyhow::Error) -> Status {
    Status::aborted(format!("container {name}: {error:#}"))
}

/// Waits before each try of an init container; kubelet goes on for ever, in longer and longer steps.
const BACK_OFF: &[Duration] =
    &[Duration::ZERO, Duration::ZERO, Duration::from_secs(10), Duration::from_secs(20)];
/// How long an init container may take: kubelet has no limit, a demo must have one.
const INIT_LIMIT: Duration = Duration::from_secs(600);
/// How long a `postStart` hook may take: kubelet has no limit either.
const HOOK_LIMIT: Duration = Duration::from_secs(60);
