// SPDX-License-Identifier: Apache-2.0
//! Brings volumes to a guest and keeps them up to date there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::proto;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use super::Volume;
use super::content;
use super::content::ContentError;
use super::content::Mark;
use crate::guest::Guest;

/// Brings volumes to one guest, one after the other. Clones are the same one; it ends with the last
/// of them, or with the guest.
#[derive(Debug, Clone)]
pub struct Courier {
    orders: mpsc::Sender<Order>,
}

#[derive(Debug)]
struct Order {
    volume: Volume,
    done: oneshot::Sender<Result<(), ApiError>>,
}

impl Courier {
    /// Starts on the current tokio runtime.
    #[must_use]
    pub fn start(guest: Guest) -> Self {
        let (orders, incoming) = mpsc::channel(MAX_ORDERS);
        tokio::spawn(async move {
            tokio::select! {
                _ = guest.ended() => {}
                () = run(&guest, incoming) => {}
            }
        });
        Self { orders }
    }

    /// Sees to it that the guest has the volume's content, and keeps it up to date from then on.
    ///
    /// # Errors
    ///
    /// When the content cannot be read or the guest does not take it and has none from before.
    pub async fn deliver(&self, volume: Volume) -> Result<(), ApiError> {
        let (done, answer) = oneshot::channel();
        let gone = || ApiError::new(Code::VmDied, "the guest is gone");
        self.orders.send(Order { volume, done }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

async fn run(guest: &Guest, mut orders: mpsc::Receiver<Order>) {
    let mut known = BTreeMap::<String, Known>::new();
    let mut tick = tokio::time::interval(REFRESH);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some(Order { volume, done }) = order else { return };
                let entry = known
                    .entry(volume.name)
                    .or_insert_with(|| Known { folder: volume.folder, ..Known::default() });
                let result = bring(guest, entry, Occasion::Order).await;
                // Who asked may be gone.
                let _ = done.send(if entry.is_there { Ok(()) } else { result });
            }
            _ = tick.tick() => {
                for entry in known.values_mut() {
                    // The content from before stays in force, and the next look tries again.
                    let _ = bring(guest, entry, Occasion::Refresh).await;
                }
            }
        }
    }
}

/// What the shim knows of a volume that it keeps up to date.
#[derive(Debug, Default)]
struct Known {
    folder: PathBuf,
    /// What the link pointed at, and the content, when they were sent last.
    link: Option<PathBuf>,
    sent: Option<u64>,
    /// Content that the policy denies.
    denied: Option<u64>,
    /// Whether the guest has some content.
    is_there: bool,
}

/// Why a volume is brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// A container wants it.
    Order,
    /// It may have changed. What was denied is not asked for again and again.
    Refresh,
}

/// Takes the content of a volume, as the guest does.
trait Recipient {
    async fn put(&self, request: &proto::PutVolumeRequest) -> Result<(), ApiError>;
}

impl Recipient for Guest {
    async fn put(&self, request: &proto::PutVolumeRequest) -> Result<(), ApiError> {
        self.put_volume(request).await
    }
}

/// Sends the volume if it has changed.
async fn bring(
    guest: &impl Recipient,
    known: &mut Known,
    occasion: Occasion,
) -> Result<(), ApiError> {
    let name = known.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (request, mark) = match known.look(&name).await {
        Ok(Some(changed)) => changed,
        Ok(None) => return Ok(()),
        Err(error) => {
            tracing::warn!(volume = name, %error, "content not read");
            return Err(ApiError::new(Code::VolumeContent, format_args!("{name}: {error}")));
        }
    };
    if occasion == Occasion::Refresh && known.denied == Some(mark.content) {
        return Ok(());
    }
    let sent = guest.put(&request).await;
    match &sent {
        Ok(()) => {
            tracing::info!(volume = name, "content sent");
            known.note(mark);
            known.is_there = true;
        }
        Err(error) => {
            tracing::warn!(volume = name, %error, "content not sent");
            let is_denied = matches!(error.code(), Code::PolicyVolume | Code::RequestInvalid);
            known.denied = is_denied.then_some(mark.content);
        }
    }
    sent
}

impl Known {
    /// The folder's content, if it is not what was sent last.
    async fn look(
        &self,
        name: &str,
    ) -> Result<Option<(proto::PutVolumeRequest, Mark)>, ContentError> {
        let (folder, link) = (self.folder.clone(), self.link.clone());
        let read = tokio::task::spawn_blocking(move || {
            let now = std::fs::read_link(folder.join(DATA)).ok();
            // kubelet never changes what the link points at.
            if now.is_some() && now == link {
                Ok(None)
            } else {
                content::read(&folder, now).map(Some)
            }
        });
        let read = read.await.map_err(|_| ContentError::Aborted)??;
        Ok(read.filter(|(_, mark)| self.sent != Some(mark.content)).map(|(files, mark)| {
            let request =
                proto::PutVolumeRequest { volume: name.to_owned(), files, ..Default::default() };
            (request, mark)
        }))
    }

    fn note(&mut self, mark: Mark) {
        self.link = mark.link;
        self.sent = Some(mark.content);
    }
}

/// The link that kubelet swaps.
const DATA: &str = "..data";
/// How often folders are looked at; kubelet itself takes a minute to notice a change.
const REFRESH: Duration = Duration::from_secs(10);
/// Deliveries that wait.
const MAX_ORDERS: usize = 16;

#[cfg(test)]
mod tests;
