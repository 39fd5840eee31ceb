// SPDX-License-Identifier: Apache-2.0
//! Watches the methods of a service, below the decoding of their messages.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use protobuf::MessageDyn;
use protobuf::reflect::MessageDescriptor;
use protobuf::reflect::ReflectValueRef;
use ttrpc::Request;
use ttrpc::Response;
use ttrpc::asynchronous::MethodHandler;
use ttrpc::asynchronous::Service;
use ttrpc::asynchronous::TtrpcContext;

use super::Call;
use super::Outcome;
use super::Witness;
use crate::code::Code;
use crate::proto;
use crate::status::ApiError;

/// Puts the witness before each method.
pub(super) fn watch(
    services: HashMap<String, Service>,
    witness: &Arc<dyn Witness>,
) -> HashMap<String, Service> {
    let watch_service = |service: Service| {
        let methods = service.methods.into_iter().map(|(name, inner)| {
            let input = input_of(&name);
            let witness = Arc::clone(witness);
            let method: Box<dyn MethodHandler + Send + Sync> =
                Box::new(Method { name: name.clone(), input, inner, witness });
            (name, method)
        });
        Service { methods: methods.collect(), streams: service.streams }
    };
    services.into_iter().map(|(name, service)| (name, watch_service(service))).collect()
}

struct Method {
    name: String,
    input: Option<MessageDescriptor>,
    inner: Box<dyn MethodHandler + Send + Sync>,
    witness: Arc<dyn Witness>,
}

#[async_trait]
impl MethodHandler for Method {
    async fn handler(&self, context: TtrpcContext, request: Request) -> ttrpc::Result<Response> {
        let names = self.input.as_ref().map(|input| names(input, &request.payload));
        let call = Call {
            name: self.name.clone(),
            names: names.unwrap_or_default(),
            // Until something else is known.
            outcome: Outcome::Abandoned,
        };
        let mut pending = Pending { witness: &*self.witness, call: Some(call) };
        let result = self.inner.handler(context, request).await;
        let outcome = outcome(&result);
        pending.settle(outcome.clone());
        self.witness.pace(&self.name, &outcome).await;
        result
    }
}

/// A call that goes on. A22: its end is told also when the host goes away.
struct Pending<'a> {
    witness: &'a dyn Witness,
    call: Option<Call>,
}

impl Pending<'_> {
    fn settle(&mut self, outcome: Outcome) {
        if let Some(call) = self.call.take() {
            self.witness.witness(Call { outcome, ..call });
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.settle(Outcome::Abandoned);
    }
}

fn outcome(result: &ttrpc::Result<Response>) -> Outcome {
    match result {
        Ok(response) => match response.status.as_ref() {
            Some(status) if status.code.enum_value() != Ok(ttrpc::Code::OK) => {
                let error = ttrpc::Error::RpcStatus(status.clone());
                Outcome::Refused(ApiError::from_rpc(&error))
            }
            _ => Outcome::Answered,
        },
        // The method itself only answers: this is ttrpc's own word on a message that is none.
        Err(_) => {
            Outcome::Refused(ApiError::new(Code::RequestInvalid, "request: no message of its type"))
        }
    }
}

fn input_of(method: &str) -> Option<MessageDescriptor> {
    let service = proto::file_descriptor().services().next()?;
    let method = service.methods().find(|m| m.proto().name() == method)?;
    Some(method.input_type())
}

/// Ids and names of a request. What is no message of this type has none.
fn names(input: &MessageDescriptor, payload: &[u8]) -> Vec<(String, String)> {
    let mut names = Vec::new();
    if let Ok(message) = input.parse_from_bytes(payload) {
        collect(&*message, &mut names);
    }
    names
}

fn collect(message: &dyn MessageDyn, names: &mut Vec<(String, String)>) {
    for field in message.descriptor_dyn().fields().filter(|field| field.is_singular()) {
        let name = field.name();
        match field.get_singular(message) {
            Some(ReflectValueRef::String(text)) if NAMES.contains(&name) && !text.is_empty() => {
                names.push((name.to_owned(), text.chars().take(MAX_NAME_CHARS).collect()));
            }
            Some(ReflectValueRef::U32(number)) if NUMBERS.contains(&name) => {
                names.push((name.to_owned(), number.to_string()));
            }
            // Its type holds no further message.
            Some(ReflectValueRef::Message(inner)) if name == PROCESS => collect(&*inner, names),
            _ => {}
        }
    }
}

/// Fields that say whom a request is about. Nothing that a secret can stand in.
const NAMES: &[&str] =
    &["id", "name", "container_id", "exec_id", "volume", "image_digest", "hostname"];
const NUMBERS: &[&str] = &["signal"];
const PROCESS: &str = "process";

/// Characters of a name that are kept.
const MAX_NAME_CHARS: usize = 128;

#[cfg(test)]
mod tests {
    use protobuf::Message;
    use protobuf::MessageField;

    use super::*;

    fn names_of(method: &str, message: &impl Message) -> Vec<(String, String)> {
        names(&input_of(method).unwrap(), &message.write_to_bytes().unwrap())
    }

    fn pair(field: &str, value: &str) -> (String, String) {
        (field.to_owned(), value.to_owned())
    }

    #[test]
    fn ids_and_names_are_told_and_nothing_else() {
        // A27: no argument and no variable of the request.
        let create = proto::CreateContainerRequest {
            id: "c1".into(),
            name: "web".into(),
            argv: vec!["canary".into()],
            env: vec!["SECRET=canary".into()],
            cwd: "/canary".into(),
            ..Default::default()
        };
        assert_eq!(names_of("CreateContainer", &create), [pair("id", "c1"), pair("name", "web")]);
        let signal = proto::SignalRequest {
            process: MessageField::some(proto::ProcessRef {
                container_id: "c1".into(),
                exec_id: "e1".into(),
                ..Default::default()
            }),
            signal: 9,
            ..Default::default()
        };
        assert_eq!(
            names_of("Signal", &signal),
            [pair("container_id", "c1"), pair("exec_id", "e1"), pair("signal", "9")]
        );
    }

    #[test]
    fn no_named_field_can_hold_an_argument_or_content() {
        // Whoever adds a field of such a name looks here first.
        let mut seen = Vec::new();
        for message in proto::file_descriptor().messages() {
            for field in message.fields().filter(|f| NAMES.contains(&f.name())) {
                seen.push(format!("{}.{}", message.name(), field.name()));
                assert!(field.is_singular(), "{seen:?}");
            }
        }
        assert!(seen.contains(&"CreateContainerRequest.image_digest".to_owned()));
    }

    #[test]
    fn long_names_are_cut_and_rubbish_has_none() {
        let container =
            proto::ContainerRef { container_id: "x".repeat(100_000), ..Default::default() };
        assert_eq!(names_of("Stats", &container), [pair("container_id", &"x".repeat(128))]);
        assert_eq!(names(&input_of("Stats").unwrap(), &[0xff; 7]), []);
        assert!(input_of("CopyFile").is_none());
    }
}
