// SPDX-License-Identifier: Apache-2.0
//! The life of PID 1.

mod runtime;

use std::process::ExitCode;
use std::sync::Arc;

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_attester::SourceKind;
use casemate_audit::OwnerPublicKey;
use casemate_containers::RuntimeConfig;

use crate::audit::Audit;
use crate::backend::Parts;
use crate::backend::Power;
use crate::boot;
use crate::boot::BootError;
use crate::boot::Launch;
use crate::boot::chain;
use crate::network;
use crate::network::GuestNetwork;
use crate::port::Port;
use crate::power::GuestPower;
use crate::resolver::GuestResolver;
use crate::service::Guest;
use crate::session::Broker;
use crate::session::GuestPuller;
use crate::timeline::Timeline;
use crate::transport;

use runtime::GuestContainers;

/// Threads that run the agent's tasks; containers need the CPUs more.
const WORKERS: usize = 2;
/// Stack of each thread: only what is touched takes memory.
const STACK: usize = 1024 * 1024;
/// Threads for calls that block: unpacking, helpers, the TEE device.
const MAX_BLOCKING: usize = 16;

/// Runs the guest; returns only when it cannot, or outside one.
pub fn run() -> ExitCode {
    if !rustix::process::getpid().is_init() {
        eprintln!("casemate-agent runs as the first process of a guest and nowhere else");
        return ExitCode::FAILURE;
    }
    let timeline = Arc::new(Timeline::default());
    timeline.mark("agent_start");
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let prepared = boot::prepare();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(MAX_BLOCKING)
        .thread_stack_size(STACK)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(live(prepared, timeline)),
        Err(error) => tracing::error!(%error, "no runtime"),
    }
    GuestPower.off();
    ExitCode::FAILURE
}

async fn live(prepared: Result<SourceKind, BootError>, timeline: Arc<Timeline>) {
    let mut port = match Port::open() {
        Ok(port) => port,
        Err(error) => return tracing::error!(%error, "no way to the host"),
    };
    // Nothing of the API exists before this has succeeded.
    let guest = match start(prepared, timeline).await {
        Ok(guest) => guest,
        Err(error) => {
            tracing::error!(%error, "the guest does not start");
            return transport::refuse(&mut port, &error).await;
        }
    };
    tracing::info!("bound");
    if let Err(error) = transport::serve(port, guest).await {
        tracing::error!(%error, "the way to the host is gone");
    }
}

async fn start(
    prepared: Result<SourceKind, BootError>,
    timeline: Arc<Timeline>,
) -> Result<Guest, ApiError> {
    let failed = |error: BootError| ApiError::new(error.code(), chain(&error));
    let source = prepared.map_err(failed)?;
    let internal = |error: &dyn std::error::Error| {
        ApiError::new(casemate_agent_api::Code::Internal, chain(error))
    };
    network::loopback_up().await.map_err(|error| internal(&error))?;
    let launch = tokio::task::spawn_blocking(move || boot::check(source))
        .await
        .map_err(|error| internal(&error))?
        .map_err(failed)?;
    let resolver = Arc::new(GuestResolver::default());
    let audit = Arc::new(audit(&launch)?);
    let broker = Arc::new(Broker::new(&launch, Arc::clone(&audit))?);
    let images = GuestPuller::new(&launch, Arc::clone(&broker), Arc::clone(&resolver))?;
    let containers = casemate_containers::Runtime::new(RuntimeConfig::default())
        .await
        .map_err(|error| internal(&error))?;
    let sysctls = launch.policy.sandbox.sysctls.clone();
    let parts = Parts {
        network: Arc::new(GuestNetwork::new(resolver, sysctls)),
        secrets: broker.clone(),
        attest: broker,
        images: Arc::new(images),
        containers: Arc::new(GuestContainers(containers)),
        power: Arc::new(GuestPower),
    };
    let rules = launch.rules.as_deref();
    Ok(Guest::with_rules(launch.policy, rules, parts, timeline)?.with_audit(audit))
}

/// The audit log, sealed to the owner whom the initdata names.
fn audit(launch: &Launch) -> Result<Audit, ApiError> {
    let Some(settings) = &launch.config.audit else { return Ok(Audit::unsealed()) };
    let owner = OwnerPublicKey::from_pem(&settings.key).map_err(|error| {
        ApiError::new(Code::InitdataInvalid, format_args!("audit.key: {error}"))
    })?;
    Audit::sealed(&owner)
}
