// SPDX-License-Identifier: Apache-2.0
//! Client of the KBS protocol 0.4
