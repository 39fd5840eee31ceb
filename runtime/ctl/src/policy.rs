// SPDX-License-Identifier: Apache-2.0
//! `casemate policy`: writing policies, and reading them.

mod captured;
mod inputs;
mod registry_config;
mod resolve;
mod review;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use casemate_policy::Audit;
use casemate_policy::Broker;
use casemate_policy::GuestConfig;
use casemate_policy::ImageSignature;
use casemate_policy::Registry;
use casemate_policy::RegistryCredentials;
use casemate_policy_generate::GenerateError;
use casemate_policy_generate::Generated;
use casemate_policy_generate::Manifests;
use casemate_policy_generate::PodPolicy;

use crate::args::GenerateArgs;
use crate::args::Pair;
use crate::failure::Failure;
use crate::failure::Printable;
use crate::failure::chain;
use crate::file;

pub(crate) use review::check;
pub(crate) use review::compare;
pub(crate) use review::explain;
pub(crate) use review::find_weak_spots;
pub(crate) use review::replay;

/// Writes policies, initdata and the YAML that carries them.
pub(crate) fn generate(args: &GenerateArgs) -> Result<(), Failure> {
    let texts = inputs::read(&args.file)?;
    let signatures = inputs::signature_rules(&args.image_signature_key)?;
    let options = inputs::options(args, &signatures)?;
    let one_file = match texts.as_slice() {
        [only] => Some(only.name.clone()),
        _ => None,
    };
    let refused = |error: GenerateError| refused(one_file.as_deref(), &error);
    let manifests = Manifests::read(&inputs::manifests(&texts), &options).map_err(refused)?;
    let config = guest_config(args, &signatures)?;
    let images = resolve::resolve(args, &manifests, &config)?;
    let generated =
        casemate_policy_generate::generate(&manifests, &images, &config).map_err(refused)?;

    for warning in &generated.warnings {
        eprintln!("warning: {}", Printable(&warning.to_string()));
    }
    write(args, &generated)
}

fn write(args: &GenerateArgs, generated: &Generated) -> Result<(), Failure> {
    if let Some(path) = &args.policy_out {
        write_each(path, "policy", generated, |made| made.policy.to_toml())?;
    }
    if let Some(path) = &args.initdata_out {
        write_each(path, "initdata", generated, |made| made.initdata.as_str().to_owned())?;
    }
    file::write(args.output.as_deref(), &generated.yaml())
}

/// One file for one workload; one file for each in a folder if there are several or the folder is
/// there.
fn write_each(
    path: &Path,
    what: &str,
    generated: &Generated,
    text: impl Fn(&PodPolicy) -> String,
) -> Result<(), Failure> {
    if let ([only], false) = (generated.workloads.as_slice(), path.is_dir()) {
        return file::write(Some(path), &text(only));
    }
    fs::create_dir_all(path).map_err(|error| {
        let message = format!("failed to make the folder {}: {error}", path.display());
        Failure::new("file", message, "give a folder: there are several workloads")
    })?;
    let mut names: BTreeMap<PathBuf, ()> = BTreeMap::new();
    for made in &generated.workloads {
        let kind = made.kind.as_str().to_ascii_lowercase();
        let name = made.name.trim_end_matches('-');
        let stem = match &made.namespace {
            Some(namespace) => format!("{namespace}.{kind}-{name}"),
            None => format!("{kind}-{name}"),
        };
        let place = path.join(format!("{stem}.{what}.toml"));
        if names.insert(place.clone(), ()).is_some() {
            let message = format!("two workloads are called {stem}");
            return Err(Failure::new("pod", message, "give them in two calls"));
        }
        file::write(Some(&place), &text(made))?;
    }
    Ok(())
}

fn refused(file: Option<&str>, error: &GenerateError) -> Failure {
    let message = match file {
        Some(file) => format!("{file}: {}", chain(error)),
        None => chain(error),
    };
    Failure::new("pod", message, error.next_step())
}

fn guest_config(
    args: &GenerateArgs,
    signatures: &[inputs::SignatureKey],
) -> Result<GuestConfig, Failure> {
    let mut registries = Vec::new();
    for Pair { key: host, value: path } in &args.registry_ca {
        let mirror = args.registry_mirror.iter().find(|mirror| mirror.key == *host);
        registries.push(Registry {
            host: host.clone(),
            location: mirror.map(|mirror| mirror.value.clone()),
            ca: file::read_text(Path::new(path), MAX_PEM)?,
        });
    }
    let next = "correct the option of this name";
    if let Some(mirror) =
        args.registry_mirror.iter().find(|m| registries.iter().all(|r| r.host != m.key))
    {
        let message = format!("--registry-mirror {}: there is no --registry-ca for it", mirror.key);
        return Err(Failure::new("config.invalid", message, next));
    }
    let broker =
        Broker { url: args.broker_url.clone(), ca: file::read_text(&args.broker_ca, MAX_PEM)? };
    let mut config = GuestConfig::new(broker, registries);
    for signature in signatures {
        let key = file::read_text(&signature.file, MAX_PEM)?;
        config.image_signatures.insert(signature.name.clone(), ImageSignature { key });
    }
    for Pair { key: host, value: resource } in &args.guest_registry_credentials {
        let resource = resource.parse().map_err(|error| {
            let message = format!("--guest-registry-credentials {host}: {resource:?}: {error}");
            Failure::new("config.invalid", message, next)
        })?;
        let token_host = args.registry_token_host.iter().find(|pair| pair.key == *host);
        let token_host = token_host.map(|pair| pair.value.clone());
        let credentials = RegistryCredentials { host: host.clone(), resource, token_host };
        config.registry_credentials.push(credentials);
    }
    if let Some(path) = &args.audit_key {
        config.audit = Some(Audit { key: file::read_text(path, MAX_PEM)? });
    }
    config.validate().map_err(|error| Failure::new("config.invalid", chain(&error), next))?;
    Ok(config)
}

/// Most bytes of a file with a CA or a public key.
const MAX_PEM: u64 = 64 * 1024;
