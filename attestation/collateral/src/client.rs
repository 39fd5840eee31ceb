// SPDX-License-Identifier: Apache-2.0
//! Items, from the cache or from a service.

use std::time::Duration;

use casemate_evidence::snp::TableEntry;
use tokio::time::timeout;

use crate::anchors::Anchors;
use crate::answer::Answer;
use crate::cache::Cache;
use crate::cache::Entry;
use crate::check::CheckError;
use crate::check::check;
use crate::check::signing_keys;
use crate::endpoint::Endpoints;
use crate::error::FetchError;
use crate::item::AmdKey;
use crate::item::Item;
use crate::retry;
use crate::transport::Response;
use crate::transport::Transport;
use crate::transport::TransportError;

/// Fetches items, checks them and keeps them.
///
/// # Security
///
/// Neither services nor cache are trusted. What a client hands out was checked under its anchors,
/// at the time that the caller gives, and is not older than anything that this cache ever held.
pub struct Client {
    transport: Box<dyn Transport>,
    endpoints: Endpoints,
    anchors: Anchors,
    cache: Cache,
    patience: Duration,
}

/// A checked item.
#[derive(Debug)]
pub struct Fetched {
    /// The item.
    pub answer: Answer,
    /// Where it comes from.
    pub origin: Origin,
    /// Why it is not a newer one: the service was asked, and failed.
    pub setback: Option<FetchError>,
}

/// Where an item comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The cache.
    Cache,
    /// A service, now.
    Service,
}

/// How long kept documents and lists are used before a newer one is looked for, seconds. They are
/// valid for weeks; a TCB recovery or a revocation is to be noticed within a day.
pub const REFRESH_AFTER: u64 = 24 * 60 * 60;

impl Client {
    /// A client.
    #[must_use]
    pub fn new(
        transport: impl Transport + 'static,
        endpoints: Endpoints,
        anchors: Anchors,
        cache: Cache,
    ) -> Self {
        let patience = Duration::MAX;
        Self { transport: Box::new(transport), endpoints, anchors, cache, patience }
    }

    /// Waits for a service's answer no longer than this; it is the transport's time otherwise.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Gets an item at `now`, seconds since 1970: a kept one while it is fresh, then a service's,
    /// then a kept one that is still valid.
    ///
    /// # Errors
    ///
    /// [`FetchError`] when there is no valid kept one and the service fails.
    pub async fn get(&self, item: &Item, now: u64) -> Result<Fetched, FetchError> {
        let below = self.signing_keys(item, now).await?;
        self.get_below(item, &below, now).await
    }

    pub(crate) fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// A kept item that is good at `now`.
    pub(crate) fn kept(
        &self,
        item: &Item,
        below: &[TableEntry],
        now: u64,
    ) -> Result<Option<Entry>, FetchError> {
        let Some(entry) = self.cache.read(item)? else { return Ok(None) };
        match self.judge(item, &entry.answer, below, now)? {
            Ok(()) => Ok(Some(entry)),
            Err(error) => {
                tracing::info!(%item, error = chain(&error), "a kept item is left out");
                Ok(None)
            }
        }
    }

