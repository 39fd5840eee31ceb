// SPDX-License-Identifier: Apache-2.0
//! Documents that are not what the pinned digest stands for.

use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_image_crypt::Digest;
use serde_json::json;

use crate::Case;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::images::Pulls;
use crate::images::app;
use crate::images::at;
use crate::images::base;
use crate::images::image;
use crate::images::refused;
use crate::images::registry::GZIP;
use crate::images::registry::INDEX;
use crate::images::registry::Image;
use crate::images::registry::MANIFEST;
use crate::images::registry::Registry;
use crate::images::registry::Reply;
use crate::images::registry::blob_path;
use crate::images::registry::manifest_path;

const PINNED: Guard =
    Guard { function: "casemate_image_pull::resolve::check_pinned", sabotage: "Ok(())" };

pub(super) const C2: Case = Case {
    id: "C2",
    level: Level::P,
    attack: "another manifest for the digest, one for another platform, a document of two kinds",
    defence: Defence::Code(PINNED),
    run: |_| Box::pin(c2()),
};

async fn c2() -> Verdict {
    let honest = image();
    let other = Image::new().layer(&base()).manifest().to_string();
    let digest = honest.digest().to_string();
    let lying = at(manifest_path(&digest), move |_| {
        // A header that says the right digest changes nothing.
        Some(Reply::new(200, other.clone()).header("Docker-Content-Digest", digest.clone()))
    });
    let pulls = Pulls::new()?;
    refused("another manifest", Code::ImageDigest, pulls.try_image(&honest, lying).await)?;

    // Who pins the document itself may still be served one that two readers read differently.
    let manifest = honest.manifest();
    let mut both = manifest.clone();
    both["manifests"] = json!([]);
    let mut claims_index = manifest.clone();
    claims_index["mediaType"] = json!(INDEX);
    let size = manifest.to_string().len();
    let index = |architecture: &str, digest: Digest| {
        let platform = json!({"os": "linux", "architecture": architecture});
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"mediaType": MANIFEST, "digest": digest, "size": size, "platform": platform}]})
    };
    let arm_only = index("arm64", honest.digest());
    let missing_other = index("amd64", Digest::of(b"another"));
    let documents = [
        ("manifest and index in one", both, Code::ImageInvalid),
        ("a manifest that calls itself an index", claims_index, Code::ImageInvalid),
        ("an index without this platform", arm_only, Code::ImageInvalid),
        ("an index that leads to a digest nobody has", missing_other, Code::ImageUnreachable),
    ];
    for (what, document, code) in documents {
        let text = document.to_string();
        let digest = Digest::of(text.as_bytes());
        let mut content = honest.content();
        content.insert(manifest_path(&digest.to_string()), Reply::new(200, text));
        let registry = Registry::start(&pulls.ca, content, |_| None).await;
        let result = pulls.pull(&registry, digest).await;
        refused(what, code, result)?;
    }
    Ok(Outcome::pass("five documents refused, nothing unpacked"))
}

pub(super) const C3: Case = Case {
    id: "C3",
    level: Level::P,
    attack: "a manifest that is another one when it is fetched again",
    defence: Defence::Code(PINNED),
    run: |_| Box::pin(c3()),
};

async fn c3() -> Verdict {
    let honest = image();
    for evil_first in [false, true] {
        let pulls = Pulls::new()?;
        let other = Image::new().layer(&base());
        let mut content = honest.content();
        content.extend(other.content());
        let (good, evil) = (honest.manifest().to_string(), other.manifest().to_string());
        let turns = at(manifest_path(&honest.digest().to_string()), move |seen| {
            let is_evil = (seen.before == 0) == evil_first;
            Some(Reply::new(200, if is_evil { evil.clone() } else { good.clone() }))
        });
        let registry = Registry::start(&pulls.ca, content, turns).await;
        let result = pulls.pull(&registry, honest.digest()).await;
        if evil_first {
            refused("the other one first", Code::ImageDigest, result)?;
        } else {
            ensure!(result?.is_ok_and(|image| image.manifest_digest == honest.digest()));
        }
        let again: Vec<_> = registry.seen("").into_iter().filter(|seen| seen.before > 0).collect();
        ensure!(again.is_empty(), "fetched twice: {again:?}");
    }
    Ok(Outcome::pass("each document is fetched once and parsed from the bytes that were hashed"))
}

pub(super) const C4: Case = Case {
    id: "C4",
    level: Level::P,
    attack: "a swapped configuration, diff_ids that are not the layers', another number of them",
    defence: Defence::Code(Guard {
        function: "casemate_image_pull::resolve::check",
        sabotage: "Ok(())",
    }),
    run: |_| Box::pin(c4()),
};

async fn c4() -> Verdict {
    let honest = image();
    let config = honest.config_bytes();
    let swapped = String::from_utf8(config.clone())?.replace("A=b", "A=c");
    let handler =
        at(blob_path(&Digest::of(&config)), move |_| Some(Reply::new(200, swapped.clone())));
    let pulls = Pulls::new()?;
    refused("a swapped configuration", Code::ImageDigest, pulls.try_image(&honest, handler).await)?;

    let mut crossed = image();
    crossed.diff_ids.swap(0, 1);
    refused("crossed diff_ids", Code::ImageDigest, pulls.try_image(&crossed, |_| None).await)?;
    for count in [1, 3] {
        let mut counted = image();
        counted.diff_ids.resize(count, Digest::of(b"x").to_string());
        let result = pulls.try_image(&counted, |_| None).await;
        refused(&format!("{count} diff_ids for 2 layers"), Code::ImageInvalid, result)?;
    }
    // Fewer diff_ids than layers, all of them right: the top layer would be left out.
    let mut short = Image::new().layer(&base()).blob_layer(GZIP, vec![], Digest::of(&app()));
    short.diff_ids.pop();
    let result = pulls.try_image(&short, |_| None).await;
    refused("a layer without a diff_id", Code::ImageInvalid, result)?;
    Ok(Outcome::pass("five configurations refused"))
}
