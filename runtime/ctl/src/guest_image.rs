// SPDX-License-Identifier: Apache-2.0
//! `casemate guest-image`: building and checking guest images.

use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use casemate_guest_image::BuildError;
use casemate_guest_image::BuildInputs;
use casemate_guest_image::Crate;
use casemate_guest_image::IdBlockDemand;
use casemate_guest_image::IdBlockProblem;
use casemate_guest_image::ImageTee;
use casemate_guest_image::Kind;
use casemate_guest_image::KindName;
use casemate_guest_image::OutputError;
use casemate_guest_image::ReferenceValues;
use casemate_guest_image::SBOM_FILE;
use casemate_guest_image::inputs;
use casemate_guest_image::inputs::FetchError;
use casemate_guest_image::inputs::Held;
use casemate_guest_image::inputs::Lock;
use casemate_guest_image::libraries;
use casemate_guest_image::signature;
use casemate_guest_image::signature::SignatureError;
use casemate_launch_digest::id_block::KeyDigest;
use casemate_launch_digest::snp::GuestPolicy;
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

use crate::args::BuildArgs;
use crate::args::GuestKind;
use crate::args::LockArgs;
use crate::args::SbomArgs;
use crate::args::Tee;
use crate::args::VerifyArgs;
use crate::failure::Failure;
use crate::failure::chain;
use crate::file;

/// Builds a guest image and prints the digests of its parts.
pub(crate) fn build(args: &BuildArgs) -> Result<(), Failure> {
    let failed = |error| Failure::new("guest-image", chain(&error), next_step(&error));
    let tee = image_tee(args.tee);
    let lock = match &args.lock {
        Some(path) => Lock::read(path),
        None => Lock::of_this_release(tee),
    };
    let lock = lock.map_err(failed)?;
    if lock.tee() != tee {
        return Err(Failure::new(
            "guest-image",
            format_args!("the lock has firmware for {}, the image is for {tee}", lock.tee()),
            "give the --tee of the lock, or another lock",
        ));
    }
    let _held = Held::wait(&args.inputs).map_err(failed)?;
    let debian = inputs::prepare(&args.inputs, &lock).map_err(failed)?;
    let kind = match (args.kind, &args.sim_device) {
        (GuestKind::Sim, Some(device)) => Kind::Simulated { device },
        (GuestKind::Production, None) => Kind::Production,
        _ => {
            return Err(Failure::new(
                "guest-image",
                "the software TEE's device belongs into images of kind sim, and only there",
                "give --kind sim with --sim-device, or neither",
            ));
        }
    };
    if let Some(key) = &args.sign_key {
        // Before an earlier image is replaced.
        signed(key, b"")?;
    }
    let crates = crates(args)?;
    let inputs = BuildInputs {
        firmware: &debian.firmware,
        kernel: &debian.kernel,
        modules: &debian.modules,
        agent: &args.agent,
        lock: debian.lock.clone(),
        kind,
        crates: &crates,
    };
    let manifest = casemate_guest_image::build(&inputs, &args.out).map_err(|error| {
        let next = match &error {
            BuildError::Output(OutputError::Holds { .. } | OutputError::Taken { .. }) => {
                "move it elsewhere, or give another --out"
            }
            _ => "correct the input that the message names",
        };
        Failure::new("guest-image", chain(&error), next)
    })?;
    if let Some(key) = &args.sign_key {
        sign(key, &args.out)?;
    }
    let parts = manifest.parts.iter();
    let text = parts.fold(String::new(), |text, (name, part)| {
        format!("{text}{}  {name}  {} bytes\n", part.sha256, part.size)
    });
    file::write(None, &text)
}

fn crates(args: &BuildArgs) -> Result<Vec<Crate>, Failure> {
    let Some(path) = &args.cargo_metadata else { return Ok(Vec::new()) };
    let kind = match args.kind {
        GuestKind::Production => KindName::Production,
        GuestKind::Sim => KindName::Simulated,
    };
    let metadata = file::read(path, MAX_METADATA)?;
    let mut crates = casemate_guest_image::crates(&metadata, kind).map_err(|error| {
        Failure::new(
            "guest-image",
            format_args!("{}: {}", path.display(), chain(&error)),
            "write it with: cargo metadata --format-version 1",
        )
    })?;
    let agent = file::read(&args.agent, MAX_METADATA)?;
    if was_linked_here(&agent) {
        for library in crates.iter_mut().filter_map(|part| part.library.as_mut()) {
            library.version = library.package.as_deref().and_then(installed);
        }
    }
    Ok(crates)
}

