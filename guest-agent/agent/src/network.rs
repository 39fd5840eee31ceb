// SPDX-License-Identifier: Apache-2.0
//! Sets the guest's network as the host says, within what `casemate_agent_api::request` lets pass.

mod devices;
mod files;
mod links;
mod sysctls;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_agent_api::request::Network;
use casemate_policy::SysctlName;

use crate::backend::ApplyNetwork;
use crate::boot::chain;
use crate::resolver::GuestResolver;

pub(crate) use files::PodFiles;
pub(crate) use links::loopback_up;

/// The kernel's network, and the settings that the policy has for it.
pub(crate) struct GuestNetwork {
    resolver: Arc<GuestResolver>,
    sysctls: BTreeMap<SysctlName, String>,
}

impl GuestNetwork {
    pub(crate) fn new(resolver: Arc<GuestResolver>, sysctls: BTreeMap<SysctlName, String>) -> Self {
        Self { resolver, sysctls }
    }
}

#[async_trait]
impl ApplyNetwork for GuestNetwork {
    async fn apply(&self, network: &Network) -> Result<(), ApiError> {
        let failed = |error: NetworkError| {
            tracing::error!(error = chain(&error), "network not set");
            ApiError::new(error.code(), chain(&error))
        };
        links::apply(network).await.map_err(failed)?;
        // Some settings exist once the interfaces do.
        sysctls::apply(Path::new("/proc/sys"), &self.sysctls).map_err(failed)?;
        let files = PodFiles::new(network, &[]);
        write_files(Path::new("/etc"), &files)
            .map_err(|source| failed(NetworkError::Files { source }))?;
        rustix::system::sethostname(network.hostname.as_str().as_bytes())
            .map_err(|errno| failed(NetworkError::Hostname { source: errno.into() }))?;
        self.resolver.configure(&network.dns).map_err(|error| ApiError::new(Code::Internal, error))
    }
}

/// The agent's own copies: its HTTPS client for the broker reads resolv.conf.
fn write_files(etc: &Path, files: &PodFiles) -> io::Result<()> {
    fs::create_dir_all(etc)?;
    fs::write(etc.join("hosts"), &files.hosts)?;
    fs::write(etc.join("hostname"), format!("{}\n", files.hostname))?;
    // A resolver that finds no server here would fall back to well-known ones of the internet.
    let resolv_conf = if files.resolv_conf.contains("nameserver ") {
        files.resolv_conf.clone()
    } else {
        format!("{}nameserver 127.0.0.1\n", files.resolv_conf)
    };
    fs::write(etc.join("resolv.conf"), resolv_conf)
}

/// The network cannot be set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NetworkError {
    #[error("failed to talk to the kernel about the network")]
    Netlink {
        #[source]
        source: io::Error,
    },
    #[error("failed to {action}")]
    Refused {
        action: String,
        #[source]
        source: rtnetlink::Error,
    },
    #[error("the guest has no virtio device with the hardware address of {interface}")]
    NoDevice { interface: String },
    #[error("two devices have the hardware address of {interface}")]
    TwoDevices { interface: String },
    #[error("the name {interface} belongs to another device")]
    NameTaken { interface: String },
    #[error("route {destination} cannot be expressed")]
    Route { destination: String },
    #[error("the kernel does not take sysctl {name} = {value:?}")]
    Sysctl {
        name: String,
        value: String,
        #[source]
        source: io::Error,
    },
    #[error("failed to write the name service files")]
    Files {
        #[source]
        source: io::Error,
    },
    #[error("failed to set the hostname")]
    Hostname {
        #[source]
        source: io::Error,
    },
}

impl NetworkError {
    fn code(&self) -> Code {
        match self {
            Self::Sysctl { .. } => Code::GuestSysctl,
            Self::Netlink { .. } | Self::Files { .. } | Self::Hostname { .. } => Code::Internal,
            _ => Code::NetworkRefused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(resolv_conf: &str) -> String {
        let etc = tempfile::tempdir().unwrap();
        let files = PodFiles {
            hostname: "web".into(),
            hosts: "127.0.0.1\tlocalhost\n".into(),
            resolv_conf: resolv_conf.into(),
        };
        write_files(etc.path(), &files).unwrap();
        assert_eq!(fs::read_to_string(etc.path().join("hostname")).unwrap(), "web\n");
        fs::read_to_string(etc.path().join("resolv.conf")).unwrap()
    }

    #[test]
    fn the_agents_own_resolver_never_finds_an_empty_file() {
        assert_eq!(written("nameserver 10.0.0.1\n"), "nameserver 10.0.0.1\n");
        assert_eq!(written(""), "nameserver 127.0.0.1\n");
        assert_eq!(written("options ndots:5\n"), "options ndots:5\nnameserver 127.0.0.1\n");
    }
}
