// SPDX-License-Identifier: Apache-2.0
//! Asks the TEE device of the guest for attestation reports
