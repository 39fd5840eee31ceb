// SPDX-License-Identifier: Apache-2.0
//! Layers in another order.

use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_image_crypt::Digest;

use crate::Case;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;
use crate::images::Pulls;
use crate::images::app;
use crate::images::archive::Archive;
use crate::images::base;
use crate::images::image;
use crate::images::refused;
use crate::images::registry::Image;

pub(super) const B3: Case = Case {
    id: "B3",
    level: Level::P,
    attack: "layers swapped, dropped, given twice, one more on top",
    defence: Defence::Code(Guard {
        function: "casemate_unpack::apply::check_diff_id",
        sabotage: "Ok(())",
    }),
    run: |_| Box::pin(b3()),
};

async fn b3() -> Verdict {
    let pulls = Pulls::new()?;
    // The policy's digest is of the manifest, so whoever changes the list has to change it too. Even
    // if the policy pinned such a manifest, the configuration names each archive at its place.
    let mut swapped = image();
    swapped.layers.swap(0, 1);
    refused("swapped", Code::ImageDigest, pulls.try_image(&swapped, |_| None).await)?;
    let mut twice = image();
    twice.layers[1] = twice.layers[0].clone();
    refused("the first one twice", Code::ImageDigest, pulls.try_image(&twice, |_| None).await)?;
    let mut dropped = image();
    dropped.layers.pop();
    refused("dropped", Code::ImageInvalid, pulls.try_image(&dropped, |_| None).await)?;
    let mut more = image().layer(&Archive::default().file("bin/app", "evil").finish());
    more.diff_ids.pop();
    refused("one more", Code::ImageInvalid, pulls.try_image(&more, |_| None).await)?;
    let mut replaced = Image::new().layer(&base()).layer(&base());
    replaced.diff_ids[1] = Digest::of(&app()).to_string();
    refused("another one", Code::ImageDigest, pulls.try_image(&replaced, |_| None).await)?;
    let honest = pulls.try_image(&image(), |_| None).await?;
    ensure!(honest.is_ok(), "the honest order is refused: {honest:?}");
    Ok(Outcome::pass("five orders refused before anything could run"))
}
