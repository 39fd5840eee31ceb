// SPDX-License-Identifier: Apache-2.0
//! Parsers and writers of boot formats: OVMF metadata, SEV hash table, initdata