/// Whether the program was linked with the C library that is installed here; the versions of the
/// other libraries, which it does not tell, are then taken to be those that are installed too.
fn was_linked_here(program: &[u8]) -> bool {
    let libraries = libraries(program);
    let libc = libraries.iter().find(|library| library.name == "glibc");
    libc.and_then(|libc| libc.package.as_deref())
        .and_then(installed)
        .is_some_and(|installed| libc.and_then(|libc| libc.version.as_ref()) == Some(&installed))
}

/// The version of a Debian package that is installed here.
fn installed(package: &str) -> Option<String> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status} ${Version}", package]);
    let output = query.stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.strip_prefix("installed ").map(str::to_owned)
}

fn sign(key: &Path, folder: &Path) -> Result<(), Failure> {
    let values = file::read(&folder.join(ReferenceValues::FILE), ReferenceValues::MAX_SIZE)?;
    file::write_bytes(&folder.join(ReferenceValues::SIGNATURE), &signed(key, &values)?)
}

fn signed(key: &Path, message: &[u8]) -> Result<Vec<u8>, Failure> {
    let pem = Zeroizing::new(file::read(key, MAX_KEY_FILE)?);
    signature::sign(&pem, message, &SystemRandom::new()).map_err(|error| {
        Failure::new(
            "key",
            format_args!("{}: {error}", key.display()),
            "make a key: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out FILE",
        )
    })
}

/// Prints the bill of materials of an image that is what its manifest says.
pub(crate) fn sbom(args: &SbomArgs) -> Result<(), Failure> {
    demand_whole(&args.dir)?;
    demand_values(&args.dir)?;
    let bill = file::read_text(&args.dir.join(SBOM_FILE), MAX_METADATA)?;
    file::write(None, &bill)
}

/// Fetches the newest packages and writes the lock that names them.
pub(crate) fn lock(args: &LockArgs) -> Result<(), Failure> {
    let failed = |error| Failure::new("guest-image", chain(&error), next_step(&error));
    let _held = Held::wait(&args.inputs).map_err(failed)?;
    let lock = inputs::lock_newest(&args.inputs, image_tee(args.tee)).map_err(failed)?;
    file::write(args.out.as_deref(), &lock.to_json())
}

const fn image_tee(tee: Tee) -> ImageTee {
    match tee {
        Tee::Snp => ImageTee::Snp,
        Tee::Tdx => ImageTee::Tdx,
    }
}

fn next_step(error: &FetchError) -> &'static str {
    match error {
        FetchError::NotOffered { .. } => {
            "put the locked packages of a release bundle into the --inputs directory, or lock the offered ones: casemate guest-image lock"
        }
        FetchError::Altered { .. } => "remove that file and fetch it again",
        FetchError::Lock { .. } | FetchError::LockFormat => {
            "write the lock again: casemate guest-image lock"
        }
        _ => {
            "check the machine's apt sources, or put the locked packages into the --inputs directory"
        }
    }
}

/// Compares a guest image with its manifest, its reference values and its ID blocks, and checks the
/// values' signature if a key is given.
pub(crate) fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    demand_whole(&args.dir)?;
    demand_values(&args.dir)?;
    let mut text =
        "every part is as the manifest says, and so are the reference values\n".to_owned();
    if let Some(key) = &args.key {
        demand_signature(&args.dir, key)?;
        text.push_str("the reference values are signed by this key\n");
    } else if has_signature(&args.dir)? {
        text.push_str("signature not checked: give --key\n");
    }
    text.push_str(&id_blocks(args)?);
    file::write(None, &text)
}

/// Whether a signature lies there, which must look like one.
fn has_signature(folder: &Path) -> Result<bool, Failure> {
    let path = folder.join(ReferenceValues::SIGNATURE);
    if !path.exists() {
        return Ok(false);
    }
    if signature::is_well_formed(&file::read(&path, MAX_KEY_FILE)?) {
        return Ok(true);
    }
    Err(Failure::new(
        "guest-image.signature",
        format_args!("{} is no signature on P-384", path.display()),
        DO_NOT_ACCEPT,
    )
    .refused())
}

