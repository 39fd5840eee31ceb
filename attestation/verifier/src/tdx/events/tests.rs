// SPDX-License-Identifier: Apache-2.0

use casemate_evidence::event_log::EventDigest;

use super::*;

fn event(kind: EventKind, data: &[u8], covered: &[u8]) -> Event {
    let digest = EventDigest { algorithm: 0x000C, bytes: sha384(covered).to_vec() };
    Event { register: 1, kind, digests: vec![digest], name: None, data: data.to_vec() }
}

fn text_of(event: &Event) -> Text<'_> {
    text(event, &digest_of(event).unwrap())
}

/// UEFI_VARIABLE_DATA of the variable "ab".
fn variable(contents: &[u8]) -> Vec<u8> {
    let mut data = vec![7; 16];
    data.extend(2_u64.to_le_bytes());
    data.extend(u64::try_from(contents.len()).unwrap().to_le_bytes());
    data.extend(b"a\0b\0");
    data.extend(contents);
    data
}

/// An entry of a guest's runtime log.
fn tagged(id: u32, words: &[u8]) -> Vec<u8> {
    let mut data = id.to_le_bytes().to_vec();
    data.extend(u32::try_from(words.len()).unwrap().to_le_bytes());
    data.extend(words);
    data
}

#[test]
fn kinds_with_their_data_in_the_log_are_bound_or_broken() {
    for kind in [
        EventKind::SEPARATOR,
        EventKind::ACTION,
        EventKind::CRTM_VERSION,
        EventKind::VARIABLE_DRIVER_CONFIG,
        EventKind::GPT,
        EventKind::EFI_ACTION,
        EventKind::VARIABLE_BOOT2,
        EventKind::VARIABLE_AUTHORITY,
    ] {
        assert_eq!(text_of(&event(kind, b"data", b"data")), Text::Bound(b"data"), "{kind}");
        // D20: the text of such an event was altered.
        assert_eq!(text_of(&event(kind, b"date", b"data")), Text::Broken, "{kind}");
        assert_eq!(text_of(&event(kind, b"", b"data")), Text::Broken, "{kind}");
    }
}

#[test]
fn of_boot_variables_only_the_contents_are_bound() {
    let kind = EventKind::VARIABLE_BOOT;
    let data = variable(b"boot");
    assert_eq!(text_of(&event(kind, &data, b"boot")), Text::Bound(b"boot"));
    assert_eq!(text_of(&event(kind, &data, &data)), Text::Broken);
    for cut in [0, 20, 31, data.len() - 1] {
        assert_eq!(text_of(&event(kind, &data[..cut], b"boot")), Text::Broken, "{cut}");
    }
    let mut long = data.clone();
    long[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(text_of(&event(kind, &long, b"boot")), Text::Broken);
}

#[test]
fn a_runtime_logs_words_are_bound_and_linux_tags_are_opaque() {
    let kind = EventKind::EVENT_TAG;
    let entry = tagged(RUNTIME_LOG_TAG, b"domain op content");
    let bound = event(kind, &entry, &entry);
    assert_eq!(text_of(&bound), Text::Bound(b"domain op content"));
    assert_eq!(runtime_text(&bound, b"domain op content"), "domain op content");
    assert_eq!(text_of(&event(kind, &entry, b"else")), Text::Broken);
    // Linux measures the load options and the initrd and logs what they are called.
    let linux = tagged(0x8F3B_22ED, b"LOADED_IMAGE::LoadOptions\0");
    assert_eq!(text_of(&event(kind, &linux, b"quiet")), Text::Opaque);
    // Even when the digest is of the text: whoever writes it chooses the tag.
    assert_eq!(text_of(&event(kind, &linux, &linux)), Text::Opaque);
    assert_eq!(text_of(&event(kind, b"AA", b"AA")), Text::Opaque);
}

#[test]
fn texts_that_may_be_bound_are_claims_only_when_they_are() {
    let ipl = EventKind::IPL;
    let command = b"grub_cmd: linux /vmlinuz quiet\0";
    let covered = b"linux /vmlinuz quiet";
    assert_eq!(text_of(&event(ipl, command, covered)), Text::Bound(covered));
    assert_eq!(text_of(&event(ipl, command, b"another kernel")), Text::Opaque);
    assert_eq!(text_of(&event(ipl, b"MokList\0", b"")), Text::Opaque);
    assert_eq!(text_of(&event(ipl, b"", b"")), Text::Opaque);
    let flags = EventKind::PLATFORM_CONFIG_FLAGS;
    assert_eq!(text_of(&event(flags, b"ACPI DATA", b"tables")), Text::Opaque);
    let mut described = vec![0x41; DESCRIPTION_BYTES];
    described.extend(b"info");
    assert_eq!(text_of(&event(flags, &described, b"info")), Text::Bound(b"info"));
    assert_eq!(text_of(&event(flags, &described, &described)), Text::Opaque);
}

#[test]
fn what_describes_something_else_is_never_a_claim() {
    for kind in [
        EventKind::POST_CODE,
        EventKind::CRTM_CONTENTS,
        EventKind::BOOT_SERVICES_APPLICATION,
        EventKind::FIRMWARE_BLOB2,
        EventKind::HANDOFF_TABLES2,
        EventKind(0x8000_0011),
    ] {
        assert_eq!(text_of(&event(kind, b"data", b"data")), Text::Opaque, "{kind}");
        assert_eq!(text_of(&event(kind, b"data", b"else")), Text::Opaque, "{kind}");
    }
}

#[test]
fn dstacks_events_bind_kind_name_and_payload() {
    let mut event = Event {
        register: 4,
        kind: EventKind::DSTACK_RUNTIME,
        digests: Vec::new(),
        name: Some("app-id".to_owned()),
        data: vec![0xAB, 0xCD],
    };
    // Without a digest in the log it follows from the event.
    let digest = digest_of(&event).unwrap();
    assert_eq!(text(&event, &digest), Text::Bound(&[0xAB, 0xCD]));
    assert_eq!(runtime_text(&event, &event.data), "app-id=abcd");
    event.digests = vec![EventDigest { algorithm: 0x000C, bytes: digest.to_vec() }];
    assert_eq!(digest_of(&event), Some(digest));
    event.name = Some("app-ie".to_owned());
    assert_eq!(text(&event, &digest), Text::Broken);
    // Boot events of the short form have no data: nothing is claimed, nothing is broken.
    let boot = Event {
        kind: EventKind::SEPARATOR,
        name: Some(String::new()),
        data: Vec::new(),
        ..event.clone()
    };
    assert_eq!(text(&boot, &digest), Text::Opaque);
    let bare = Event { kind: EventKind::SEPARATOR, digests: Vec::new(), ..boot };
    assert_eq!(digest_of(&bare), None);
}

#[test]
fn other_banks_are_no_digest() {
    let mut event = event(EventKind::SEPARATOR, b"data", b"data");
    event.digests[0].algorithm = 0x000B;
    assert_eq!(digest_of(&event), None);
    event.digests[0] = EventDigest { algorithm: 0x000C, bytes: vec![0; 32] };
    assert_eq!(digest_of(&event), None);
}

#[test]
fn each_kind_has_one_row() {
    for (index, (kind, _)) in TABLE.iter().enumerate() {
        assert!(TABLE.iter().skip(index + 1).all(|(other, _)| other != kind), "{kind}");
    }
}
