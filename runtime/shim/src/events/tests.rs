// SPDX-License-Identifier: Apache-2.0

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use containerd_shim::protos::api::Empty;
use containerd_shim::protos::events::task::TaskStart;
use containerd_shim::protos::shim_async::Events;
use containerd_shim::protos::shim_async::create_events;
use protobuf::Message;
use ttrpc::asynchronous::Server;
use ttrpc::asynchronous::TtrpcContext;
use ttrpc::asynchronous::transport::Listener;

use super::*;

struct Containerd {
    taken: mpsc::UnboundedSender<(String, String, u32)>,
}

#[async_trait]
impl Events for Containerd {
    async fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        let envelope = request.envelope.unwrap();
        let event = TaskStart::parse_from_bytes(&envelope.event.value).unwrap();
        if event.pid == 13 {
            let status = ttrpc::get_status(ttrpc::Code::INVALID_ARGUMENT, "not this one");
            return Err(ttrpc::Error::RpcStatus(status));
        }
        self.taken.send((envelope.namespace, envelope.topic, event.pid)).unwrap();
        Ok(Empty::default())
    }
}

async fn serve(socket: &Path, taken: &mpsc::UnboundedSender<(String, String, u32)>) -> Server {
    let listener = UnixListener::bind(socket).unwrap();
    let service = create_events(Arc::new(Containerd { taken: taken.clone() }));
    let mut server =
        Server::new().add_listener(Listener::try_from(listener).unwrap()).register_service(service);
    server.start().await.unwrap();
    server
}

fn start_event(pid: u32) -> Any {
    to_any(&TaskStart { pid, ..Default::default() })
}

#[tokio::test]
async fn events_survive_a_restart_of_containerd_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("containerd.sock.ttrpc");
    let (sender, mut taken) = mpsc::unbounded_channel();
    let publisher = Publisher::start(socket.to_str().unwrap().to_owned(), "k8s.io".to_owned());
    // containerd is not there yet.
    publisher.publish("/tasks/start", start_event(1));
    publisher.publish("/tasks/start", start_event(2));
    let mut server = serve(&socket, &sender).await;
    for pid in [1, 2] {
        let expected = ("k8s.io".to_owned(), "/tasks/start".to_owned(), pid);
        assert_eq!(taken.recv().await.unwrap(), expected);
    }
    server.shutdown().await.unwrap();
    std::fs::remove_file(&socket).unwrap();
    publisher.publish("/tasks/start", start_event(3));
    // A refused event does not hold up the next.
    publisher.publish("/tasks/start", start_event(13));
    publisher.publish("/tasks/start", start_event(4));
    let _server = serve(&socket, &sender).await;
    assert_eq!(taken.recv().await.unwrap().2, 3);
    assert_eq!(taken.recv().await.unwrap().2, 4);
    publisher.flush(Duration::from_secs(5)).await;
}

#[test]
fn the_type_url_is_the_bare_name() {
    assert_eq!(start_event(1).type_url, "containerd.events.TaskStart");
}
