// SPDX-License-Identifier: Apache-2.0
//! `casemate policy generate`.

use std::path::PathBuf;

use clap::Parser;

use super::Pair;
use super::pair;

#[derive(Debug, Parser)]
pub(crate) struct GenerateArgs {
    /// YAML or JSON of workloads and of the ConfigMaps that they refer to: a file, a folder of such
    /// files, or - for standard input; as often as needed
    #[arg(short, long, value_name = "FILE", required = true)]
    pub(crate) file: Vec<PathBuf>,
    /// The key broker, https://HOST[:PORT]
    #[arg(long, value_name = "URL")]
    pub(crate) broker_url: String,
    /// The one CA that the broker's certificate must chain to, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) broker_ca: PathBuf,
    /// The one CA of a registry, PEM; other registries need a certificate of the public web
    #[arg(long, value_name = "HOST=FILE", value_parser = pair)]
    pub(crate) registry_ca: Vec<Pair>,
    /// Where a registry of --registry-ca is reached, if not at its own name
    #[arg(long, value_name = "HOST=HOST", value_parser = pair)]
    pub(crate) registry_mirror: Vec<Pair>,
    /// Credentials for private registries: a config.json of Docker or an auth.json of Podman. They are
    /// used here and do not go into the guest
    #[arg(long, value_name = "FILE")]
    pub(crate) registry_config: Option<PathBuf>,
    /// The resource of the key broker with the guest's own credentials for a registry: a config.json of
    /// Docker; HOST is where the guest connects to. Other registries it uses without
    #[arg(long, value_name = "HOST=kbs:///REPOSITORY/TYPE/TAG", value_parser = pair)]
    pub(crate) guest_registry_credentials: Vec<Pair>,
    /// A token service at another host that may have the credentials of a registry
    #[arg(long, value_name = "HOST=HOST", value_parser = pair)]
    pub(crate) registry_token_host: Vec<Pair>,
    /// Read an image from an OCI layout and not from its registry
    #[arg(long, value_name = "IMAGE=DIR", value_parser = pair)]
    pub(crate) image_layout: Vec<Pair>,
    /// A key of encrypted images, 32 bytes: the users that an image names are read with it
    #[arg(long, value_name = "KEY_ID=FILE", value_parser = pair)]
    pub(crate) image_key: Vec<Pair>,
    /// Demand that images carry a cosign signature of this public key, PEM; with IMAGES= those alone
    /// whose names begin so
    #[arg(long, value_name = "[IMAGES=]FILE")]
    pub(crate) image_signature_key: Vec<String>,
    /// Ask no registry: take what --capture kept in this folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["capture", "registry_config", "image_layout"])]
    pub(crate) offline: Option<PathBuf>,
    /// Keep what registries say of the images in this folder, for --offline
    #[arg(long, value_name = "DIR")]
    pub(crate) capture: Option<PathBuf>,
    /// A volume whose content the host may choose: a ConfigMap that is not given, or that will change
    #[arg(long, value_name = "NAME")]
    pub(crate) untrusted_volume: Vec<String>,
    /// A resource of the key broker that a container gets as a file in the guest's memory
    #[arg(long, value_name = "CONTAINER:PATH=kbs:///REPOSITORY/TYPE/TAG", value_parser = pair)]
    pub(crate) secret: Vec<Pair>,
    /// The public key that the guest seals its audit records to, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_key: Option<PathBuf>,
    /// Where the annotated YAML goes; standard output if absent
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Where the policy goes, to be read by people; a folder if there are several
    #[arg(long, value_name = "FILE")]
    pub(crate) policy_out: Option<PathBuf>,
    /// Where the initdata document goes; a folder if there are several
    #[arg(long, value_name = "FILE")]
    pub(crate) initdata_out: Option<PathBuf>,
}
