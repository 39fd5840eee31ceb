// SPDX-License-Identifier: Apache-2.0
//! From a bundle to a launched VM.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::proto;
use casemate_boot_formats::initdata::Initdata;
use casemate_sandbox::Id;
use casemate_vmm::InitdataDigest;
use casemate_vmm::MacAddress;
use casemate_vmm::Network;
use casemate_vmm::Nic;
use casemate_vmm::Vm;
use casemate_vmm::VmConfig;
use casemate_vmm::VmName;

use crate::cgroup;
use crate::cgroup::Hierarchies;
use crate::config::Config;
use crate::error::ShimError;
use crate::events;
use crate::outside::GuestNetwork;
use crate::outside::Outside;
use crate::projection;
use crate::resolv_conf;
use crate::resolv_conf::Dns;
use crate::spec;
use crate::spec::Spec;
use crate::state::State;
use crate::state::StateDir;
use crate::state::VmmProcess;
use crate::status::Phase;
use crate::status::StatusFile;

/// A launched VM, and what its guest must be told.
pub(super) struct Launched {
    pub(super) vm: Arc<dyn Vm>,
    pub(super) status: Arc<StatusFile>,
    pub(super) dir: StateDir,
    pub(super) network_namespace: PathBuf,
    pub(super) hierarchies: Hierarchies,
    pub(super) cgroups: Vec<PathBuf>,
    pub(super) made_cgroups: Vec<PathBuf>,
    pub(super) config: Config,
    pub(super) network: proto::SetNetworkRequest,
}

/// Launches the VM of the sandbox that `spec` describes. After an error nothing is left.
pub(super) async fn launch(
    outside: &Outside,
    id: &Id,
    spec: &Spec,
    config: Config,
) -> Result<Launched, ShimError> {
    let plan = Plan::new(id, spec, config)?;
    plan.dir.create()?;
    let result = plan.carry_out(outside).await;
    if result.is_err() {
        // Only what this sandbox made: the namespace may be another one's.
        if let Ok(Some(State { network_namespace: Some(namespace), .. })) = plan.dir.read() {
            outside.network.detach(&namespace).await;
        }
        let dir = plan.dir.clone();
        // It reads the cgroups that were made from the state file.
        let removed = tokio::task::spawn_blocking(move || crate::state::remove_everything(&dir));
        if let Err(error) = removed.await {
            tracing::warn!(%error, "clean-up after a failed launch");
        }
    }
    result
}

/// What can be said before anything is done on the host.
struct Plan<'a> {
    id: &'a Id,
    spec: &'a Spec,
    config: Config,
    initdata: Initdata,
    network_namespace: PathBuf,
    dir: StateDir,
}

impl<'a> Plan<'a> {
    fn new(id: &'a Id, spec: &'a Spec, config: Config) -> Result<Self, ShimError> {
        let annotation = spec.annotation(spec::INITDATA).ok_or_else(|| {
            let detail = format!("the pod has no annotation {}", spec::INITDATA);
            ShimError::coded(Code::InitdataMissing, detail)
        })?;
        let initdata = Initdata::from_annotation(annotation)
            .map_err(|error| ShimError::coded(Code::from(&error), chain(&error)))?;
        let network_namespace = spec.network_namespace().ok_or_else(|| {
            let detail = "the pod uses the host's network, which no VM can";
            ShimError::coded(Code::NetworkRefused, detail)
        })?;
        let network_namespace = network_namespace.to_owned();
        let dir = StateDir::new(&config.state_dir, id);
        Ok(Self { id, spec, config, initdata, network_namespace, dir })
    }

