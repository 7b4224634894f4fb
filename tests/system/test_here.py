"""`probe --here`: what it says of recorded machines. Each is made here, with what its kind shows under Linux."""

import json
import os
import random
import struct
import subprocess

import pytest
import rig

BOTH = "fpu lm nx pdpe1gb rdtscp avx constant_tsc nonstop_tsc"
VMX = "vnmi preemption_timer ept ept_1gb unrestricted_guest"
FREE = {name: "Not affected" for name in ("meltdown", "l1tf", "mds", "itlb_multihit", "tsx_async_abort")}
ALL_FREE = 1 << 0 | 1 << 5 | 1 << 6
FEATURE_CONTROL, ARCH_CAPABILITIES, VM_CR = 0x3A, 0x10A, 0xC0010114


def table(name, body):
    """An ACPI table: its header, then `body` from byte 36 on."""
    return name.encode() + struct.pack("<I", 36 + len(body)) + bytes(28) + body


def fadt(pm_timer=0x808):
    body = bytearray(276 - 36)
    struct.pack_into("<I", body, 76 - 36, pm_timer)
    return table("FACP", bytes(body))


def drhd(base, flags=1):
    return struct.pack("<HHBBHQ", 0, 16, flags, 0, 0, base)


def ivhd(base):
    return struct.pack("<BBHHHQHHI", 0x10, 0, 28, 0xA0, 0x40, base, 0, 0, 0) + b"\x01\0\0\0"  # all functions


DMAR = table("DMAR", bytes([38, 1]) + bytes(10) + drhd(0xFED90000, 0) + drhd(0xFED91000))
IVRS = table("IVRS", bytes(12) + ivhd(0xFDD80000))
MCFG = table("MCFG", bytes(8) + struct.pack("<QHBBI", 0xE0000000, 0, 0, 255, 0))


def spcr(kind, space, base):
    return table("SPCR", bytes([kind, 0, 0, 0]) + struct.pack("<BBBBQ", space, 8, 0, 1, base) + bytes(24))


def config(class_code, kind=0, flr=True, msix=True, pcie=True, acs=True, identity=(0x8086, 0x1521)):
    """A function's configuration space: PCIe capability (its type: `kind`), MSI-X, and a port's ACS."""
    space = bytearray(4096)
    struct.pack_into("<HH", space, 0, *identity)
    struct.pack_into("<HH", space, 0x0A, class_code, 0)
    at = [(0x10, struct.pack("<HI", kind << 4 | 2, flr << 28))] if pcie else []
    at += [(0x11, bytes(10))] if msix else []
    for i, (what, body) in enumerate(at):
        place = 0x40 + 0x20 * i
        space[0x34 if i == 0 else place - 0x20 + 1] = place
        space[place:place + 2 + len(body)] = bytes([what, 0]) + body
    if acs:
        struct.pack_into("<I", space, 0x100, 0xD | 1 << 16)
    return bytes(space)


PORT = config(0x0604, kind=4, msix=False)
# A network card and a disk, each behind a port of its own, in groups of their own.
DEVICES = {"0000:00:1c.0": (PORT, 1), "0000:00:1d.0": (PORT, 2), "0000:01:00.0": (config(0x0200), 3), "0000:02:00.0": (config(0x0108), 4)}
MAP = [(0x0, 0x9EFFF, "System RAM"), (0x9F000, 0xFFFFF, "Reserved"), (0x100000, 0x7FFFFFFF, "System RAM"), (0x80000000, 0x8FFFFFFF, "Reserved"),
       (0x100000000, 0x27FFFFFFF, "System RAM")]


