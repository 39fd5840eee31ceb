// SPDX-License-Identifier: Apache-2.0
//! The key broker: takes a guest's evidence over the KBS protocol 0.4, judges it, and releases
//! resources to guests that their owner named. It runs on the owner's side.
//!
//! # Who trusts whom
//!
//! The broker trusts the roots, reference values and grants in its folder, which its owner put
//! there, and nothing that comes over the network. A guest trusts the broker as far as its
//! certificate chains to `ca.pem`, which the owner put into the guest's measured initdata. Whoever
//! can read the folder can read every resource: it belongs on a machine of the owner's.
//!
//! # Rules of release
//!
//! A resource goes out only when all of this holds at the moment of the request: the token or
//! session is valid and attested, its root is configured, its launch digest is a reference value,
//! and the resource was allowed *by name* to the guest's initdata digest. The launch digest alone
//! names no owner, since every owner boots the same image; the initdata does.
//!
//! # Example
//!
//! ```no_run
//! use std::sync::Arc;
//! use casemate_broker::{Broker, SystemClock, serve};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = Broker::open("/var/lib/casemate-broker".as_ref(), Arc::new(SystemClock)).await?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8443").await?;
//! serve(listener, broker, std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! - Every attempt uses up its nonce, whatever comes of it.
//! - Nothing is released without a line in `audit.jsonl`; no line holds a resource's value.
//! - Sessions, connections, bodies and times are bounded by named constants.

mod api;
mod appraiser;
mod audit;
mod clock;
mod collateral;
mod error;
mod listen;
mod requirements;
mod session;
mod setup;
mod store;
mod token;

pub use api::Broker;
pub use appraiser::child_main;
pub use clock::Clock;
pub use clock::SystemClock;
pub use collateral::CollateralError;
pub use error::BrokerError;
pub use listen::serve;
pub use setup::init;
pub use store::Listing;
pub use store::RootChoice;
pub use store::RootName;
pub use store::Roots;
pub use store::Store;
pub use store::TdRegister;
