// SPDX-License-Identifier: Apache-2.0
//! `casemate guest-image`: building and checking guest images.

use casemate_guest_image::BuildInputs;
use casemate_guest_image::Kind;
use casemate_guest_image::inputs;
use casemate_guest_image::inputs::FetchError;
use casemate_guest_image::inputs::Lock;

use crate::args::BuildArgs;
use crate::args::LockArgs;
use crate::args::VerifyArgs;
use crate::failure::Failure;
use crate::failure::chain;
use crate::file;

/// Builds a guest image and prints the digests of its parts.
pub(crate) fn build(args: &BuildArgs) -> Result<(), Failure> {
    let lock = match &args.lock {
        Some(path) => Lock::read(path),
        None => Lock::of_this_release(),
    };
    let debian = lock
        .and_then(|lock| inputs::prepare(&args.inputs, &lock))
        .map_err(|error| Failure::new("guest-image", chain(&error), next_step(&error)))?;
    let kind = match &args.sim_device {
        Some(device) => Kind::Simulated { device },
        None => Kind::Production,
    };
    let inputs = BuildInputs {
        firmware: &debian.firmware,
        kernel: &debian.kernel,
        modules: &debian.modules,
        agent: &args.agent,
        lock: debian.lock.clone(),
        kind,
    };
    let manifest = casemate_guest_image::build(&inputs, &args.out).map_err(|error| {
        Failure::new("guest-image", chain(&error), "correct the input that the message names")
    })?;
    let parts = manifest.parts.iter();
    let text = parts.fold(String::new(), |text, (name, part)| {
        format!("{text}{}  {name}  {} bytes\n", part.sha256, part.size)
    });
    file::write(None, &text)
}

/// Fetches the newest packages and writes the lock that names them.
pub(crate) fn lock(args: &LockArgs) -> Result<(), Failure> {
    let lock = inputs::lock_newest(&args.inputs)
        .map_err(|error| Failure::new("guest-image", chain(&error), next_step(&error)))?;
    file::write(args.out.as_deref(), &lock.to_json())
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

/// Compares a guest image with its manifest.
pub(crate) fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let next = "build the guest image again: casemate guest-image build";
    let differences = casemate_guest_image::verify(&args.dir)
        .map_err(|error| Failure::new("guest-image", chain(&error), next))?;
    if differences.is_empty() {
        return file::write(None, "every part is as the manifest says\n");
    }
    let list: Vec<_> = differences.iter().map(ToString::to_string).collect();
    let message = format_args!("{}: {}", args.dir.display(), list.join(", "));
    Err(Failure::new("guest-image", message, next))
}
