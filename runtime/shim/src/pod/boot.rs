// SPDX-License-Identifier: Apache-2.0
//! From a launched VM to an attested guest.

use std::sync::Arc;

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::proto;
use casemate_sandbox::Input;
use tokio::sync::watch as channel;
use tokio::time::timeout;

use super::Boot;
use super::Pod;
use super::Running;
use super::launch::chain;
use crate::audit;
use crate::guest::Guest;
use crate::status::Phase;

impl Pod {
    /// Brings the guest up, and then stays with it until its VM ends.
    pub(super) async fn boot(
        self: Arc<Self>,
        running: Arc<Running>,
        network: proto::SetNetworkRequest,
        outcome: channel::Sender<Boot>,
    ) {
        match bring_up(&running, &network).await {
            Ok(guest) => {
                running.status.update(|status| status.phase = Phase::Attested);
                tracing::info!(sandbox = %self.id, "guest attested");
                self.report(Input::GuestReady);
                outcome.send_replace(Boot::Ready(guest.clone()));
                self.stay_with(&running, &guest).await;
            }
            Err(error) => {
                tracing::error!(sandbox = %self.id, %error, "guest not attested");
                running.status.fail(&error);
                outcome.send_replace(Boot::Failed(error));
                // Nothing can run in it any more, and it holds the pod's memory.
                running.vm.kill();
            }
        }
    }
}

/// The agent's first answer, the network, the attestation. The end of the VM ends it early.
async fn bring_up(
    running: &Running,
    network: &proto::SetNetworkRequest,
) -> Result<Guest, ApiError> {
    let deadlines = running.deadlines;
    let port = tokio::select! {
        port = running.vm.connect_agent() => port,
        exit = running.vm.wait() => return Err(ApiError::new(Code::VmBoot, exit)),
    };
    let port = port.map_err(|error| ApiError::new(error.code(), chain(&error)))?;
    let guest = Guest::connect(port, deadlines.request)?;
    let first = tokio::select! {
        first = guest.first_hello(deadlines.boot) => first,
        exit = running.vm.wait() => Err(last_words(&guest, Code::VmBoot, exit).await),
    };
    running.status.mark_guest(&first?.timeline);
    // From here on until the connection ends: also what a guest is asked that is never attested.
    tokio::spawn(audit::carry(guest.clone(), running.audit.clone()));
    let steps = async {
        guest.set_network(network).await?;
        guest.await_ready(deadlines.attest).await
    };
    let timeline = tokio::select! {
        timeline = steps => timeline,
        exit = running.vm.wait() => Err(last_words(&guest, Code::VmDied, exit).await),
    };
    running.status.mark_guest(&timeline?);
    Ok(guest)
}

/// A guest that ends its VM on purpose has said why on the connection.
async fn last_words(guest: &Guest, code: Code, exit: casemate_vmm::Exit) -> ApiError {
    match timeout(LAST_WORDS, guest.ended()).await {
        Ok(reason) if reason.code() != Code::VmDied => reason,
        _ => ApiError::new(code, exit),
    }
}

/// The connection of a VM that has ended closes at once.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_millis(500);
