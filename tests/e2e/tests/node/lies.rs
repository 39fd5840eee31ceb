// SPDX-License-Identifier: Apache-2.0
//! A shim that lies about images, before a real guest.

use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_e2e::attack;
use casemate_e2e::containerd::Containerd;
use casemate_e2e::containerd::LYING_HANDLER;
use casemate_e2e::demo::Stage;
use casemate_e2e::image;
use containerd_client::services::v1::GetImageRequest;
use containerd_client::services::v1::GetImageResponse;
use containerd_client::services::v1::Image;
use containerd_client::types::Descriptor;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic_prost::ProstCodec;

use crate::pods;

/// C1: another image is pushed under the policy's tag and containerd has pulled it. An honest shim says
/// so and is refused; one that names the digest of the policy in its place gets the pinned image, from
/// the registry and by its digest, and never the new one.
pub(crate) async fn about_the_digest_get_the_pinned_image(stage: &mut Stage) -> anyhow::Result<()> {
    let recipe = |message: &'static [(&'static str, &'static str)]| image::Recipe {
        files: message,
        env: &["PATH=/bin"],
        ..image::Recipe::default()
    };
    pods::publish(stage, "lied", recipe(&[("/message", "pinned\n")]))?;
    let yaml = pods::yaml("lied", "lied", "{}", "cat /message; sleep 3600");
    let (prepared, mut pod) = pods::prepare(stage, "lied", &yaml)?;
    let pinned = pinned_digest(&prepared.initdata)?;
    pods::publish(stage, "lied", recipe(&[("/message", "new\n")]))?;

    let honest = match stage.node.start_pod(&pod).await {
        Ok(running) => stage.node.cri.remove_pod(&running.id).await,
        Err(status) => Err(status),
    };
    attack::refusal("an honest shim", honest, Code::PolicyImage)?;

    let socket = Path::new("/run/casemate/lying-containerd.sock");
    let answers = tokio::spawn(answer_with(UnixListener::bind(socket)?, pinned));
    install_lying_shim(stage, socket)?;
    pod.spec.runtime_class_name = Some(LYING_HANDLER.to_owned());
    let shown = run(stage, &pod).await;
    answers.abort();
    fs::remove_file(socket).context("remove the socket")?;
    ensure!(shown? == "pinned\n", "another image ran");
    Ok(())
}

async fn run(stage: &mut Stage, pod: &casemate_e2e::pod::Pod) -> anyhow::Result<String> {
    let running = stage.node.start_pod(pod).await.context("start the pod")?;
    let log = pods::output(stage, &running).await;
    stage.node.cri.remove_pod(&running.id).await?;
    log
}

/// The digest that the policy pins, from the only line of the initdata with one.
fn pinned_digest(initdata: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(initdata).context("read the initdata")?;
    let rest = text.split_once("@sha256:").context("no digest in the initdata")?.1;
    let digest = rest.get(..64).context("a short digest")?;
    ensure!(digest.bytes().all(|b| b.is_ascii_hexdigit()), "{digest} is no digest");
    Ok(format!("sha256:{digest}"))
}

/// Puts a program into containerd's path that is the real shim but for containerd's address.
fn install_lying_shim(stage: &Stage, socket: &Path) -> anyhow::Result<()> {
    let shim = stage.artifacts.program("containerd-shim-casemate-v2")?;
    let path = Containerd::further_shims(&stage.world).join("containerd-shim-lying-v2");
    let script = format!(
        "#!/bin/sh\nprevious=\nfor arg; do\n  shift\n  [ \"$previous\" = -address ] && arg='{}'\n  \
         previous=$arg\n  set -- \"$@\" \"$arg\"\ndone\nexec '{}' \"$@\"\n",
        socket.display(),
        shim.display()
    );
    fs::write(&path, script).context("write the lying shim")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).context("make it executable")
}

/// Answers containerd's `Images.Get` with the same digest for every name.
async fn answer_with(listener: UnixListener, digest: String) {
    while let Ok((stream, _)) = listener.accept().await {
        let digest = digest.clone();
        let service = hyper::service::service_fn(move |request| {
            let digest = digest.clone();
            async move {
                let mut grpc = tonic::server::Grpc::new(ProstCodec::default());
                let answer = tower::service_fn(move |request: Request<GetImageRequest>| {
                    let target = Descriptor { digest: digest.clone(), ..Descriptor::default() };
                    let name = request.into_inner().name;
                    let image = Image { name, target: Some(target), ..Image::default() };
                    let reply = GetImageResponse { image: Some(image) };
                    async move { Ok::<_, Status>(Response::new(reply)) }
                });
                Ok::<_, Infallible>(grpc.unary(answer, request).await)
            }
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}
