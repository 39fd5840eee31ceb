// SPDX-License-Identifier: Apache-2.0
//! A model of KVM's launch rules, for tests of whatever launches confidential guests.
