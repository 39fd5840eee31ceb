// SPDX-License-Identifier: Apache-2.0
//! One container as the YAML says it.

use std::path::Path;
use std::path::PathBuf;

use casemate_policy::Restart;

use crate::ImageName;
use crate::env::EnvSpec;
use crate::error::GenerateError;
use crate::error::Invalid;
use crate::error::Warning;
use crate::quantity::Quantity;
use crate::reader::Reader;
use crate::security::ContainerSecurity;
use crate::signal;

/// One container of the pod.
#[derive(Debug, Clone)]
pub(crate) struct ContainerSpec {
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) restart: Restart,
    pub(crate) image: ImageName,
    pub(crate) command: Vec<String>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<EnvSpec>,
    pub(crate) working_dir: String,
    pub(crate) terminal: bool,
    pub(crate) stdin: bool,
    pub(crate) security: ContainerSecurity,
    pub(crate) mounts: Vec<VolumeMount>,
    pub(crate) termination_path: String,
    /// Commands of probes; `$(NAME)` stands for the container's own plain variables.
    pub(crate) probes: Vec<Vec<String>>,
    /// Commands of life-cycle hooks.
    pub(crate) hooks: Vec<Vec<String>>,
    pub(crate) stop_signal: Option<u32>,
    /// Bytes; none for a container without a limit.
    pub(crate) memory_limit: Option<u64>,
}

/// When a container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Beside the other app containers, after the init containers.
    App,
    /// Alone and before the next one.
    Init,
    /// Started before the next one and kept running (an init container that restarts always).
    Sidecar,
}

/// A volume that a container sees.
#[derive(Debug, Clone)]
pub(crate) struct VolumeMount {
    pub(crate) path: String,
    pub(crate) volume: String,
    pub(crate) destination: String,
    pub(crate) readonly: bool,
}

