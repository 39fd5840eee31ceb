// SPDX-License-Identifier: Apache-2.0
//! `casemate image`: preparing images.

use casemate_image_crypt::Kek;
use casemate_image_crypt::encrypt_layout;

use crate::args::EncryptArgs;
use crate::failure::Failure;
use crate::failure::chain;
use crate::file;

/// Encrypts an image from one OCI layout into another.
pub(crate) fn encrypt(args: &EncryptArgs) -> Result<(), Failure> {
    let key = file::read_secret::<KEY_SIZE>(&args.key_file)?;
    let kek = Kek::try_from(key.as_slice())
        .map_err(|error| Failure::new("key", chain(&error), "make a key of 32 bytes"))?;
    let name = args.name.as_deref();
    let image =
        encrypt_layout(&args.source, &args.dest, name, &args.key_id, &kek).map_err(|e| {
            Failure::new(
                "image.encrypt",
                format_args!("{}: {}", args.source.display(), chain(&e)),
                "check the layout with another tool, for example skopeo inspect oci:DIR",
            )
        })?;
    eprintln!("{} layers encrypted for {}", image.layers, args.key_id.as_str());
    file::write(None, &format!("{}\n", image.digest))
}

/// Size of a key-encryption key in bytes.
pub(crate) const KEY_SIZE: usize = 32;
