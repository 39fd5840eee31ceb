// SPDX-License-Identifier: Apache-2.0
//! `casemate idblock`: which guest may start, signed by its owner.

use std::path::Path;

use casemate_launch_digest::LaunchDigest;
use casemate_launch_digest::id_block::IdAuth;
use casemate_launch_digest::id_block::IdBlock;
use casemate_launch_digest::id_block::Identity;
use casemate_launch_digest::id_block::MAX_KEY_FILE;
use casemate_launch_digest::id_block::SigningKey;
use casemate_launch_digest::snp::GuestPolicy;
use ring::rand::SystemRandom;
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::IdBlockCreateArgs;
use crate::args::IdBlockVerifyArgs;
use crate::failure::Failure;
use crate::failure::chain;
use crate::file;

/// Signs a launch digest and writes both files that a launch takes.
pub(crate) fn create(args: &IdBlockCreateArgs) -> Result<(), Failure> {
    demand_separate(args)?;
    let policy = GuestPolicy::from_bits(args.policy)
        .map_err(|error| Failure::new("id-block", error, "give a policy with bit 17 set"))?;
    if policy.allows_debug() && !args.allow_debug {
        return Err(Failure::new(
            "id-block.policy",
            format_args!("the guest policy {policy} allows debugging: the host may read the guest"),
            "leave out bit 19 (0x80000), or say --allow-debug",
        )
        .refused());
    }
    let block = IdBlock {
        launch_digest: LaunchDigest::from_bytes(args.launch_digest),
        family_id: args.family_id,
        image_id: args.image_id,
        guest_svn: args.guest_svn,
        policy,
    };
    let random = SystemRandom::new();
    let id_key = signing_key(&args.id_key, &random)?;
    let author_key = match &args.author_key {
        Some(path) => Some(signing_key(path, &random)?),
        None => None,
    };
    let identity = block
        .sign(&id_key, author_key.as_ref(), &random)
        .map_err(|error| Failure::new("id-block", chain(&error), "try again"))?;
    file::write_regular(&args.block, &identity.block().to_bytes())?;
    // Once more: a link may have led to the block before there was one.
    demand_separate(args)?;
    file::write_regular(&args.auth, identity.auth().to_bytes().as_slice())?;
    file::write(None, &describe(&identity, args.json))
}

/// Nothing is written over a key, nor one of the two files over the other.
fn demand_separate(args: &IdBlockCreateArgs) -> Result<(), Failure> {
    if args.block == args.auth || file::same(&args.block, &args.auth) {
        return Err(Failure::new(
            "id-block",
            "block and authentication would be one file",
            "give two paths: --block FILE --auth FILE",
        ));
    }
    let keys = [Some(&args.id_key), args.author_key.as_ref()];
    for output in [&args.block, &args.auth] {
        if keys.iter().flatten().any(|key| file::same(key, output)) {
            return Err(Failure::new(
                "id-block",
                format_args!("{} is a key, and would be overwritten", output.display()),
                "give other paths: --block FILE --auth FILE",
            ));
        }
    }
    Ok(())
}

/// Checks both signatures and prints what they bind.
pub(crate) fn verify(args: &IdBlockVerifyArgs) -> Result<(), Failure> {
    let refuse = |error: &dyn std::error::Error| {
        Failure::new("id-block", chain(error), "do not launch with it; make it again")
    };
    let block = IdBlock::parse(&file::read(&args.block, MAX_FILE)?).map_err(|e| refuse(&e))?;
    let auth = IdAuth::parse(&file::read(&args.auth, MAX_FILE)?).map_err(|e| refuse(&e))?;
    let identity = Identity::new(block, auth).map_err(|error| {
        Failure::new("id-block.signature", error, "do not launch with it; make it again").refused()
    })?;
    let (block, key) = (identity.block(), identity.auth().id_key().digest());
    let author = identity.auth().author_key().map(|key| key.digest());
    let policy = block.policy.bits();
    let found = if args.launch_digest.is_some_and(|d| block.launch_digest.as_bytes() != &d) {
        Some(("id-block.digest", format!("it binds the launch digest {}", block.launch_digest)))
    } else if args.id_key_digest.is_some_and(|digest| key.0 != digest) {
        Some(("id-block.key", format!("it is signed by the key {key}")))
    } else if args.author_key_digest.is_some_and(|d| author.is_none_or(|found| found.0 != d)) {
        let found = match author {
            Some(author) => format!("the author of its key is {author}"),
            None => "no author signed its key".to_owned(),
        };
        Some(("id-block.key", found))
    } else if args.policy.is_some_and(|wanted| policy != wanted) {
        Some(("id-block.policy", format!("it binds the guest policy {policy:#x}")))
    } else {
        None
    };
    match found {
        Some((code, found)) => {
            Err(Failure::new(code, found, "make it again for the guest that is meant").refused())
        }
        None => file::write(None, &describe(&identity, args.json)),
    }
}

fn describe(identity: &Identity, as_json: bool) -> String {
    if as_json { in_json(identity) } else { in_lines(identity) }
}

/// Hexadecimal as in the report; the policy as `--policy` takes it.
fn in_json(identity: &Identity) -> String {
    let (block, auth) = (identity.block(), identity.auth());
    let policy = block.policy;
    let object = json!({
        "launch_digest": block.launch_digest.to_string(),
        "policy": format!("{:#x}", policy.bits()),
        "policy_allows": {
            "debug": policy.allows_debug(),
            "migration_agent": policy.allows_migration_agent(),
            "smt": policy.allows_smt(),
        },
        "family_id": hex::encode(block.family_id),
        "image_id": hex::encode(block.image_id),
        "guest_svn": block.guest_svn,
        "id_key_digest": auth.id_key().digest().to_string(),
        "author_key_digest": auth.author_key().map(|key| key.digest().to_string()),
    });
    format!("{object}\n")
}

fn in_lines(identity: &Identity) -> String {
    let block = identity.block();
    let mut text = format!(
        "launch_digest      {}\npolicy             {:#x}\n\
         policy_says        {}\nfamily_id          {}\n\
         image_id           {}\nguest_svn          {}\nid_key_digest      {}\n",
        block.launch_digest,
        block.policy.bits(),
        in_words(block.policy),
        hex::encode(block.family_id),
        hex::encode(block.image_id),
        block.guest_svn,
        identity.auth().id_key().digest(),
    );
    if let Some(author) = identity.auth().author_key() {
        text.push_str(&format!("author_key_digest  {}\n", author.digest()));
    }
    text
}

/// What a guest policy lets the host do.
fn in_words(policy: GuestPolicy) -> String {
    let can = |allowed: bool| if allowed { "allowed" } else { "forbidden" };
    format!(
        "debugging {}, migration agent {}, multithreading {}",
        if policy.allows_debug() { "ALLOWED: the host may read the guest" } else { "forbidden" },
        can(policy.allows_migration_agent()),
        can(policy.allows_smt()),
    )
}

fn signing_key(path: &Path, random: &SystemRandom) -> Result<SigningKey, Failure> {
    let max = u64::try_from(MAX_KEY_FILE).unwrap_or(u64::MAX);
    let bytes = Zeroizing::new(file::read(path, max)?);
    SigningKey::from_pkcs8(&bytes, random).map_err(|error| {
        Failure::new(
            "key",
            format_args!("{}: {}", path.display(), chain(&error)),
            "make a key: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out FILE",
        )
    })
}

/// Largest of both files, in bytes.
const MAX_FILE: u64 = 4096;
