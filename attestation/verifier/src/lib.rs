// SPDX-License-Identifier: Apache-2.0
//! Verdicts on TEE evidence, without I/O
