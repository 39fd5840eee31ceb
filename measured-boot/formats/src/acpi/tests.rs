// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;

use super::*;

/// The three files.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    loader: Vec<u8>,
    rsdp: Vec<u8>,
    tables: Vec<u8>,
}

impl Files {
    /// A DSDT, an FADT that points to it, and the table of tables, as QEMU lays them out.
    fn sample() -> Self {
        let [dsdt, fadt, root] = [0_usize, 40, 100];
        let mut tables = table(b"DSDT", 40);
        tables.extend(table(b"FACP", 60));
        tables.extend(table(b"RSDT", 40));
        tables[136] = 40;
        tables.extend([0; 100]);
        let mut rsdp = b"RSD PTR \0BOCHS \0".to_vec();
        rsdp.extend(100_u32.to_le_bytes());
        let loader = [
            command_allocate(RSDP, 16, 2),
            command_allocate(TABLES, 64, 1),
            command_checksum(TABLES, dsdt, 40),
            command_pointer(TABLES, TABLES, fadt + 40, 4),
            command_checksum(TABLES, fadt, 60),
            command_pointer(TABLES, TABLES, root + 36, 4),
            command_checksum(TABLES, root, 40),
            command_pointer(RSDP, TABLES, 16, 4),
            command_checksum_at(RSDP, 8, 0, 20),
            vec![0; 128],
        ];
        Self { loader: loader.concat(), rsdp, tables }
    }

    fn parse(&self) -> Result<AcpiFiles<'_>, AcpiFilesError> {
        AcpiFiles::parse(&self.loader, &self.rsdp, &self.tables)
    }

    /// With another command in the place of one.
    fn with(mut self, entry: usize, command: &[u8]) -> Self {
        self.loader[entry * 128..][..128].copy_from_slice(command);
        self
    }

    fn without(mut self, entry: usize) -> Self {
        self.loader.drain(entry * 128..(entry + 1) * 128);
        self
    }
}

fn table(signature: &[u8; 4], length: u32) -> Vec<u8> {
    let mut table = signature.to_vec();
    table.extend(length.to_le_bytes());
    table.resize(length as usize, 0);
    table
}

fn command(code: u32, fields: &[&[u8]]) -> Vec<u8> {
    let mut entry = code.to_le_bytes().to_vec();
    entry.extend(fields.concat());
    entry.resize(128, 0);
    entry
}

fn field(name: &[u8]) -> Vec<u8> {
    let mut field = name.to_vec();
    field.resize(56, 0);
    field
}

fn word(number: usize) -> [u8; 4] {
    (number as u32).to_le_bytes()
}

fn command_allocate(file: &[u8], alignment: usize, zone: u8) -> Vec<u8> {
    command(1, &[&field(file), &word(alignment), &[zone]])
}

fn command_pointer(into: &[u8], of: &[u8], offset: usize, size: u8) -> Vec<u8> {
    command(2, &[&field(into), &field(of), &word(offset), &[size]])
}

fn command_checksum(file: &[u8], start: usize, length: usize) -> Vec<u8> {
    command_checksum_at(file, start + 9, start, length)
}

fn command_checksum_at(file: &[u8], result: usize, start: usize, length: usize) -> Vec<u8> {
    command(3, &[&field(file), &word(result), &word(start), &word(length)])
}

#[test]
fn takes_files_that_belong_together() {
    let files = Files::sample();
    let parsed = files.parse().unwrap();
    assert_eq!(
        (parsed.loader(), parsed.rsdp(), parsed.tables()),
        (files.loader.as_slice(), files.rsdp.as_slice(), files.tables.as_slice())
    );
    // A file of its own, as a device for generation ids has, and its address for the VMM.
    let guid = b"etc/vmgenid_guid";
    let mut more = files.clone();
    let write = [&field(b"etc/vmgenid_addr")[..], &field(guid), &word(0), &word(40), &[8]];
    more.loader.splice(
        256..256,
        [command_allocate(guid, 4096, 1), command(4, &write), {
            command_pointer(TABLES, guid, 50, 4)
        }]
        .concat(),
    );
    assert!(more.parse().is_ok(), "{:?}", more.parse());
    // ACPI 2.0 and later.
    let mut newer = files.clone();
    newer.rsdp = b"RSD PTR \0BOCHS \x02\0\0\0\0\x24\0\0\0".to_vec();
    newer.rsdp.extend(100_u64.to_le_bytes());
    newer.rsdp.extend([0; 4]);
    newer.tables[100..104].copy_from_slice(b"XSDT");
    let newer = newer.with(7, &command_pointer(RSDP, TABLES, 24, 8));
    assert!(newer.parse().is_ok(), "{:?}", newer.parse());
}

