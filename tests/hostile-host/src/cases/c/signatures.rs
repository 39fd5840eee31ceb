// SPDX-License-Identifier: Apache-2.0
//! Signatures of images.

use anyhow::Context as _;
use anyhow::ensure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use casemate_agent_api::Code;
use casemate_image_crypt::Digest;
use casemate_image_pull::PinnedReference;
use casemate_image_pull::SignerKey;
use casemate_policy::GuestConfig;
use casemate_policy::Policy;
use ring::rand::SystemRandom;
use ring::signature::ECDSA_P256_SHA256_ASN1_SIGNING;
use ring::signature::EcdsaKeyPair;
use serde_json::json;

use crate::Case;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::images::Pulls;
use crate::images::image;
use crate::images::registry::Registry;
use crate::images::registry::Reply;
use crate::images::registry::blob_path;
use crate::images::registry::manifest_path;
use crate::shim::requests;

pub(super) const C6: Case = Case {
    id: "C6",
    level: Level::P,
    attack: "an image signed by another key, for another repository or image, or not at all",
    defence: Defence::Code(Guard {
        function: "casemate_image_pull::signature::SignerKey::has_signed",
        sabotage: "true",
    }),
    run: |_| Box::pin(c6()),
};

/// A key pair that signs images, and its public key.
struct Signer {
    pair: EcdsaKeyPair,
    public: SignerKey,
}

impl Signer {
    fn new() -> anyhow::Result<Self> {
        let key = rcgen::KeyPair::generate()?;
        let pair = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            &key.serialize_der(),
            &SystemRandom::new(),
        );
        let pair = pair.ok().context("a key of this test is refused")?;
        Ok(Self { pair, public: SignerKey::from_pem(&key.public_key_pem())? })
    }

    fn sign(&self, payload: &[u8]) -> anyhow::Result<String> {
        let signature = self.pair.sign(&SystemRandom::new(), payload).ok().context("sign")?;
        Ok(BASE64.encode(signature))
    }
}

/// What a registry has beside an image: payloads with their signatures.
type Signatures = Vec<(String, String)>;

/// What the registry serves as the signatures of a repository's image.
type Make<'a> = &'a dyn Fn(&str) -> anyhow::Result<Signatures>;

async fn c6() -> Verdict {
    let (owner, other) = (Signer::new()?, Signer::new()?);
    let payload = |repository: &str, digest: Digest| {
        json!({"critical": {"identity": {"docker-reference": repository},
            "image": {"docker-manifest-digest": digest.to_string()},
            "type": "cosign container image signature"}, "optional": null})
        .to_string()
    };
    let digest = image().digest();
    let attacks: [(&str, Make<'_>); 6] = [
        ("no signature", &|_| Ok(vec![])),
        ("another key", &|name| {
            let text = payload(name, digest);
            let signature = other.sign(text.as_bytes())?;
            Ok(vec![(text, signature)])
        }),
        ("another image", &|name| {
            let text = payload(name, Digest::of(b"another"));
            let signature = owner.sign(text.as_bytes())?;
            Ok(vec![(text, signature)])
        }),
        ("another repository", &|_| {
            let text = payload("registry.example/other", digest);
            let signature = owner.sign(text.as_bytes())?;
            Ok(vec![(text, signature)])
        }),
        ("a good signature over other bytes", &|name| {
            let signature = owner.sign(payload(name, Digest::of(b"another")).as_bytes())?;
            Ok(vec![(payload(name, digest), signature)])
        }),
        ("garbage", &|name| Ok(vec![(payload(name, digest), "AAAA".to_owned())])),
    ];
    let count = attacks.len();
    for (what, make) in attacks {
        let checked = check(&owner.public, make).await?;
        match checked {
            Ok(()) => anyhow::bail!("{what}: accepted"),
            Err(error) => ensure!(error.code() == Code::ImageSignature, "{what}: {error}"),
        }
    }
    // Stripped: the registry says that it has none.
    let pulls = Pulls::new()?;
    let registry = Registry::start(&pulls.ca, image().content(), |_| None).await;
    let reference: PinnedReference = format!("{}/app@{digest}", registry.host).parse()?;
    let stripped = pulls
        .puller(&registry, &[&registry.host])?
        .verify_signature(&reference, &owner.public)
        .await;
    ensure!(stripped.is_err_and(|e| e.code() == Code::ImageSignature), "stripped: accepted");
    // The owner's own is found among others.
    let several = |name: &str| -> anyhow::Result<Signatures> {
        let text = payload(name, digest);
        let (foreign, own) = (other.sign(text.as_bytes())?, owner.sign(text.as_bytes())?);
        Ok(vec![(text.clone(), foreign), (text, own)])
    };
    if let Err(error) = check(&owner.public, &several).await? {
        anyhow::bail!("the owner's signature is refused: {error}");
    }
    // A policy that names a key which the configuration lacks is none.
    let demanding = requests::POLICY.replace("encryption =", "signature = \"owner\"\nencryption =");
    let policy = Policy::parse(demanding.as_bytes())?;
    let config =
        format!("version = 1\n[broker]\nurl = \"https://b.example\"\nca = {:?}\n", pulls.ca.pem);
    let config = GuestConfig::parse(config.as_bytes())?;
    ensure!(config.check_policy(&policy).is_err(), "a key that nobody has is no key");
    Ok(Outcome::pass(format!(
        "{} ways to sign wrongly refused before a layer is fetched",
        count + 1
    )))
}

/// Serves an image with signatures beside it, and checks them.
async fn check(
    key: &SignerKey,
    make: &dyn Fn(&str) -> anyhow::Result<Signatures>,
) -> anyhow::Result<Result<(), casemate_image_pull::PullError>> {
    let pulls = Pulls::new()?;
    let digest = image().digest();
    // The registry's name is known once it runs, so the signatures come through its handler.
    let served = std::sync::Arc::new(std::sync::Mutex::new(std::collections::BTreeMap::new()));
    let shared = std::sync::Arc::clone(&served);
    let registry = Registry::start(&pulls.ca, image().content(), move |seen| {
        shared.lock().expect("no panic").get(&seen.path).cloned()
    })
    .await;
    let name = format!("{}/app", registry.host);
    let mut layers = Vec::new();
    {
        let mut served = served.lock().expect("no panic");
        for (payload, signature) in make(&name)? {
            let blob = Digest::of(payload.as_bytes());
            layers.push(json!({
                "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                "digest": blob, "size": payload.len(),
                "annotations": {"dev.cosignproject.cosign/signature": signature},
            }));
            served.insert(blob_path(&blob), Reply::new(200, payload));
        }
        let manifest = json!({"schemaVersion": 2, "layers": layers}).to_string();
        let tag = format!("sha256-{}.sig", digest.to_hex());
        served.insert(manifest_path(&tag), Reply::new(200, manifest));
    }
    let reference: PinnedReference = format!("{name}@{digest}").parse()?;
    let puller = pulls.puller(&registry, &[&registry.host])?;
    let result = puller.verify_signature(&reference, key).await;
    let layers: Vec<_> =
        image().layers.iter().filter_map(|l| l["digest"].as_str().map(str::to_owned)).collect();
    let fetched =
        registry.seen("").iter().any(|s| layers.iter().any(|l| s.path.ends_with(l.as_str())));
    ensure!(!fetched, "a layer was fetched before the signature was judged");
    Ok(result)
}
