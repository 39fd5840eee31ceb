// SPDX-License-Identifier: Apache-2.0
//! Builds the reproducible guest image