    /// Whether an item may be used at `now`.
    pub(crate) fn judge(
        &self,
        item: &Item,
        answer: &Answer,
        below: &[TableEntry],
        now: u64,
    ) -> Result<Result<(), CheckError>, FetchError> {
        let mark = match check(item, answer, &self.anchors, below, now) {
            Ok(Some(mark)) => mark,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        Ok(self.cache.state()?.compare(&self.anchors.mark_name(item), &mark))
    }

    /// Checks an item and keeps it.
    pub(crate) fn keep(
        &self,
        item: &Item,
        entry: Entry,
        below: &[TableEntry],
        now: u64,
    ) -> Result<Result<(), CheckError>, FetchError> {
        let mark = match check(item, &entry.answer, &self.anchors, below, now) {
            Ok(mark) => mark,
            Err(error) => return Ok(Err(error)),
        };
        let name = self.anchors.mark_name(item);
        let kept = self.cache.update(item, |state| {
            if let Some(mark) = mark {
                state.raise(&name, mark)?;
            }
            Ok(Some(entry))
        });
        match kept {
            Ok(()) => Ok(Ok(())),
            Err(KeepError::Check(error)) => Ok(Err(error)),
            Err(KeepError::Cache(source)) => Err(FetchError::Cache { source }),
        }
    }

    /// Keys between AMD's root and a chip's, where they were not configured with the root.
    async fn signing_keys(&self, item: &Item, now: u64) -> Result<Vec<TableEntry>, FetchError> {
        let Some(chain) = self.chain_of(item) else { return Ok(Vec::new()) };
        Ok(signing_keys(&self.get_below(&chain, &[], now).await?.answer))
    }

    /// The same, of what is kept alone.
    pub(crate) fn kept_signing_keys(
        &self,
        item: &Item,
        now: u64,
    ) -> Result<Vec<TableEntry>, FetchError> {
        let Some(chain) = self.chain_of(item) else { return Ok(Vec::new()) };
        let kept = self.kept(&chain, &[], now)?;
        Ok(kept.map(|entry| signing_keys(&entry.answer)).unwrap_or_default())
    }

    fn chain_of(&self, item: &Item) -> Option<Item> {
        let Item::Vcek { product, .. } = item else { return None };
        let complete = self.anchors.amd(*product).is_some_and(|root| root.has_signing_keys());
        (!complete).then_some(Item::AmdChain { product: *product, signs: AmdKey::Vcek })
    }

    async fn get_below(
        &self,
        item: &Item,
        below: &[TableEntry],
        now: u64,
    ) -> Result<Fetched, FetchError> {
        let kept = self.kept(item, below, now)?;
        let fresh = |entry: &Entry| {
            let age = entry.fetched..=entry.fetched.saturating_add(REFRESH_AFTER);
            !item.is_renewed() || age.contains(&now)
        };
        let kept = match kept {
            Some(entry) if fresh(&entry) => {
                let answer = entry.answer;
                return Ok(Fetched { answer, origin: Origin::Cache, setback: None });
            }
            kept => kept,
        };
        let patience = if kept.is_some() { PATIENCE_FOR_RENEWAL } else { Duration::MAX };
        match (self.fetch(item, below, now, patience.min(self.patience)).await, kept) {
            (Ok(answer), _) => Ok(Fetched { answer, origin: Origin::Service, setback: None }),
            // D17: a service that is down, busy or lying does not take away what is valid.
            (Err(error), Some(entry)) if !matches!(error, FetchError::Cache { .. }) => {
                tracing::warn!(%item, error = chain(&error), "a kept item is used for a newer one");
                let answer = entry.answer;
                Ok(Fetched { answer, origin: Origin::Cache, setback: Some(error) })
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn fetch(
        &self,
        item: &Item,
        below: &[TableEntry],
        now: u64,
        patience: Duration,
    ) -> Result<Answer, FetchError> {
        let (endpoint, request) = self.endpoints.request(item);
        let endpoint = endpoint.as_str();
        let busy = |until| FetchError::Busy { endpoint: endpoint.to_owned(), until };
        if let Some(until) = self.cache.state()?.wait(endpoint, now) {
            return Err(busy(until));
        }
        let response = match timeout(patience, self.transport.get(&request)).await {
            Ok(response) => response,
            Err(_) => {
                // D17: one that accepts and says nothing costs this time once, not for each item.
                self.wait(item, endpoint, now.saturating_add(WAIT_AFTER_STALL), now)?;
                Err(TransportError::Stalled { seconds: patience.as_secs() })
            }
        };
        let url = request.url;
        let response =
            response.map_err(|source| FetchError::Unreachable { url: url.clone(), source })?;
        let Response { status, retry_after, .. } = &response;
        // D17: who is asked to wait does, and so does every process that shares the cache.
        if matches!(status, 429 | 503) || (*status >= 400 && retry_after.is_some()) {
            let until = retry::until(retry_after.as_deref(), now);
            self.wait(item, endpoint, until, now)?;
            if matches!(status, 429 | 503) {
                return Err(busy(until));
            }
        }
        match status {
            200 => {}
            404 | 410 => return Err(FetchError::Missing { url }),
            status => return Err(FetchError::Status { url, status: *status }),
        }
        let answer = Answer::read(item, response);
        let entry = Entry { fetched: now, answer: answer.clone() };
        match self.keep(item, entry, below, now)? {
            Ok(()) => Ok(answer),
            Err(source) => {
                Err(FetchError::NotGenuine { url, item: item.clone(), source: Box::new(source) })
            }
        }
    }
}

impl Client {
    /// Leaves a service alone, and so does every process that shares the cache.
    fn wait(&self, item: &Item, endpoint: &str, until: u64, now: u64) -> Result<(), FetchError> {
        self.cache.update(item, |state| {
            state.set_wait(endpoint, until, now);
            Ok::<_, FetchError>(None)
        })
    }
}

/// How long a newer item is waited for while the kept one is valid.
const PATIENCE_FOR_RENEWAL: Duration = Duration::from_secs(5);

/// How long a service is left alone that did not answer in time, seconds.
const WAIT_AFTER_STALL: u64 = 60;

/// Why an item was not kept.
enum KeepError {
    Check(CheckError),
    Cache(crate::cache::CacheError),
}

impl From<CheckError> for KeepError {
    fn from(error: CheckError) -> Self {
        Self::Check(error)
    }
}

impl From<crate::cache::CacheError> for KeepError {
    fn from(error: crate::cache::CacheError) -> Self {
        Self::Cache(error)
    }
}

/// An error and its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
