// SPDX-License-Identifier: Apache-2.0
//! D9 to D13: who stands between guest and broker.
//!
//! KBS 0.4 binds the evidence to a nonce and a key, not to the TLS session: what is released is
//! readable by that key alone, and the broker is whom the pinned CA names. There is no exporter in
//! it; our own attested TLS would bring that.

use std::sync::atomic::Ordering;

use anyhow::Context as _;
use anyhow::ensure;
use casemate_agent_api::Code;
use casemate_kbs_client::Endpoint;
use casemate_kbs_client::EndpointError;
use casemate_kbs_protocol::Jwe;
use casemate_kbs_protocol::TeeKeyPair;
use serde_json::Value;

use super::broker::Guest;
use super::broker::Owner;
use super::broker::VALUE;
use super::impostor::Answers;
use super::impostor::Impostor;
use crate::Case;
use crate::Defence;
use crate::Guard;
use crate::Level;
use crate::Outcome;
use crate::Verdict;

pub(super) static D9: Case = Case {
    id: "D9",
    level: Level::P,
    attack: "relays the evidence of an honest guest over a TLS session of its own",
    defence: Defence::Code(Guard {
        function: "casemate_kbs_protocol::jwe::concat_kdf",
        sabotage: "Zeroizing::new([0; KEY_BYTES])",
    }),
    run: |_| Box::pin(relay()),
};

pub(super) static D10: Case = Case {
    id: "D10",
    level: Level::P,
    attack: "diverts to a genuine guest of the same image that is somebody else's",
    defence: Defence::Code(Guard {
        function: "casemate_verifier::snp::guest::check_host_data",
        sabotage: "()",
    }),
    run: |_| Box::pin(divert()),
};

pub(super) static D11: Case = Case {
    id: "D11",
    level: Level::P,
    attack: "sends a guest's own evidence back to it",
    defence: Defence::Nothing,
    run: |_| Box::pin(reflect()),
};

pub(super) static D12: Case = Case {
    id: "D12",
    level: Level::P,
    attack: "takes the channel's protection away: plain http, or TLS that ends in a middlebox",
    defence: Defence::Code(Guard {
        function: "casemate_kbs_client::endpoint::parse_url",
        sabotage: "Url::parse(url).map_err(|_| EndpointError::Url)",
    }),
    run: |_| Box::pin(unprotect()),
};

pub(super) static D13: Case = Case {
    id: "D13",
    level: Level::P,
    attack: "puts a key of its own beside genuine evidence, or into the reply",
    defence: Defence::Code(Guard {
        function: "casemate_verifier::snp::guest::check_report_data",
        sabotage: "findings.check(&rules::REPORT_DATA, \"any\", None, Source::Report, true)",
    }),
    run: |_| Box::pin(swap_keys()),
};

/// The attacker has the broker's nonce signed by an honest guest for that guest's key.
async fn relay() -> Verdict {
    let owner = Owner::new().await?;
    // The attacker's own session, and evidence of a session that the guest has with the broker.
    let attacker = owner.by_hand(Guest::honest())?;
    let guest = owner.by_hand(Guest::honest())?;
    let (session, _) = attacker.challenge().await?;
    let (_, nonce_of_guest) = guest.challenge().await?;
    let relayed = guest.attestation(&nonce_of_guest, &guest.key, &guest.key)?;
    attacker.post("attest", Some(&session), &relayed).await?.refused("AttestationError")?;

    // Even with evidence over the attacker's own nonce, as a guest would give it to whoever holds
    // the pinned CA's key: the session is the attacker's, the envelope is not.
    let (session, nonce) = attacker.challenge().await?;
    let body = guest.attestation(&nonce, &guest.key, &guest.key)?;
    let answer = attacker.post("attest", Some(&session), &body).await?;
    ensure!(answer.status == 200, "the guest's evidence is not genuine: {}", answer.body);
    let token = answer.body["token"].as_str().context("no token")?;
    let sealed = attacker.resource(token).await?;
    ensure!(sealed.status == 200, "no envelope: {}", sealed.body);
    ensure!(!sealed.body.to_string().contains(std::str::from_utf8(VALUE)?), "the key in clear");
    let jwe: Jwe = serde_json::from_value(sealed.body)?;
    for key in [&attacker.key, &TeeKeyPair::generate()?] {
        ensure!(jwe.open(key).is_err(), "the attacker opens what was released to the guest");
    }
    ensure!(jwe.open(&guest.key)?.expose() == VALUE, "the guest cannot open its own envelope");
    Ok(Outcome::pass(
        "evidence of another session refused; of a relayed session only the attested key opens the \
         reply. KBS 0.4 binds the key, not the TLS session: no exporter",
    ))
}