impl ContainerSpec {
    pub(crate) fn read(
        mut reader: Reader<'_>,
        role: Role,
        pod_restart: Restart,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, GenerateError> {
        let path = reader.path().to_owned();
        for (field, reason, advice) in REFUSED {
            reader.refuse(field, reason, advice)?;
        }
        check_ports(&mut reader)?;
        let (role, restart) = read_role(&mut reader, role, pod_restart)?;
        let image = reader.required_text("image")?;
        let image = image.parse().map_err(|_| {
            let name = image.to_owned();
            GenerateError::invalid(reader.at("image"), Invalid::ImageName { name })
        })?;
        let mut probes = Vec::new();
        for field in ["startupProbe", "livenessProbe", "readinessProbe"] {
            if let Some(mut probe) = reader.object(field)? {
                probes.extend(read_exec(&mut probe)?);
            }
        }
        let (hooks, stop_signal) = read_lifecycle(&mut reader)?;
        let termination_path = reader.text("terminationMessagePath")?;

        let spec = Self {
            name: reader.required_text("name")?.to_owned(),
            role,
            restart,
            image,
            command: reader.texts("command")?.unwrap_or_default(),
            args: reader.texts("args")?.unwrap_or_default(),
            env: EnvSpec::read(&mut reader, warnings)?,
            working_dir: reader.text("workingDir")?.unwrap_or_default().to_owned(),
            terminal: reader.flag("tty")?.unwrap_or(false),
            stdin: reader.flag("stdin")?.unwrap_or(false),
            security: ContainerSecurity::read(reader.object("securityContext")?, warnings)?,
            mounts: read_mounts(&mut reader, warnings)?,
            termination_path: clean_path(termination_path.unwrap_or(DEFAULT_TERMINATION_PATH)),
            probes,
            hooks,
            stop_signal,
            memory_limit: read_memory_limit(&mut reader, warnings)?,
            path,
        };
        reader.ignore(INERT);
        reader.finish(warnings);
        Ok(spec)
    }
}

fn check_ports(reader: &mut Reader<'_>) -> Result<(), GenerateError> {
    for mut port in reader.objects("ports")? {
        port.refuse(
            "hostPort",
            "the pod has a network of its own",
            "remove hostPort and use a Service",
        )?;
    }
    Ok(())
}

fn read_role(
    reader: &mut Reader<'_>,
    role: Role,
    pod_restart: Restart,
) -> Result<(Role, Restart), GenerateError> {
    match (role, reader.text("restartPolicy")?) {
        (role, None) => Ok((role, pod_restart)),
        (Role::Init, Some("Always")) => Ok((Role::Sidecar, Restart::Always)),
        (role, Some("Never")) => Ok((role, Restart::Never)),
        (role, Some("OnFailure")) => Ok((role, Restart::OnFailure)),
        (role, Some("Always")) => Ok((role, Restart::Always)),
        (_, Some(other)) => Err(GenerateError::invalid(
            reader.at("restartPolicy"),
            Invalid::Unknown { value: other.to_owned() },
        )),
    }
}

/// The limit that the guest enforces. What kubelet and scheduler make of the other amounts changes
/// where the pod runs and how large its VM is.
fn read_memory_limit(
    reader: &mut Reader<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Option<u64>, GenerateError> {
    let Some(mut resources) = reader.object("resources")? else { return Ok(None) };
    let advice = "remove the claims";
    resources.refuse("claims", "devices of the host are not trusted", advice)?;
    if let Some(mut requests) = resources.object("requests")? {
        for amount in ["cpu", "memory"] {
            requests.quantity(amount)?;
        }
    }
    let mut memory = None;
    if let Some(mut limits) = resources.object("limits")? {
        memory = limits.quantity("memory")?;
        limits.quantity("cpu")?;
        let names: Vec<&str> = limits.remaining().collect();
        for name in names {
            limits.warn(name, "not enforced in the guest", warnings);
        }
    }
    resources.finish(warnings);
    // Kubernetes takes 0 for "no limit".
    Ok(memory.map(Quantity::units).filter(|bytes| *bytes > 0))
}

/// The command of a probe or hook that runs one.
fn read_exec(handler: &mut Reader<'_>) -> Result<Option<Vec<String>>, GenerateError> {
    let Some(mut exec) = handler.object("exec")? else { return Ok(None) };
    let command = exec.texts("command")?.unwrap_or_default();
    if command.is_empty() {
        return Err(GenerateError::invalid(exec.at("command"), Invalid::Missing));
    }
    Ok(Some(command))
}

type Lifecycle = (Vec<Vec<String>>, Option<u32>);

fn read_lifecycle(reader: &mut Reader<'_>) -> Result<Lifecycle, GenerateError> {
    let Some(mut lifecycle) = reader.object("lifecycle")? else { return Ok((Vec::new(), None)) };
    let mut hooks = Vec::new();
    for field in ["postStart", "preStop"] {
        if let Some(mut hook) = lifecycle.object(field)? {
            hooks.extend(read_exec(&mut hook)?);
        }
    }
    let stop_signal = lifecycle.text("stopSignal")?;
    let number = stop_signal.map(|name| {
        signal::number(name).ok_or_else(|| {
            let name = name.to_owned();
            GenerateError::invalid(lifecycle.at("stopSignal"), Invalid::Signal { name })
        })
    });
    Ok((hooks, number.transpose()?))
}

fn read_mounts(
    reader: &mut Reader<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<VolumeMount>, GenerateError> {
    let mut mounts = Vec::new();
    for mut mount in reader.objects("volumeMounts")? {
        let advice = "mount the whole volume";
        mount.refuse("subPath", "only whole volumes are mounted", advice)?;
        mount.refuse("subPathExpr", "only whole volumes are mounted", advice)?;
        let propagation = mount.text("mountPropagation")?;
        if propagation.is_some_and(|value| value != "None") {
            return Err(GenerateError::refused(
                mount.at("mountPropagation"),
                "mounts do not travel between containers",
                "remove mountPropagation",
            ));
        }
        mount.ignore(&["recursiveReadOnly"]);
        let destination = mount.required_text("mountPath")?;
        mounts.push(VolumeMount {
            path: mount.path().to_owned(),
            volume: mount.required_text("name")?.to_owned(),
            destination: clean_path(destination),
            readonly: mount.flag("readOnly")?.unwrap_or(false),
        });
        mount.finish(warnings);
    }
    Ok(mounts)
}

/// The path without doubled and trailing slashes and without `.`, as the shim sends it. `..` stays, and
/// the policy refuses it.
pub(crate) fn clean_path(path: &str) -> String {
    Path::new(path).components().collect::<PathBuf>().to_string_lossy().into_owned()
}

/// Where kubelet looks for the termination message unless the container says otherwise.
const DEFAULT_TERMINATION_PATH: &str = "/dev/termination-log";

/// Fields of a container that are refused: field, reason, advice.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "envFrom",
        "its values come from the host",
        "write the variables out under env, or fetch secrets from the key broker",
    ),
    ("volumeDevices", "devices of the host are not trusted", "remove volumeDevices"),
];

/// Fields of a container that change nothing of what runs in the guest.
const INERT: &[&str] =
    &["imagePullPolicy", "resizePolicy", "stdinOnce", "terminationMessagePolicy"];
