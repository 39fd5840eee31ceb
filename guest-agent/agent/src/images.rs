// SPDX-License-Identifier: Apache-2.0
//! The policy's images: pulled as soon as the guest is attested, before the host asks.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_policy::Encryption;
use casemate_policy::ImageRef;
use casemate_policy::Policy;
use tokio::sync::Semaphore;
use tokio::sync::watch;

use crate::backend::PullFailure;
use crate::backend::PullImages;
use crate::backend::PullProgress;
use crate::backend::PulledImage;
use crate::timeline::Timeline;

/// How long a create waits for its image, below kubelet's deadline of two minutes.
const PATIENCE: Duration = Duration::from_secs(90);
/// Pulls at once: each may use a CPU to decrypt and decompress.
const AT_ONCE: usize = 2;

/// The images of the policy. Clones are the same ones.
#[derive(Clone)]
pub(crate) struct Images {
    images: Arc<BTreeMap<ImageRef, Image>>,
    by_container: Arc<BTreeMap<String, ImageRef>>,
    puller: Arc<dyn PullImages>,
    places: Arc<Semaphore>,
    timeline: Arc<Timeline>,
}

struct Image {
    encryption: Encryption,
    /// Names of the keys that must have signed it.
    signers: BTreeSet<String>,
    containers: Vec<String>,
    state: watch::Sender<State>,
    progress: PullProgress,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Idle,
    Pulling,
    Ready(PathBuf),
    Failed(PullFailure),
}

impl Images {
    pub(crate) fn new(
        policy: &Policy,
        puller: Arc<dyn PullImages>,
        timeline: Arc<Timeline>,
    ) -> Self {
        let mut images = BTreeMap::<ImageRef, Image>::new();
        for (name, container) in &policy.containers {
            let image = images.entry(container.image.clone()).or_insert_with(|| Image {
                encryption: container.encryption,
                signers: BTreeSet::new(),
                containers: Vec::new(),
                state: watch::Sender::new(State::Idle),
                progress: PullProgress::default(),
            });
            image.containers.push(name.clone());
            // C6: of several demands on one image all hold.
            image.signers.extend(container.signature.clone());
            // C9: of two demands on one image the stricter holds.
            if container.encryption == Encryption::Required {
                image.encryption = Encryption::Required;
            }
        }
        let by_container =
            policy.containers.iter().map(|(n, c)| (n.clone(), c.image.clone())).collect();
        Self {
            images: Arc::new(images),
            by_container: Arc::new(by_container),
            puller,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            timeline,
        }
    }

    /// Starts to pull every image.
    pub(crate) fn pull_all(&self) {
        self.images.keys().for_each(|name| self.pull(name));
    }

    /// The root file system of a container's image; waits for it within kubelet's deadlines.
    ///
    /// # Errors
    ///
    /// Why there is none, or [`Code::PullInProgress`] while the pull goes on.
    pub(crate) async fn rootfs(&self, container: &str) -> Result<PathBuf, ApiError> {
        let found = self.by_container.get(container);
        let found = found.and_then(|name| self.images.get(name).map(|image| (name, image)));
        let (name, image) = found
            .ok_or_else(|| ApiError::new(Code::PolicyContainer, "the policy has no such image"))?;
        // Asking again is what makes a pull that broke off start again.
        let stale = matches!(
            &*image.state.borrow(),
            State::Idle | State::Failed(PullFailure { is_transient: true, .. })
        );
        if stale {
            self.pull(name);
        }
        let mut state = image.state.subscribe();
        let settled = state.wait_for(|s| matches!(s, State::Ready(_) | State::Failed(_)));
        match tokio::time::timeout(PATIENCE, settled).await {
            Ok(Ok(settled)) => match &*settled {
                State::Ready(rootfs) => Ok(rootfs.clone()),
                State::Failed(failure) => Err(failure.error.clone()),
                State::Idle | State::Pulling => Err(aborted()),
            },
            Ok(Err(_)) => Err(aborted()),
            Err(_) => Err(ApiError::new(Code::PullInProgress, &image.progress)),
        }
    }

    /// Signatures first: a layer without them is not worth fetching.
    async fn fetch(&self, name: &ImageRef, image: &Image) -> Result<PulledImage, PullFailure> {
        for signer in &image.signers {
            self.puller.check_signature(name, signer).await?;
        }
        self.puller.pull(name, image.encryption, &image.progress).await
    }

    fn pull(&self, name: &ImageRef) {
        let Some(image) = self.images.get(name) else { return };
        let begins = image.state.send_if_modified(|state| {
            let begins = !matches!(state, State::Pulling | State::Ready(_));
            if begins {
                *state = State::Pulling;
            }
            begins
        });
        if !begins {
            return;
        }
        let (this, name) = (self.clone(), name.clone());
        tokio::spawn(async move {
            let Some(image) = this.images.get(&name) else { return };
            let pulled = match this.places.acquire().await {
                Ok(_place) => this.fetch(&name, image).await,
                Err(_) => return,
            };
            image.state.send_replace(match pulled {
                Ok(pulled) => {
                    for container in &image.containers {
                        this.timeline.mark(format!("pulled:{container}"));
                    }
                    State::Ready(pulled.rootfs)
                }
                Err(failure) => {
                    tracing::warn!(image = %name, error = %failure.error, "pull failed");
                    State::Failed(failure)
                }
            });
        });
    }
}

fn aborted() -> ApiError {
    ApiError::new(Code::Internal, "the pull was aborted")
}

#[cfg(test)]
mod tests;
