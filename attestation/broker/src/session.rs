// SPDX-License-Identifier: Apache-2.0
//! Handshakes in progress and attested sessions, in memory and bounded.

use std::collections::HashMap;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_kbs_protocol::HashAlgorithm;
use casemate_kbs_protocol::Tee;
use casemate_kbs_protocol::TeePublicKey;
use casemate_verifier::Measurement;
use ring::rand::SecureRandom as _;
use ring::rand::SystemRandom;

/// An attested guest: what a release is decided on, and the key it is sealed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guest {
    pub(crate) tee: Tee,
    pub(crate) key: TeePublicKey,
    pub(crate) root: String,
    /// The keys of the roots of that name at attestation, see `Roots::keys_of`.
    pub(crate) root_keys: String,
    /// Launch digest, of a TD its MRTD.
    pub(crate) measurement: Measurement,
    /// Digest of the initdata, by which resources are granted: HOST_DATA, of a TD the first 32 bytes
    /// of its MRCONFIGID.
    pub(crate) host_data: [u8; 32],
    /// Id of the token, for the audit log.
    pub(crate) id: String,
}

/// A challenge as it was given, taken out of its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) nonce: String,
    pub(crate) hash: HashAlgorithm,
    pub(crate) tee: Tee,
}

/// Every session of the broker.
#[derive(Default)]
pub(crate) struct Sessions {
    by_id: HashMap<String, Session>,
    unattested: HashMap<IpAddr, usize>,
    next_sweep: u64,
}

struct Session {
    peer: IpAddr,
    expires: u64,
    state: State,
}

enum State {
    Challenged(Pending),
    /// The challenge was taken; nothing came of it yet, or never will.
    Used,
    Attested(Guest),
}

/// Why a challenge is not given or not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("too many handshakes are in progress")]
    Full,
    #[error("failed to draw random numbers")]
    Randomness,
    #[error("there is no such session, or it has expired")]
    Unknown,
    #[error("the challenge of this session was used already")]
    Used,
    #[error("the session is not attested")]
    NotAttested,
}

impl Sessions {
    /// Opens a session with a new challenge; gives its id and nonce.
    pub(crate) fn open(
        &mut self,
        peer: IpAddr,
        hash: HashAlgorithm,
        tee: Tee,
        now: u64,
    ) -> Result<(String, String), SessionError> {
        self.sweep(now);
        if !self.has_room(peer) {
            return Err(SessionError::Full);
        }
        let random = SystemRandom::new();
        let id = session_id(&random)?;
        let mut nonce = [0; NONCE_BYTES];
        random.fill(&mut nonce).map_err(|_| SessionError::Randomness)?;
        let nonce = STANDARD.encode(nonce);
        let state = State::Challenged(Pending { nonce: nonce.clone(), hash, tee });
        let expires = now.saturating_add(SESSION_SECONDS);
        self.by_id.insert(id.clone(), Session { peer, expires, state });
        let waiting = self.unattested.entry(peer).or_default();
        *waiting = waiting.saturating_add(1);
        Ok((id, nonce))
    }

    /// Takes the challenge of a session. It can be taken once, whatever comes of it.
    pub(crate) fn take(&mut self, id: &str, now: u64) -> Result<Pending, SessionError> {
        let session = self
            .by_id
            .get_mut(id)
            .filter(|session| now < session.expires)
            .ok_or(SessionError::Unknown)?;
        match std::mem::replace(&mut session.state, State::Used) {
            State::Challenged(pending) => Ok(pending),
            State::Used => Err(SessionError::Used),
            attested @ State::Attested(_) => {
                session.state = attested;
                Err(SessionError::Used)
            }
        }
    }

    /// Marks a session whose challenge was taken as attested.
    pub(crate) fn attested(&mut self, id: &str, guest: Guest, now: u64) {
        let Some(session) = self.by_id.get_mut(id) else { return };
        session.expires = now.saturating_add(SESSION_SECONDS);
        session.state = State::Attested(guest);
        let peer = session.peer;
        self.forget_waiting(peer);
    }

    /// The guest of an attested session.
    pub(crate) fn guest(&self, id: &str, now: u64) -> Result<Guest, SessionError> {
        let session = self
            .by_id
            .get(id)
            .filter(|session| now < session.expires)
            .ok_or(SessionError::Unknown)?;
        match &session.state {
            State::Attested(guest) => Ok(guest.clone()),
            State::Challenged(_) | State::Used => Err(SessionError::NotAttested),
        }
    }

    /// E11: a guest that starts again and again uses up its node's places, not the broker's.
    fn has_room(&self, peer: IpAddr) -> bool {
        let waiting = self.unattested.get(&peer).copied().unwrap_or_default();
        self.by_id.len() < MAX_SESSIONS && waiting < MAX_UNATTESTED_PER_PEER
    }

    fn sweep(&mut self, now: u64) {
        if now < self.next_sweep && self.by_id.len() < MAX_SESSIONS {
            return;
        }
        self.next_sweep = now.saturating_add(SWEEP_SECONDS);
        let mut gone = Vec::new();
        self.by_id.retain(|_, session| {
            let keep = now < session.expires;
            if !keep && !matches!(session.state, State::Attested(_)) {
                gone.push(session.peer);
            }
            keep
        });
        for peer in gone {
            self.forget_waiting(peer);
        }
    }

