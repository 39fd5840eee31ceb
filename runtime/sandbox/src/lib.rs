// SPDX-License-Identifier: Apache-2.0
//! State machine of a sandbox on the host, without I/O
