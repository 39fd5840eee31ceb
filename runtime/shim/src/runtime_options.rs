// SPDX-License-Identifier: Apache-2.0
//! `runtimeoptions.v1.Options`: how containerd's configuration names another file for the shim.
//!
//! Source: containerd, `api/types/runtimeoptions/v1/api.proto` (`pkg/runtimeoptions/v1` in 1.6):
//! `type_url` = 1, `config_path` = 2, `config_body` = 3, all of them length-delimited.

use std::path::PathBuf;

use protobuf::CodedInputStream;
use protobuf::well_known_types::any::Any;

use crate::config::DEFAULT_PATH;
use crate::error::ShimError;

/// The path of the configuration file that the options of a create request name, or the default.
///
/// # Errors
///
/// [`ShimError::Malformed`] when the options are of another type, hold a configuration in line or
/// a relative path: none of these is ever silently ignored.
pub fn config_path(options: Option<&Any>) -> Result<PathBuf, ShimError> {
    let Some(options) = options.filter(|options| !options.type_url.is_empty()) else {
        return Ok(DEFAULT_PATH.into());
    };
    let name = options.type_url.rsplit('/').next().unwrap_or_default();
    if !TYPE_NAMES.contains(&name) {
        return Err(malformed(format_args!("type {name:?} is not that of this runtime")));
    }
    let parsed = parse(&options.value).map_err(malformed)?;
    if !parsed.body.is_empty() {
        return Err(malformed("a configuration in line is not supported, use ConfigPath"));
    }
    match parsed.path.as_str() {
        "" => Ok(DEFAULT_PATH.into()),
        path if path.starts_with('/') => Ok(path.into()),
        path => Err(malformed(format_args!("ConfigPath {path:?} is not absolute"))),
    }
}

struct Options {
    path: String,
    body: Vec<u8>,
}

fn parse(bytes: &[u8]) -> protobuf::Result<Options> {
    let mut input = CodedInputStream::from_bytes(bytes);
    let mut options = Options { path: String::new(), body: vec![] };
    while let Some(tag) = input.read_raw_tag_or_eof()? {
        match tag {
            TYPE_URL_TAG => drop(input.read_bytes()?),
            CONFIG_PATH_TAG => options.path = input.read_string()?,
            CONFIG_BODY_TAG => options.body = input.read_bytes()?,
            _ => return Err(std::io::Error::other("unknown field").into()),
        }
    }
    Ok(options)
}

fn malformed(reason: impl std::fmt::Display) -> ShimError {
    ShimError::Malformed { field: "runtime options", reason: reason.to_string() }
}

/// Names of the message in containerd's releases.
const TYPE_NAMES: [&str; 2] = ["runtimeoptions.v1.Options", "cri.runtimeoptions.v1.Options"];

const TYPE_URL_TAG: u32 = 1 << 3 | 2;
const CONFIG_PATH_TAG: u32 = 2 << 3 | 2;
const CONFIG_BODY_TAG: u32 = 3 << 3 | 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn any(type_url: &str, value: &[u8]) -> Any {
        Any { type_url: type_url.to_owned(), value: value.to_vec(), ..Any::default() }
    }

    /// `config_path = path`, as containerd writes it.
    fn with_path(path: &str) -> Vec<u8> {
        let mut value = vec![0x0a, 1, b't', 0x12, u8::try_from(path.len()).unwrap()];
        value.extend(path.bytes());
        value
    }

    #[test]
    fn no_options_mean_the_default() {
        assert_eq!(config_path(None).unwrap(), PathBuf::from(DEFAULT_PATH));
        assert_eq!(config_path(Some(&Any::default())).unwrap(), PathBuf::from(DEFAULT_PATH));
        let empty = any("runtimeoptions.v1.Options", &[]);
        assert_eq!(config_path(Some(&empty)).unwrap(), PathBuf::from(DEFAULT_PATH));
    }

    #[test]
    fn the_path_is_taken_from_either_name_of_the_type() {
        for name in ["runtimeoptions.v1.Options", "type.googleapis.com/runtimeoptions.v1.Options"] {
            let options = any(name, &with_path("/etc/other.toml"));
            assert_eq!(config_path(Some(&options)).unwrap(), PathBuf::from("/etc/other.toml"));
        }
    }

    #[test]
    fn nothing_is_ignored() {
        for options in [
            any("containerd.runc.v1.Options", &[]),
            any("runtimeoptions.v1.Options", &with_path("relative.toml")),
            any("runtimeoptions.v1.Options", &[0x1a, 1, b'x']),
            any("runtimeoptions.v1.Options", &[0x22, 1, b'x']),
        ] {
            assert!(config_path(Some(&options)).is_err(), "{options:?}");
        }
    }

    #[test]
    fn truncation_is_an_error() {
        let value = with_path("/etc/other.toml");
        // 3 bytes are the complete first field alone.
        for length in (1..value.len()).filter(|length| *length != 3) {
            let options = any("runtimeoptions.v1.Options", &value[..length]);
            assert!(config_path(Some(&options)).is_err(), "{length}");
        }
    }
}
