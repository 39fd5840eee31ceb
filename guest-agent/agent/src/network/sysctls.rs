// SPDX-License-Identifier: Apache-2.0
//! Kernel settings of the pod. Network and System V IPC of all containers are the guest's own, so
//! the settings are, too, and are made once.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use casemate_policy::SysctlName;

use super::NetworkError;

/// Writes the settings below `root`, which is `/proc/sys` outside of tests.
///
/// # Errors
///
/// When the kernel has no such setting or refuses the value.
///
/// # Security
///
/// A11: the names are the owner's, and their type holds none that reaches beyond the pod; the host
/// has no way to name one.
pub(super) fn apply(
    root: &Path,
    sysctls: &BTreeMap<SysctlName, String>,
) -> Result<(), NetworkError> {
    for (name, value) in sysctls {
        write(root, name.as_str(), value).map_err(|source| NetworkError::Sysctl {
            name: name.as_str().to_owned(),
            value: value.clone(),
            source,
        })?;
    }
    Ok(())
}

fn write(root: &Path, name: &str, value: &str) -> io::Result<()> {
    // The path must exist: a setting is written, never made.
    let mut file = std::fs::File::options().write(true).open(root.join(name.replace('.', "/")))?;
    io::Write::write_all(&mut file, value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sysctls(name: &str, value: &str) -> BTreeMap<SysctlName, String> {
        let name = serde_json::from_value(serde_json::Value::String(name.to_owned())).unwrap();
        BTreeMap::from([(name, value.to_owned())])
    }

    #[test]
    fn settings_are_written_where_the_kernel_has_them() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("net/ipv4/ip_unprivileged_port_start");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "1024").unwrap();
        apply(root.path(), &sysctls("net.ipv4.ip_unprivileged_port_start", "0")).unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().starts_with('0'));
    }

    #[test]
    fn a_setting_that_the_kernel_lacks_is_named() {
        let root = tempfile::tempdir().unwrap();
        let error = apply(root.path(), &sysctls("net.ipv4.no_such", "1")).unwrap_err();
        assert_eq!(error.code(), casemate_agent_api::Code::GuestSysctl);
        assert!(error.to_string().contains("net.ipv4.no_such"));
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
