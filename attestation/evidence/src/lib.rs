// SPDX-License-Identifier: Apache-2.0
//! Parsers of TEE evidence: SNP reports and certificates, without I/O