    async fn carry_out(&self, outside: &Outside) -> Result<Launched, ShimError> {
        let hierarchies = Hierarchies::of_host()?;
        let cgroups = hierarchies.folders(self.spec.cgroups_path())?;
        let mut state = State { version: 1, vmm: None, network_namespace: None, cgroups: vec![] };
        // From here on whatever is made is found again after a crash.
        self.dir.write(&state)?;
        let status =
            Arc::new(StatusFile::new(self.dir.path().join("status.json"), self.id.as_str()));
        let host_data = self.initdata.host_data();
        status.update(|status| status.host_data = Some(hex::encode(host_data)));
        state.cgroups = cgroup::create(&cgroups)?;
        self.dir.write(&state)?;
        let image = self.dir.path().join("initdata.img");
        let bytes = self
            .initdata
            .to_device_image()
            .map_err(|error| ShimError::coded(Code::from(&error), chain(&error)))?;
        std::fs::write(&image, bytes).map_err(|source| ShimError::File {
            action: "write",
            path: image.clone(),
            source,
        })?;
        state.network_namespace = Some(self.network_namespace.clone());
        self.dir.write(&state)?;
        let network = match outside.network.attach(&self.network_namespace).await {
            Ok(network) => network,
            Err(error) => {
                // A failed attach leaves nothing: what is there belongs to another sandbox.
                state.network_namespace = None;
                self.dir.write(&state)?;
                return Err(error.into());
            }
        };
        let vm_config = self.vm_config(&network, image, cgroups.clone())?;
        // E2: the owner's reference values decide; the operator is told here.
        let acpi_from_host = vm_config.tee.takes_acpi_from_host(vm_config.vcpus);
        if acpi_from_host {
            let vcpus = vm_config.vcpus.get();
            tracing::warn!(vcpus, "the guest takes ACPI code from this host");
        }
        // E13: before anything secret is in the VM.
        let confidential = vm_config.tee.is_confidential();
        if !confidential {
            tracing::warn!(
                "not confidential: the software TEE leaves the VM's memory to this host"
            );
        }
        status.update(|status| {
            status.acpi_from_host = Some(acpi_from_host);
            status.confidential = Some(confidential);
        });
        let vm: Arc<dyn Vm> = outside
            .vmm
            .launch(&vm_config)
            .await
            .map_err(|error| ApiError::new(error.code(), chain(&error)))?
            .into();
        state.vmm = VmmProcess::of(vm.pid()).ok();
        self.dir.write(&state)?;
        status.update(|status| {
            status.phase = Phase::Booting;
            status.vmm_pid = Some(vm.pid());
            status.launch_digest = vm.launch_digest().map(|digest| digest.to_string());
        });
        status.mark("vm_start");
        // E2, E13: whoever watches the node sees which pods hide nothing, or take its ACPI code.
        outside.events.publish(events::LAUNCHED, events::launched(&status.current()));
        Ok(Launched {
            network: projection::set_network(&network, &self.dns(), self.hostname()),
            vm,
            status,
            dir: self.dir.clone(),
            network_namespace: self.network_namespace.clone(),
            hierarchies,
            cgroups,
            made_cgroups: state.cgroups,
            config: self.config.clone(),
        })
    }

    fn vm_config(
        &self,
        network: &GuestNetwork,
        initdata: PathBuf,
        cgroups: Vec<PathBuf>,
    ) -> Result<VmConfig, ShimError> {
        let invalid = |error| ShimError::coded(Code::ConfigInvalid, error);
        let (vcpus, memory) =
            projection::vm_size(&self.config, self.spec.sizing()?).map_err(invalid)?;
        let nics = network.nics.iter().map(|nic| Nic {
            tap: nic.tap.clone(),
            mac: MacAddress(nic.mac),
            mtu: u16::try_from(nic.mtu).unwrap_or(u16::MAX),
        });
        Ok(VmConfig {
            name: VmName::new(self.id.as_str()).map_err(invalid)?,
            tee: self.config.tee.clone(),
            vcpus,
            memory,
            guest_image: self.config.guest_image.clone(),
            initdata: Some(initdata),
            initdata_digest: InitdataDigest::from_bytes(&self.initdata.digest())
                .map_err(|error| ShimError::coded(Code::InitdataInvalid, error))?,
            network: Some(Network {
                namespace: self.network_namespace.clone(),
                nics: nics.collect(),
            }),
            runtime_dir: self.dir.path().to_owned(),
            cgroups,
            qemu: self.config.qemu.clone(),
            acceleration: self.config.acceleration,
            console: self.console()?,
        })
    }

    /// kubelet always gives a hostname; for other clients the pod's id is one.
    fn hostname(&self) -> &str {
        match self.spec.hostname.as_str() {
            "" => self.id.as_str().get(..MAX_LABEL).unwrap_or(self.id.as_str()),
            hostname => hostname,
        }
    }

    fn console(&self) -> Result<Option<PathBuf>, ShimError> {
        let Some(dir) = &self.config.console_dir else { return Ok(None) };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|source| ShimError::File { action: "make", path: dir.clone(), source })?;
        Ok(Some(dir.join(format!("{}.log", self.id))))
    }

    /// The pod's DNS settings, from the file that containerd mounts as its `resolv.conf`.
    fn dns(&self) -> Dns {
        let mount = self.spec.mounts.iter().find(|mount| mount.destination == "/etc/resolv.conf");
        let Some(mount) = mount else { return Dns::default() };
        match read_capped(Path::new(&mount.source)) {
            Ok(text) => Dns::parse(&text),
            Err(error) => {
                tracing::warn!(%error, path = mount.source, "the pod's DNS settings are not read");
                Dns::default()
            }
        }
    }
}

/// Longest label of a name, in bytes (RFC 1035, 2.3.4).
const MAX_LABEL: usize = 63;

fn read_capped(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(resolv_conf::MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// An error with its causes, on one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some errors repeat their cause.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
