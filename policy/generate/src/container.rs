// SPDX-License-Identifier: Apache-2.0
//! One container as the YAML says it.

use std::path::Path;
use std::path::PathBuf;

use casemate_policy::Purpose;
use casemate_policy::Restart;
use casemate_policy::Role;

use crate::ImageName;
use crate::context::Context;
use crate::env_source::EnvSpec;
use crate::error::GenerateError;
use crate::error::Invalid;
use crate::error::Warning;
use crate::reader::Reader;
use crate::resources::ContainerResources;
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
    pub(crate) handlers: Vec<Handler>,
    pub(crate) stop_signal: Option<u32>,
    pub(crate) resources: ContainerResources,
}

/// A command of a probe or hook.
#[derive(Debug, Clone)]
pub(crate) struct Handler {
    pub(crate) path: String,
    pub(crate) purpose: Purpose,
    pub(crate) command: Vec<String>,
}

/// A volume that a container sees.
#[derive(Debug, Clone)]
pub(crate) struct VolumeMount {
    pub(crate) path: String,
    pub(crate) volume: String,
    pub(crate) destination: String,
    pub(crate) readonly: bool,
    pub(crate) sub_path: Option<SubPath>,
}

/// A part of a volume.
#[derive(Debug, Clone)]
pub(crate) enum SubPath {
    /// As it stands.
    Plain(String),
    /// With `$(NAME)` in it.
    Expression(String),
}

/// Which list of the pod a container stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    Init,
    App,
    Ephemeral,
}

impl ContainerSpec {
    pub(crate) fn read(
        mut reader: Reader<'_>,
        list: List,
        pod_restart: Restart,
        context: &Context<'_>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, GenerateError> {
        let path = reader.path().to_owned();
        let name = reader.required_text("name")?.to_owned();
        let (reason, advice) = ("devices of the host are not trusted", "remove volumeDevices");
        reader.refuse("volumeDevices", reason, advice)?;
        check_ports(&mut reader, warnings)?;
        let (role, restart) = read_role(&mut reader, list, pod_restart, warnings)?;
        if list == List::Ephemeral {
            reader.refuse(
                "targetContainerName",
                "each container has processes of its own",
                "remove targetContainerName",
            )?;
        }
        let image = reader.required_text("image")?;
        let image = image.parse().map_err(|_| {
            let name = image.to_owned();
            GenerateError::invalid(reader.at("image"), Invalid::ImageName { name })
        })?;
        let mut handlers = read_probes(&mut reader, warnings)?;
        let stop_signal = read_lifecycle(&mut reader, &mut handlers, warnings)?;
        let termination_path = reader.text("terminationMessagePath")?;

        let spec = Self {
            role,
            restart,
            image,
            command: reader.texts("command")?.unwrap_or_default(),
            args: reader.texts("args")?.unwrap_or_default(),
            env: EnvSpec::read(&mut reader, &name, context, warnings)?,
            working_dir: reader.text("workingDir")?.unwrap_or_default().to_owned(),
            terminal: reader.flag("tty")?.unwrap_or(false),
            stdin: reader.flag("stdin")?.unwrap_or(false),
            security: ContainerSecurity::read(reader.object("securityContext")?, warnings)?,
            mounts: read_mounts(&mut reader, warnings)?,
            termination_path: clean_path(termination_path.unwrap_or(DEFAULT_TERMINATION_PATH)),
            handlers,
            stop_signal,
            resources: ContainerResources::read(&mut reader, warnings)?,
            path,
            name,
        };
        reader.ignore(INERT);
        reader.finish(warnings)?;
        Ok(spec)
    }
}

fn check_ports(reader: &mut Reader<'_>, warnings: &mut Vec<Warning>) -> Result<(), GenerateError> {
    for mut port in reader.objects("ports")? {
        port.refuse(
            "hostPort",
            "the pod has a network of its own",
            "remove hostPort and use a Service",
        )?;
        port.ignore(&["containerPort", "hostIP", "name", "protocol"]);
        port.finish(warnings)?;
    }
    Ok(())
}

/// What the container is and when kubelet starts it again. Init containers that have succeeded are
/// done with, whatever the pod's policy says.
fn read_role(
    reader: &mut Reader<'_>,
    list: List,
    pod_restart: Restart,
    warnings: &mut Vec<Warning>,
) -> Result<(Role, Restart), GenerateError> {
    let own = match reader.choice("restartPolicy", &["Always", "OnFailure", "Never"])? {
        None => None,
        Some("Always") => Some(Restart::Always),
        Some("OnFailure") => Some(Restart::OnFailure),
        Some(_) => Some(Restart::Never),
    };
    let by_rules = read_restart_rules(reader, warnings)?;
    let restart = own.unwrap_or(pod_restart);
    let restart = match by_rules {
        Some(Restart::Always) => Restart::Always,
        Some(_) if restart == Restart::Never => Restart::OnFailure,
        _ => restart,
    };
    Ok(match list {
        List::Init if own == Some(Restart::Always) => (Role::Sidecar, Restart::Always),
        List::Init if restart == Restart::Never => (Role::Init, Restart::Never),
        List::Init => (Role::Init, Restart::OnFailure),
        List::App => (Role::App, restart),
        List::Ephemeral => (Role::Ephemeral, Restart::Never),
    })
}

