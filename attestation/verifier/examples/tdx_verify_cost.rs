// SPDX-License-Identifier: Apache-2.0
//! What a verdict on a TDX quote costs, against the crate `dcap-qvl` on the same bytes.
//!
//! `cargo run --release -p casemate-verifier --example tdx_verify_cost -- QUOTE COLLATERAL.json SECONDS`
//! prints one line of JSON: least times in microseconds, and the medians of what each round gives,
//! which a processor that changes its clock between rounds does not disturb. Both sides get the
//! quote's bytes and collateral as text; `cached` has collateral that was checked once.

use std::hint::black_box;
use std::time::Instant;

use casemate_evidence::collateral::Collateral;
use casemate_evidence::tdx::Evidence;
use casemate_evidence::tdx::Quote;
use casemate_verifier::Status;
use casemate_verifier::tdx::CheckedCollateral;
use casemate_verifier::tdx::Expected;
use casemate_verifier::tdx::Requirements;
use casemate_verifier::tdx::Root;
use casemate_verifier::tdx::verify;
use casemate_verifier::tdx::verify_with;
use dcap_qvl::QuoteCollateralV3;
use ring::signature;

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("arguments: QUOTE COLLATERAL.json SECONDS");
    let quote = std::fs::read(next()?)?;
    let text = std::fs::read_to_string(next()?)?;
    let now: u64 = next()?.parse()?;

    let roots = [Root::intel()?];
    let (expected, requirements) = (Expected::default(), Requirements::default());
    let collateral = Collateral::from_json(&text)?;
    let checked = CheckedCollateral::new(collateral.clone(), Root::intel()?);
    let theirs: QuoteCollateralV3 = serde_json::from_str(&text)?;

    // Everything from bytes, each time.
    let full = || -> Result<Status, Error> {
        let evidence = Evidence::of_quote(Quote::parse(&quote)?);
        let collateral = Collateral::from_json(&text)?;
        let collateral = Some(&collateral);
        Ok(verify(&evidence, &roots, collateral, None, &expected, &requirements, now).status())
    };
    // Collateral is read, nothing of it is believed yet.
    let read = || -> Result<Status, Error> {
        let evidence = Evidence::of_quote(Quote::parse(&quote)?);
        let collateral = Some(&collateral);
        Ok(verify(&evidence, &roots, collateral, None, &expected, &requirements, now).status())
    };
    let cached = || -> Result<Status, Error> {
        let evidence = Evidence::of_quote(Quote::parse(&quote)?);
        Ok(verify_with(&evidence, &checked, None, &expected, &requirements, now).status())
    };
    let crate_full = || -> Result<String, Error> {
        let collateral: QuoteCollateralV3 = serde_json::from_str(&text)?;
        Ok(dcap_qvl::verify::verify(&quote, &collateral, now)?.status)
    };
    let crate_read =
        || -> Result<String, Error> { Ok(dcap_qvl::verify::verify(&quote, &theirs, now)?.status) };

    let parsed = Quote::parse(&quote)?;
    let mut key = vec![4];
    key.extend(parsed.attestation_key());
    let bare = || -> Result<(), Error> {
        signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, &key)
            .verify(parsed.signed_bytes(), parsed.signature())
            .map_err(|_| "the quote's signature is wrong".into())
    };

    if full()? == Status::Refused {
        return Err("the quote is refused: give one that both accept, and its time".into());
    }
    eprintln!("dcap-qvl says {}", crate_read()?);
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push([
            time(full)?,
            time(read)?,
            time(cached)?,
            time(crate_full)?,
            time(crate_read)?,
            time(bare)?,
        ]);
    }
    let least = |index: usize| {
        times.iter().filter_map(|round| round.get(index)).fold(f64::MAX, |a, b| a.min(*b))
    };
    println!(
        "{{\"full_us\":{:.0},\"read_us\":{:.0},\"cached_us\":{:.0},\"dcap_qvl_full_us\":{:.0},\
         \"dcap_qvl_read_us\":{:.0},\"bare_p256_us\":{:.1},\"full_over_dcap_qvl\":{:.3},\
         \"read_over_dcap_qvl\":{:.3},\"cached_over_dcap_qvl\":{:.3},\"cached_over_bare\":{:.2}}}",
        least(0),
        least(1),
        least(2),
        least(3),
        least(4),
        least(5),
        median(times.iter().map(|[full, _, _, theirs, ..]| full / theirs)),
        median(times.iter().map(|[_, read, _, _, theirs, _]| read / theirs)),
        median(times.iter().map(|[_, _, cached, _, theirs, _]| cached / theirs)),
        median(times.iter().map(|[_, _, cached, _, _, bare]| cached / bare)),
    );
    Ok(())
}

/// Microseconds of one call, the mean of a few.
fn time<T>(work: impl Fn() -> Result<T, Error>) -> Result<f64, Error> {
    let start = Instant::now();
    for _ in 0..CALLS {
        black_box(work()?);
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().div_euclid(2)).copied().unwrap_or(f64::NAN)
}

const ROUNDS: usize = 41;
const CALLS: u32 = 20;
