// SPDX-License-Identifier: Apache-2.0
//! `casemate policy`: writing policies.

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use casemate_agent_api::Code;
use casemate_image_crypt::Kek;
use casemate_image_crypt::Kid;
use casemate_image_pull::KeySource;
use casemate_image_pull::KeyUnavailable;
use casemate_image_pull::Puller;
use casemate_image_pull::Reference;
use casemate_image_pull::ResolvedImage;
use casemate_image_pull::Settings;
use casemate_image_pull::resolve_layout;
use casemate_policy::Broker;
use casemate_policy::GuestConfig;
use casemate_policy::Registry;
use casemate_policy::User;
use casemate_policy_generate::GenerateError;
use casemate_policy_generate::Generated;
use casemate_policy_generate::Image;
use casemate_policy_generate::ImageConfig;
use casemate_policy_generate::ImageName;
use casemate_policy_generate::Pod;
use casemate_policy_generate::Users;

use crate::args::GenerateArgs;
use crate::args::Pair;
use crate::failure::Failure;
use crate::failure::chain;
use crate::file;
use crate::image::KEY_SIZE;

/// Writes policy, initdata and the pod that carries them.
pub(crate) fn generate(args: &GenerateArgs) -> Result<(), Failure> {
    let max = u64::try_from(Pod::MAX_BYTES).unwrap_or(u64::MAX);
    let text = file::read_text(&args.file, max)?;
    let pod = Pod::parse(&text).map_err(|error| refused(&args.file, &error))?;
    let config = guest_config(args)?;
    let keys = KeyFiles(&args.image_key);
    let images = resolve(&pod, &config, &args.image_layout, &keys)?;
    let generated = casemate_policy_generate::generate(&pod, &images, &config)
        .map_err(|error| refused(&args.file, &error))?;

    for warning in &generated.warnings {
        eprintln!("warning: {warning}");
    }
    write(args, &generated)
}

fn write(args: &GenerateArgs, generated: &Generated) -> Result<(), Failure> {
    if let Some(path) = &args.policy_out {
        file::write(Some(path), &generated.policy.to_toml())?;
    }
    if let Some(path) = &args.initdata_out {
        file::write(Some(path), generated.initdata.as_str())?;
    }
    file::write(args.output.as_deref(), &generated.pod_yaml)
}

fn refused(file: &Path, error: &GenerateError) -> Failure {
    Failure::new("pod", format_args!("{}: {}", file.display(), chain(error)), error.next_step())
}

fn guest_config(args: &GenerateArgs) -> Result<GuestConfig, Failure> {
    let mut registries = Vec::new();
    for Pair { key: host, value: path } in &args.registry_ca {
        let mirror = args.registry_mirror.iter().find(|mirror| mirror.key == *host);
        registries.push(Registry {
            host: host.clone(),
            location: mirror.map(|mirror| mirror.value.clone()),
            ca: file::read_text(Path::new(path), MAX_CA)?,
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
        Broker { url: args.broker_url.clone(), ca: file::read_text(&args.broker_ca, MAX_CA)? };
    let config = GuestConfig::new(broker, registries);
    config.validate().map_err(|error| Failure::new("config.invalid", chain(&error), next))?;
    Ok(config)
}

/// Reads what manifest, configuration and layers say of every image of the pod.
fn resolve(
    pod: &Pod,
    config: &GuestConfig,
    layouts: &[Pair],
    keys: &KeyFiles<'_>,
) -> Result<BTreeMap<ImageName, Image>, Failure> {
    let layouts = layouts_by_image(pod, layouts)?;
    let settings = Settings { registries: config.registries.clone(), ..Settings::default() };
    let puller = Puller::new(settings)
        .map_err(|error| Failure::new("config.invalid", chain(&error), "check the CA files"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::new("internal", error, "check the limits of this process"))?;
    runtime.block_on(async {
        let mut images = BTreeMap::new();
        for name in pod.images() {
            let layout = layouts.get(&name).map(|path| Path::new(path.as_str()));
            let image = resolve_image(&puller, &name, layout, keys).await;
            images.insert(name.clone(), image.map_err(|f| f.about(format_args!("image {name}")))?);
        }
        Ok(images)
    })
}

/// The layouts of the command line; each must be for an image that the pod names.
fn layouts_by_image(pod: &Pod, layouts: &[Pair]) -> Result<BTreeMap<ImageName, String>, Failure> {
    let images = pod.images();
    let mut found = BTreeMap::new();
    for Pair { key, value } in layouts {
        let name = key.parse().ok().filter(|name| images.contains(name)).ok_or_else(|| {
            let message = format!("--image-layout {key}: the pod has no such image");
            Failure::new("image-layout", message, "write the name as it stands in the pod")
        })?;
        found.insert(name, value.clone());
    }
    Ok(found)
}

async fn resolve_image(
    puller: &Puller,
    name: &ImageName,
    layout: Option<&Path>,
    keys: &KeyFiles<'_>,
) -> Result<Image, Failure> {
    let pull_failure = |error: casemate_image_pull::PullError| Failure::coded(error.code(), &error);
    let resolved = match layout {
        Some(path) => resolve_layout(path, None).map_err(pull_failure)?,
        None => {
            let reference: Reference = name.to_string().parse().map_err(|error| {
                let error: casemate_image_pull::BadReference = error;
                Failure::new("image", chain(&error), "correct the image name in the pod")
            })?;
            puller.resolve(&reference).await.map_err(pull_failure)?
        }
    };
    let encrypted = resolved.manifest.layers().any(|(_, kind)| kind.encrypted);
    let accounts = match puller.accounts(&resolved, keys).await {
        Ok(accounts) => Some(accounts),
        // Without a key the users stay unknown; the generator warns.
        Err(_) if encrypted && keys.0.is_empty() => None,
        Err(error) => return Err(pull_failure(error)),
    };
    Ok(Image {
        digest: resolved.digest.to_string(),
        encrypted,
        config: image_config(&resolved),
        users: accounts.map(|accounts| -> Box<dyn Users> { Box::new(ImageUsers(accounts)) }),
    })
}

fn image_config(resolved: &ResolvedImage) -> ImageConfig {
    let config = &resolved.config;
    ImageConfig {
        env: config.env.clone(),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        working_dir: config.working_dir.clone(),
        user: config.user.clone(),
        stop_signal: config.stop_signal.clone(),
        volumes: config.volumes.clone(),
    }
}

/// Keys in files, by the name that the images' annotations use.
struct KeyFiles<'a>(&'a [Pair]);

#[async_trait]
impl KeySource for KeyFiles<'_> {
    async fn key(&self, kid: &Kid) -> Result<Kek, KeyUnavailable> {
        let unavailable = |reason: String| KeyUnavailable {
            kid: kid.clone(),
            code: Code::ResourceMissing,
            reason,
        };
        let pair = self.0.iter().find(|pair| pair.key == kid.as_str());
        let pair = pair.ok_or_else(|| unavailable("no --image-key names it".to_owned()))?;
        let key = file::read_secret::<KEY_SIZE>(Path::new(&pair.value))
            .map_err(|failure| unavailable(failure.to_string()))?;
        Kek::try_from(key.as_slice()).map_err(|error| unavailable(chain(&error)))
    }
}

/// The users that an image's layers hold.
struct ImageUsers(casemate_image_pull::Accounts);

impl Users for ImageUsers {
    fn user(&self, user: &str) -> Option<User> {
        self.0.user(user).ok()
    }
}

/// Most bytes of a file with a CA.
const MAX_CA: u64 = 64 * 1024;
