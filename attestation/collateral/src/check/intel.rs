// SPDX-License-Identifier: Apache-2.0
//! Intel's documents and revocation lists.

use casemate_evidence::collateral::QeIdentity;
use casemate_evidence::collateral::Signed;
use casemate_evidence::collateral::TcbInfo;
use casemate_evidence::tdx::Certificate;
use casemate_evidence::tdx::Crl;
use casemate_verifier::tdx::Root;

use super::CheckError;
use super::current;
use crate::answer::Answer;
use crate::item::PckCa;
use crate::mark::Mark;

pub(super) fn tcb_info(
    answer: &Answer,
    fmspc: &[u8; 6],
    root: &Root,
    now: u64,
) -> Result<Mark, CheckError> {
    let signed = Signed::<TcbInfo>::from_answer(answer.text())
        .map_err(|source| CheckError::IntelDocument { source })?;
    document_signer(answer, &signed, root, now)?;
    let document = &signed.document;
    if document.fmspc != *fmspc {
        return Err(CheckError::OtherPlatform { found: hex::encode(document.fmspc) });
    }
    current("the document", document.issue_date, document.next_update, now)?;
    Ok(Mark::of_number(u64::from(document.evaluation_number), document.issue_date))
}

pub(super) fn qe_identity(answer: &Answer, root: &Root, now: u64) -> Result<Mark, CheckError> {
    let signed = Signed::<QeIdentity>::from_answer(answer.text())
        .map_err(|source| CheckError::IntelDocument { source })?;
    document_signer(answer, &signed, root, now)?;
    let document = &signed.document;
    current("the document", document.issue_date, document.next_update, now)?;
    Ok(Mark::of_number(u64::from(document.evaluation_number), document.issue_date))
}

pub(super) fn pck_list(
    answer: &Answer,
    ca: PckCa,
    root: &Root,
    now: u64,
) -> Result<Mark, CheckError> {
    let (list, signer) = list_signer(answer, root, now)?;
    if PckCa::from_common_name(signer.common_name()) != Some(ca) {
        return Err(CheckError::OtherCa { found: signer.common_name().to_owned() });
    }
    mark(&list, now)
}

pub(super) fn root_list(bytes: &[u8], root: &Root, now: u64) -> Result<Mark, CheckError> {
    let list = Crl::parse(bytes).map_err(|source| CheckError::IntelList { source })?;
    if !root.vouches_for_list(&list) {
        return Err(CheckError::NotVouched);
    }
    mark(&list, now)
}

/// Who signed a document, and that the key may do so now.
pub(crate) fn document_signer<T>(
    answer: &Answer,
    signed: &Signed<T>,
    root: &Root,
    now: u64,
) -> Result<Certificate, CheckError> {
    let chain = chain(answer)?;
    let signer = root
        .document_signer(&chain, &signed.text, &signed.signature)
        .ok_or(CheckError::NotVouched)?;
    current("the key that signed it", signer.not_before(), signer.not_after(), now)?;
    Ok(signer.clone())
}

/// A list of PCK certificates and who signed it, and that the key may do so now.
pub(crate) fn list_signer(
    answer: &Answer,
    root: &Root,
    now: u64,
) -> Result<(Crl, Certificate), CheckError> {
    let list = Crl::parse(&answer.body).map_err(|source| CheckError::IntelList { source })?;
    let chain = chain(answer)?;
    let signer = root.pck_list_signer(&chain, &list).ok_or(CheckError::NotVouched)?;
    current("the key that signed it", signer.not_before(), signer.not_after(), now)?;
    Ok((list, signer.clone()))
}

fn chain(answer: &Answer) -> Result<Vec<Certificate>, CheckError> {
    let pem = answer.issuer_chain.as_deref().unwrap_or_default();
    Certificate::parse_chain(pem.as_bytes())
        .map_err(|source| CheckError::IntelCertificate { source })
}

fn mark(list: &Crl, now: u64) -> Result<Mark, CheckError> {
    current("the list", list.this_update(), list.next_update(), now)?;
    let number = list.number().map(u64::to_be_bytes);
    Ok(Mark::new(number.as_ref().map(|number| number.as_slice()), list.this_update()))
}
