// SPDX-License-Identifier: Apache-2.0
//! Who hears of the calls.

use async_trait::async_trait;

use crate::status::ApiError;

/// Hears of each call once its outcome is known.
#[async_trait]
pub trait Witness: Send + Sync + 'static {
    /// One call. It is made by the tasks that serve the calls and must not wait.
    fn witness(&self, call: Call);

    /// Waits, after [`Self::witness`], until a call with this outcome may be answered; at once unless the
    /// witness says otherwise. Nobody else waits meanwhile.
    async fn pace(&self, _name: &str, _outcome: &Outcome) {}
}

/// Hears and says nothing.
pub(super) struct Nobody;

impl Witness for Nobody {
    fn witness(&self, _: Call) {}
}

/// One call of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name in the proto file; of a call that does not exist, what was asked for.
    pub name: String,
    /// Ids and names in the request with their fields, shortened: the host's words, not checked.
    pub names: Vec<(String, String)>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered,
    /// It was refused or failed, and the host was told so.
    Refused(ApiError),
    /// Its caller went away first.
    Abandoned,
}
