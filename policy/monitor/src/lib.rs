// SPDX-License-Identifier: Apache-2.0
//! Reference monitor: judges every host request against the policy