    fn forget_waiting(&mut self, peer: IpAddr) {
        if let Some(waiting) = self.unattested.get_mut(&peer) {
            *waiting = waiting.saturating_sub(1);
            if *waiting == 0 {
                self.unattested.remove(&peer);
            }
        }
    }
}

/// A random UUID (version 4) without dashes, as the ecosystem's servers give it.
fn session_id(random: &SystemRandom) -> Result<String, SessionError> {
    let mut bytes = [0; 16];
    random.fill(&mut bytes).map_err(|_| SessionError::Randomness)?;
    let number = u128::from_be_bytes(bytes);
    let number = number & !(0xF << 76) | (0x4 << 76);
    let number = number & !(0x3 << 62) | (0x2 << 62);
    Ok(format!("{number:032x}"))
}

/// Life of a challenge, and of an attested session and its token, seconds.
pub(crate) const SESSION_SECONDS: u64 = 5 * 60;

/// Most sessions at a time: `POST /auth` is open to anybody, and a record is under a kilobyte.
pub(crate) const MAX_SESSIONS: usize = 8192;

/// Most sessions of one address that have not attested. It bounds how many verifications an
/// address can cause, and lets a node start this many pods at once.
pub(crate) const MAX_UNATTESTED_PER_PEER: usize = 128;

const SWEEP_SECONDS: u64 = 10;
const NONCE_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use casemate_kbs_protocol::TeeKeyPair;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn guest() -> Guest {
        Guest {
            tee: Tee::Snp,
            key: TeeKeyPair::generate().unwrap().public_key().clone(),
            root_keys: "ab".into(),
            root: "simulated:test".into(),
            measurement: Measurement([1; 48]),
            host_data: [2; 32],
            id: "x".into(),
        }
    }

    fn open(sessions: &mut Sessions, now: u64) -> Result<String, SessionError> {
        sessions.open(PEER, HashAlgorithm::Sha384, Tee::Snp, now).map(|(id, _)| id)
    }

    #[test]
    fn ids_are_version_4_uuids_and_nonces_are_32_bytes() {
        let mut sessions = Sessions::default();
        let (id, nonce) = sessions.open(PEER, HashAlgorithm::Sha384, Tee::Snp, 0).unwrap();
        assert_eq!(id.len(), 32);
        assert_eq!(&id[12..13], "4");
        assert!("89ab".contains(&id[16..17]));
        assert_eq!(STANDARD.decode(nonce).unwrap().len(), 32);
        assert_ne!(open(&mut sessions, 0).unwrap(), id);
    }

    #[test]
    fn a_challenge_is_taken_once() {
        // D8
        let mut sessions = Sessions::default();
        let id = open(&mut sessions, 0).unwrap();
        assert!(sessions.take(&id, 1).is_ok());
        assert_eq!(sessions.take(&id, 1), Err(SessionError::Used));
        assert_eq!(sessions.guest(&id, 1), Err(SessionError::NotAttested));
        let guest = guest();
        sessions.attested(&id, guest.clone(), 1);
        assert_eq!(sessions.take(&id, 2), Err(SessionError::Used));
        assert_eq!(sessions.guest(&id, 2), Ok(guest));
    }

    #[test]
    fn challenges_and_sessions_expire() {
        let mut sessions = Sessions::default();
        let id = open(&mut sessions, 0).unwrap();
        assert_eq!(sessions.take(&id, SESSION_SECONDS), Err(SessionError::Unknown));
        let id = open(&mut sessions, 1000).unwrap();
        sessions.take(&id, 1299).unwrap();
        sessions.attested(&id, guest(), 1299);
        assert!(sessions.guest(&id, 1598).is_ok());
        assert_eq!(sessions.guest(&id, 1599), Err(SessionError::Unknown));
    }

    #[test]
    fn one_address_cannot_fill_the_table() {
        let mut sessions = Sessions::default();
        let ids: Vec<_> =
            (0..MAX_UNATTESTED_PER_PEER).map(|_| open(&mut sessions, 0).unwrap()).collect();
        assert_eq!(open(&mut sessions, 0), Err(SessionError::Full));
        // A failed attempt frees nothing; a success does.
        sessions.take(&ids[0], 0).unwrap();
        assert_eq!(open(&mut sessions, 0), Err(SessionError::Full));
        sessions.attested(&ids[0], guest(), 0);
        assert!(open(&mut sessions, 0).is_ok());
        assert_eq!(open(&mut sessions, 0), Err(SessionError::Full));
        // Another address is not affected, and time frees all.
        let other = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));
        assert!(sessions.open(other, HashAlgorithm::Sha384, Tee::Snp, 0).is_ok());
        assert!(open(&mut sessions, SESSION_SECONDS).is_ok());
        assert_eq!(sessions.by_id.len(), 1);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut sessions = Sessions::default();
        for peer in 0..u32::try_from(MAX_SESSIONS).unwrap() {
            let peer = IpAddr::from((0x7F00_0000 + peer).to_be_bytes());
            sessions.open(peer, HashAlgorithm::Sha384, Tee::Snp, 0).unwrap();
        }
        assert_eq!(open(&mut sessions, 0), Err(SessionError::Full));
        assert!(open(&mut sessions, SESSION_SECONDS).is_ok());
    }
}