/// The least restart rule that covers `restartPolicyRules`.
fn read_restart_rules(
    reader: &mut Reader<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Option<Restart>, GenerateError> {
    let mut covering = None;
    for mut rule in reader.objects("restartPolicyRules")? {
        let path = rule.path().to_owned();
        rule.choice("action", &["Restart"])?;
        let mut codes = rule.required_object("exitCodes")?;
        let inverted = codes.choice("operator", &["In", "NotIn"])? == Some("NotIn");
        let has_zero = codes.ids("values")?.contains(&0);
        codes.finish_strictly()?;
        rule.finish_strictly()?;
        // A rule that hits code 0 starts the container again after success.
        if has_zero != inverted {
            covering = Some(Restart::Always);
        } else if covering.is_none() {
            covering = Some(Restart::OnFailure);
        }
        let text = "the guest does not tell exit codes apart but for 0: it allows a new start after \
                    every failure";
        warnings.push(Warning::new(path, text));
    }
    Ok(covering)
}

fn read_probes(
    reader: &mut Reader<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Handler>, GenerateError> {
    let mut handlers = Vec::new();
    for (field, purpose) in [
        ("startupProbe", Purpose::StartupProbe),
        ("livenessProbe", Purpose::LivenessProbe),
        ("readinessProbe", Purpose::ReadinessProbe),
    ] {
        let Some(mut probe) = reader.object(field)? else { continue };
        handlers.extend(read_exec(&mut probe, purpose)?);
        probe.ignore(&["httpGet", "tcpSocket", "grpc"]);
        probe.ignore(&[
            "failureThreshold",
            "initialDelaySeconds",
            "periodSeconds",
            "successThreshold",
            "terminationGracePeriodSeconds",
            "timeoutSeconds",
        ]);
        probe.finish(warnings)?;
    }
    Ok(handlers)
}

fn read_lifecycle(
    reader: &mut Reader<'_>,
    handlers: &mut Vec<Handler>,
    warnings: &mut Vec<Warning>,
) -> Result<Option<u32>, GenerateError> {
    let Some(mut lifecycle) = reader.object("lifecycle")? else { return Ok(None) };
    for (field, purpose) in [("postStart", Purpose::PostStart), ("preStop", Purpose::PreStop)] {
        let Some(mut hook) = lifecycle.object(field)? else { continue };
        handlers.extend(read_exec(&mut hook, purpose)?);
        hook.ignore(&["httpGet", "tcpSocket", "sleep"]);
        hook.finish(warnings)?;
    }
    let stop_signal = lifecycle.text("stopSignal")?;
    let number = stop_signal.map(|name| {
        signal::number(name).ok_or_else(|| {
            let name = name.to_owned();
            GenerateError::invalid(lifecycle.at("stopSignal"), Invalid::Signal { name })
        })
    });
    lifecycle.finish(warnings)?;
    number.transpose()
}

/// The command of a probe or hook that runs one.
fn read_exec(reader: &mut Reader<'_>, purpose: Purpose) -> Result<Option<Handler>, GenerateError> {
    let Some(mut exec) = reader.object("exec")? else { return Ok(None) };
    let command = exec.texts("command")?.unwrap_or_default();
    let path = exec.at("command");
    if command.is_empty() {
        return Err(GenerateError::invalid(path, Invalid::Missing));
    }
    exec.finish_strictly()?;
    Ok(Some(Handler { path, purpose, command }))
}

fn read_mounts(
    reader: &mut Reader<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<VolumeMount>, GenerateError> {
    let mut mounts = Vec::new();
    for mut mount in reader.objects("volumeMounts")? {
        let propagation =
            mount.choice("mountPropagation", &["None", "HostToContainer", "Bidirectional"])?;
        match propagation {
            Some("Bidirectional") => {
                return Err(GenerateError::refused(
                    mount.at("mountPropagation"),
                    "mounts do not travel out of a container",
                    "remove mountPropagation",
                ));
            }
            Some("HostToContainer") => {
                let text = "nothing is ever mounted into the guest's volumes later";
                warnings.push(Warning::new(mount.at("mountPropagation"), text));
            }
            _ => {}
        }
        mount.ignore(&["recursiveReadOnly"]);
        let plain = mount.text("subPath")?.filter(|text| !text.is_empty());
        let expression = mount.text("subPathExpr")?.filter(|text| !text.is_empty());
        let sub_path = match (plain, expression) {
            (None, None) => None,
            (Some(plain), None) => Some(SubPath::Plain(plain.to_owned())),
            (None, Some(expression)) => Some(SubPath::Expression(expression.to_owned())),
            (Some(_), Some(_)) => {
                let name = "subPath".to_owned();
                let problem = Invalid::Duplicate { name };
                return Err(GenerateError::invalid(mount.at("subPathExpr"), problem));
            }
        };
        let destination = mount.required_text("mountPath")?;
        mounts.push(VolumeMount {
            path: mount.path().to_owned(),
            volume: mount.required_text("name")?.to_owned(),
            destination: clean_path(destination),
            readonly: mount.flag("readOnly")?.unwrap_or(false),
            sub_path,
        });
        mount.finish_strictly()?;
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

/// Fields of a container that change nothing of what runs in the guest.
const INERT: &[&str] = &["imagePullPolicy", "stdinOnce", "terminationMessagePolicy"];
