// SPDX-License-Identifier: Apache-2.0
//! The container runtime behind the service's trait, its errors in the API's words.

use std::error::Error;
use std::io;

use async_trait::async_trait;
use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::request::PutVolume;
use casemate_containers::ContainerId;
use casemate_containers::CreateError;
use casemate_containers::CreateSpec;
use casemate_containers::Created;
use casemate_containers::ExecSpec;
use casemate_containers::Exit;
use casemate_containers::FilesError;
use casemate_containers::Limits;
use casemate_containers::ProcessId;
use casemate_containers::Runtime;
use casemate_containers::SignalError;
use casemate_containers::SignalScope;
use casemate_containers::Stats;
use casemate_containers::UpdateError;
use casemate_containers::UpdateLimitsError;
use casemate_containers::VolumeError;
use casemate_containers::VolumeFile;
use casemate_containers::WindowSize;
use rustix::io::Errno;
use tokio::sync::broadcast;

use crate::backend::Containers;
use crate::backend::NotUpdated;
use crate::boot::chain;

/// The guest's own containers.
pub(super) struct GuestContainers(pub(super) Runtime);

#[async_trait]
impl Containers for GuestContainers {
    async fn create(&self, spec: CreateSpec) -> Result<Created, ApiError> {
        self.0.create(spec).await.map_err(|error| failed(&error))
    }

    async fn start(&self, id: &ContainerId) -> Result<(), ApiError> {
        self.0.start(id).await.map_err(|error| failed(&error))
    }

    async fn exec(&self, spec: ExecSpec) -> Result<Created, ApiError> {
        self.0.exec(spec).await.map_err(|error| failed(&error))
    }

    async fn wait(&self, process: &ProcessId) -> Option<Exit> {
        self.0.wait(process).await.ok()
    }

    fn signal(&self, process: &ProcessId, number: u32, scope: SignalScope) -> Result<(), ApiError> {
        self.0.signal(process, number, scope).map_err(|error| match error {
            SignalError::Unknown(_) | SignalError::Ended => {
                ApiError::new(Code::RequestId, "the process has ended or was not started")
            }
            error => failed(&error),
        })
    }

    async fn delete(&self, id: &ContainerId) -> Result<Exit, ApiError> {
        self.0.delete(id).await.map_err(|error| failed(&error))
    }

    fn delete_exec(&self, container: &ContainerId, exec: &ContainerId) -> Result<Exit, ApiError> {
        self.0.delete_exec(container, exec).map_err(|error| failed(&error))
    }

    fn resize(&self, process: &ProcessId, size: WindowSize) -> Result<(), ApiError> {
        self.0.resize(process, size).map_err(|error| failed(&error))
    }

    fn pids(&self, id: &ContainerId) -> Result<Vec<u32>, ApiError> {
        self.0.pids(id).map_err(|error| failed(&error))
    }

    fn stats(&self, id: &ContainerId) -> Result<Stats, ApiError> {
        self.0.stats(id).map_err(|error| failed(&error))
    }

    fn update(&self, id: &ContainerId, limits: Limits) -> Result<(), NotUpdated> {
        self.0.update(id, limits).map_err(|error| NotUpdated {
            is_undone: !matches!(error, UpdateLimitsError::Cgroup(UpdateError::NotUndone(_))),
            error: failed(&error),
        })
    }

    fn termination_message(&self, id: &ContainerId) -> Result<Vec<u8>, ApiError> {
        self.0.termination_message(id).map_err(|error| failed(&error))
    }

    async fn put_volume(&self, put: PutVolume) -> Result<(), ApiError> {
        let runtime = self.0.clone();
        let written = tokio::task::spawn_blocking(move || {
            let files = put.files.iter();
            let files = files.map(|f| VolumeFile { name: f.name.as_str(), content: &f.content });
            let files: Vec<_> = files.collect();
            runtime.volumes().put(put.volume.as_str(), &files)
        });
        match written.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed(&error)),
            Err(error) => Err(ApiError::new(Code::Internal, error)),
        }
    }

    fn oom_events(&self) -> broadcast::Receiver<ContainerId> {
        self.0.oom_events()
    }
}

fn failed(error: &(dyn Error + 'static)) -> ApiError {
    let code = match error {
        error if is_full(error) => Code::GuestFull,
        error if lacks_content(error) => Code::VolumeContent,
        _ => Code::ContainerFailed,
    };
    ApiError::new(code, chain(error))
}

/// Whether the container mounts a volume, or a file of one, that the host has not given yet.
fn lacks_content(error: &(dyn Error + 'static)) -> bool {
    let Some(CreateError::Files(FilesError::Volume(error))) = error.downcast_ref() else {
        return false;
    };
    matches!(error, VolumeError::NoContent { .. } | VolumeError::Io { source: Errno::NOENT, .. })
}

/// Whether the guest's memory is used up, somewhere among the causes.
fn is_full(error: &(dyn Error + 'static)) -> bool {
    let full = [Errno::NOSPC, Errno::NOMEM].map(Errno::raw_os_error);
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        let errno = error.downcast_ref::<Errno>().map(|errno| errno.raw_os_error());
        if io.or(errno).is_some_and(|code| full.contains(&code)) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to write")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_volume_without_content_is_told_from_other_failures() {
        let create = |error| CreateError::Files(FilesError::Volume(error));
        let none = VolumeError::NoContent { volume: "conf".to_owned() };
        assert_eq!(failed(&create(none)).code(), Code::VolumeContent);
        let name = VolumeError::Name { name: "..".to_owned() };
        assert_eq!(failed(&create(name)).code(), Code::ContainerFailed);
    }

    #[test]
    fn a_full_guest_is_told_from_other_failures() {
        let full = Outer(io::Error::from_raw_os_error(Errno::NOSPC.raw_os_error()));
        assert_eq!(failed(&full).code(), Code::GuestFull);
        assert_eq!(failed(&Errno::NOMEM).code(), Code::GuestFull);
        let other = Outer(io::Error::from_raw_os_error(Errno::PERM.raw_os_error()));
        assert_eq!(failed(&other).code(), Code::ContainerFailed);
        assert!(failed(&other).detail().starts_with("failed to write: "));
    }
}
