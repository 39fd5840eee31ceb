// SPDX-License-Identifier: Apache-2.0
//! What the digest of an event is of.
//!
//! A log's text proves nothing unless the digest, which the replay binds to hardware, is of that
//! text. For some kinds of events it is; for others only of a part, or of something that the log
//! does not hold (a kernel, a table) while its text merely describes it. The table says which.
//! Sources: TCG PC Client Platform Firmware Profile, section 10.4; UEFI Specification, section
//! 38.4; for Linux, GRUB, td-shim, Confidential Containers and dstack their own documents. Logs of
//! real machines cover each row.

use casemate_evidence::event_log::Event;
use casemate_evidence::event_log::EventKind;
use ring::digest;

/// What an event's digest is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binding {
    /// Of all its data.
    Data,
    /// Of the contents of the variable that the data holds; its name is not covered.
    VariableContents,
    /// Of the whole data if it is an entry of a guest's runtime log; else of something else.
    Tagged,
    /// Of the command that GRUB writes behind a word; else of something else.
    GrubCommand,
    /// Of what stands behind td-shim's description; else of something else.
    Described,
    /// Of kind, name and data together.
    DstackRuntime,
    /// Of something that the log does not hold.
    Opaque,
}

/// What is known of an event's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Text<'a> {
    /// The digest is of these bytes.
    Bound(&'a [u8]),
    /// The digest is of something else: the text is no claim.
    Opaque,
    /// The digest should be of the text and is not.
    Broken,
}

/// Kinds that are not in the table are opaque.
const TABLE: [(EventKind, Binding); 19] = [
    (EventKind::POST_CODE, Binding::Opaque),
    (EventKind::SEPARATOR, Binding::Data),
    (EventKind::ACTION, Binding::Data),
    (EventKind::EVENT_TAG, Binding::Tagged),
    (EventKind::CRTM_CONTENTS, Binding::Opaque),
    (EventKind::CRTM_VERSION, Binding::Data),
    (EventKind::PLATFORM_CONFIG_FLAGS, Binding::Described),
    (EventKind::IPL, Binding::GrubCommand),
    (EventKind::VARIABLE_DRIVER_CONFIG, Binding::Data),
    (EventKind::VARIABLE_BOOT, Binding::VariableContents),
    (EventKind::BOOT_SERVICES_APPLICATION, Binding::Opaque),
    (EventKind::GPT, Binding::Data),
    (EventKind::EFI_ACTION, Binding::Data),
    (EventKind::FIRMWARE_BLOB2, Binding::Opaque),
    (EventKind::HANDOFF_TABLES2, Binding::Opaque),
    (EventKind::VARIABLE_BOOT2, Binding::Data),
    (EventKind::VARIABLE_AUTHORITY, Binding::Data),
    (EventKind::DSTACK_RUNTIME, Binding::DstackRuntime),
    (EventKind::NO_ACTION, Binding::Opaque),
];

/// The digest that an event extends its register with: the one of the log, or for dstack's short
/// form the one that follows from the event itself.
pub(super) fn digest_of(event: &Event) -> Option<[u8; 48]> {
    match event.sha384() {
        Some(digest) => Some(*digest),
        None if event.kind == EventKind::DSTACK_RUNTIME && event.digests.is_empty() => {
            Some(dstack_digest(event))
        }
        None => None,
    }
}

/// What of an event's text its digest covers.
pub(super) fn text<'a>(event: &'a Event, digest: &[u8; 48]) -> Text<'a> {
    let data = event.data.as_slice();
    let is_of = |bytes: &[u8]| sha384(bytes) == *digest;
    // A text that may be covered.
    let may = |part: Option<&'a [u8]>| match part.filter(|part| is_of(part)) {
        Some(part) => Text::Bound(part),
        None => Text::Opaque,
    };
    // A text that must be.
    let must = |part: Option<&'a [u8]>| match part.filter(|part| is_of(part)) {
        Some(part) => Text::Bound(part),
        None => Text::Broken,
    };
    let binding = TABLE
        .iter()
        .find_map(|(kind, binding)| (*kind == event.kind).then_some(*binding))
        .unwrap_or(Binding::Opaque);
    // dstack's short form leaves the data of boot events out.
    let left_out = event.name.is_some() && data.is_empty();
    match binding {
        Binding::DstackRuntime if dstack_digest(event) == *digest => Text::Bound(data),
        Binding::DstackRuntime => Text::Broken,
        _ if left_out => Text::Opaque,
        Binding::Data => must(Some(data)),
        Binding::VariableContents => must(variable_contents(data)),
        Binding::Tagged if tag(data) == Some(RUNTIME_LOG_TAG) => {
            match (must(Some(data)), data.split_at_checked(TAG_HEADER_BYTES)) {
                (Text::Bound(_), Some((_, text))) => Text::Bound(text),
                _ => Text::Broken,
            }
        }
        Binding::Tagged | Binding::Opaque => Text::Opaque,
        Binding::GrubCommand => may(grub_command(data)),
        Binding::Described => may(data.get(DESCRIPTION_BYTES..)),
    }
}

/// The text of an event of the running system, as policies name it: the words of a runtime log's
/// entry, or `NAME=HEX` of dstack's.
pub(super) fn runtime_text(event: &Event, covered: &[u8]) -> String {
    match &event.name {
        Some(name) => format!("{name}={}", hex::encode(covered)),
        None => String::from_utf8_lossy(covered).into_owned(),
    }
}

fn sha384(bytes: &[u8]) -> [u8; 48] {
    finish(digest::digest(&digest::SHA384, bytes))
}

fn finish(digest: digest::Digest) -> [u8; 48] {
    digest.as_ref().try_into().unwrap_or([0; 48])
}

fn dstack_digest(event: &Event) -> [u8; 48] {
    let mut context = digest::Context::new(&digest::SHA384);
    context.update(&event.kind.0.to_le_bytes());
    context.update(b":");
    context.update(event.name.as_deref().unwrap_or_default().as_bytes());
    context.update(b":");
    context.update(&event.data);
    finish(context.finish())
}

/// VariableData of UEFI_VARIABLE_DATA: a GUID, two lengths, the name in UTF-16, the contents.
fn variable_contents(data: &[u8]) -> Option<&[u8]> {
    let (_, rest) = data.split_first_chunk::<16>()?;
    let (name_units, rest) = rest.split_first_chunk::<8>()?;
    let (contents_bytes, rest) = rest.split_first_chunk::<8>()?;
    let name_units = usize::try_from(u64::from_le_bytes(*name_units)).ok()?;
    let contents = rest.get(name_units.checked_mul(2)?..)?;
    let contents_bytes = usize::try_from(u64::from_le_bytes(*contents_bytes)).ok()?;
    (contents.len() == contents_bytes).then_some(contents)
}

/// The id of a tagged event whose length is right.
fn tag(data: &[u8]) -> Option<u32> {
    let (id, rest) = data.split_first_chunk::<4>()?;
    let (length, text) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    (length == text.len()).then_some(u32::from_le_bytes(*id))
}

/// What stands behind the first word, up to the zero at the end.
fn grub_command(data: &[u8]) -> Option<&[u8]> {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let text = data.get(..end)?;
    let space = text.iter().position(|byte| *byte == b' ')?;
    text.get(space.checked_add(1)?..)
}

/// "AAEL", the tag of entries of a guest's runtime log.
const RUNTIME_LOG_TAG: u32 = 0x4141_454C;
const TAG_HEADER_BYTES: usize = 8;
/// td-shim's description: 16 bytes of name and the length of what follows.
const DESCRIPTION_BYTES: usize = 20;

#[cfg(test)]
mod tests;
