// SPDX-License-Identifier: Apache-2.0
//! The structures and numbers are those that a compiler printed from the kernel's headers.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::mem::offset_of;
use std::mem::size_of;
use std::path::Path;

use casemate_launch::abi;
use serde_json::Value;

/// The table printed from Linux 7.2's headers. Without it a test skips and says why; with
/// `CASEMATE_REQUIRE=1` it fails instead.
fn table() -> Option<Value> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/launch/kvm-abi.json");
    match std::fs::read(&path) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
        Err(error) => {
            let required = std::env::var_os("CASEMATE_REQUIRE").is_some_and(|value| value == "1");
            assert!(!required, "required test cannot run: {}: {error}", path.display());
            eprintln!("skipped: {}: {error}", path.display());
            None
        }
    }
}

macro_rules! layout {
    ($name:literal, $type:ty, $($kernel:literal: $field:ident),*) => {
        (
            $name,
            size_of::<$type>(),
            vec![$(($kernel, offset_of!($type, $field))),*],
        )
    };
}

#[test]
fn structures_have_the_kernels_sizes_and_offsets() {
    let Some(table) = table() else { return };
    let layouts = [
        layout!("kvm_sev_cmd", abi::SevCmd, "id": id, "data": data, "error": error, "sev_fd": sev_fd),
        layout!(
            "kvm_sev_init", abi::SevInit, "vmsa_features": vmsa_features, "flags": flags,
            "ghcb_version": ghcb_version
        ),
        layout!(
            "kvm_sev_snp_launch_start", abi::SnpLaunchStart, "policy": policy, "gosvw": gosvw,
            "flags": flags
        ),
        layout!(
            "kvm_sev_snp_launch_update", abi::SnpLaunchUpdate, "gfn_start": gfn_start,
            "uaddr": uaddr, "len": len, "type": page_type, "flags": flags
        ),
        layout!(
            "kvm_sev_snp_launch_finish", abi::SnpLaunchFinish, "id_block_uaddr": id_block_uaddr,
            "id_auth_uaddr": id_auth_uaddr, "id_block_en": id_block_en, "auth_key_en": auth_key_en,
            "vcek_disabled": vcek_disabled, "host_data": host_data, "flags": flags
        ),
        layout!(
            "kvm_tdx_cmd", abi::TdxCmd, "id": id, "flags": flags, "data": data,
            "hw_error": hw_error
        ),
        layout!(
            "kvm_tdx_capabilities", abi::TdxCapabilities, "supported_attrs": supported_attrs,
            "supported_xfam": supported_xfam, "cpuid": cpuid_nent
        ),
        layout!(
            "kvm_tdx_init_vm", abi::TdxInitVm, "attributes": attributes, "xfam": xfam,
            "mrconfigid": mrconfigid, "mrowner": mrowner, "mrownerconfig": mrownerconfig,
            "cpuid": cpuid_nent
        ),
        layout!(
            "kvm_tdx_init_mem_region", abi::TdxInitMemRegion, "source_addr": source_addr,
            "gpa": gpa, "nr_pages": nr_pages
        ),
        layout!(
            "kvm_create_guest_memfd", abi::CreateGuestMemfd, "size": size, "flags": flags
        ),
        layout!(
            "kvm_userspace_memory_region2", abi::UserMemoryRegion2, "slot": slot, "flags": flags,
            "guest_phys_addr": guest_phys_addr, "memory_size": memory_size,
            "userspace_addr": userspace_addr, "guest_memfd_offset": guest_memfd_offset,
            "guest_memfd": guest_memfd
        ),
        layout!(
            "kvm_memory_attributes", abi::MemoryAttributes, "address": address, "size": size,
            "attributes": attributes, "flags": flags
        ),
    ];
    for (name, size, fields) in layouts {
        let kernel = &table["structs"][name];
        assert_eq!(kernel["size"], size, "{name}");
        assert_eq!(kernel["fields"].as_object().unwrap().len(), fields.len(), "{name}");
        for (field, offset) in fields {
            assert_eq!(kernel["fields"][field]["offset"], offset, "{name}.{field}");
        }
    }
}

