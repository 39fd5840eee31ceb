// SPDX-License-Identifier: Apache-2.0
//! Requests of the host to the agent: messages, and the types that they become.

#![no_main]

use casemate_agent_api::proto;
use casemate_agent_api::request::CreateContainer;
use casemate_agent_api::request::Exec;
use casemate_agent_api::request::Network;
use libfuzzer_sys::fuzz_target;
use protobuf::Message;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = proto::SetNetworkRequest::parse_from_bytes(bytes) {
        let _ = Network::try_from(message);
    }
    if let Ok(message) = proto::CreateContainerRequest::parse_from_bytes(bytes) {
        let _ = CreateContainer::try_from(message);
    }
    if let Ok(message) = proto::ExecProcessRequest::parse_from_bytes(bytes) {
        let _ = Exec::try_from(message);
    }
});
