// SPDX-License-Identifier: Apache-2.0
//! Task events on their way to containerd: in order, each until containerd has taken it.

use std::time::Duration;
use std::time::SystemTime;

use casemate_sandbox::Exit;
use casemate_sandbox::Timestamp;
use containerd_shim::protos::api::ForwardRequest;
use containerd_shim::protos::shim::event::Envelope;
use containerd_shim::protos::shim_async::EventsClient;
use protobuf::MessageFull;
use protobuf::well_known_types::any::Any;
use protobuf::well_known_types::struct_::Struct;
use protobuf::well_known_types::struct_::Value;
use protobuf::well_known_types::struct_::value::Kind;
use tokio::sync::mpsc;
use tokio::sync::watch;
use ttrpc::asynchronous::Client;
use ttrpc::asynchronous::transport::Socket;

use crate::outside::EventSink;
use crate::status::Status;

/// Sends events to containerd's event service. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    queue: mpsc::Sender<Envelope>,
    namespace: String,
    /// Events not yet taken.
    pending: watch::Sender<usize>,
}

impl Publisher {
    /// Starts to send to the ttrpc `address` (`TTRPC_ADDRESS`). containerd need not be there: events
    /// are kept while it restarts.
    #[must_use]
    pub fn start(address: String, namespace: String) -> Self {
        let (queue, events) = mpsc::channel(MAX_QUEUED);
        let pending = watch::Sender::new(0);
        tokio::spawn(send_all(address, events, pending.clone()));
        Self { queue, namespace, pending }
    }

    /// Waits until everything is sent, at most for `deadline`.
    pub async fn flush(&self, deadline: Duration) {
        let mut pending = self.pending.subscribe();
        if tokio::time::timeout(deadline, pending.wait_for(|count| *count == 0)).await.is_err() {
            tracing::warn!("containerd took not all events");
        }
    }
}

impl EventSink for Publisher {
    fn publish(&self, topic: &'static str, event: Any) {
        let envelope = Envelope {
            timestamp: Some(timestamp(now())).into(),
            namespace: self.namespace.clone(),
            topic: topic.to_owned(),
            event: Some(event).into(),
            ..Default::default()
        };
        // Full only when containerd is away for long: then it reads the tasks' states on its
        // return, and old events help nobody.
        self.pending.send_modify(|count| *count = count.saturating_add(1));
        if self.queue.try_send(envelope).is_err() {
            self.pending.send_modify(|count| *count = count.saturating_sub(1));
            tracing::error!(topic, "event dropped: the queue is full");
        }
    }
}

async fn send_all(
    address: String,
    mut events: mpsc::Receiver<Envelope>,
    pending: watch::Sender<usize>,
) {
    let mut client = None;
    while let Some(envelope) = events.recv().await {
        let request = ForwardRequest { envelope: Some(envelope).into(), ..Default::default() };
        let mut pause = FIRST_PAUSE;
        while let Err(error) = send(&address, &mut client, &request).await {
            if let ttrpc::Error::RpcStatus(status) = &error {
                let topic = request.envelope.topic.as_str();
                tracing::error!(topic, error = status.message(), "containerd refused an event");
                break;
            }
            tracing::debug!(%error, "event not sent, trying again");
            client = None;
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(LAST_PAUSE);
        }
        pending.send_modify(|count| *count = count.saturating_sub(1));
    }
}

async fn send(
    address: &str,
    client: &mut Option<EventsClient>,
    request: &ForwardRequest,
) -> ttrpc::Result<()> {
    let connected = match client {
        Some(client) => client,
        None => {
            let path = address.strip_prefix("unix://").unwrap_or(address);
            let socket = Socket::connect_unix(path)
                .await
                .map_err(|error| ttrpc::Error::Socket(error.to_string()))?;
            client.insert(EventsClient::new(Client::new(socket)))
        }
    };
    let forward = connected.forward(ttrpc::context::Context::default(), request);
    tokio::time::timeout(SEND_DEADLINE, forward)
        .await
        .unwrap_or_else(|_| Err(ttrpc::Error::Others("no answer".to_owned())))
        .map(drop)
}

/// The message as an `Any` with the type URL that containerd's `typeurl` expects: the bare name.
pub fn to_any<M: MessageFull>(message: &M) -> Any {
    Any {
        type_url: M::descriptor().full_name().to_owned(),
        // Encoding fails only for messages over 2 GiB.
        value: message.write_to_bytes().unwrap_or_default(),
        ..Default::default()
    }
}

/// Topic of the event that says what was launched.
pub const LAUNCHED: &str = "/casemate/launched";

/// What a sandbox's status says of its launch, as an event for whoever watches the node. The payload
/// is a `google.protobuf.Struct`, which any client of containerd can read without types of ours.
pub fn launched(status: &Status) -> Any {
    let text = |value: &str| Kind::StringValue(value.to_owned());
    // As text: `ctr events` leaves a plain `false` out.
    let flag = |value: bool| text(if value { "true" } else { "false" });
    let fields = [
        ("sandbox", Some(text(&status.sandbox))),
        ("launch_digest", status.launch_digest.as_deref().map(text)),
        ("host_data", status.host_data.as_deref().map(text)),
        ("confidential", status.confidential.map(flag)),
        ("acpi_from_host", status.acpi_from_host.map(flag)),
    ];
    let value = |kind| Value { kind: Some(kind), ..Default::default() };
    let known = fields.into_iter().filter_map(|(name, kind)| Some((name.to_owned(), value(kind?))));
    to_any(&Struct { fields: known.collect(), ..Default::default() })
}

/// The host's clock.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
    }
}

/// A point in time as a message.
#[must_use]
pub fn timestamp(at: Timestamp) -> protobuf::well_known_types::timestamp::Timestamp {
    protobuf::well_known_types::timestamp::Timestamp {
        seconds: at.seconds,
        nanos: at.nanos,
        ..Default::default()
    }
}

/// Status and time of an exit as messages have them.
#[must_use]
pub fn exit_fields(
    exit: Option<Exit>,
) -> (u32, protobuf::MessageField<protobuf::well_known_types::timestamp::Timestamp>) {
    match exit {
        Some(exit) => (exit.status, Some(timestamp(exit.at)).into()),
        None => (0, None.into()),
    }
}

/// Events kept while containerd is away.
const MAX_QUEUED: usize = 4096;
const SEND_DEADLINE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
