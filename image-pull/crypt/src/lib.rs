// SPDX-License-Identifier: Apache-2.0
//! OCI layer encryption (ocicrypt)
