// SPDX-License-Identifier: Apache-2.0
//! The little that the builder asks of ELF files: is a program static, what does a module need.

use std::collections::BTreeMap;

use object::Endianness;
use object::Object;
use object::ObjectSection;
use object::elf;
use object::read::elf::ElfFile64;
use object::read::elf::FileHeader;
use object::read::elf::ProgramHeader;

/// Refuses a program that would need a dynamic linker: the guest has none.
pub(crate) fn check_static_program(program: &[u8]) -> Result<(), ElfError> {
    let header = elf::FileHeader64::<Endianness>::parse(program).map_err(ElfError::malformed)?;
    let endian = header.endian().map_err(ElfError::malformed)?;
    if header.e_machine(endian) != elf::EM_X86_64 {
        return Err(ElfError::NotX86);
    }
    if !matches!(header.e_type(endian), elf::ET_EXEC | elf::ET_DYN) {
        return Err(ElfError::NotProgram);
    }
    let segments = header.program_headers(endian, program).map_err(ElfError::malformed)?;
    if segments.iter().any(|segment| segment.p_type(endian) == elf::PT_INTERP) {
        return Err(ElfError::NotStatic);
    }
    Ok(())
}

/// What compilers and linkers wrote into a program about themselves; nothing if it cannot be read.
pub(crate) fn comments(program: &[u8]) -> Vec<String> {
    let file = ElfFile64::<Endianness>::parse(program).ok();
    let section = file.as_ref().and_then(|file| file.section_by_name(".comment"));
    let data = section.and_then(|section| section.data().ok()).unwrap_or_default();
    let texts = data.split(|byte| *byte == 0).filter(|text| !text.is_empty());
    texts.filter_map(|text| String::from_utf8(text.to_vec()).ok()).collect()
}

/// The `key=value` pairs of a kernel module's `.modinfo` section; the last one of a key counts.
pub(crate) fn module_info(module: &[u8]) -> Result<BTreeMap<String, String>, ElfError> {
    let file = ElfFile64::<Endianness>::parse(module).map_err(ElfError::malformed)?;
    let section = file.section_by_name(".modinfo").ok_or(ElfError::NoModuleInfo)?;
    let data = section.data().map_err(ElfError::malformed)?;
    let pairs = data.split(|byte| *byte == 0).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let text = std::str::from_utf8(pair).map_err(|_| ElfError::NoModuleInfo)?;
            let (key, value) = text.split_once('=').ok_or(ElfError::NoModuleInfo)?;
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect()
}

/// Why an ELF file is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// Not a 64-bit ELF file, or one out of bounds.
    #[error("not a well-formed ELF file")]
    Malformed {
        /// What the parser said.
        #[source]
        source: object::Error,
    },
    /// A file for another machine.
    #[error("not an ELF file for x86-64")]
    NotX86,
    /// An object or library.
    #[error("not an ELF program")]
    NotProgram,
    /// A program that needs a dynamic linker.
    #[error("the program is not static, and the guest has no dynamic linker")]
    NotStatic,
    /// A kernel module without well-formed `.modinfo`.
    #[error("the kernel module does not describe itself")]
    NoModuleInfo,
}

impl ElfError {
    fn malformed(source: object::Error) -> Self {
        Self::Malformed { source }
    }
}