fn demand_signature(folder: &Path, key: &Path) -> Result<(), Failure> {
    let path = folder.join(ReferenceValues::SIGNATURE);
    if !path.exists() {
        return Err(Failure::new(
            "guest-image.unsigned",
            format_args!("{} is missing: nobody signed the reference values", path.display()),
            "copy it from the release bundle, or sign: casemate guest-image build --sign-key",
        )
        .refused());
    }
    let values = file::read(&folder.join(ReferenceValues::FILE), ReferenceValues::MAX_SIZE)?;
    let found = file::read(&path, MAX_KEY_FILE)?;
    signature::verify(&file::read(key, MAX_KEY_FILE)?, &values, &found).map_err(|error| match error
    {
        SignatureError::NoKey => Failure::new(
            "key",
            format_args!("{}: {error}", key.display()),
            "give the public key: openssl pkey -in KEY -pubout",
        ),
        _ => Failure::new("guest-image.signature", error, DO_NOT_ACCEPT).refused(),
    })
}

/// Judges the ID blocks and says what they bind.
fn id_blocks(args: &VerifyArgs) -> Result<String, Failure> {
    let policy = GuestPolicy::from_bits(args.policy)
        .map_err(|error| Failure::new("id-block", error, "give a policy with bit 17 set"))?;
    let demand = IdBlockDemand { policy, id_key: args.id_key_digest.map(KeyDigest) };
    let bound = casemate_guest_image::verify_id_blocks(&args.dir, &demand).map_err(|problem| {
        let (code, next) = advice(&problem);
        let failure = Failure::new(code, chain(&problem), next);
        // Of a judged pair; a file that is none, or cannot be read, is not judged.
        if code.contains('.') { failure.refused() } else { failure }
    })?;
    Ok(bound.iter().fold(String::new(), |text, launch| {
        let (block, auth) = (launch.identity.block(), launch.identity.auth());
        let (vcpus, models) = (launch.vcpus, launch.vcpu_types.join(" "));
        let (policy, key) = (block.policy.bits(), auth.id_key().digest());
        format!("{text}id-block-{vcpus}.bin binds {models}, policy {policy:#x}, by key {key}\n")
    }))
}

fn advice(problem: &IdBlockProblem) -> (&'static str, &'static str) {
    const AGAIN: &str = "make both files again: casemate idblock create";
    match problem {
        IdBlockProblem::Half { .. } => {
            ("id-block.missing", "copy the missing file, or remove the other one")
        }
        IdBlockProblem::Signature { .. } => ("id-block.signature", AGAIN),
        IdBlockProblem::Digest { .. } => (
            "id-block.digest",
            "make both files again for a digest of reference-values.json: casemate idblock create",
        ),
        IdBlockProblem::Policy { .. } => (
            "id-block.policy",
            "give the policy that is meant: --policy; or make both files again for this one",
        ),
        IdBlockProblem::Key { .. } => {
            ("id-block.key", "do not launch with it, unless that key is yours too")
        }
        IdBlockProblem::Block { .. } | IdBlockProblem::Auth { .. } => ("id-block", AGAIN),
        _ => ("guest-image", "build the guest image again: casemate guest-image build"),
    }
}

fn demand_values(folder: &Path) -> Result<(), Failure> {
    let same = casemate_guest_image::verify_reference_values(folder)
        .map_err(|error| Failure::new("guest-image", chain(&error), DO_NOT_ACCEPT))?;
    if same {
        return Ok(());
    }
    let message = format_args!("{} is not what the files lead to", ReferenceValues::FILE);
    Err(Failure::new("guest-image", message, DO_NOT_ACCEPT).refused())
}

const DO_NOT_ACCEPT: &str = "do not accept guests by these reference values";

fn demand_whole(folder: &Path) -> Result<(), Failure> {
    let next = "build the guest image again: casemate guest-image build";
    let differences = casemate_guest_image::verify(folder)
        .map_err(|error| Failure::new("guest-image", chain(&error), next))?;
    if differences.is_empty() {
        return Ok(());
    }
    let list: Vec<_> = differences.iter().map(ToString::to_string).collect();
    let message = format_args!("{}: {}", folder.display(), list.join(", "));
    Err(Failure::new("guest-image", message, next).refused())
}

/// Largest output of `cargo metadata`, largest agent and largest bill of materials, in bytes.
const MAX_METADATA: u64 = 64 << 20;
/// Largest key or signature file, in bytes.
const MAX_KEY_FILE: u64 = 16 * 1024;
