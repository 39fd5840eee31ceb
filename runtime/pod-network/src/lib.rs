// SPDX-License-Identifier: Apache-2.0
//! Joins the pod's network namespace to the VM
