// SPDX-License-Identifier: Apache-2.0
//! Kinds of events (TCG PC Client Platform Firmware Profile, section 10.4.1).

use std::fmt;

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventKind(pub u32);

impl EventKind {
    /// EV_POST_CODE.
    pub const POST_CODE: Self = Self(0x01);
    /// EV_NO_ACTION: says something about the log and measures nothing.
    pub const NO_ACTION: Self = Self(0x03);
    /// EV_SEPARATOR.
    pub const SEPARATOR: Self = Self(0x04);
    /// EV_ACTION.
    pub const ACTION: Self = Self(0x05);
    /// EV_EVENT_TAG.
    pub const EVENT_TAG: Self = Self(0x06);
    /// EV_S_CRTM_CONTENTS.
    pub const CRTM_CONTENTS: Self = Self(0x07);
    /// EV_S_CRTM_VERSION.
    pub const CRTM_VERSION: Self = Self(0x08);
    /// EV_PLATFORM_CONFIG_FLAGS.
    pub const PLATFORM_CONFIG_FLAGS: Self = Self(0x0A);
    /// EV_IPL.
    pub const IPL: Self = Self(0x0D);
    /// EV_EFI_VARIABLE_DRIVER_CONFIG.
    pub const VARIABLE_DRIVER_CONFIG: Self = Self(0x8000_0001);
    /// EV_EFI_VARIABLE_BOOT.
    pub const VARIABLE_BOOT: Self = Self(0x8000_0002);
    /// EV_EFI_BOOT_SERVICES_APPLICATION.
    pub const BOOT_SERVICES_APPLICATION: Self = Self(0x8000_0003);
    /// EV_EFI_GPT_EVENT.
    pub const GPT: Self = Self(0x8000_0006);
    /// EV_EFI_ACTION.
    pub const EFI_ACTION: Self = Self(0x8000_0007);
    /// EV_EFI_PLATFORM_FIRMWARE_BLOB2.
    pub const FIRMWARE_BLOB2: Self = Self(0x8000_000A);
    /// EV_EFI_HANDOFF_TABLES2.
    pub const HANDOFF_TABLES2: Self = Self(0x8000_000B);
    /// EV_EFI_VARIABLE_BOOT2.
    pub const VARIABLE_BOOT2: Self = Self(0x8000_000C);
    /// EV_EFI_VARIABLE_AUTHORITY.
    pub const VARIABLE_AUTHORITY: Self = Self(0x8000_00E0);
    /// dstack's events of the running system; not one of TCG's.
    pub const DSTACK_RUNTIME: Self = Self(0x0800_0001);

    const NAMES: [(Self, &'static str); 19] = [
        (Self::POST_CODE, "EV_POST_CODE"),
        (Self::NO_ACTION, "EV_NO_ACTION"),
        (Self::SEPARATOR, "EV_SEPARATOR"),
        (Self::ACTION, "EV_ACTION"),
        (Self::EVENT_TAG, "EV_EVENT_TAG"),
        (Self::CRTM_CONTENTS, "EV_S_CRTM_CONTENTS"),
        (Self::CRTM_VERSION, "EV_S_CRTM_VERSION"),
        (Self::PLATFORM_CONFIG_FLAGS, "EV_PLATFORM_CONFIG_FLAGS"),
        (Self::IPL, "EV_IPL"),
        (Self::VARIABLE_DRIVER_CONFIG, "EV_EFI_VARIABLE_DRIVER_CONFIG"),
        (Self::VARIABLE_BOOT, "EV_EFI_VARIABLE_BOOT"),
        (Self::BOOT_SERVICES_APPLICATION, "EV_EFI_BOOT_SERVICES_APPLICATION"),
        (Self::GPT, "EV_EFI_GPT_EVENT"),
        (Self::EFI_ACTION, "EV_EFI_ACTION"),
        (Self::FIRMWARE_BLOB2, "EV_EFI_PLATFORM_FIRMWARE_BLOB2"),
        (Self::HANDOFF_TABLES2, "EV_EFI_HANDOFF_TABLES2"),
        (Self::VARIABLE_BOOT2, "EV_EFI_VARIABLE_BOOT2"),
        (Self::VARIABLE_AUTHORITY, "EV_EFI_VARIABLE_AUTHORITY"),
        (Self::DSTACK_RUNTIME, "dstack runtime event"),
    ];
}

impl fmt::Display for EventKind {
    /// TCG's name, or the number where this project has no use for one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(kind, _)| kind == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{:#010x}", self.0),
        }
    }
}
