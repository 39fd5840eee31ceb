// SPDX-License-Identifier: Apache-2.0
//! D8: evidence and tokens of another time.

use anyhow::ensure;
use casemate_ear::SigningKey;

use super::broker::Guest;
use super::broker::Owner;
use super::mint;
use super::token;
use crate::Case;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;

pub(super) static D8: Case = Case {
    id: "D8",
    level: Level::P,
    attack: "replays nonces, evidence and tokens; sets the clock back",
    defence: Defence::Code(Guard {
        function: "casemate_ear::jwt::Reader::check",
        sabotage: "Ok(())",
    }),
    run: |_| Box::pin(replay()),
};

async fn replay() -> Verdict {
    let faults = mint::refuse_faults("D8")?;
    let owner = Owner::new().await?;
    let hand = owner.by_hand(Guest::honest())?;

    // The nonce of another session, then the right one: the first attempt has used it up.
    let (session, nonce) = hand.challenge().await?;
    let (other_session, other_nonce) = hand.challenge().await?;
    let other = hand.attestation(&other_nonce, &hand.key, &hand.key)?;
    hand.post("attest", Some(&session), &other).await?.refused("AttestationError")?;
    let right = hand.attestation(&nonce, &hand.key, &hand.key)?;
    hand.post("attest", Some(&session), &right).await?.refused("AttestationError")?;

    // Evidence that was accepted once: in its own session, and in a new one.
    let accepted = hand.post("attest", Some(&other_session), &other).await?;
    ensure!(accepted.status == 200, "honest evidence is refused: {}", accepted.body);
    hand.post("attest", Some(&other_session), &other).await?.refused("AttestationError")?;
    let (new_session, _) = hand.challenge().await?;
    hand.post("attest", Some(&new_session), &other).await?.refused("AttestationError")?;
    // A nonce that nobody asked for in time.
    let (late, nonce) = hand.challenge().await?;
    let body = hand.attestation(&nonce, &hand.key, &hand.key)?;
    owner.advance(300);
    hand.post("attest", Some(&late), &body).await?.refused("AttestationError")?;

    // A token after its end, and before its beginning.
    let (_, token) = hand.handshake().await?;
    ensure!(hand.resource(&token).await?.status == 200, "a fresh token is refused");
    let released = owner.releases()?;
    owner.advance(300);
    hand.resource(&token).await?.refused("TokenVerifierError")?;
    owner.set_back(900);
    hand.resource(&token).await?.refused("TokenVerifierError")?;
    ensure!(owner.releases()? == released, "the key was released to a stale token");

    // The same for whoever else relies on tokens: every second outside of the token's time.
    let key = SigningKey::from_pkcs8(&SigningKey::generate()?)?;
    let (ear, reader) = (token::ear(1000, 1300), token::reader(&key));
    let token = key.sign(&ear)?;
    ensure!(reader.read(&token, 1000).is_ok() && reader.read(&token, 1299).is_ok());
    for now in [0, 999, 1300, 1301, u64::MAX] {
        ensure!(reader.read(&token, now).is_err(), "a token of 1000 to 1299 is good at {now}");
    }
    Ok(Outcome::pass(format!(
        "{faults} reports of other sessions, 5 replays to the broker and stale tokens refused"
    )))
}
