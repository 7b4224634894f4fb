/*
 * The virtual-machine control structure and its exits (SDM3 appendices A to C). Whatever is not
 * named is not used.
 */
#ifndef KERNEL_VMCS_H
#define KERNEL_VMCS_H

#include <stdint.h>

/* ---- fields ---- */
/* Controls. */
enum { VMCS_VPID = 0, VMCS_MSR_BITMAP = 0x2004, VMCS_TSC_OFFSET = 0x2010, VMCS_EPTP = 0x201a };
enum { VMCS_PIN = 0x4000, VMCS_PRIMARY = 0x4002, VMCS_EXCEPTIONS = 0x4004 };
enum { VMCS_PF_MASK = 0x4006, VMCS_PF_MATCH = 0x4008, VMCS_CR3_TARGETS = 0x400a };
enum { VMCS_EXIT = 0x400c, VMCS_EXIT_STORES = 0x400e, VMCS_EXIT_LOADS = 0x4010 };
enum { VMCS_ENTRY = 0x4012, VMCS_ENTRY_LOADS = 0x4014, VMCS_INJECT = 0x4016 };
enum { VMCS_INJECT_ERROR = 0x4018, VMCS_INJECT_LENGTH = 0x401a, VMCS_SECONDARY = 0x401e };
enum { VMCS_CR0_MASK = 0x6000, VMCS_CR4_MASK = 0x6002, VMCS_CR0_SHADOW = 0x6004 };
enum { VMCS_CR4_SHADOW = 0x6006 };
/* An exit. */
enum { VMCS_ADDRESS = 0x2400, VMCS_REASON = 0x4402, VMCS_EVENT = 0x4404 };
enum { VMCS_EVENT_ERROR = 0x4406, VMCS_VECTORING = 0x4408, VMCS_VECTORING_ERROR = 0x440a };
enum { VMCS_LENGTH = 0x440c, VMCS_QUALIFICATION = 0x6400 };
/* The guest. Of a segment: the first in the processor's order. */
enum { VMCS_SELECTOR = 0x800, VMCS_LINK = 0x2800, VMCS_DEBUGCTL = 0x2802, VMCS_PAT = 0x2804 };
enum { VMCS_EFER = 0x2806, VMCS_LIMIT = 0x4800, VMCS_GDTR_LIMIT = 0x4810 };
enum { VMCS_IDTR_LIMIT = 0x4812, VMCS_RIGHTS = 0x4814, VMCS_BLOCKING = 0x4824 };
enum { VMCS_ACTIVITY = 0x4826, VMCS_SYSENTER_CS = 0x482a, VMCS_CR0 = 0x6800, VMCS_CR3 = 0x6802 };
enum { VMCS_CR4 = 0x6804, VMCS_BASE = 0x6806, VMCS_GDTR_BASE = 0x6816, VMCS_IDTR_BASE = 0x6818 };
enum { VMCS_DR7 = 0x681a, VMCS_RSP = 0x681c, VMCS_RIP = 0x681e, VMCS_RFLAGS = 0x6820 };
enum { VMCS_PENDING_DEBUG = 0x6822, VMCS_SYSENTER_ESP = 0x6824, VMCS_SYSENTER_EIP = 0x6826 };
/* The kernel. */
enum { VMCS_HOST_CS = 0xc02, VMCS_HOST_SS = 0xc04, VMCS_HOST_TR = 0xc0c, VMCS_HOST_PAT = 0x2c00 };
enum { VMCS_HOST_EFER = 0x2c02, VMCS_HOST_CR0 = 0x6c00 };
enum { VMCS_HOST_CR3 = 0x6c02, VMCS_HOST_CR4 = 0x6c04, VMCS_HOST_GS_BASE = 0x6c08 };
enum { VMCS_HOST_TR_BASE = 0x6c0a, VMCS_HOST_GDTR_BASE = 0x6c0c, VMCS_HOST_IDTR_BASE = 0x6c0e };
enum { VMCS_HOST_RSP = 0x6c14, VMCS_HOST_RIP = 0x6c16 };

/* SDM3 appendix A. */
enum { MSR_FEATURE_CONTROL = 0x3a, MSR_VMX_BASIC = 0x480, MSR_VMX_PIN, MSR_VMX_PRIMARY };
enum { MSR_VMX_EXIT = 0x483, MSR_VMX_ENTRY, MSR_VMX_SECONDARY = 0x48b, MSR_VMX_EPT };

enum vmx_pin { PIN_INTR = 1 << 0, PIN_NMI = 1 << 3, PIN_VIRTUAL_NMIS = 1 << 5 };
/* CR8: loads and stores. PORTS: all of them. */
enum { PRIMARY_INTR_WINDOW = 1 << 2, PRIMARY_TSC_OFFSET = 1 << 3, PRIMARY_HLT = 1 << 7 };
enum { PRIMARY_MWAIT = 1 << 10, PRIMARY_RDPMC = 1 << 11, PRIMARY_CR8 = 3 << 19 };
enum { PRIMARY_NMI_WINDOW = 1 << 22, PRIMARY_PORTS = 1 << 24, PRIMARY_MSR_BITMAP = 1 << 28 };
enum { PRIMARY_MONITOR = 1 << 29 };
#define PRIMARY_SECONDARY (1u << 31)
enum { SECONDARY_EPT = 1 << 1, SECONDARY_RDTSCP = 1 << 3, SECONDARY_VPID = 1 << 5 };
enum { SECONDARY_UNRESTRICTED = 1 << 7 };
/* Debug controls, the kernel in 64 bits, PAT and EFER of both. */
enum vmx_exit_control { EXIT_CONTROLS = 1 << 2 | 1 << 9 | 3 << 18 | 3 << 20 };
enum vmx_entry_control { ENTRY_LONG_MODE = 1 << 9, ENTRY_CONTROLS = 1 << 2 | 3 << 14 };

/* ---- exit reasons: VMX_EVENT is an exception or NMI, VMX_EPT_ENTRY a misconfigured one ---- */
enum { VMX_EVENT = 0, VMX_INTR = 1, VMX_TRIPLE = 2, VMX_INTR_WINDOW = 7, VMX_NMI_WINDOW = 8 };
enum { VMX_CPUID = 10, VMX_HLT = 12, VMX_VMCALL = 18, VMX_CR = 28, VMX_PORT = 30, VMX_RDMSR = 31 };
enum { VMX_WRMSR = 32, VMX_STATE = 33, VMX_EPT = 48, VMX_EPT_ENTRY = 49, VMX_XSETBV = 55 };
enum { VMX_REASONS = VMX_XSETBV + 1 };
#define VMX_FAILED (1u << 31) /* the entry, not the guest */

enum blocking { BLOCKING_SS = 2, BLOCKING_INTR = 3 /* by STI, by MOV SS */, BLOCKING_NMI = 8 };
enum { EVENT_UNBLOCKED_NMI = 1 << 12 }; /* of VMCS_EVENT: by an IRET that did not end */
#define RIGHTS_UNUSABLE (1u << 16)

#endif
