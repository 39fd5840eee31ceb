// SPDX-License-Identifier: Apache-2.0
//! Why something could not be had.

use casemate_evidence::snp::Product;
use casemate_verifier::Moment;

use crate::cache::CacheError;
use crate::check::CheckError;
use crate::item::Item;
use crate::transport::TransportError;

/// Why something could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The service cannot be reached.
    #[error("failed to fetch {url}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why.
        #[source]
        source: TransportError,
    },
    /// The service wants to be left alone.
    #[error("{endpoint} wants no requests until {}", Moment(*until))]
    Busy {
        /// Base of the service's URLs.
        endpoint: String,
        /// Until when nobody asks, seconds since 1970.
        until: u64,
    },
    /// The service has no such thing.
    #[error("{url} does not exist")]
    Missing {
        /// What was asked for.
        url: String,
    },
    /// Another answer than success.
    #[error("{url} was answered with status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The service gave something else than what it was asked for: it lies, or is broken.
    #[error("{url} gave no genuine {item}")]
    NotGenuine {
        /// What was asked for.
        url: String,
        /// What it should have been.
        item: Item,
        /// What is wrong.
        #[source]
        source: Box<CheckError>,
    },
    /// Something that came along is not what it should be.
    #[error("the {item} that came along is not usable")]
    Offered {
        /// What it should have been.
        item: &'static str,
        /// What is wrong.
        #[source]
        source: Box<CheckError>,
    },
    /// The report does not say on which product line it was made.
    #[error("the report does not name its product line")]
    NoProduct,
    /// There is no root for the product line.
    #[error("no root is configured for {product}")]
    NoRoot {
        /// The product line.
        product: Product,
    },
    /// The report does not say which chip made it.
    #[error(
        "the report withholds the id of its chip, so nobody can say which certificate it needs"
    )]
    MaskedChip,
    /// The report is signed with a leased key, whose certificate only the provider has.
    #[error("the report is signed with a leased key, and its certificate did not come along")]
    NoLeasedKey,
    /// The report is not signed with a key that has a certificate.
    #[error("the report is not signed with a key that has a certificate")]
    NoKey,
    /// The folder cannot be used.
    #[error("failed to use the folder of kept collateral")]
    Cache {
        /// Why.
        #[source]
        source: CacheError,
    },
}

impl FetchError {
    /// A stable code, for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } | Self::Status { .. } => "collateral-unreachable",
            Self::Busy { .. } => "collateral-busy",
            Self::Missing { .. } => "collateral-missing",
            Self::NotGenuine { .. } | Self::Offered { .. } => "collateral-refused",
            Self::NoProduct
            | Self::NoRoot { .. }
            | Self::MaskedChip
            | Self::NoLeasedKey
            | Self::NoKey => "collateral-unknown",
            Self::Cache { .. } => "collateral-cache",
        }
    }

    /// Whether another attempt, later, may have what this one had not.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Busy { .. } | Self::Cache { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// What the reader can do next, one sentence without a full stop.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } | Self::Status { .. } => {
                "check the network and the service's URL, and try again"
            }
            Self::Busy { .. } => "try again after that time, or use a cache of your own",
            Self::Missing { .. } => {
                "check that chip, TCB and product line are those of a report of real hardware"
            }
            Self::NotGenuine { source, .. }
                if matches!(**source, CheckError::NotCurrent { .. }) =>
            {
                "check the clock; if it is right, the service has stale things: use another"
            }
            Self::NotGenuine { .. } => "do not use that service: ask the vendor's own",
            Self::Offered { source, .. } if matches!(**source, CheckError::Revoked { .. }) => {
                "fetch it anew from the vendor's own service: what a revoked key signed is not used"
            }
            Self::Offered { .. } => "give what belongs to the report, or nothing",
            Self::NoProduct => "name the product line",
            Self::NoRoot { .. } => "configure the root of the product line",
            Self::MaskedChip | Self::NoLeasedKey => {
                "give the certificate that the host hands out with the report"
            }
            Self::NoKey => "ask for a report that is signed with a VCEK or a VLEK",
            Self::Cache { .. } => "check the folder and its permissions, or use another",
        }
    }
}

impl From<CacheError> for FetchError {
    fn from(source: CacheError) -> Self {
        Self::Cache { source }
    }
}
