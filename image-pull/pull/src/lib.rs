// SPDX-License-Identifier: Apache-2.0
//! Pulls, verifies, decrypts and unpacks images