/// Another tenant's guest has the same measurement, on a genuine chip.
async fn divert() -> Verdict {
    let owner = Owner::new().await?;
    let other = super::broker::INITDATA.replace("x = 1", "x = 2");
    // It shows the owner's document, which it was not launched with.
    let host_data = Some(casemate_kbs_protocol::host_data(&other)?);
    let diverted = Guest { host_data, ..Guest::honest() };
    diverted.refused(&owner, &["guest.host-data"]).await?;
    // It shows its own: genuine, and nothing is granted to it.
    let honest_stranger = Guest { initdata: other, ..Guest::honest() };
    let error = honest_stranger.fetch(&owner).await.err().context("a stranger got the key")?;
    ensure!(error.code() == Code::ResourceDenied, "{error}");
    ensure!(owner.releases()? == 0, "the key was released to another tenant's guest");
    Ok(Outcome::pass(
        "identity is measurement and whole initdata digest: another tenant is refused",
    ))
}

/// Whoever answers for the broker has its certificate and gives back what it gets.
async fn reflect() -> Verdict {
    let impostor = Impostor::start(Answers::Reflect).await?;
    let guest = Guest::honest();
    let session = guest.session(&Endpoint::new(&impostor.url(), impostor.ca())?)?;
    let error = session.attest().await.err().context("the guest took its own evidence")?;
    ensure!(matches!(error.code(), Code::BrokerUnreachable | Code::AttestRefused), "{error}");
    // The other way: what a guest is given is no evidence either.
    let owner = Owner::new().await?;
    let hand = owner.by_hand(Guest::honest())?;
    let (_, token) = hand.handshake().await?;
    let (session, nonce) = hand.challenge().await?;
    let mut body = hand.attestation(&nonce, &hand.key, &hand.key)?;
    body["tee-evidence"]["primary_evidence"] = Value::String(token);
    hand.post("attest", Some(&session), &body).await?.refused("AttestationError")?;
    Ok(Outcome::absent(
        "only guests give evidence and only brokers judge it: no message to a guest carries any, \
         and reflected ones are refused. Guests that attest each other, by our own attested TLS, \
         would bring it, with roles in what is signed",
    ))
}

async fn unprotect() -> Verdict {
    let owner = Owner::new().await?;
    let refused = Endpoint::new(&format!("http://{}", owner.address), &owner.ca()?);
    ensure!(matches!(refused, Err(EndpointError::NotHttps)), "plain http to the broker is taken");
    // A middlebox with a certificate of its own, of today's TLS and of TLS 1.2 alone.
    for version in [Answers::Challenge, Answers::ChallengeOverTls12] {
        let middlebox = Impostor::start(version).await?;
        let guest = Guest::honest();
        let endpoint = Endpoint::new(&middlebox.url(), &owner.ca()?)?;
        let error = guest.session(&endpoint)?.attest().await.err().context("the guest attested")?;
        ensure!(error.code() == Code::BrokerUntrusted && !error.is_transient(), "{error}");
        ensure!(guest.reports.load(Ordering::SeqCst) == 0, "evidence was made for a middlebox");
        ensure!(middlebox.requests() == 0, "the middlebox got a request");
    }
    Ok(Outcome::pass(
        "http is refused and a middlebox gets no request. No exporter is used that could be \
         missing: what the broker releases is sealed to the attested key under any TLS",
    ))
}

async fn swap_keys() -> Verdict {
    let owner = Owner::new().await?;
    let hand = owner.by_hand(Guest::honest())?;
    let own = TeeKeyPair::generate()?;
    let (session, nonce) = hand.challenge().await?;
    let swapped = hand.attestation(&nonce, &hand.key, &own)?;
    hand.post("attest", Some(&session), &swapped).await?.refused("AttestationError")?;
    ensure!(owner.refused_claims()? == ["report.data"], "{:?}", owner.refused_claims()?);
    ensure!(owner.releases()? == 0, "the key was released to a swapped key");
    // The other direction: a reply that is sealed to another key than the session's.
    let impostor = Impostor::start(Answers::SealToOther).await?;
    let guest = Guest::honest();
    let session = guest.session(&Endpoint::new(&impostor.url(), impostor.ca())?)?;
    let error = session.resource(&"kbs:///default/key/1".parse()?).await.err();
    let error = error.context("a guest took what was sealed to another key")?;
    ensure!(error.code() == Code::BrokerUntrusted, "{error}");
    Ok(Outcome::pass("another key than the one in REPORT_DATA is refused, in both directions"))
}
