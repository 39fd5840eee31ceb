// SPDX-License-Identifier: Apache-2.0
//! Messages, report_data binding and JWE of the KBS protocol 0.4, without I/O
