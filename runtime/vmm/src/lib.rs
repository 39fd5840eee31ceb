// SPDX-License-Identifier: Apache-2.0
//! Launches virtual machines: a trait and the QEMU driver
