// SPDX-License-Identifier: Apache-2.0
//! Unpacks OCI image layers into a directory, confined to it.
//!
//! Layers are bytes that nobody vouches for until their last byte was hashed. They are applied
//! inside a [`Quarantine`], a directory that only its owner can name; it gets its final name by
//! [`Quarantine::release`], and every failure before that removes it.
//!
//! For honest images the result is what containerd and umoci make: whiteouts, opaque directories,
//! hard links, PAX and GNU headers, sparse files, ownership, modes, times and file capabilities.
//!
//! ```
//! use casemate_unpack::Compression;
//! use casemate_unpack::Limits;
//! use casemate_unpack::Quarantine;
//!
//! # let dir = tempfile::tempdir()?;
//! # let parent = dir.path();
//! // An archive without entries is two blocks of zeros.
//! let layer = [0; 1024];
//! let diff_id: [u8; 32] =
//!     ring::digest::digest(&ring::digest::SHA256, &layer).as_ref().try_into()?;
//! let quarantine = Quarantine::create(&parent.join("rootfs"), Limits::default())?;
//! let quarantine = quarantine.apply(&mut layer.as_slice(), Compression::None, &diff_id)?;
//! let rootfs = quarantine.release()?;
//! assert!(rootfs.path.is_dir());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//!
//! - No entry names, follows or changes anything outside the quarantine: the kernel resolves every
//!   path inside it (`openat2` with `RESOLVE_IN_ROOT`), and the last component is never followed.
//! - Memory does not grow with the size of layers or files, only with the number of entries, by a
//!   few bytes each; entries, bytes, names and headers have caps.
//! - Device nodes are never created: container roots are mounted `nodev`.
//! - A layer whose diff_id differs never leaves the quarantine.

mod apply;
mod decompress;
mod error;
mod files;
mod metadata;
mod name;
mod quarantine;
mod tar;
mod tree;

pub use decompress::Compression;
pub use error::UnpackError;
pub use files::FoundFile;
pub use files::find_files;
pub use quarantine::Limits;
pub use quarantine::Quarantine;
pub use quarantine::Rootfs;
pub use tar::TarError;
