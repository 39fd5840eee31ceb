// SPDX-License-Identifier: Apache-2.0
//! D19, D23: one container against another, and against the pod's attested session.

use anyhow::ensure;
use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::proto;
use casemate_kbs_protocol::host_data;
use protobuf::reflect::MessageDescriptor;
use protobuf::reflect::RuntimeFieldType;

use super::broker::Guest;
use super::broker::INITDATA;
use super::broker::KEY;
use super::broker::Owner;
use crate::Case;
use crate::Context;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::shim::EvilShim;
use crate::shim::deadline;
use crate::shim::requests;

pub(super) static D19: Case = Case {
    id: "D19",
    level: Level::P,
    attack: "gives the secret of one container to another of the same pod",
    defence: Defence::Code(Guard {
        function: "casemate_agent::pod::change::Pod::secrets",
        sabotage: EVERYBODYS,
    }),
    run: |context| Box::pin(share(context)),
};

pub(super) static D23: Case = Case {
    id: "D23",
    level: Level::P,
    attack: "a container has evidence made over bytes of its choice, or takes the session's key",
    defence: Defence::Nothing,
    run: |context| Box::pin(sign(context)),
};

/// The secrets of all containers, for any.
const EVERYBODYS: &str = "{ \
    let wanted: Vec<_> = { \
        let monitor = self.monitor(); \
        monitor.policy().containers.values().flat_map(|c| c.secrets.clone()).collect() \
    }; \
    secrets::fetch(&*self.parts.secrets, &wanted).await }";

/// Two containers, of which one has a secret.
const POLICY: &str = r#"
version = 1

[containers.owner]
image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
encryption = "required"
argv = ["/bin/owner"]
cwd = "/"
user = { uid = 1000, gid = 1000 }
logs = "none"
no_new_privileges = true
seccomp = "default"
signals = []
secrets = [{ resource = "kbs:///default/db/password", path = "/run/secrets/db" }]

[containers.other]
image = "registry.example/web@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
encryption = "required"
argv = ["/bin/other"]
cwd = "/"
user = { uid = 1000, gid = 1000 }
logs = "none"
no_new_privileges = true
seccomp = "default"
signals = []
"#;

fn container(id: &str, name: &str) -> proto::CreateContainerRequest {
    proto::CreateContainerRequest {
        id: id.into(),
        name: name.into(),
        image_digest: requests::DIGEST.into(),
        argv: vec![format!("/bin/{name}")],
        cwd: "/".into(),
        ..Default::default()
    }
}

async fn share(context: Context) -> Verdict {
    let shim = EvilShim::attested(&context, POLICY).await?;
    let fetched = || shim.world.effects().count("secret");
    // The other container is made without a question for any resource, and holds none.
    shim.run(&container("c1", "other")).await?;
    ensure!(fetched() == 0, "{} resources were fetched for a container that has none", fetched());
    let held = shim.world.spec("c1").map_or(0, |spec| spec.secrets.len());
    ensure!(held == 0, "the other container holds {held} secrets");
    // The container whose secret it is asks for that one; without it there is no container.
    let request = container("c2", "owner");
    let error = shim.client.create_container(deadline(), &request).await.err();
    let error = error.map(|error| ApiError::from_rpc(&error).code());
    ensure!(error == Some(Code::ResourceMissing), "{error:?}");
    ensure!(fetched() == 1, "{} resources were fetched instead of one", fetched());
    ensure!(shim.world.spec("c2").is_none(), "a container runs without its secret");
    // No request has a field for a resource: the host cannot name one for a container.
    let fields = request_fields();
    let named = fields.iter().find(|field| field.contains("secret") || field.contains("resource"));
    ensure!(named.is_none(), "the host names {named:?}");

    // The broker's side: each resource is granted by its name to one initdata.
    let owner = Owner::new().await?;
    owner.store.put_resource(&"default/other/1".parse()?, &vec![1; 32].into()).await?;
    let session = Guest::honest().session(&owner.endpoint()?)?;
    ensure!(session.resource(&format!("kbs:///{KEY}").parse()?).await.is_ok());
    let denied = session.resource(&"kbs:///default/other/1".parse()?).await.err();
    ensure!(denied.is_some_and(|error| error.code() == Code::ResourceDenied), "an ungranted one");
    owner.store.allow(&"default/other/1".parse()?, &host_data(INITDATA)?).await?;
    ensure!(session.resource(&"kbs:///default/other/1".parse()?).await.is_ok());
    Ok(Outcome::pass(
        "the guest fetches what the policy gives to this container, as files in its memory alone; no \
         request names a resource, and containers have no endpoint to ask at",
    ))
}

/// What a container could ask, and of whom.
async fn sign(context: Context) -> Verdict {
    // The agent's one service is the host's; it gives no evidence, no token and no key.
    let file = proto::file_descriptor();
    let services = file.proto().service.iter();
    let calls: Vec<_> =
        services.flat_map(|s| s.method.iter().map(|m| m.name().to_owned())).collect();
    ensure!(calls.len() > 10, "no calls to look at: {calls:?}");
    for word in ["Evidence", "Report", "Quote", "Token", "Attest", "Resource", "Secret"] {
        let found = calls.iter().find(|call| call.contains(word));
        ensure!(found.is_none(), "the agent answers {found:?}");
    }
    // A container is given files for its name and network and nothing of the agent's: no device, no
    // socket, no directory of the guest.
    let shim = EvilShim::running(&context).await?;
    let spec = shim.world.spec("c1");
    ensure!(spec.as_ref().is_some_and(|spec| spec.secrets.is_empty()), "a secret without a policy");
    let spec = spec.map(|spec| format!("{:?}", spec.container.mounts)).unwrap_or_default();
    for word in ["/dev/sev", "/dev/tdx", "/dev/vport", "/sys", "socket", "8006"] {
        ensure!(!spec.contains(word), "a container is given {word}: {spec}");
    }
    Ok(Outcome::absent(
        "containers have no endpoint of the agent's: no evidence over their bytes, no token, and the \
         session's key has no accessor. The REST endpoint on 127.0.0.1:8006 would bring it, and must \
         put a fixed label and the container's name into REPORT_DATA. A container with CAP_SYS_ADMIN \
         can ask the kernel itself: a known hole",
    ))
}

/// Every field of every message that the host may send.
fn request_fields() -> Vec<String> {
    let mut open: Vec<MessageDescriptor> = proto::file_descriptor().messages().collect();
    let mut fields = Vec::new();
    while let Some(message) = open.pop() {
        if !message.name().ends_with("Request") && !message.name().ends_with("Ref") {
            continue;
        }
        for field in message.fields() {
            fields.push(format!("{}.{}", message.name(), field.name()));
            if let RuntimeFieldType::Singular(kind) = field.runtime_field_type()
                && let protobuf::reflect::RuntimeType::Message(inner) = kind
                && !fields.iter().any(|known| known.starts_with(&format!("{}.", inner.name())))
            {
                open.push(inner);
            }
        }
    }
    fields
}