#[test]
fn refuses_what_is_no_list_of_commands() {
    let loader = |loader: &[u8]| Files { loader: loader.to_vec(), ..Files::sample() };
    for size in [0, 1, 127, 129, MAX_LOADER_SIZE + 128] {
        let error = AcpiFilesError::LoaderSize { size };
        assert_eq!(loader(&vec![0; size]).parse(), Err(error));
    }
    assert_eq!(loader(&[0; 256]).parse(), Err(AcpiFilesError::NoRoot));
    assert_eq!(
        loader(&[b'x'; 128]).parse(),
        Err(AcpiFilesError::UnknownCommand { entry: 0, command: 0x7878_7878 })
    );
    // A hole among the commands.
    let hole = Files::sample().with(3, &[0; 128]);
    assert_eq!(hole.parse(), Err(AcpiFilesError::UnknownCommand { entry: 3, command: 0 }));
    let bad = AcpiFilesError::BadCommand { entry: 1 };
    let mut trailing = command_allocate(TABLES, 64, 1);
    trailing[127] = 1;
    let mut unended = command_allocate(TABLES, 64, 1);
    unended[4..60].fill(b'a');
    for wrong in [
        trailing,
        unended,
        command_allocate(b"", 64, 1),
        command_allocate(b"etc/acpi/tables\0x", 64, 1),
        command_allocate(b"etc/acpi\x1b", 64, 1),
        command_allocate(TABLES, 0, 1),
        command_allocate(TABLES, 48, 1),
        command_allocate(TABLES, 64, 0),
        command_allocate(TABLES, 64, 3),
        command_pointer(TABLES, TABLES, 0, 3),
    ] {
        assert_eq!(Files::sample().with(1, &wrong).parse(), Err(bad.clone()), "{wrong:?}");
    }
}

#[test]
fn refuses_commands_about_what_is_not_there() {
    let sample = Files::sample;
    let twice = sample().with(1, &command_allocate(RSDP, 16, 2));
    assert_eq!(twice.parse(), Err(AcpiFilesError::BadAllocation { entry: 1 }));
    assert_eq!(sample().without(1).parse(), Err(AcpiFilesError::BadAllocation { entry: 1 }));
    assert_eq!(sample().without(0).parse(), Err(AcpiFilesError::BadAllocation { entry: 6 }));
    let outside = |entry, command: &[u8]| {
        let error = sample().with(entry, command).parse().unwrap_err();
        assert_eq!(error, AcpiFilesError::OutOfFile { entry });
    };
    outside(3, &command_pointer(TABLES, TABLES, 237, 4));
    outside(3, &command_pointer(TABLES, TABLES, 0xffff_ffff, 8));
    // The number there is the signature: farther than the tables reach.
    outside(3, &command_pointer(TABLES, TABLES, 0, 4));
    outside(2, &command_checksum(TABLES, 0, 241));
    outside(2, &command_checksum(TABLES, 240, 1));
    outside(2, &command_checksum_at(TABLES, 0xffff_ffff, 0xffff_fffe, 0xffff_ffff));
    outside(2, &command_checksum_at(TABLES, 40, 0, 40));
    outside(8, &command_checksum_at(RSDP, 8, 0, 21));
}

