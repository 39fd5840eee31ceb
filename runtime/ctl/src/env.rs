// SPDX-License-Identifier: Apache-2.0
//! `casemate env`: what this build speaks and where its parts look.

use serde_json::json;

use crate::args::EnvArgs;
use crate::failure::Failure;
use crate::file;

/// Prints versions, names and paths.
pub(crate) fn print(args: &EnvArgs) -> Result<(), Failure> {
    let facts = [
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("policy_version", json!(casemate_policy::Policy::VERSION)),
        ("guest_config_version", json!(casemate_policy::GuestConfig::VERSION)),
        ("initdata_version", json!(casemate_boot_formats::initdata::VERSION)),
        ("containerd_runtime", json!("io.containerd.casemate.v2")),
        ("runtime_class", json!(casemate_policy_generate::DEFAULT_RUNTIME_CLASS)),
        ("initdata_annotation", json!(casemate_policy_generate::INITDATA_ANNOTATION)),
        ("exec_annotation", json!(casemate_policy_generate::EXEC_ANNOTATION)),
        ("handler_annotation", json!(casemate_policy_generate::HANDLER_ANNOTATION)),
        ("shim_config", json!("/etc/casemate/config.toml")),
        ("runtime_dir", json!("/run/casemate")),
    ];
    let text = if args.json {
        let object: serde_json::Map<_, _> =
            facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        format!("{}\n", serde_json::Value::Object(object))
    } else {
        facts.iter().fold(String::new(), |text, (name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{text}{name:<22}{value}\n")
        })
    };
    file::write(None, &text)
}
