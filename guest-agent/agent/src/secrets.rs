// SPDX-License-Identifier: Apache-2.0
//! The secrets of a container: resources of the broker that become files in its memory.

use casemate_agent_api::ApiError;
use casemate_containers::SecretFile;
use casemate_policy::SecretFile as Wanted;

use crate::backend::FetchSecrets;

/// Fetches what the policy gives to one container.
///
/// # Errors
///
/// When the broker does not give one of them.
///
/// # Security
///
/// D19: the list is that container's in the policy; no request names a resource.
pub(crate) async fn fetch(
    source: &dyn FetchSecrets,
    wanted: &[Wanted],
) -> Result<Vec<SecretFile>, ApiError> {
    let mut files = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let secret = source.fetch(&wanted.resource).await?;
        files.push(SecretFile {
            path: wanted.path.clone(),
            mode: wanted.mode,
            content: secret.expose().to_vec().into(),
        });
    }
    Ok(files)
}
