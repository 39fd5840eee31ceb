// SPDX-License-Identifier: Apache-2.0
//! The task that watches a running QEMU until it is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tokio::sync::{Notify, watch};

use crate::qmp::{Event, Qmp};
use crate::spawn::Child;
use crate::vm::Exit;

/// The handle on the task. It ends with QEMU, and it owns the child: if the task is dropped, as
/// when the runtime stops, QEMU is killed.
#[derive(Debug)]
pub(super) struct Monitor {
    wishes: Arc<Wishes>,
    exit: watch::Receiver<Option<Exit>>,
}

/// What the shim wants.
#[derive(Debug, Default)]
struct Wishes {
    /// The end is wanted, however it comes.
    end: AtomicBool,
    /// QEMU shall be asked to end.
    quit: Notify,
}

impl Monitor {
    pub(super) fn start(qmp: Qmp, child: Child) -> Self {
        let wishes = Arc::new(Wishes::default());
        let (sender, exit) = watch::channel(None);
        tokio::spawn(watch_qemu(qmp, child, Arc::clone(&wishes), sender));
        Self { wishes, exit }
    }

    /// From now on the end of QEMU is no failure.
    pub(super) fn expect_end(&self) {
        self.wishes.end.store(true, Ordering::Release);
    }

    /// Asks QEMU to end.
    pub(super) fn quit(&self) {
        self.expect_end();
        self.wishes.quit.notify_one();
    }

    pub(super) async fn wait(&self) -> Exit {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone(),
            Err(_) => None,
        }
        .unwrap_or_else(|| Exit::VmmFailed { detail: "it is no longer watched".to_owned() })
    }
}

async fn watch_qemu(
    mut qmp: Qmp,
    mut child: Child,
    wishes: Arc<Wishes>,
    sender: watch::Sender<Option<Exit>>,
) {
    let mut reason = None;
    loop {
        tokio::select! {
            event = qmp.next_event() => match event {
                Ok(event) => reason = reason.or_else(|| shutdown_reason(&event)),
                // Closed when QEMU ends. If the connection broke otherwise, QEMU must end now.
                Err(_) => break,
            },
            () = wishes.quit.notified() => if qmp.quit().await.is_err() { break },
        }
    }
    child.handle().kill();
    let detail = child.wait().await;
    let exit = if wishes.end.load(Ordering::Acquire) {
        Exit::Requested
    } else {
        reason.unwrap_or(Exit::VmmFailed { detail })
    };
    sender.send_replace(Some(exit));
}

/// What a SHUTDOWN event says of the guest (QEMU, `qapi/run-state.json`, ShutdownCause).
fn shutdown_reason(event: &Event) -> Option<Exit> {
    if event.name != "SHUTDOWN" {
        return None;
    }
    match event.data.get("reason").and_then(Value::as_str) {
        Some("guest-shutdown") => Some(Exit::GuestShutdown),
        Some("guest-reset" | "guest-panic") => Some(Exit::GuestReset),
        _ => None,
    }
}
