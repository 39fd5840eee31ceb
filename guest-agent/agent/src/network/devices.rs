// SPDX-License-Identifier: Apache-2.0
//! Finds the devices that a request means.

use casemate_agent_api::request::Interface;
use casemate_agent_api::request::Network;

use super::NetworkError;

/// A network device of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mac: Vec<u8>,
    /// Whether the driver is virtio's.
    pub(super) is_virtio: bool,
}

/// The device of each interface.
///
/// # Security
///
/// E14: the loopback device and every other that is not virtio's is out of reach, whatever its
/// hardware address or name, and no name is taken from a device that the request does not mean.
pub(super) fn assign<'a>(
    network: &'a Network,
    devices: &[Device],
) -> Result<Vec<(u32, &'a Interface)>, NetworkError> {
    let mut assigned = Vec::with_capacity(network.interfaces.len());
    for interface in &network.interfaces {
        let name = || interface.name.to_string();
        let mut meant = devices.iter().filter(|d| d.is_virtio && d.mac == interface.mac.octets());
        let device = meant.next().ok_or_else(|| NetworkError::NoDevice { interface: name() })?;
        if meant.next().is_some() {
            return Err(NetworkError::TwoDevices { interface: name() });
        }
        assigned.push((device.index, interface));
    }
    for (_, interface) in &assigned {
        let other = devices.iter().find(|d| d.name == interface.name.as_str());
        let is_meant = |d: &Device| assigned.iter().any(|(index, _)| *index == d.index);
        if other.is_some_and(|d| !is_meant(d)) {
            return Err(NetworkError::NameTaken { interface: interface.name.to_string() });
        }
    }
    Ok(assigned)
}

#[cfg(test)]
mod tests {
    use casemate_agent_api::proto;

    use super::*;

    fn network(interfaces: &[(&str, u8)]) -> Network {
        let interfaces = interfaces
            .iter()
            .map(|(name, mac)| proto::Interface {
                name: (*name).into(),
                mac: vec![2, 0, 0, 0, 0, *mac],
                mtu: 1500,
                ..Default::default()
            })
            .collect();
        let message =
            proto::SetNetworkRequest { interfaces, hostname: "web".into(), ..Default::default() };
        message.try_into().unwrap()
    }

    fn device(index: u32, name: &str, mac: u8) -> Device {
        Device { index, name: name.into(), mac: vec![2, 0, 0, 0, 0, mac], is_virtio: true }
    }

    #[test]
    fn devices_are_found_by_hardware_address_even_when_names_swap() {
        let network = network(&[("eth0", 2), ("eth1", 1)]);
        let devices = [device(2, "eth0", 1), device(3, "eth1", 2)];
        let found = assign(&network, &devices).unwrap();
        let found: Vec<_> = found.iter().map(|(i, f)| (*i, f.name.as_str())).collect();
        assert_eq!(found, [(3, "eth0"), (2, "eth1")]);
    }

    #[test]
    fn only_one_virtio_device_may_be_meant() {
        // E14.
        let network = network(&[("eth0", 1)]);
        assert!(matches!(assign(&network, &[]), Err(NetworkError::NoDevice { .. })));
        let mut dummy = device(2, "dummy0", 1);
        dummy.is_virtio = false;
        assert!(matches!(assign(&network, &[dummy]), Err(NetworkError::NoDevice { .. })));
        let two = [device(2, "eth0", 1), device(3, "eth1", 1)];
        assert!(matches!(assign(&network, &two), Err(NetworkError::TwoDevices { .. })));
    }

    #[test]
    fn no_name_is_taken_from_another_device() {
        let network = network(&[("eth1", 1)]);
        let devices = [device(2, "eth0", 1), device(3, "eth1", 2)];
        assert!(matches!(assign(&network, &devices), Err(NetworkError::NameTaken { .. })));
    }
}
