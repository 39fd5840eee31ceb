// SPDX-License-Identifier: Apache-2.0
//! containerd's events as texts.

use casemate_shim::outside::EventSink;
use containerd_shim::protos::events::task;
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use protobuf::well_known_types::struct_::Struct;
use tokio::sync::mpsc;

pub(super) struct Events(pub(super) mpsc::UnboundedSender<String>);

impl EventSink for Events {
    fn publish(&self, topic: &'static str, event: Any) {
        let text = match topic {
            "/tasks/exit" => {
                let exit = task::TaskExit::parse_from_bytes(&event.value).unwrap();
                assert!(exit.exited_at.seconds > 0);
                format!("exit {} {} {}", exit.container_id, exit.id, exit.exit_status)
            }
            "/tasks/create" => {
                let create = task::TaskCreate::parse_from_bytes(&event.value).unwrap();
                assert!(create.pid > 0 && !create.bundle.is_empty());
                format!("create {}", create.container_id)
            }
            "/tasks/start" => {
                let start = task::TaskStart::parse_from_bytes(&event.value).unwrap();
                format!("start {}", start.container_id)
            }
            "/tasks/delete" => {
                let delete = task::TaskDelete::parse_from_bytes(&event.value).unwrap();
                format!("delete {} {}", delete.container_id, delete.exit_status)
            }
            "/tasks/exec-added" => {
                let added = task::TaskExecAdded::parse_from_bytes(&event.value).unwrap();
                format!("exec-added {} {}", added.container_id, added.exec_id)
            }
            "/tasks/exec-started" => {
                let started = task::TaskExecStarted::parse_from_bytes(&event.value).unwrap();
                format!("exec-started {} {}", started.container_id, started.exec_id)
            }
            "/tasks/oom" => {
                let oom = task::TaskOOM::parse_from_bytes(&event.value).unwrap();
                format!("oom {}", oom.container_id)
            }
            "/casemate/launched" => {
                assert_eq!(event.type_url, "google.protobuf.Struct");
                let launched = Struct::parse_from_bytes(&event.value).unwrap();
                let sandbox = launched.fields["sandbox"].string_value();
                format!("launched {sandbox} {}", launched.fields["acpi_from_host"].string_value())
            }
            other => other.to_owned(),
        };
        self.0.send(text).unwrap();
    }
}