class Tree:
    """A recorded machine. Every part may be left out or replaced."""

    def __init__(self, folder, vendor, flags, model="a processor", vmx=None, msrs=None, errors=None, cores="0-7", siblings="0", memory=MAP,
                 acpi=None, uart=0x3F8, secure_boot=None, tpm="2", devices=None):
        self.root = folder
        vmx_line = f"vmx flags\t: {vmx}\n" if vmx else ""
        self.put("proc/cpuinfo", f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: {model}\nflags\t\t: {flags}\n{vmx_line}\nprocessor\t: 1\nflags\t: none\n")
        for name, text in (errors or {}).items():
            self.put(f"sys/devices/system/cpu/vulnerabilities/{name}", text + "\n")
        self.put("sys/devices/system/cpu/online", cores + "\n")
        self.put("sys/devices/system/cpu/cpu0/topology/thread_siblings_list", siblings + "\n")
        for i, (start, end, kind) in enumerate(memory):
            for name, text in (("start", hex(start)), ("end", hex(end)), ("type", kind)):
                self.put(f"sys/firmware/memmap/{i}/{name}", text + "\n")
        for name, data in (acpi or {}).items():
            self.put(f"sys/firmware/acpi/tables/{name}", data)
        self.put("sys/class/tty/ttyS0/type", "4\n" if uart else "0\n")
        self.put("sys/class/tty/ttyS0/port", f"0x{uart:X}\n")
        if secure_boot is not None:
            self.put("sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", bytes([6, 0, 0, 0, secure_boot]))
        if tpm:
            self.put("sys/class/tpm/tpm0/tpm_version_major", tpm + "\n")
        for number, value in (msrs or {}).items():
            self.msr(number, value)
        for address, (space, group) in (devices or {}).items():
            self.function(address, space, group)

    def put(self, path, data):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())

    def msr(self, number, value):
        path = self.root / "dev/cpu/0/msr"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_RDWR | os.O_CREAT), "r+b") as file:
            file.seek(number)
            file.write(struct.pack("<Q", value))

    def function(self, address, space, group):
        self.put(f"sys/bus/pci/devices/{address}/config", space)
        self.put(f"sys/bus/pci/devices/{address}/class", f"0x{space[0x0B]:02x}{space[0x0A]:02x}00\n")
        if group is not None:
            members = self.root / f"sys/kernel/iommu_groups/{group}/devices"
            members.mkdir(parents=True, exist_ok=True)
            (members / address).symlink_to(f"../../../../bus/pci/devices/{address}")
            (self.root / f"sys/bus/pci/devices/{address}/iommu_group").symlink_to(f"../../../../kernel/iommu_groups/{group}")

    def probe(self, *words):
        done = subprocess.run([rig.BUILD / "hairline-tool", "probe", "--here", "--root", self.root, *words], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done
        return done.returncode, done.stdout.splitlines()


def intel(folder, **other):
    """A server of Ice Lake's kind: VT-d, UEFI, devices behind ports of their own."""
    parts = {"vendor": "GenuineIntel", "flags": f"{BOTH} x2apic vmx arch_capabilities", "vmx": VMX, "errors": FREE,
             "msrs": {FEATURE_CONTROL: 5, ARCH_CAPABILITIES: ALL_FREE}, "acpi": {"FACP": fadt(), "DMAR": DMAR, "MCFG": MCFG}, "secure_boot": 0,
             "devices": DEVICES, **other}
    return Tree(folder, **parts)


def amd(folder, flags=BOTH, **other):
    """A desktop of Ryzen's kind: no x2APIC, AMD-Vi, two threads a core."""
    parts = {"vendor": "AuthenticAMD", "flags": f"{flags} svm npt nrip_save", "msrs": {VM_CR: 8}, "siblings": "0,8", "cores": "0-15",
             "acpi": {"FACP": fadt(), "IVRS": IVRS, "MCFG": MCFG}, "secure_boot": 0, "devices": DEVICES, **other}
    return Tree(folder, **parts)


CASCADE_LAKE = {FEATURE_CONTROL: 5, ARCH_CAPABILITIES: 0xAB}


def said(lines, verdict, words):
    return any(line.startswith(f"{verdict:8} ") and words in line for line in lines)


def test_intel_with_vtd(tmp_path):
    """All fits; the plan gives the network card and the disk to VMs, and `check` accepts it."""
    plan, report = tmp_path / "plan.yaml", tmp_path / "here.json"
    code, lines = intel(tmp_path / "root").probe("--plan", plan, "--json", report)
    assert code == 0 and lines[-1] == "Hairline has what it needs to start on this machine", lines
    assert {line.split()[0] for line in lines[:-2]} == {"fits"}
    for words in ("2 units of VT-d", "01:00.0 (network): a VM can have it", "02:00.0 (nvme): a VM can have it", "all 2 root ports have it", "COM1",
                  "8191 MiB of RAM in 3 pieces", "TPM: version 2: what boots by UEFI is measured", "Secure Boot is off", "cores: 8"):
        assert said(lines, "fits", words), (words, lines)
    assert json.loads(report.read_text())[0] == {"verdict": "fits", "item": "processor", "text": "a processor"}
    text = plan.read_text()
    assert "iommu: intel" in text and "- 01:00.0 # network" in text and "- 02:00.0 # nvme" in text
    check = subprocess.run([rig.BUILD / "hairline-tool", "check", plan], capture_output=True, text=True, check=False)
    assert (check.returncode, check.stderr) == (0, ""), check
    before = plan.read_bytes()
    done = subprocess.run([rig.BUILD / "hairline-tool", "probe", "--here", "--root", tmp_path / "root", "--plan", plan], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1) and "is there already" in done.stderr
    assert plan.read_bytes() == before


def test_intel_with_multihit(tmp_path):
    """The plan says so, and `check` counts what that takes."""
    plan = tmp_path / "plan.yaml"
    code, _ = intel(tmp_path / "root", msrs=CASCADE_LAKE).probe("--plan", plan)
    assert code == 0 and "  small_pages: true\n" in plan.read_text()
    roomy = plan.read_text().replace("  memory: 8191M\n", "  memory: 200G\n")
    assert roomy != plan.read_text()
    large = roomy.replace("    memory: 256M\n", "    memory: 150G\n", 1)
    for text, words in ((roomy, ""), (large, "kernel objects of 8191"), (large.replace("  small_pages: true\n", ""), "")):
        plan.write_text(text)
        check = subprocess.run([rig.BUILD / "hairline-tool", "check", plan], capture_output=True, text=True, check=False)
        assert check.returncode == (2 if words else 0) and (words in check.stderr if words else check.stderr == ""), check


def test_amd_without_x2apic(tmp_path):
    """Shared VMs run there, and the plan has no other."""
    plan = tmp_path / "plan.yaml"
    code, lines = amd(tmp_path / "root").probe("--plan", plan)
    assert code == 0 and said(lines, "without", "x2APIC: Linux shows none (flag x2apic): shared VMs run, dedicated ones are refused"), lines
    assert said(lines, "without", "01:00.0 (network): no VM can have it without x2APIC") and "mode" not in plan.read_text()
    assert said(lines, "fits", "1 units of AMD-Vi") and said(lines, "fits", "cores: 16")
    assert said(lines, "without", "SMT: core 0 has threads 0,8")
    _, lines = amd(tmp_path / "other", flags=f"{BOTH} x2apic").probe("--plan", tmp_path / "other.yaml")
    assert said(lines, "fits", "x2APIC") and "iommu: amd" in (tmp_path / "other.yaml").read_text() and "01:00.0" in (tmp_path / "other.yaml").read_text()


def test_without_an_iommu(tmp_path):
    """It starts, but nobody gets a device, nor does the plan name one."""
    plan = tmp_path / "plan.yaml"
    code, lines = intel(tmp_path / "root", acpi={"FACP": fadt(), "MCFG": MCFG}).probe("--plan", plan)
    assert code == 0 and said(lines, "without", "IOMMU: none, so no VM can have devices")
    assert said(lines, "without", "01:00.0 (network): no VM can have it without an IOMMU")
    assert "iommu: none" in plan.read_text() and "devices" not in plan.read_text()


def test_a_vm_without_anything(tmp_path):
    virtio = config(0x0200, pcie=False, acs=False)
    tree = Tree(tmp_path / "root", "GenuineIntel", f"{BOTH} x2apic hypervisor", memory=MAP[:3], acpi={"FACP": fadt(0)}, uart=0, tpm=None, cores="0",
                devices={"0000:00:03.0": (virtio, None)})
    code, lines = tree.probe()
    assert code == 1
    for verdict, words in (("without", "this is a VM"), ("missing", "virtualization (VMX)"), ("unknown", "FEATURE_CONTROL"), ("missing", "free of MDS and TAA"),
                           ("fits", "ACPI PM timer: none, so the TSC's rate"), ("without", "serial port: none"),
                           ("fits", "firmware: started Linux as a BIOS does"), ("without", "not a PCI Express endpoint")):
        assert said(lines, verdict, words), (words, lines)


@pytest.mark.parametrize(
    "make,other,verdict,words",
    [
        (intel, {"msrs": {FEATURE_CONTROL: 1, ARCH_CAPABILITIES: ALL_FREE}}, "missing", "FEATURE_CONTROL): the firmware has locked virtualization off"),
        (intel, {"msrs": {FEATURE_CONTROL: 0, ARCH_CAPABILITIES: ALL_FREE}}, "fits", "FEATURE_CONTROL)"),
        (intel, {"msrs": None}, "unknown", "FEATURE_CONTROL): cannot be read; as root, after `modprobe msr`"),
        (intel, {"msrs": {FEATURE_CONTROL: 5, ARCH_CAPABILITIES: 1}}, "missing", "free of MDS and TAA"),
        (intel, {"msrs": CASCADE_LAKE}, "without", "free of iTLB multihit: VMs have their memory in pages of 4 KiB"),
        (intel, {"msrs": CASCADE_LAKE, "flags": f"{BOTH} x2apic vmx arch_capabilities rtm"}, "fits", "VERW clears"),
        (intel, {"msrs": {FEATURE_CONTROL: 5, ARCH_CAPABILITIES: 0x2B}, "flags": f"{BOTH} x2apic vmx arch_capabilities rtm"}, "missing", "MDS and TAA"),
        (intel, {"msrs": {FEATURE_CONTROL: 5, ARCH_CAPABILITIES: 0x0B}, "flags": f"{BOTH} x2apic vmx arch_capabilities md_clear"}, "fits", "VERW clears"),
        (intel, {"msrs": None, "errors": {**FREE, "mds": "Vulnerable: Clear CPU buffers attempted, no microcode"}}, "missing", "MDS and TAA"),
        (intel, {"msrs": None, "errors": {**FREE, "itlb_multihit": "KVM: Mitigation: VMX disabled"}}, "without", "free of iTLB multihit"),
        (intel, {"msrs": None, "errors": {**FREE, "l1tf": "Mitigation: PTE Inversion"}}, "missing", "free of Meltdown and L1TF"),
        (intel, {"msrs": None, "flags": f"{BOTH} x2apic vmx"}, "missing", "free of Meltdown"),
        (intel, {"vmx": VMX.replace("unrestricted_guest", "")}, "missing", "unrestricted guests"),
        (intel, {"vmx": "ept_ad ept_1gb unrestricted_guest vnmi"}, "missing", "nested paging (EPT)"),
        (intel, {"vmx": None}, "unknown", "VMX controls"),
        (amd, {"msrs": {VM_CR: 0x18}}, "missing", "VM_CR): the firmware has locked virtualization off"),
        (amd, {"msrs": None}, "unknown", "VM_CR): cannot be read"),
        (amd, {"flags": BOTH.replace("pdpe1gb", "")}, "missing", "1 GiB pages"),
        (amd, {"flags": BOTH.replace("nonstop_tsc", "")}, "without", "time stamp counter"),
        (intel, {"secure_boot": 1}, "without", "UEFI with Secure Boot on"),
        (intel, {"cores": "0-3,8-103"}, "without", "cores: 100, of which Hairline uses the first 64"),
        (intel, {"acpi": None}, "without", "ACPI tables: none: only the first core is found"),
        (intel, {"acpi": {"FACP": b"", "DMAR": DMAR, "MCFG": MCFG}}, "unknown", "the FADT cannot be read"),
        (intel, {"acpi": {"FACP": fadt(), "DMAR": b"", "MCFG": MCFG}}, "unknown", "IOMMU: its table cannot be read"),
        (intel, {"acpi": {"FACP": fadt(), "DMAR": DMAR[:36] + b"\x26\0" + DMAR[38:], "MCFG": MCFG}}, "without", "no interrupt remapping"),
        (intel, {"acpi": {"FACP": fadt(), "DMAR": DMAR, "MCFG": MCFG[:54] + b"\1" + MCFG[55:]}}, "without", "no PCI configuration space from bus 0"),
        (intel, {"acpi": {"FACP": fadt(), "DMAR": DMAR, "MCFG": MCFG, "SPCR": spcr(0, 1, 0x2F8)}}, "fits", "firmware's console, at port 2F8h"),
        (intel, {"acpi": {"FACP": fadt(), "DMAR": DMAR, "MCFG": MCFG, "SPCR": spcr(18, 0, 0xFE034000)}}, "fits", "console, at address FE034000h"),
        (intel, {"uart": 0x2F8}, "without", "serial port: none"),
        (intel, {"uart": 0, "acpi": {"FACP": fadt(), "DMAR": DMAR, "MCFG": MCFG, "SPCR": spcr(3, 0, 0xFE034000)}}, "without", "serial port: none"),
        (intel, {"memory": [(i << 24, (i << 24) + 0xFFFFF, "System RAM") for i in range(70)]}, "missing", "memory map: too fragmented"),
        (intel, {"memory": []}, "unknown", "memory map"),
        (intel, {"devices": {f"0000:{i // 256:02x}:{i // 8 % 32:02x}.{i % 8}": (config(0x0200), i) for i in range(513)}}, "without", "PCI functions: 513"),
        (intel, {"devices": {**DEVICES, "0000:01:00.1": (config(0x0200), 3)}}, "without", "goes to one VM together with its group: 0000:01:00.1"),
        (intel, {"devices": {"0000:00:1c.0": (config(0x0604, kind=4, msix=False, acs=False), 1)}}, "without", "1 of 1 root ports lack it"),
        (intel, {"devices": {"0000:01:00.0": (config(0x0200), None)}}, "fits", "Linux tells once it uses the IOMMU"),
        (intel, {"devices": {"0000:01:00.0": (config(0x0200)[:64], 1)}}, "without", "Linux shows all of it to root only"),
        (intel, {"devices": {"0000:01:00.0": (config(0x0200, flr=False), 1)}}, "without", "it cannot be reset"),
        (intel, {"devices": {"0000:01:00.0": (config(0x0C03, identity=(0x1022, 0x149C)), 1)}}, "without", "it cannot be reset"),
        (intel, {"devices": {"0000:01:00.0": (config(0x0200, msix=False), 1)}}, "without", "it has no MSI-X"),
        (intel, {"devices": {"0001:01:00.0": (config(0x0200), 1)}}, "without", "not in PCI segment 0"),
    ],
)
def test_one_thing_is_other(tmp_path, make, other, verdict, words):
    """What is missing or unknown makes the exit status 1, and only that."""
    flags = {"flags": f"{other.pop('flags', BOTH)} x2apic"} if make is amd else {}
    code, lines = make(tmp_path / "root", **{**flags, **other}).probe()
    assert said(lines, verdict, words), lines
    assert code == int(any(line.startswith(("missing", "unknown")) for line in lines))


def test_tables_of_noise(tmp_path):
    """They are told of, or not; nothing breaks."""
    noise = random.Random(1)
    for i in range(40):
        acpi = {name: name.encode() + noise.randbytes(noise.randrange(600)) for name in ("FACP", "DMAR", "IVRS", "MCFG", "SPCR")}
        devices = {"0000:01:00.0": (noise.randbytes(10) + b"\0\2" + noise.randbytes(noise.randrange(4084)), 1)}
        code, lines = intel(tmp_path / f"root{i}", acpi=acpi, devices=devices).probe()
        assert code in (0, 1) and len(lines) > 15


@pytest.mark.parametrize("words,why", [(["probe", "--root", "/"], "--root goes with --here"), (["probe", "--here", "--root", "/nowhere"], "is no folder"),
                                       (["probe", "--here", "plan.yaml"], "starts no machine"), (["probe", "--here", "--timeout", "5"], "starts no machine"),
                                       (["probe", "--here", "--", "-m"], "starts no machine"), (["run", "--here"], "does not take this option")])
def test_bad_use(words, why):
    done = subprocess.run([rig.BUILD / "hairline-tool", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1) and why in done.stderr


def test_this_machine():
    """Whatever it is: each line has a verdict, and the status follows from them."""
    done = subprocess.run([rig.BUILD / "hairline-tool", "probe", "--here"], capture_output=True, text=True, check=False)
    *lines, empty, _ = done.stdout.splitlines()
    verdicts = {line.split()[0] for line in lines}
    assert empty == "" and verdicts <= {"fits", "without", "missing", "unknown"} and len(lines) > 10
    assert (done.returncode, done.stderr) == (int(bool(verdicts & {"missing", "unknown"})), "")
