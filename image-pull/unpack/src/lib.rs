// SPDX-License-Identifier: Apache-2.0
//! Unpacks OCI layers confined to a root directory
