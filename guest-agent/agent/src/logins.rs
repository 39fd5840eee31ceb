// SPDX-License-Identifier: Apache-2.0
//! Names and passwords for registries: resources of the broker that the initdata names.

use casemate_agent_api::ApiError;
use casemate_agent_api::Code;
use casemate_image_pull::Auths;
use casemate_image_pull::PinnedReference;
use casemate_image_pull::Puller;
use casemate_policy::RegistryCredentials;

use crate::backend::FetchSecrets;
use crate::backend::PullFailure;

/// Where the guest gets its logins.
pub(crate) struct Logins(Vec<RegistryCredentials>);

impl Logins {
    pub(crate) fn new(credentials: Vec<RegistryCredentials>) -> Self {
        Self(credentials)
    }

    /// Gives the puller the login for an image, if the initdata names credentials for its registry. They
    /// are fetched each time: the owner may have changed them.
    ///
    /// # Errors
    ///
    /// [`PullFailure`] if the broker does not give the resource, or there is no login in it.
    ///
    /// # Security
    ///
    /// C11: the resource is fetched for no other registry, and the puller uses the login for this
    /// repository at this registry alone.
    pub(crate) async fn give(
        &self,
        puller: &Puller,
        image: &PinnedReference,
        broker: &dyn FetchSecrets,
    ) -> Result<(), PullFailure> {
        let Some(found) = self.0.iter().find(|entry| puller.is_at(image, &entry.host)) else {
            return Ok(());
        };
        let RegistryCredentials { host, resource, token_host } = found;
        let config = broker.fetch(resource).await.map_err(|error| PullFailure {
            is_transient: error.code() == Code::BrokerUnreachable,
            error: ApiError::new(error.code(), format_args!("{resource}: {}", error.detail())),
        })?;
        let refused = |reason: &str| PullFailure {
            error: ApiError::new(Code::ImageDenied, format_args!("{resource}: {reason}")),
            is_transient: false,
        };
        let login = Auths::of_config(config.expose())
            .and_then(|auths| auths.login(host, image.reference().repository()))
            .map_err(|error| refused(&error.to_string()))?;
        let login = login.ok_or_else(|| refused(&format!("it has no login for {host}")))?;
        puller.log_in(image, login, token_host.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    use async_trait::async_trait;
    use casemate_image_pull::Settings;
    use casemate_kbs_protocol::ResourceUri;
    use casemate_kbs_protocol::Secret;

    use super::*;

    struct Store {
        answer: Result<&'static str, Code>,
        fetched: AtomicUsize,
    }

    #[async_trait]
    impl FetchSecrets for Store {
        async fn fetch(&self, _: &ResourceUri) -> Result<Secret, ApiError> {
            self.fetched.fetch_add(1, Ordering::SeqCst);
            match self.answer {
                Ok(text) => Ok(Secret::from(text.as_bytes().to_vec())),
                Err(code) => Err(ApiError::new(code, "as told")),
            }
        }
    }

    async fn give(
        image: &str,
        answer: Result<&'static str, Code>,
    ) -> (Result<(), PullFailure>, usize) {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let image = format!("{image}@{digest}").parse().unwrap();
        let credentials = RegistryCredentials {
            host: "registry.example".to_owned(),
            resource: "kbs:///default/credential/registries".parse().unwrap(),
            token_host: None,
        };
        let store = Store { answer, fetched: AtomicUsize::new(0) };
        let puller = Puller::new(Settings::default()).unwrap();
        let given = Logins::new(vec![credentials]).give(&puller, &image, &store).await;
        (given, store.fetched.load(Ordering::SeqCst))
    }

    const CONFIG: &str = r#"{"auths": {"registry.example": {"auth": "b3duZXI6c2VjcmV0"}}}"#;

    #[tokio::test]
    async fn the_named_registry_gets_its_login() {
        let (given, fetched) = give("registry.example/team/web", Ok(CONFIG)).await;
        assert!(given.is_ok() && fetched == 1);
    }

    #[tokio::test]
    async fn for_no_other_registry_the_resource_is_fetched() {
        // C11.
        for image in [
            "other.example/web",
            "registry.example.evil/web",
            "registry.example:5000/web",
            "sub.registry.example/web",
        ] {
            let (given, fetched) = give(image, Err(Code::ResourceDenied)).await;
            assert!(given.is_ok() && fetched == 0, "{image}");
        }
    }

    #[tokio::test]
    async fn without_a_login_nothing_is_pulled() {
        for (answer, code, is_transient) in [
            (Err(Code::ResourceDenied), Code::ResourceDenied, false),
            (Err(Code::ResourceMissing), Code::ResourceMissing, false),
            (Err(Code::BrokerUnreachable), Code::BrokerUnreachable, true),
            (Ok("s3cret"), Code::ImageDenied, false),
            (Ok(r#"{"auths": {"other.example": {"auth": "s3cret"}}}"#), Code::ImageDenied, false),
            (
                Ok(r#"{"auths": {"registry.example": {"auth": "s3cret"}}}"#),
                Code::ImageDenied,
                false,
            ),
        ] {
            let failure = give("registry.example/web", answer).await.0.unwrap_err();
            assert_eq!((failure.error.code(), failure.is_transient), (code, is_transient));
            // A28: neither the password nor the broken text that should hold it.
            assert!(!failure.error.to_string().contains("s3cret"), "{}", failure.error);
        }
    }
}
