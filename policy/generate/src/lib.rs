// SPDX-License-Identifier: Apache-2.0
//! Kubernetes YAML to policy
