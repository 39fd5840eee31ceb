// SPDX-License-Identifier: Apache-2.0
//! The command line.

mod audit;
mod collateral;
mod generate;
mod id_block;
mod measure;
mod review;
mod verify;

use std::path::PathBuf;

use casemate_image_crypt::Kid;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;

pub(crate) use audit::*;
pub(crate) use collateral::*;
pub(crate) use generate::*;
pub(crate) use id_block::*;
pub(crate) use measure::*;
pub(crate) use review::*;
pub(crate) use verify::*;

/// Confidential containers: policies, encrypted images, launch digests, verdicts.
#[derive(Debug, Parser)]
#[command(name = "casemate", version, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read what the host asked a guest for
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Say what this node can run
    Check(CheckArgs),
    /// Fetch and keep what verdicts need: certificates, revocation lists, TCB information
    #[command(subcommand)]
    Collateral(CollateralCommand),
    /// Print versions, names and paths
    Env(EnvArgs),
    /// Build and check guest images
    #[command(subcommand)]
    GuestImage(GuestImageCommand),
    /// Sign which guest may start, for the launch to be bound to it
    #[command(subcommand, name = "idblock")]
    IdBlock(IdBlockCommand),
    /// Prepare images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Predict what a guest's report will hold
    #[command(subcommand)]
    Measure(MeasureCommand),
    /// Write policies, and read them before they are trusted
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Judge evidence: exit code 0 affirming, 1 refused, 2 unusable input, 3 genuine but unbound
    #[command(subcommand)]
    Verify(Box<VerifyCommand>),
}

#[derive(Debug, Parser)]
pub(crate) struct CheckArgs {
    /// Fail unless this TEE can be used
    #[arg(long, value_name = "TEE")]
    pub(crate) require: Option<Tee>,
    /// Launch a guest that is never run, and print what KVM answered: a transcript to send in
    #[arg(long, value_name = "TEE", requires = "firmware", conflicts_with_all = ["require", "json"])]
    pub(crate) launch: Option<Tee>,
    /// The firmware of that guest
    #[arg(long, value_name = "FILE", requires = "launch")]
    pub(crate) firmware: Option<PathBuf>,
    /// The QEMU program
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/qemu-system-x86_64")]
    pub(crate) qemu: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A TEE of the hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tee {
    /// AMD SEV-SNP
    Snp,
    /// Intel TDX
    Tdx,
}

#[derive(Debug, Parser)]
pub(crate) struct EnvArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GuestImageCommand {
    /// Build a guest image; the same inputs give the same bytes
    Build(BuildArgs),
    /// Write a lock of the newest packages
    Lock(LockArgs),
    /// Print the bill of materials of a guest image, CycloneDX
    Sbom(SbomArgs),
    /// Compare the files of a guest image with its manifest, reference values and ID blocks
    Verify(VerifyArgs),
}

#[derive(Debug, Parser)]
pub(crate) struct BuildArgs {
    /// What the image is for
    #[arg(long, value_name = "KIND", default_value = "production")]
    pub(crate) kind: GuestKind,
    /// The TEE that it is for; kind sim is one of snp
    #[arg(long, value_name = "TEE", default_value = "snp")]
    pub(crate) tee: Tee,
    /// The guest agent, a static program
    #[arg(long, value_name = "FILE")]
    pub(crate) agent: PathBuf,
    /// The device of the software TEE, a static program; for kind sim
    #[arg(long, value_name = "FILE", required_if_eq("kind", "sim"))]
    pub(crate) sim_device: Option<PathBuf>,
    /// Directory of the kernel's and the firmware's packages, of a release bundle for instance;
    /// what is not there is fetched through apt
    #[arg(long, value_name = "DIR")]
    pub(crate) inputs: PathBuf,
    /// The packages to build from, if not those of this release
    #[arg(long, value_name = "FILE")]
    pub(crate) lock: Option<PathBuf>,
    /// Output of `cargo metadata --format-version 1` for the agent's sources: the bill of materials
    /// then lists its crates
    #[arg(long, value_name = "FILE")]
    pub(crate) cargo_metadata: Option<PathBuf>,
    /// A key that signs the reference values: P-384, PKCS#8 in PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) sign_key: Option<PathBuf>,
    /// Directory of the guest image; an earlier one is replaced if no other file lies in it
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Parser)]
pub(crate) struct LockArgs {
    /// The TEE that the firmware is for
    #[arg(long, value_name = "TEE", default_value = "snp")]
    pub(crate) tee: Tee,
    /// Directory that the packages are fetched into
    #[arg(long, value_name = "DIR")]
    pub(crate) inputs: PathBuf,
    /// Where the lock goes; standard output if absent
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// What a guest image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GuestKind {
    /// Hardware TEEs
    Production,
    /// The software TEE
    Sim,
}

#[derive(Debug, Parser)]
pub(crate) struct SbomArgs {
    /// Directory of the guest image
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Parser)]
pub(crate) struct VerifyArgs {
    /// Directory of the guest image
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Public key of whoever signed the reference values, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Fail unless each ID block binds this guest policy
    #[arg(long, value_name = "HEX", default_value = "0x30000", value_parser = id_block::word)]
    pub(crate) policy: u64,
    /// Fail unless this key signed each ID block: the id_key_digest that `idblock create` prints
    #[arg(long, value_name = "HEX", value_parser = id_block::bytes::<48>)]
    pub(crate) id_key_digest: Option<[u8; 48]>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Encrypt the layers of an image in an OCI layout
    Encrypt(EncryptArgs),
}

#[derive(Debug, Parser)]
pub(crate) struct EncryptArgs {
    /// File with the 32 bytes of the key
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: PathBuf,
    /// Name of the key at the broker
    #[arg(long, value_name = "kbs:///REPOSITORY/TYPE/TAG")]
    pub(crate) key_id: Kid,
    /// OCI layout to read
    #[arg(long, value_name = "DIR")]
    pub(crate) source: PathBuf,
    /// OCI layout to write; must not exist
    #[arg(long, value_name = "DIR")]
    pub(crate) dest: PathBuf,
    /// Name of the image in the layout, if it has several
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check that a policy is well-formed: exit code 1 if not
    Check(PolicyCheckArgs),
    /// Say what changed between two policies: exit code 1 if they differ
    Diff(DiffArgs),
    /// Say in plain sentences what a policy allows
    Explain(ExplainArgs),
    /// Write the policies of Kubernetes YAML, and the YAML that carries them
    Generate(Box<GenerateArgs>),
    /// Look for weak spots: exit code 1 if one is found that --deny names
    Lint(LintArgs),
    /// Ask a policy a list of requests: exit code 1 if an answer is not as expected
    Simulate(SimulateArgs),
}

/// `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) key: String,
    pub(crate) value: String,
}

fn pair(text: &str) -> Result<Pair, &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => {
            Ok(Pair { key: key.to_owned(), value: value.to_owned() })
        }
        _ => Err("expected KEY=VALUE"),
    }
}
