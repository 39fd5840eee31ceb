// SPDX-License-Identifier: Apache-2.0
//! Runs containers inside the guest with libcontainer
