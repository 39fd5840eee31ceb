// SPDX-License-Identifier: Apache-2.0
//! What registries, layouts and captured folders say of the images.

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use casemate_agent_api::Code;
use casemate_image_crypt::Kek;
use casemate_image_crypt::Kid;
use casemate_image_pull::Accounts;
use casemate_image_pull::BadReference;
use casemate_image_pull::Credentials;
use casemate_image_pull::KeySource;
use casemate_image_pull::KeyUnavailable;
use casemate_image_pull::PullError;
use casemate_image_pull::Puller;
use casemate_image_pull::Reference;
use casemate_image_pull::ResolvedImage;
use casemate_image_pull::Settings;
use casemate_image_pull::resolve_layout;
use casemate_policy::GuestConfig;
use casemate_policy::User;
use casemate_policy_generate::Image;
use casemate_policy_generate::ImageConfig;
use casemate_policy_generate::ImageName;
use casemate_policy_generate::Manifests;
use casemate_policy_generate::Users;

use super::captured::Captured;
use super::registry_config::RegistryConfig;
use crate::args::GenerateArgs;
use crate::args::Pair;
use crate::failure::Failure;
use crate::failure::chain;
use crate::file;
use crate::image::KEY_SIZE;

/// Reads what manifest, configuration and, where users matter, layers say of every image.
pub(super) fn resolve(
    args: &GenerateArgs,
    manifests: &Manifests,
    config: &GuestConfig,
) -> Result<BTreeMap<ImageName, Image>, Failure> {
    let names = manifests.images();
    let layouts = layouts_by_image(manifests, &args.image_layout)?;
    if let Some(folder) = &args.offline {
        let captured = Captured::open(folder)?;
        let resolve = |name: ImageName| {
            let (resolved, accounts) = captured.image(&name)?;
            let image = image(&resolved, accounts);
            Ok((name, image))
        };
        return names.into_iter().map(resolve).collect();
    }
    let registries = match &args.registry_config {
        Some(path) => RegistryConfig::read(path)?,
        None => RegistryConfig::default(),
    };
    let mut capture = args.capture.as_deref().map(Captured::open_or_make).transpose()?;
    let source = Source { args, config, registries: &registries };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::new("internal", error, "check the limits of this process"))?;
    let images = runtime.block_on(async {
        let mut images = BTreeMap::new();
        for name in names {
            let layout = layouts.get(&name).map(|path| Path::new(path.as_str()));
            let wants =
                |config: &ImageConfig| capture.is_some() || manifests.needs_users(&name, config);
            let found = source.resolve(&name, layout, wants).await;
            let (resolved, accounts) = found.map_err(|f| f.about(format_args!("image {name}")))?;
            if let Some(capture) = &mut capture {
                capture.keep(&name, &resolved, accounts.as_ref())?;
            }
            images.insert(name, image(&resolved, accounts));
        }
        Ok(images)
    })?;
    if let Some(capture) = capture {
        capture.finish()?;
    }
    Ok(images)
}

/// Where images are read.
struct Source<'a> {
    args: &'a GenerateArgs,
    config: &'a GuestConfig,
    registries: &'a RegistryConfig,
}

impl Source<'_> {
    async fn resolve(
        &self,
        name: &ImageName,
        layout: Option<&Path>,
        wants_users: impl Fn(&ImageConfig) -> bool,
    ) -> Result<(ResolvedImage, Option<Accounts>), Failure> {
        let puller = self.puller(name, layout.is_some())?;
        let resolved = match layout {
            Some(path) => resolve_layout(path, None).map_err(pull_failure)?,
            None => {
                let reference: Reference =
                    name.to_string().parse().map_err(|error: BadReference| {
                        Failure::new("image", chain(&error), "correct the image name in the YAML")
                    })?;
                puller.resolve(&reference).await.map_err(pull_failure)?
            }
        };
        if !wants_users(&image_config(&resolved)) {
            return Ok((resolved, None));
        }
        let keys = KeyFiles(&self.args.image_key);
        let encrypted = is_encrypted(&resolved);
        let accounts = match puller.accounts(&resolved, &keys).await {
            Ok(accounts) => Some(accounts),
            // Without a key the users stay unknown; the generator warns.
            Err(_) if encrypted && keys.0.is_empty() => None,
            Err(error) => return Err(pull_failure(error)),
        };
        Ok((resolved, accounts))
    }

    /// A puller that has this image's credentials and no other's.
    fn puller(&self, name: &ImageName, is_local: bool) -> Result<Puller, Failure> {
        let registries = &self.config.registries;
        let location = registries.iter().find(|r| r.host == name.registry);
        let host = location.and_then(|r| r.location.as_deref()).unwrap_or(&name.registry);
        let login = if is_local { None } else { self.registries.login(host, &name.repository)? };
        let token_hosts = &self.args.registry_token_host;
        let token_host = token_hosts.iter().find(|pair| pair.key == host);
        let credentials = login.map(|login| Credentials {
            registry: host.to_owned(),
            user: login.user,
            password: login.password,
            token_host: match token_host {
                Some(pair) => Some(pair.value.clone()),
                None => (host == DOCKER).then(|| DOCKER_TOKENS.to_owned()),
            },
        });
        let settings = Settings {
            registries: registries.clone(),
            credentials: credentials.into_iter().collect(),
            ..Settings::default()
        };
        Puller::new(settings)
            .map_err(|error| Failure::new("config.invalid", chain(&error), "check the CA files"))
    }
}

fn pull_failure(error: PullError) -> Failure {
    let code = error.code();
    match error {
        PullError::Challenge { .. } => Failure::new(
            code.as_str(),
            chain(&error),
            "check --registry-config; a token service at another host needs --registry-token-host",
        ),
        PullError::Denied { .. } => Failure::new(
            code.as_str(),
            chain(&error),
            "check the image's name, and give credentials with --registry-config",
        ),
        other => Failure::coded(code, &other),
    }
}

/// The layouts of the command line; each must be for an image that the YAML names.
fn layouts_by_image(
    manifests: &Manifests,
    layouts: &[Pair],
) -> Result<BTreeMap<ImageName, String>, Failure> {
    let images = manifests.images();
    let mut found = BTreeMap::new();
    for Pair { key, value } in layouts {
        let name = key.parse().ok().filter(|name| images.contains(name)).ok_or_else(|| {
            let message = format!("--image-layout {key}: the YAML has no such image");
            Failure::new("image-layout", message, "write the name as it stands in the YAML")
        })?;
        found.insert(name, value.clone());
    }
    Ok(found)
}

fn image(resolved: &ResolvedImage, accounts: Option<Accounts>) -> Image {
    Image {
        digest: resolved.digest.to_string(),
        encrypted: is_encrypted(resolved),
        config: image_config(resolved),
        users: accounts.map(|accounts| -> Box<dyn Users> { Box::new(ImageUsers(accounts)) }),
    }
}

fn is_encrypted(resolved: &ResolvedImage) -> bool {
    resolved.manifest.layers().any(|(_, kind)| kind.encrypted)
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
struct ImageUsers(Accounts);

impl Users for ImageUsers {
    fn user(&self, user: &str) -> Option<User> {
        self.0.user(user).ok()
    }
}

const DOCKER: &str = "docker.io";
/// Docker Hub's token service.
const DOCKER_TOKENS: &str = "auth.docker.io";
