// SPDX-License-Identifier: Apache-2.0
//! Launch digests of SNP and TDX, without I/O
