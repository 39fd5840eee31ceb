// SPDX-License-Identifier: Apache-2.0
//! Requests of the host to the agent: messages, and the types that they become.

#![no_main]

use casemate_agent_api::proto;
use casemate_agent_api::request::ContainerId;
use casemate_agent_api::request::CreateContainer;
use casemate_agent_api::request::Exec;
use casemate_agent_api::request::Network;
use casemate_agent_api::request::ProcessId;
use casemate_agent_api::request::PutVolume;
use casemate_agent_api::request::ResizePty;
use casemate_agent_api::request::Signal;
use casemate_agent_api::request::Update;
use libfuzzer_sys::fuzz_target;
use protobuf::Message;

/// Parses the bytes as a message of one kind, and the message as a request.
fn parse<M: Message, T: TryFrom<M>>(bytes: &[u8]) -> Option<T> {
    M::parse_from_bytes(bytes).ok()?.try_into().ok()
}

fuzz_target!(|bytes: &[u8]| {
    let _ = parse::<proto::SetNetworkRequest, Network>(bytes);
    let _ = parse::<proto::CreateContainerRequest, CreateContainer>(bytes);
    let _ = parse::<proto::ExecProcessRequest, Exec>(bytes);
    let _ = parse::<proto::ProcessRef, ProcessId>(bytes);
    let _ = parse::<proto::ContainerRef, ContainerId>(bytes);
    let _ = parse::<proto::SignalRequest, Signal>(bytes);
    let _ = parse::<proto::ResizePtyRequest, ResizePty>(bytes);
    let _ = parse::<proto::UpdateRequest, Update>(bytes);
    if let Some(put) = parse::<proto::PutVolumeRequest, PutVolume>(bytes) {
        // A13: a file's name is one plain component of a path.
        for file in put.files {
            let name = file.name.as_str();
            assert!(!name.contains(['/', '\0']) && !name.starts_with("..") && name != ".");
        }
    }
});