#[test]
fn refuses_tables_that_are_none() {
    let sample = Files::sample;
    for checksum in [
        command_checksum(TABLES, 0, 39),
        command_checksum(TABLES, 1, 40),
        command_checksum_at(TABLES, 8, 0, 40),
        command_checksum(TABLES, 140, 36),
    ] {
        let error = sample().with(2, &checksum).parse().unwrap_err();
        assert_eq!(error, AcpiFilesError::NoTable { entry: 2 });
    }
    let mut short = sample();
    short.tables = table(b"DSDT", 35);
    short.tables.resize(240, 0);
    let short = short.with(2, &command_checksum(TABLES, 0, 35));
    assert_eq!(short.parse(), Err(AcpiFilesError::NoTable { entry: 2 }));
    let size = MAX_TABLES_SIZE + 1;
    let large = Files { tables: vec![0; size], ..sample() };
    assert_eq!(large.parse(), Err(AcpiFilesError::TablesSize { size }));
}

#[test]
fn refuses_a_root_that_leads_nowhere() {
    let sample = Files::sample;
    for rsdp in [&b""[..], b"RSD PTR ", &[0; 20], &[0; 36], b"RSD PTR \0BOCHS \x02\0\0\0\0"] {
        let files = Files { rsdp: rsdp.to_vec(), ..sample() };
        assert_eq!(files.parse(), Err(AcpiFilesError::BadRootPointer), "{rsdp:?}");
    }
    assert_eq!(sample().without(7).parse(), Err(AcpiFilesError::NoRoot));
    // To the FADT, and to the middle of a table.
    for target in [40, 101] {
        let mut files = sample();
        files.rsdp[16] = target;
        assert_eq!(files.parse(), Err(AcpiFilesError::NoRoot));
    }
    // The table it leads to is not completed.
    assert_eq!(sample().without(6).parse(), Err(AcpiFilesError::NoRoot));
}

#[test]
fn each_file_in_the_place_of_another_is_refused() {
    let Files { loader, rsdp, tables } = Files::sample();
    let all = [&loader, &rsdp, &tables];
    for (one, other, third) in
        [(0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0), (0, 0, 0), (2, 2, 2)]
    {
        let swapped = AcpiFiles::parse(all[one], all[other], all[third]);
        assert!(swapped.is_err(), "{one} {other} {third}");
    }
}

#[test]
fn every_cut_and_every_changed_byte_is_refused_or_taken_as_it_is() {
    let sample = Files::sample();
    for length in 0..sample.loader.len() {
        let loader = sample.loader[..length].to_vec();
        let cut = Files { loader, ..sample.clone() };
        // Without the last two entries: padding, and the sum of the root pointer.
        assert_eq!(cut.parse().is_ok(), [1024, 1152].contains(&length), "{length}");
    }
    for length in 0..sample.rsdp.len() {
        let cut = Files { rsdp: sample.rsdp[..length].to_vec(), ..sample.clone() };
        assert_eq!(cut.parse(), Err(AcpiFilesError::BadRootPointer));
    }
    for length in 0..140 {
        let cut = Files { tables: sample.tables[..length].to_vec(), ..sample.clone() };
        assert!(cut.parse().is_err(), "{length}");
    }
    let places: [fn(&mut Files) -> &mut Vec<u8>; 3] =
        [|f| &mut f.loader, |f| &mut f.rsdp, |f| &mut f.tables];
    for place in places {
        for position in 0..place(&mut sample.clone()).len() {
            for flip in [1, 0x80, 0xff] {
                let mut changed = sample.clone();
                place(&mut changed)[position] ^= flip;
                if let Ok(parsed) = changed.parse() {
                    let bytes = [parsed.loader(), parsed.rsdp(), parsed.tables()];
                    let given = [&changed.loader, &changed.rsdp, &changed.tables];
                    assert_eq!(bytes, given.map(Vec::as_slice));
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(
        commands in proptest::collection::vec((0_u32..6, any::<[u8; 12]>(), any::<bool>()), 0..12),
        rsdp in proptest::collection::vec(any::<u8>(), 0..40),
        tables in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let sample = Files::sample();
        let more = commands.iter().flat_map(|(code, numbers, second)| {
            let second = if *second { field(TABLES) } else { Vec::new() };
            command(*code, &[&field(TABLES), &second, numbers])
        });
        let loader: Vec<u8> = sample.loader[..256].iter().copied().chain(more).collect();
        let _ = AcpiFiles::parse(&loader, &sample.rsdp, &tables);
        let _ = AcpiFiles::parse(&sample.loader, &rsdp, &tables);
        let _ = AcpiFiles::parse(&tables, &rsdp, &tables);
    }
}