#[test]
fn numbers_are_the_kernels() {
    let Some(table) = table() else { return };
    for (name, number) in [
        ("KVM_MEMORY_ENCRYPT_OP", u64::from(abi::MEMORY_ENCRYPT_OP)),
        ("KVM_CREATE_GUEST_MEMFD", abi::CREATE_GUEST_MEMFD.into()),
        ("KVM_SET_USER_MEMORY_REGION2", abi::SET_USER_MEMORY_REGION2.into()),
        ("KVM_SET_MEMORY_ATTRIBUTES", abi::SET_MEMORY_ATTRIBUTES.into()),
        ("KVM_X86_SNP_VM", abi::VM_TYPE_SNP.into()),
        ("KVM_X86_TDX_VM", abi::VM_TYPE_TDX.into()),
        ("KVM_SEV_INIT2", abi::SEV_INIT2.into()),
        ("KVM_SEV_SNP_LAUNCH_START", abi::SNP_LAUNCH_START.into()),
        ("KVM_SEV_SNP_LAUNCH_UPDATE", abi::SNP_LAUNCH_UPDATE.into()),
        ("KVM_SEV_SNP_LAUNCH_FINISH", abi::SNP_LAUNCH_FINISH.into()),
        ("KVM_TDX_CAPABILITIES", abi::TDX_CAPABILITIES.into()),
        ("KVM_TDX_INIT_VM", abi::TDX_INIT_VM.into()),
        ("KVM_TDX_INIT_VCPU", abi::TDX_INIT_VCPU.into()),
        ("KVM_TDX_INIT_MEM_REGION", abi::TDX_INIT_MEM_REGION.into()),
        ("KVM_TDX_FINALIZE_VM", abi::TDX_FINALIZE_VM.into()),
        ("KVM_TDX_MEASURE_MEMORY_REGION", abi::TDX_MEASURE_MEMORY_REGION.into()),
        ("KVM_CAP_VM_TYPES", abi::CAP_VM_TYPES.into()),
        ("KVM_CAP_EXIT_HYPERCALL", abi::CAP_EXIT_HYPERCALL.into()),
        ("KVM_CAP_GUEST_MEMFD", abi::CAP_GUEST_MEMFD.into()),
        ("KVM_CAP_MEMORY_ATTRIBUTES", abi::CAP_MEMORY_ATTRIBUTES.into()),
        ("KVM_CAP_X86_APIC_BUS_CYCLES_NS", abi::CAP_X86_APIC_BUS_CYCLES_NS.into()),
        ("KVM_CAP_SPLIT_IRQCHIP", abi::CAP_SPLIT_IRQCHIP.into()),
        ("KVM_CAP_MAX_VCPUS", abi::CAP_MAX_VCPUS.into()),
        ("KVM_MEMORY_ATTRIBUTE_PRIVATE", abi::MEMORY_ATTRIBUTE_PRIVATE),
        ("KVM_MEM_GUEST_MEMFD", abi::MEM_GUEST_MEMFD.into()),
        ("KVM_X86_GRP_SEV", abi::GRP_SEV.into()),
        ("KVM_X86_SEV_VMSA_FEATURES", abi::VMSA_FEATURES),
        ("KVM_X86_SNP_POLICY_BITS", abi::SNP_POLICY_BITS),
    ] {
        assert_eq!(table["constants"][name], format!("{number:#x}"), "{name}");
    }
}

#[test]
fn published_bindings_agree_where_they_have_the_structure() {
    assert_eq!(size_of::<abi::DeviceAttr>(), size_of::<kvm_bindings::kvm_device_attr>());
    assert_eq!(size_of::<abi::CpuidEntry>(), size_of::<kvm_bindings::kvm_cpuid_entry2>());
    assert_eq!(
        offset_of!(abi::SnpLaunchFinish, host_data),
        offset_of!(kvm_bindings::kvm_sev_snp_launch_finish, host_data)
    );
}
