"""Plans, good and bad, and the tool's exit codes and files, with a QEMU that only talks."""

import array
import collections
import fcntl
import functools
import gzip
import hashlib
import json
import lzma
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import termios
import time

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HAIRLINE_BUILD", SOURCE / "build"))
PATIENCE = 3600  # seconds, for a command to end

# struct plan and struct plan_vm, abi/plan.h
PLAN = struct.Struct("<QII IIII4Q")
FIELDS = {
    "name": "32s", "mode": "I", "vcpus": "I", "memory": "Q", "cores": "Q", "priority": "I", "budget_us": "I", "period_us": "I",
    "on_exit": "I", "exit_port": "I", "kernel_type": "I", "kernel": "I", "initrd": "I", "disks": "I", "lan": "I", "disk": "160s",
    "disengage": "I", "after": "I", "sealed": "I", "devices": "I", "control": "I", "console": "I", "device": "64s", "mac": "6s", "mtu": "H", "store": "I", "server": "I", "cmdline": "2048s",
}
VM = struct.Struct("<" + "".join(FIELDS.values()))
Record = collections.namedtuple("Record", FIELDS)

GOOD = """\
machine:
  cores: 2
  memory: 256M
vms:
  - name: alpha
    kernel: bz
    initrd: initrd
    cmdline: quiet
    memory: 32M
    vcpus: 2
    cores: [1]
    priority: 9
    budget: 5ms
    period: 20ms
    disks:
      - file: disk
        mode: volatile
      - file: ext4:8M
    lan: office
    on_exit: restart
    exit_port: 0xf4
  - name: beta
    kernel: pvh
    memory: 16M
    lan: office
"""

STORE = """\
machine: {cores: 4, memory: 256M}
vms:
  - name: service
    mode: dedicated
    disengage: never
    kernel: bz
    memory: 32M
    volumes:
      - {name: a-root, size: 8M}
      - {name: b-root, size: 1G}
  - name: alpha
    kernel: pvh
    memory: 16M
    lan: office
    disks:
      - {volume: a-root, from: service}
  - name: beta
    kernel: pvh
    memory: 16M
    disks: [{file: disk}, {volume: b-root, from: service}]
"""

FAKE_QEMU = """\
#!/bin/sh
[ "$1" != --version ] || { echo "QEMU emulator version ${FAKE_VERSION:-10.0.2}"; exit; }
echo "$@" >"$FAKE_DIR/args"
[ -z "$FAKE_FAIL" ] || { echo "fake: no such device" >&2; exit 1; }
cat "$FAKE_DIR/console"
[ -z "$FAKE_HOST" ] || eval "$FAKE_HOST"
[ -z "$FAKE_ROOT" ] || while IFS= read -r line; do
    echo "$line" >>"$FAKE_DIR/typed"
    case $line in
    *"ask alpha") echo "hairline| ok" ;;
    *"ask beta")
        echo "hairline| ok"
        [ ! -e "$FAKE_DIR/hears" ] || echo "hairline| vm name=beta state=off reason=poweroff next=off"
        ;;
    *"stop alpha") printf 'hairline| ok\nhairline| vm name=alpha state=off reason=stopped next=off\n' ;;
    *"start alpha") echo "hairline| ok" ;;
    *"start beta") echo "hairline| error beta is not off" ;;
    *forge) echo "hairline| nothing was started" ;;
    *list) printf 'hairline| # name\nhairline| 1 alpha off\nbeta| # name\nhairline| 2 beta running\n' ;;
    esac
done
[ -z "$FAKE_SLEEP" ] || exec sleep "$FAKE_SLEEP"
"""


def bzimage(start=0, init_size=0, paragraphs=0):
    """The header says that `paragraphs` of 16 bytes are loaded: 352 are there."""
    image = bytearray(8192)
    struct.pack_into("<I", image, 0x1F4, paragraphs)
    struct.pack_into("<QI", image, 0x258, start, init_size)
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, 0x20F)
    struct.pack_into("<H", image, 0x236, 1)
    return bytes(image)


def pvh(bits, name=b"Xen\0", kind=18, size=4096, held=0):
    """An ELF file with one note, and a segment that takes `size` bytes from 1 MiB on, of which the file has `held`."""
    note = struct.pack("<III", len(name), 4, kind) + name + struct.pack("<I", 0x100000)
    if bits == 64:
        header = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x100000, 64, 0, 0, 64, 56, 2, 0, 0, 0)
        segment = struct.pack("<IIQQQQQQ", 4, 4, 176, 0, 0, len(note), len(note), 4)
        segment += struct.pack("<IIQQQQQQ", 1, 7, 0, 0, 0x100000, held, size, 4096)
    else:
        header = struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, 0x100000, 52, 0, 0, 52, 32, 2, 0, 0, 0)
        segment = struct.pack("<IIIIIIII", 4, 116, 0, 0, len(note), len(note), 4, 4)
        segment += struct.pack("<IIIIIIII", 1, 0, 0, 0x100000, held, size, 7, 4096)
    return b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9) + header + segment + note


def multiboot(checksum=-0x1BADB002):
    return pvh(32, b"GNU\0") + bytes(-len(pvh(32)) % 4) + struct.pack("<III", 0x1BADB002, 0, checksum & 0xFFFFFFFF) + bytes(64)


def bsd(version, *notes, base=0x200000):
    """An ELF64 file as those of the BSDs' GENERIC kernels: linked high, loaded low (`base`), a note segment with the notes
    (name, kind, content), the version behind SCCS's mark, and symbols."""
    high = 0xFFFFFFFF80000000
    note = b"".join(struct.pack("<III", len(name), len(content), kind) + name + content for name, kind, content in notes)
    text = f"@(#){version} (GENERIC) #0: Thu Jan  1 00:00:00 UTC 1970\n\0".encode().ljust(4096, b"\x90")
    names, symbols = b"\0start\0.symtab\0.strtab\0", bytes(24) + struct.pack("<IBBHQQ", 1, 2, 0, 1, high + 0x200000, 0)
    at = 4096 + len(text)
    sections = [(0, 0, 0, 0, 0, 0), (7, 2, at, len(symbols), 2, 24), (15, 3, at + len(symbols), len(names), 0, 0)]
    head = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, high + 0x200000, 64, at + len(symbols + names), 0, 64, 56, 2, 64, 3, 2)
    head += struct.pack("<IIQQQQQQ", 4, 4, 176, 0, 0, len(note), len(note), 4)
    head += struct.pack("<IIQQQQQQ", 1, 7, 4096, high + 0x200000, base, len(text), len(text) + 0x100000, 4096)
    table = b"".join(struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, offset, size, link, 1, 8, each) for name, kind, offset, size, link, each in sections)
    return (b"\x7fELF\2\1\1" + bytes(9) + head + note).ljust(4096, b"\0") + text + symbols + names + table


PHYS32 = b"Xen\0", 18, struct.pack("<Q", 0x200000)
NETBSD = bsd("NetBSD 10.1", PHYS32, (b"NetBSD\0\0", 1, bytes(4)))

# Kernels that no VM starts, by file name, and why.
FOREIGN = {
    "linux32": (pvh(32) + b"Linux version 6.1.0", "is a 32-bit Linux, which cannot use an x2APIC, as a 64-bit one can: name another kernel"),
    "xen": (multiboot() + b"Manual reset required ('noreboot' specified)", "is Xen, which needs MTRRs and an IOAPIC: name another kernel"),
    "mach": (multiboot() + b"GNU Mach 1.8\n", "is GNU Mach, which leaves x2APIC mode, and a VM has no other: name another kernel"),
    "freebsd": (bsd("FreeBSD 14.2-RELEASE", PHYS32), "is FreeBSD, which waits for an interval timer (8254), which a VM does not have: name another kernel"),
    "netbsd": (NETBSD, "is NetBSD, which waits for an interval timer (8254), which a VM does not have: name another kernel"),
    "netbsd.gz": (gzip.compress(NETBSD), "is compressed by gzip: name what `gzip -dc` makes of it"),
    "netbsd.xz": (lzma.compress(NETBSD), "is compressed by xz: name what `xz -dc` makes of it"),
    "netbsd.zst": (b"\x28\xb5\x2f\xfd" + NETBSD, "is compressed by zstd: name what `zstd -dc` makes of it"),
    "bsd": (bsd("OpenBSD 7.6"), "is OpenBSD, which waits for an interval timer (8254), which a VM does not have: name another kernel"),
    "plain": (bsd("Another 1.0"), "is an ELF file without a PVH note or a multiboot 1 header: name a bzImage, a PVH ELF or a multiboot 1 ELF"),
    "high": (bsd("Another 1.0", PHYS32, base=0xFFFFFFFF80200000), "has a segment at the physical address ffffffff80200000h, where no VM has memory: link it to lower ones"),
    "elsewhere": (bsd("Another 1.0", PHYS32, base=0x600000), "has its entry at the physical address 200000h, where none of its segments is: link it anew"),
    "mbelsewhere": (multiboot().replace(struct.pack("<I", 0x100000), struct.pack("<I", 0x300000), 1),
                    "has its entry at the physical address 300000h, where none of its segments is: link it anew"),
    "nothing": (pvh(64, size=0), "has its entry at the physical address 100000h, where none of its segments is: link it anew"),
    "bzcut": (bzimage(paragraphs=354), "is cut off: a part of what is loaded is not in the file"),
    "bzfar": (bzimage(2**64 - 4096), "is to be loaded at the physical address fffffffffffff000h, where no VM has memory: name another kernel"),
    "cut": (pvh(64, held=5000, size=5000), "is cut off: one of its segments is not in the file"),
    "fat": (pvh(64, size=16, held=100), "has a segment that is larger than its place in memory: link it anew"),
    "far": (bsd("Another 1.0", (b"Xen\0", 18, struct.pack("<Q", 5 << 30)), base=5 << 30),
            "has its entry above 4 GiB, and starts in 32-bit mode: link it to lower addresses"),
    "grub-xen": (pvh(32) + b"Found no Xen signature!\0", "is GRUB for Xen, which finds its memory and its console by Xen only: name another kernel"),
    "grub-coreboot": (multiboot() + b"%s/i386-coreboot/%s.mod\0", "is GRUB for coreboot, which finds its memory by coreboot only: name another kernel"),
}


@pytest.fixture(name="house")
def make_house(tmp_path, monkeypatch):
    """A folder with files for plans, and the tool in a folder with images of its own."""
    files = {"bz": bzimage(), "pvh": pvh(64), "pvh32": pvh(32), "mb": multiboot(), "text": b"no kernel at all\n" * 99,
             "elf": pvh(64, b"GNU\0"), "badmb": multiboot(1),
             "note": pvh(64, kind=17), "old": bzimage().replace(struct.pack("<H", 0x20F), struct.pack("<H", 0x204)),
             "bz24": bzimage(0x1000000, 0x800000, 352), "pvh8": pvh(64, size=7 << 20), "pvh8-32": pvh(32, size=7 << 20),
             "linux": pvh(64) + b"\0Linux version 6.1\n",
             "another": bsd("Another 1.0", PHYS32),
             "initrd": bytes(100), "disk": bytes(4096), "odd": bytes(1000), "none": b""}
    files |= {name: content for name, (content, _) in FOREIGN.items()}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with open(tmp_path / "big", "wb") as big:
        big.truncate(20 << 20)
    (tmp_path / "folder").mkdir()
    (tmp_path / "bin").mkdir()
    shutil.copy(BUILD / "hairline-tool", tmp_path / "bin" / "tool")
    for name in ("hairline.elf", "root.img", "vmm.img", "lan.img"):
        (tmp_path / "bin" / name).write_text(name)
    (tmp_path / "qemu").write_text(FAKE_QEMU)
    (tmp_path / "qemu").chmod(0o755)
    monkeypatch.setenv("HAIRLINE_QEMU", str(tmp_path / "qemu"))
    monkeypatch.setenv("HAIRLINE_HOME", str(SOURCE))
    monkeypatch.setenv("FAKE_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", os.environ["PATH"] + ":/usr/sbin:/sbin")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tool(*words):
    return subprocess.run(["bin/tool", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE)


def altered(plan, old, new):
    assert old in plan
    return plan.replace(old, new, 1)


changed = functools.partial(altered, GOOD)


# All at its limit: one VM on each core with four functions, the rest of the vCPUs, a LAN.
OBJECTS = (
    "machine: {cores: 64, memory: 1G, iommu: intel}\nvms:\n"
    + "".join(f"  - {{name: n{i}, kernel: bz, memory: 2M, mode: dedicated, cores: 1, sealed: true, "
              f"devices: [{', '.join(f'{1 + i // 8:02x}:{i % 8 * 4 + k:02x}.0' for k in range(4))}]}}\n" for i in range(62))
    + "".join(f"  - {{name: m{i}, kernel: bz, memory: 2M, vcpus: 64, lan: l{i}}}\n" for i in range(2))
)
LANS = "vms:\n" + "".join(f"  - {{name: n{i}, kernel: bz, memory: 2M, lan: l{i}}}\n" for i in range(5))

# What is done to the good plan; the line that is wrong; words of the message.
BAD = {
    "unknown key": (changed("    vcpus: 2", "    vcpu: 2"), 10, "unknown key `vcpu`"),
    "unknown key on top": (GOOD + "network: yes\n", 26, "unknown key `network`"),
    "unknown machine key": (changed("  cores: 2", "  cpus: 2"), 2, "unknown key `cpus`"),
    "unknown disk key": (changed("        mode:", "        kind:"), 17, "unknown key `kind`"),
    "duplicate key": (changed("    vcpus: 2", "    memory: 64M"), 10, "second time (first on line 9)"),
    "duplicate name": (changed("name: beta", "name: alpha"), 22, "two VMs are called `alpha`"),
    "bad name": (changed("name: beta", "name: Beta"), 22, "cannot be called `Beta`"),
    "long name": (changed("name: beta", "name: " + "b" * 32), 22, "cannot be called"),
    "name like an option": (changed("name: beta", "name: -beta"), 22, "cannot be called `-beta`: write 1 to 31 of a-z, 0-9 and -, which is not the first, "),
    "reserved name": (changed("name: beta", "name: hairline"), 22, "cannot be called `hairline`"),
    "name missing": (changed("  - name: beta\n    kernel", "  - kernel"), 22, "key `name` is missing"),
    "kernel missing": (changed("    kernel: pvh\n", ""), 22, "key `kernel` is missing"),
    "memory missing": (changed("    memory: 16M\n", ""), 22, "key `memory` is missing"),
    "no vms": ("machine: {cores: 2}\n", 1, "key `vms` is missing"),
    "empty vms": ("machine: {cores: 2}\nvms: []\n", 2, "has 0 entries"),
    "too many vms": ("vms:\n" + "  - {name: a, kernel: bz, memory: 2M}\n" * 17, 1, "has 17 entries"),
    "vms no list": ("vms:\n  name: alpha\n", 2, "`vms` is not a list"),
    "vm no group": ("vms:\n  - alpha\n", 2, "`vms[0]` is not a group"),
    "list for a value": (changed("memory: 16M", "memory: [16M]"), 24, "`vms[1].memory` is not one value"),
    "no value": (changed("memory: 16M", "memory:"), 24, "has no value"),
    "control character": (changed("quiet", '"a\\0b"'), 8, "control character"),
    "missing file": (changed("kernel: pvh", "kernel: gone"), 23, "`gone` is missing"),
    "missing initrd": (changed("initrd: initrd", "initrd: gone"), 7, "`gone` is missing"),
    "missing disk": (changed("file: disk", "file: gone"), 16, "`gone` is missing"),
    "empty file": (changed("file: disk", "file: none"), 16, "is empty"),
    "kernel is a folder": (changed("kernel: pvh", "kernel: folder"), 23, "is a folder"),
    "disk is a folder": (changed("file: disk", "file: folder"), 16, "is a folder"),
    "disk is a device": (changed("file: disk", "file: /dev/null"), 16, "not a plain file"),
    "odd disk": (changed("file: disk", "file: odd"), 16, "multiple of 512"),
    "disk mode": (changed("mode: volatile", "mode: writable"), 17, "cannot be `writable`"),
    "ext4 size": (changed("ext4:8M", "ext4:8"), 18, "like ext4:16M"),
    "too many disks": (changed("      - file: disk\n", "      - file: disk\n" * 5), 15, "has 6 entries"),
    "no kernel": (changed("kernel: pvh", "kernel: text"), 23, "is not a kernel image"),
    "plain elf": (changed("kernel: pvh", "kernel: elf"), 23, "without a PVH note"),
    "other note": (changed("kernel: pvh", "kernel: note"), 23, "without a PVH note"),
    "bad checksum": (changed("kernel: pvh", "kernel: badmb"), 23, "without a PVH note"),
    "old bzimage": (changed("kernel: bz", "kernel: old"), 6, "without a 64-bit entry"),
    "initrd for a file": (changed("initrd: initrd", "initrd: debian"), 7, "made for a packaged kernel"),
    "initrd too large": (changed("initrd: initrd", "initrd: big").replace("32M", "16M"), 7, "does not fit the VM's memory"),
    "kernel too large": (changed("kernel: pvh", "kernel: big"), 23, "is not a kernel image"),
    "kernel larger once it runs": (changed("kernel: bz", "kernel: bz24").replace("32M", "22M"), 6,
                                   "the kernel reaches up to 24576 KiB and does not fit the VM's memory (22528 KiB): raise `memory` to 26M"),
    "initrd above that": (changed("kernel: bz", "kernel: bz24").replace("32M", "24M"), 7, "above the kernel (up to 24576 KiB): raise `memory` to 26M"),
    "elf larger once it runs": (changed("kernel: pvh", "kernel: pvh8").replace("16M", "6M"), 23, "reaches up to 8192 KiB"),
    "32-bit elf larger once it runs": (changed("kernel: pvh", "kernel: pvh8-32").replace("16M", "6M"), 23, "reaches up to 8192 KiB"),
    "linux without x2apic": (changed("quiet", "quiet nox2apic"), 8, "with `nox2apic`: a VM's local APIC is in x2APIC mode only"),
    "linux without acpi": (changed("quiet", "acpi=off quiet"), 8, "with `acpi=off`"),
    "linux without a clock": (changed("quiet", "quiet no-kvmclock"), 8, "with `no-kvmclock`"),
    "an elf linux without a clock": (changed("kernel: pvh", "kernel: linux\n    cmdline: no-kvmclock"), 24, "with `no-kvmclock`"),
    "no run for a vm": (changed("memory: 256M", "memory: 4G").replace("16M", "2560M"), 24,
                        "`beta` needs 2560 MiB in one piece, and the largest left of the machine's 4096 MiB has 2048 MiB: raise machine.memory to 5G"),
    "machine too small": (changed("memory: 256M", "memory: 64M"), 3, "need 1"),
    "vm too large": (changed("memory: 16M", "memory: 3G"), 3, "raise machine.memory"),
    "zero vcpus": (changed("vcpus: 2", "vcpus: 0"), 10, "`vms[0].vcpus` is `0`: write a number from 1 to 64"),
    "too many vcpus": (changed("vcpus: 2", "vcpus: 65"), 10, "a number from 1 to 64"),
    "negative vcpus": (changed("vcpus: 2", "vcpus: -1"), 10, "a number from 1 to 64"),
    "huge number": (changed("vcpus: 2", "vcpus: 99999999999999999999999"), 10, "a number from 1 to 64"),
    "more than a guest may have": (changed("memory: 16M", "memory: 1048578M"), 24, "a size from 2M to 1024G"),
    "huge size": (changed("memory: 16M", "memory: 99999999999999999999G"), 24, "a size from 2M"),
    "overflowing size": (changed("memory: 16M", "memory: 17179869184G"), 24, "a size from 2M"),
    "odd memory": (changed("memory: 16M", "memory: 15M"), 24, "steps of 2M"),
    "no unit": (changed("memory: 16M", "memory: 16"), 24, "a size from 2M"),
    "other unit": (changed("memory: 16M", "memory: 16MB"), 24, "a size from 2M"),
    "core out of range": (changed("cores: [1]", "cores: [0, 2]"), 11, "no core `2`"),
    "core no number": (changed("cores: [1]", "cores: [one]"), 11, "no core `one`"),
    "cores no list": (changed("cores: [1]", "cores: 1"), 11, "is not a list"),
    "zero cores": (changed("  cores: 2", "  cores: 0"), 2, "a number from 1 to 64"),
    "too many cores": (changed("  cores: 2", "  cores: 65"), 2, "a number from 1 to 64"),
    "mode": (changed("    vcpus: 2", "    mode: hosted"), 10, "cannot be `hosted`: write shared, dedicated or host"),
    "on_exit": (changed("on_exit: restart", "on_exit: again"), 20, "write off or restart"),
    "start": (GOOD + "    start: never\n", 26, "write boot or command"),
    "priority": (changed("priority: 9", "priority: 25"), 12, "1 (low) to 24 (high)"),
    "budget": (changed("budget: 5ms", "budget: 5"), 13, "like 10ms"),
    "budget above period": (changed("budget: 5ms", "budget: 30ms"), 13, "longer than the period"),
    "port": (changed("0xf4", "0x10000"), 21, "a port from 1 to 0xffff"),
    "port taken": (changed("0xf4", "0x3f8"), 21, "belongs to a device"),
    "long command line": (changed("quiet", "x" * 2000), 8, "bytes with what the tool adds: keep it below 2048"),
    "bad lan": (changed("lan: office\n    on", "lan: Office\n    on"), 19, "cannot be a LAN"),
    "mtu below": (changed("lan: office\n    on", "lan: {name: office, mtu: 1499}\n    on"), 19, "`vms[0].lan.mtu` is `1499`: write a number from 1500 to 9000"),
    "mtu above": (changed("lan: office\n    on", "lan: {name: office, mtu: 9001}\n    on"), 19, "a number from 1500 to 9000"),
    "mtu of one": (changed("lan: office\n    on", "lan: {name: office, mtu: 9000}\n    on"), 25, "LAN `office` has an MTU of 9000 for `alpha` and 1500 for `beta`: write the same"),
    "lan without a name": (changed("lan: office\n    on", "lan: {mtu: 9000}\n    on"), 19, "key `name` is missing"),
    "lan's unknown key": (changed("lan: office\n    on", "lan: {name: office, size: 9000}\n    on"), 19, "unknown key `size`; the keys here are name, mtu"),
    "lan a list": (changed("lan: office\n    on", "lan: [office]\n    on"), 19, "is not a group"),
    "lan of two words": (changed("lan: office\n    on", "lan: {name: [office]}\n    on"), 19, "is not one value"),
    "too many objects": (OBJECTS, 2, "kernel objects"),
    "too many vms": ("vms:\n" + "".join(f"  - {{name: n{i}, kernel: bz, memory: 2M}}\n" for i in range(65)), 1, "`vms` has 65 entries; it takes 1 to 64"),
    "too many vcpus in all": ("vms:\n" + "".join(f"  - {{name: n{i}, kernel: bz, memory: 2M, vcpus: {n}}}\n" for i, n in enumerate([64, 64, 64, 63, 2])), 1,
                              "all VMs together have 257 vCPUs: take them down to 256"),
    "too many lans": (LANS, 6, "at most 4 names"),
    "syntax": (changed("cores: [1]", "cores: [1"), 12, "not YAML"),
    "tab": (changed("    vcpus", "\tvcpus"), 10, "not YAML"),
    "two documents": (GOOD + "---\nvms: []\n", 27, "second document"),
    "empty file at all": ("", 1, "the plan is empty"),
    "only a comment": ("# nothing\n\n", 1, "the plan is empty"),
    "a word": ("hello\n", 1, "`the plan` is not a group"),
    "key no word": ("[a]: b\n", 1, "not a word"),
    "alias in itself": ("vms: &v [*v]\n", 1, "not a group"),
}


OWN = """\
machine:
  cores: 6
  memory: 256M
  iommu: intel
  devices:
    - igb:
        forward: [8080:80, "8081:10.0.2.20:81"]
    - nvme: ext4:8M
  iscsi: disk
vms:
  - name: web
    mode: dedicated
    kernel: bz
    memory: 32M
    cores: [2, 3]
    devices: [network-vf/0]
  - name: db
    mode: dedicated
    kernel: bz
    memory: 32M
    cores: 1
    devices: [nvme/0, "02:00.0"]
    disengage: guest
    after: quiet
    sealed: true
  - name: office
    kernel: bz
    memory: 16M
"""


own = functools.partial(altered, OWN)


BAD |= {
    "core 0 dedicated": (own("cores: [2, 3]", "cores: [0, 3]"), 15, "core 0 is root's"),
    "core twice": (own("cores: [2, 3]", "cores: [3, 3]"), 15, "core 3 is here twice"),
    "core of two dedicated": (own("    cores: 1", "    cores: [3]"), 21, "core 3 is given to `web` too (line 15)"),
    "core of a dedicated and a shared": (OWN + "    cores: [0, 2]\n", 29, "core 2 is given to `web` too (line 15)"),
    "core of a shared and a dedicated": (changed("kernel: pvh", "kernel: pvh\n    mode: dedicated\n    cores: [1]").replace("    lan: office\n", ""),
                                         24, "core 1 is given to `alpha` too (line 11)"),
    "no dedicated core there": (own("cores: [2, 3]", "cores: [2, 6]"), 15, "no core `6`"),
    "too many own cores": (own("    cores: 1", "    cores: 4"), 21, "`db` wants 4 cores of its own and the machine has 3 left"),
    "absurdly many own cores": (own("    cores: 1", "    cores: 65"), 21, "how many, from 1 to 64"),
    "no own core at all": (own("    cores: 1", "    cores: 0"), 21, "how many, from 1 to 64"),
    "own cores no number": (own("    cores: 1", "    cores: many"), 21, "how many, from 1 to 64"),
    "cores a group": (own("    cores: 1", "    cores: {a: 1}"), 21, "is not a list"),
    "cores an empty list": (own("    cores: 1", "    cores: []"), 21, "has 0 entries"),
    "fewer vcpus than cores": (own("    cores: [2, 3]", "    vcpus: 1\n    cores: [2, 3]"), 15, "`vcpus` is 1, and this dedicated VM has 2 cores"),
    "more vcpus than cores": (own("    cores: 1", "    cores: 1\n    vcpus: 2"), 22, "`vcpus` is 2, and this dedicated VM has 1 cores"),
    "devices in a shared vm": (OWN + "    devices: [usb/0]\n", 29, "`devices` is for dedicated VMs, and `office` is shared"),
    "tpm twice": (OWN.replace("    sealed: true", "    sealed: true\n    tpm: true") + "    tpm: true\n", 30, "`db` has the machine's TPM already"),
    "sealed in a shared vm": (OWN + "    sealed: true\n", 29, "`sealed` is for dedicated VMs"),
    "disengage in a shared vm": (OWN + "    disengage: auto\n", 29, "`disengage` is for dedicated VMs"),
    "after in a shared vm": (OWN + "    after: strict\n", 29, "`after` is for dedicated VMs"),
    "lan in a dedicated vm": (own("    sealed: true", "    lan: office"), 25, "`lan` of a dedicated VM is its VMM's, which leaves it: write `disengage: never`"),
    "disks in a dedicated vm": (own("    sealed: true", "    disks: [{file: disk}]"), 25, "`disks` of a dedicated VM is its VMM's, which leaves it"),
    "control of a dedicated vm": (own("    sealed: true", "    control: own"), 25, "`control` of a dedicated VM is its VMM's, which leaves it"),
    "console of no kind": (OWN + "    console: loud\n", 29, "cannot be `loud`: write private, shown or open"),
    "lan in a sealed vm": (own("    sealed: true", "    sealed: true\n    lan: office"), 26, "a sealed VM has no `lan`: its VMM cannot see its memory"),
    "budget in a dedicated vm": (own("    sealed: true", "    budget: 1ms"), 25, "`budget` is for shared VMs"),
    "period in a dedicated vm": (own("    sealed: true", "    period: 50ms"), 25, "`period` is for shared VMs"),
    "priority in a dedicated vm": (own("    sealed: true", "    priority: 8"), 25, "`priority` is for shared VMs"),
    "disengage": (own("guest\n", "soon\n"), 23, "cannot be `soon`: write auto, guest or never"),
    "after": (own("quiet", "loose"), 24, "cannot be `loose`: write strict or quiet"),
    "sealed": (own("true", "yes"), 25, "cannot be `yes`: write false or true"),
    "exit port of the mode": (own("sealed: true", "exit_port: 0x610"), 25, "belongs to a device"),
    "device of two vms": (own("nvme/0", "network-vf/0"), 22, "second time (first on line 16)"),
    "device twice in one vm": (own("nvme/0", "02:00.0"), 22, "second time (first on line 22)"),
    "device by two names of its class": (own("nvme/0", "0x0200-vf/0"), 22, "second time (first on line 16)"),
    "too many devices": (own("[nvme/0", "[usb/0, usb/1, usb/2, nvme/0"), 22, "has 5 entries"),
    "device of no class": (own("nvme/0", "toaster/0"), 22, "`toaster/0` is no device"),
    "device without an index": (own("nvme/0", "nvme"), 22, "is no device"),
    "device with an odd index": (own("nvme/0", "nvme/x"), 22, "is no device"),
    "device of a huge class": (own("nvme/0", "0x10200/0"), 22, "is no device"),
    "device slot too high": (own("02:00.0", "02:20.0"), 22, "is no device"),
    "device function too high": (own("02:00.0", "02:00.8"), 22, "is no device"),
    "device address with a tail": (own("02:00.0", "02:00.0x"), 22, "is no device"),
    "device address with a sign": (own("02:00.0", "+2:00.0"), 22, "is no device"),
    "siblings": (own("  iscsi: disk", "  share_siblings: maybe"), 9, "cannot be `maybe`: write false or true"),
    "small pages": (own("  iscsi: disk", "  small_pages: 4K"), 9, "cannot be `4K`: write false or true"),
    "kernel memory": (own("  iscsi: disk", "  kernel_memory: 31M"), 9, "is `31M`: write a size from 32M to 255M"),
    "too much kernel memory": (own("  iscsi: disk", "  kernel_memory: 256M"), 9, "is `256M`: write a size from 32M to 255M"),
    "iommu": (own("intel", "arm"), 4, "cannot be `arm`: write none, intel or amd"),
    "machine device of no kind": (own("    - nvme: ext4:8M", "    - {}"), 8, "is not one device"),
    "machine device of two kinds": (own("    - nvme: ext4:8M", "    - {nvme: disk, igb: {}}"), 8, "is not one device"),
    "unknown machine device": (own("nvme: ext4", "floppy: ext4"), 8, "unknown key `floppy`"),
    "nvme is missing": (own("ext4:8M", "gone"), 8, "`gone` is missing"),
    "nvme is odd": (own("ext4:8M", "odd"), 8, "multiple of 512"),
    "iscsi is missing": (own("iscsi: disk", "iscsi: gone"), 9, "`gone` is missing"),
    "iscsi size": (own("iscsi: disk", "iscsi: ext4:1"), 9, "like ext4:16M"),
    "forward no pair": (own("8080:80", "8080"), 7, "cannot be forwarded"),
    "forward port": (own("8080:80", "8080:99999"), 7, "cannot be forwarded"),
}


store = functools.partial(altered, STORE)


A_DISK = "{volume: a-root, from: service}"
BAD |= {
    "volume of nobody": (store(A_DISK, "{volume: a-root, from: servant}"), 16, "there is no VM `servant`: mend `from`"),
    "volume that is none": (store(A_DISK, "{volume: a-rot, from: service}"), 16, "`service` has no volume `a-rot`: add it to its `volumes`"),
    "volume of two vms": (store(A_DISK, "{volume: b-root, from: service}"), 20, "volume `b-root` is a disk of `alpha` already: a volume has one VM"),
    "volume from itself": (store("    kernel: bz", "    disks: [{volume: a-root, from: service}]\n    kernel: bz"), 6, "`service` has volumes for others itself"),
    "volume without from": (store(A_DISK, "{volume: a-root}"), 16, "a disk is a file or a volume"),
    "volume and file": (store(A_DISK, "{volume: a-root, from: service, file: disk}"), 16, "a disk is a file or a volume"),
    "neither volume nor file": (store(A_DISK, "{mode: volatile}"), 16, "a disk is a file or a volume"),
    "volume with a mode": (store(A_DISK, "{volume: a-root, from: service, mode: volatile}"), 16, "`mode` is for files"),
    "volume's name": (store("{name: a-root", "{name: A-root"), 9, "a volume cannot be called `A-root`"),
    "volume's name twice": (store("{name: a-root", "{name: b-root"), 10, "two volumes are called `b-root`"),
    "volume's size": (store("size: 8M", "size: 8000"), 9, "`vms[0].volumes[0].size` is `8000`: write a size from 1M to 1024G"),
    "service vm that is left": (store("    disengage: never", "    disengage: auto"), 8, "`volumes` of a dedicated VM is its VMM's, which leaves it"),
    "sealed client": (store("    lan: office", "    mode: dedicated\n    disengage: never\n    sealed: true"), 17, "a sealed VM has no `disks`"),
    "volumes and four lans": (store(", {volume: b-root, from: service}", "") + "".join(f"  - {{name: l{i}, kernel: pvh, memory: 2M, lan: l{i}}}\n" for i in range(3)), 16,
                              "the volumes of `service` need a LAN of their own, and a plan has at most 4"),
}


GATEWAY = """\
vms:
  - name: service
    mode: dedicated
    disengage: never
    kernel: bz
    memory: 32M
    cores: [1]
    devices: [network/0]
    lan: office
    gateway:
      forward:
        - {port: 8080, to: alpha, to_port: 80}
        - {port: 443, to: beta}
  - {name: alpha, kernel: pvh, memory: 16M, cores: [2], lan: office}
  - {name: beta, kernel: pvh, memory: 16M, cores: [2], lan: office}
  - {name: gamma, kernel: pvh, memory: 16M, cores: [2]}
"""


gateway = functools.partial(altered, GATEWAY)


BAD |= {
    "forward to nobody": (gateway("to: alpha", "to: alfa"), 12, "`alfa` is no other VM on the LAN of `service`: mend `to`"),
    "forward to itself": (gateway("to: alpha", "to: service"), 12, "`service` is no other VM on the LAN"),
    "forward past the lan": (gateway("to: beta", "to: gamma"), 13, "`gamma` is no other VM on the LAN"),
    "two forwards of a port": (gateway("port: 443", "port: 8080"), 13, "port 8080 is forwarded already, to `alpha`"),
    "two forwards of a port by udp": (gateway("to_port: 80}\n        - {port: 443", "proto: udp}\n        - {proto: udp, port: 8080"), 13, "port 8080 is forwarded already, to `alpha`"),
    "forward's proto": (gateway("to_port: 80", "proto: sctp"), 12, "`vms[0].gateway.forward[0].proto` cannot be `sctp`: write tcp or udp"),
    "forward's port": (gateway("port: 443", "port: 65536"), 13, "`vms[0].gateway.forward[1].port` is `65536`: write a port from 1 to 65535"),
    "forward to port": (gateway("to_port: 80", "to_port: 0"), 12, "`vms[0].gateway.forward[0].to_port` is `0`: write a port"),
    "forward without to": (gateway("443, to: beta", "443"), 13, "the key `to` is missing here"),
    "gateway without a lan": (gateway("    lan: office\n", ""), 9, "there is no LAN that `service` leads out of: give it a `lan`"),
    "gateway without a card": (gateway("network/0", "nvme/0"), 10, "`service` has no network card of the machine's to lead out by"),
    "gateway that is shared": (gateway("    mode: dedicated\n    disengage: never\n", "").replace("    devices: [network/0]\n", ""), 7, "`service` has no network card"),
    "gateway that is left": (gateway("never", "guest"), 9, "`lan` of a dedicated VM is its VMM's, which leaves it"),
    "two gateways": (gateway("  - {name: alpha, kernel: pvh, memory: 16M, cores: [2]", "  - {name: alpha, kernel: pvh, memory: 16M, cores: [3], mode: dedicated, disengage: never, devices: [network/1], gateway: {}"), 14,
                     "`service` leads out of this LAN already: a LAN has one gateway"),
}


SPARE = """\
machine: {cores: 4, memory: 256M}
spare:
  cores: [3]
  memory: 32M
vms:
  - name: service
    kernel: bz
    memory: 32M
    cores: [1]
    control: all
    disks:
      - upload: 8M
"""


def spare(old, new):
    assert SPARE.count(old) == 1
    return SPARE.replace(old, new)


BAD |= {
    "spare core 0": (spare("[3]", "[0, 3]"), 3, "core `0` cannot be spare: write numbers from 1 to 3"),
    "spare core not there": (spare("[3]", "[4]"), 3, "core `4` cannot be spare: write numbers from 1 to 3"),
    "spare cores no list": (spare("[3]", "3"), 3, "`spare.cores` is not a list"),
    "spare memory": (spare("memory: 32M\nvms", "memory: 3M\nvms"), 4, "`spare.memory` is `3M`: write a size from 2M to 1024G"),
    "spare memory too much": (spare("memory: 32M\nvms", "memory: 512M\nvms"), 1, "raise machine.memory"),
    "spare cores missing": (spare("  cores: [3]\n", ""), 3, "key `cores` is missing"),
    "spare core of a VM": (spare("cores: [1]", "cores: [1, 3]"), 9, "core 3 is spare: choose another, or take it out of `spare.cores`"),
    "spare for nobody": (spare("    disks:\n      - upload: 8M\n", ""), 2, "nobody can use what is spare"),
    "upload without spare": (spare("spare:\n  cores: [3]\n  memory: 32M\n", ""), 9, "there is nothing to create VMs from"),
    "upload without control": (spare("control: all", "control: own"), 12, "`upload` is for a VM with `control: all`"),
    "upload twice": (SPARE + "      - upload: 8M\n", 13, "there is one disk for uploads"),
    "upload and a file": (spare("upload: 8M", "{upload: 8M, file: disk}"), 12, "a disk for uploads has nothing but its size"),
    "upload's size": (spare("upload: 8M", "upload: 8K"), 12, "write a size from 1M to 1G"),
}


HOST = """\
machine: {cores: 3, memory: 1G, firmware: uefi, host: {disk: disk}}
vms:
  - name: alpha
    kernel: pvh
    memory: 16M
    cores: [0, 1]
  - name: debian
    mode: host
"""


host = functools.partial(altered, HOST)

# Each key of a VM but `name` and `mode`, with a value that others may have.
NOT_THE_HOSTS = {
    "kernel": "pvh", "initrd": "disk", "cmdline": "quiet", "memory": "2M", "vcpus": "1", "cores": "[1]", "devices": "[nvme/0]", "disengage": "auto",
    "after": "quiet", "sealed": "false", "tpm": "false", "priority": "8", "budget": "1ms", "period": "1s", "disks": "[{file: disk}]",
    "volumes": "[{name: a, size: 1M}]", "gateway": "{}", "lan": "a", "on_exit": "restart", "exit_port": "0xf4", "start": "boot",
}


BAD |= {
    f"host with {key}": (HOST + f"    {key}: {value}\n", 9, f"`{key}` is not for `debian`: a VM of `mode: host` has all")
    for key, value in NOT_THE_HOSTS.items()
} | {
    "host that commands itself": (HOST + "    control: own\n", 9, "`debian` has no console or end of its own: say `control: all`"),
    "two hosts": (HOST + "  - {name: other, mode: host}\n", 9, "`debian` is the host already: a machine has one"),
    "host before another": (HOST + "  - {name: beta, kernel: pvh, memory: 16M, cores: [0]}\n", 8, "`debian` is the host: move it behind the other VMs"),
    "devices beside a host": (host("[0, 1]", "[1]\n    mode: dedicated\n    devices: [nvme/0]"), 8, "no `devices` beside `debian`: the machine's devices are the host's"),
    "tpm beside a host": (host("[0, 1]", "[1]\n    tpm: true"), 7, "no `tpm` beside `debian`: the machine's TPM is the host's"),
    "spare beside a host": (host("vms:", "spare: {cores: [2], memory: 2M}\nvms:").replace("[0, 1]", "[0, 1]\n    control: all\n    disks: [{upload: 1M}]"), 2, "nothing is spare beside a VM of `mode: host`"),
    "too many vcpus beside a host": (host("vms:", "vms:\n" + "".join(f"  - {{name: n{i}, kernel: pvh, memory: 16M, vcpus: {n}, cores: [0]}}\n" for i, n in enumerate([64, 64, 64]))), 2,
                                     "all VMs together have 193 vCPUs: take them down to 192"),
    "no core for the host": (host("cores: 3", "cores: 2"), 1, "Hairline keeps cores 0 to 1 and the machine has 2: no core is left for `debian`"),
    "dedicated beside a host": (host("    cores: [0, 1]", "    mode: dedicated"), 3, "name the cores of `alpha`, like [1]"),
    "how many cores beside a host": (host("    cores: [0, 1]", "    mode: dedicated\n    cores: 1"), 7, "name the cores of `alpha`, like [1]"),
    "disk of no host": (host("  - name: debian\n    mode: host\n", ""), 1, "`machine.host` is the disk of a VM of `mode: host`, and there is none"),
    "host's disk is missing": (host("disk: disk", "disk: gone"), 1, "`gone` is missing"),
    "host's disk is odd": (host("disk: disk", "disk: odd"), 1, "multiple of 512"),
    "host's disk is blank": (host("disk: disk", "disk: 'ext4:16M'"), 1, "`ext4:16M` has no system on it"),
    "host's launch": (host("disk: disk", "disk: disk, launch: soon"), 1, "`machine.host.launch` cannot be `soon`: write power-on or late"),
    "host without a disk": (host("{disk: disk}", "{}"), 1, "key `disk` is missing"),
    "no memory for the host": (host("memory: 1G", "memory: 512M"), 1, "raise machine.memory"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_kernels_that_no_vm_starts(house, name):
    """By a sentence, whatever is to be done with the plan."""
    (house / "plan.yaml").write_text(changed("kernel: pvh", f"kernel: {name}"))
    for words in (["check", "plan.yaml"], ["build", "plan.yaml", "-o", "out"], ["run", "--batch", "plan.yaml"]):
        done = tool(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"plan.yaml:23: kernel `{name}` {FOREIGN[name][1]}\n"
    assert not (house / "out").exists() and not (house / "args").exists()


@pytest.mark.parametrize("case", BAD)
def test_bad_plan(house, case):
    text, line, words = BAD[case]
    (house / "plan.yaml").write_text(text)
    for command in ("check", "run"):
        done = tool(command, "plan.yaml")
        lines = done.stderr.splitlines()
        assert done.returncode == 2 and done.stdout == ""
        assert len(lines) == 1 and lines[0].startswith(f"plan.yaml:{line}: ") and words in lines[0]
    assert not (house / "args").exists()


def flat_pc():
    """The ports of the map that the VMM answers by: all of each device, the keyboard's data, and the first and last of those that BARs get."""
    text = (SOURCE / "lib" / "flatpc.h").read_text()
    cases = re.findall(r"case (0x[0-9a-f]+)(?: \.\.\. (0x[0-9a-f]+))?: return FLATPC_", text)
    assert len(cases) == text.count(" case ")
    more = [int(re.search(rf"\b{name} = (0x[0-9a-f]+)", text)[1], 16) for name in ("PORT_KEYBOARD_DATA", "PORT_BARS", "PORT_BARS_LAST")]
    return [port for first, last in cases for port in range(int(first, 16), int(last or first, 16) + 1)] + more


def test_exit_port_of_a_device(house):
    ports = flat_pc()
    assert {0x43, 0x60, 0x64, 0x70, 0x71, 0x92, 0x3F8, 0x600, 0x610, 0xCF8, 0xCFF, 0xC000, 0xCFFF} <= set(ports)
    for port in ports:
        (house / "plan.yaml").write_text(GOOD.replace("exit_port: 0xf4", f"exit_port: {port:#x}"))
        done = tool("check", "plan.yaml")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.splitlines() == [
            f"plan.yaml:21: port {port:#x} belongs to a device: choose another, like 0xf4"], f"port {port:#x}"


def test_bad_bytes(house):
    (house / "plan.yaml").write_bytes(b"vms:\n  - name: \xff\xfe\n")
    assert tool("check", "plan.yaml").stderr.startswith("plan.yaml:2: not YAML")
    (house / "plan.yaml").write_bytes(bytes(2 << 20))
    assert "larger than 1 MiB" in tool("check", "plan.yaml").stderr
    assert tool("check", "gone.yaml").stderr == "gone.yaml:1: cannot read this plan: No such file or directory\n"
    assert tool("check", "folder").returncode == 2


def test_each_error_is_told(house):
    (house / "plan.yaml").write_text(GOOD.replace("vcpus: 2", "vcpus: 0").replace("memory: 16M", "memory: 1M"))
    assert [line.split(":")[1] for line in tool("check", "plan.yaml").stderr.splitlines()] == ["10", "24"]


def vms_of(path):
    """The plan's head, and the record of each VM."""
    raw = path.read_bytes()
    head = PLAN.unpack_from(raw)
    return head, [Record(*VM.unpack_from(raw, PLAN.size + i * VM.size)) for i in range(head[3])]


def fields(vm, first, last):
    """Those of a record from `first` to `last`."""
    return tuple(getattr(vm, name) for name in FIELDS)[list(FIELDS).index(first) : list(FIELDS).index(last) + 1]


def test_build(house):
    (house / "plan.yaml").write_text(GOOD + "    start: command\n")
    assert tool("check", "plan.yaml").returncode == 0
    done = tool("build", "plan.yaml", "-o", "out")
    assert done.returncode == 0, done.stderr
    (magic, version, flags, vms, lans, files, *_, held), (alpha, beta) = vms_of(house / "out" / "plan.bin")
    assert (magic.to_bytes(8, "little"), version, flags, vms, lans, files) == (b"hlplan\0\0", 10, 0, 2, 1, 5) and held == 2
    assert alpha.name.rstrip(b"\0") == b"alpha" and fields(alpha, "mode", "lan") == (0, 2, 32 << 20, 2, 9, 5000, 20000, 1, 0xF4, 0, 0, 1, 2, 1)
    assert struct.unpack("<2I32s2I32s80x", alpha.disk) == (2, 2, bytes(32), 3, 1, bytes(32))
    assert alpha.mac == bytes.fromhex("02686c000101") and beta.mac == bytes.fromhex("02686c000102")
    assert alpha.cmdline.rstrip(b"\0") == b"quiet hairline.name=alpha hairline.ip=10.0.1.1/24 hairline.peers=beta:10.0.1.2"
    assert beta.cmdline.rstrip(b"\0") == b"hairline.name=beta hairline.ip=10.0.1.2/24 hairline.peers=alpha:10.0.1.1"
    assert fields(beta, "mode", "lan") == (0, 1, 16 << 20, 2, 8, 10000, 0, 0, 0, 1, 4, 0xFFFFFFFF, 0, 1)
    assert (house / "out" / "f0").read_bytes() == bzimage() and (house / "out" / "f4").read_bytes() == pvh(64)
    assert (house / "out" / "root.img").read_text() == "root.img"
    assert (house / "out" / "f3").stat().st_size == 8 << 20 and b"This is the disk of alpha." in (house / "out" / "f3").read_bytes()


def states(folder):
    return {path: (path.lstat().st_ino, path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


def test_build_beside_files_of_others(house):
    """One line, and nothing is written: into a folder that has others, over a file that the plan names, over what is no file."""
    (house / "plan.yaml").write_text(GOOD)
    (house / "folder" / "f0").write_text("mine")
    os.mkfifo(house / "pipe")
    (house / "link").symlink_to("bz")
    assert tool("build", "plan.yaml", "-o", "out").returncode == 0
    (house / "out" / "f9").write_bytes(bytes(4096))
    (house / "out" / "hairline.iso").symlink_to("f0")
    (house / "own.yaml").write_text(GOOD.replace("file: disk", "file: out/f9"))
    no_file = "is a device, a folder or a link: name a file"
    before = states(house)
    for words, sentence in (
        (["-o", "folder"], "folder has files of others: name a new folder"),
        (["-o", "out", "--iso"], f"out/hairline.iso {no_file}"),
        *((["-o", "new", option, name], f"{name} {no_file}") for option in ("--efi", "--usb") for name in ("pipe", "link", "folder")),
    ):
        done = tool("build", "plan.yaml", *words)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"hairline: {sentence}\n")
    done = tool("build", "own.yaml", "-o", "out")
    assert (done.returncode, done.stderr) == (2, f"hairline: the plan names {house}/out/f9, which is in out: name another folder\n")
    assert states(house) == before
    assert tool("build", "plan.yaml", "-o", "out").returncode == 0


def test_build_host(house):
    """Its record; what hairline.efi says beside; and what firmware will have measured of it."""
    images_of_uefi(house)
    (house / "plan.yaml").write_text(HOST)
    checked = tool("check", "plan.yaml").stdout.splitlines()
    assert checked[1:] == ["alpha: 0.0 % of core 0 (1 vCPU)", "debian: all cores from 2 on"]
    done = tool("build", "plan.yaml", "--efi", "host.efi")
    assert done.returncode == 0, done.stderr
    image = (house / "host.efi").read_bytes()
    sections = sections_of(image)
    (house / "plan.bin").write_bytes(sections["plan"])
    _, (alpha, debian) = vms_of(house / "plan.bin")
    assert fields(debian, "mode", "lan") == (2, 1, 0, 0, 8, 10000, 0, 0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0)
    assert fields(debian, "disengage", "console") == (0, 1, 0, 0, 0, 0) and fields(debian, "mtu", "server") == (0, 0, 0)
    assert debian.mac == bytes.fromhex("02686c000002") and not debian.cmdline.rstrip(b"\0") and alpha.cores == 3
    cores, serial, memory = struct.unpack("<IIQ", sections[".host"][:16])
    assert (cores, serial) == (2, 0x3E8) and memory >= 16 << 20 and memory % (2 << 20) == 0
    (pe,) = struct.unpack_from("<I", image, 60)
    assert struct.unpack_from("<H", image, pe + 24 + 68) == (11,)  # EFI boot service driver
    checksum, signatures = pe + 24 + 64, pe + 24 + 112 + 32
    authenticode = hashlib.sha256(image[:checksum] + image[checksum + 4 : signatures] + image[signatures + 8 :]).digest()
    pcr = bytes(32)
    for digest in (authenticode, hashlib.sha256(bytes(4)).digest()):
        pcr = hashlib.sha256(pcr + digest).digest()
    assert done.stdout == f"PCR 2  sha256 {pcr.hex()}\n"
    larger = HOST.replace("16M", "64M").replace(", host: {disk: disk}", "")
    (house / "plan.yaml").write_text(larger)
    assert tool("build", "plan.yaml", "--efi", "host.efi").returncode == 0
    assert struct.unpack("<IIQ", sections_of((house / "host.efi").read_bytes())[".host"][:16]) == (2, 0, memory + (48 << 20))


def images_of_uefi(house):
    for name in ("hairline64.elf", "uefi.efi"):
        shutil.copy(BUILD / name, house / "bin" / name)


def sections_of(image):
    """The sections of a PE file, by name."""
    (pe,) = struct.unpack_from("<I", image, 60)
    count, optional = struct.unpack_from("<H12xH", image, pe + 6)
    table = [struct.unpack_from("<8sIIII", image, pe + 24 + optional + i * 40) for i in range(count)]
    return {name.rstrip(b"\0").decode(): image[at : at + size] for name, size, _, _, at in table}


NO_HOST = {
    "a folder": (["build", "plan.yaml", "-o", "out"], HOST, "only --efi FILE goes with it"),
    "a stick": (["build", "plan.yaml", "--usb", "stick"], HOST, "only --efi FILE goes with it"),
    "the other slot": (["update", "plan.yaml", "--esp", "stick"], HOST, "a VM of `mode: host` is on no stick"),
    "no firmware": (["run", "plan.yaml"], host("firmware: uefi, ", ""), "write `machine: {firmware: uefi}` into the plan, or run it with --firmware uefi"),
    "no disk": (["run", "plan.yaml"], host(", host: {disk: disk}", ""), "the machine has no disk for it: write `machine: {host: {disk: debian-disk}}`"),
    "Intel's": (["run", "plan.yaml", "--vendor", "intel"], host("firmware: uefi", "iommu: none"), "the emulated Intel machine has no UEFI"),
}


@pytest.mark.parametrize("case", NO_HOST)
def test_no_host_there(house, case):
    """Where a host cannot be; one line, and nothing is written or started."""
    words, text, message = NO_HOST[case]
    if words[0] == "update":
        images_of_uefi(house)
        (house / "plan.yaml").write_text(GOOD)
        assert tool("build", "plan.yaml", "--efi", "kept.efi").returncode == 0
        subprocess.run([SOURCE / "scripts/efi-volume", house / "kept.efi", house / "stick"], check=True)
    (house / "plan.yaml").write_text(text)
    done = tool(*words)
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1 and message in done.stderr
    assert not (house / "out").exists() and not (house / "args").exists()


READY = """\
hairline| ready cores=2 vms=1
hairline| host name=debian level=L1 iommus=1
hairline| host name=debian cores=1 tsc=77 exits.msr=3 exits.icr=30
"""
POWER_DOWN = "printf '\\033[1mna\\303\\244me:\\033[0m up\\r\\n[ 9.9] reboot: Power down\\r\\n' >&3"

# What the machine's two serial lines say; the exit code; words on stderr.
HOST_ENDS = {
    "as it should": (READY, POWER_DOWN, 0, ""),
    "without a power-off": (READY, "echo up >&3", 1, "debian did not end by itself"),
    "in a line": (READY, "printf up >&3", 1, "debian did not end by itself"),
    "without Hairline": ("", POWER_DOWN, 1, "Hairline did not start beneath debian"),
    "the stub refuses": ("", "echo 'hairline: this file has no kernel: build it again' >&3", 1, "the machine stopped before it was done"),
    "a VM beside has died": (READY + "hairline| vm name=alpha state=off reason=triple next=off\n", POWER_DOWN, 1, "alpha did not end by itself: triple"),
    "a VM beside has ended": (READY + "hairline| vm name=alpha state=off reason=poweroff next=off\n", POWER_DOWN, 0, ""),
    "a check in it failed": (READY, "echo 'HAIRLINE-CHECKS: failed' >&3; " + POWER_DOWN, 1, "debian: a check in the guest failed"),
}


@pytest.mark.parametrize("case", HOST_ENDS)
def test_run_host(house, monkeypatch, case):
    """How a batch run judges a machine with a host system; what its own line shows, and what QEMU is told."""
    console, line, code, words = HOST_ENDS[case]
    images_of_uefi(house)
    (house / "plan.yaml").write_text(HOST)
    (house / "console").write_text(console)
    monkeypatch.setenv("FAKE_HOST", line)
    done = tool("run", "plan.yaml", "--batch", "--logs", "logs", "--json", "json")
    debian = json.loads((house / "json").read_text())["vms"]["debian"]
    if console:
        assert (debian["level"], debian["vcpus"], debian["cores"], debian["exits"]) == ("L1", 1, [], {"msr": 3, "icr": 30})
    assert done.returncode == code and words in done.stderr
    if line == POWER_DOWN:
        assert "debian| na??me: up\ndebian| [ 9.9] reboot: Power down\n" in done.stdout
        assert (house / "logs" / "debian.log").read_text() == "na??me: up\n[ 9.9] reboot: Power down\n"
    if case == "in a line":
        assert "debian| up\n" in done.stdout and (house / "logs" / "debian.log").read_text() == "up\n"
    words = (house / "args").read_text()
    assert "-serial chardev:host" in words and "isa-serial,iobase=0x3e8,irq=4,chardev=hairline" in words and "snapshot=on,file=" in words.split("id=host,format=raw,")[1]
    assert "nvme,drive=host,serial=hairline-host,bootindex=0" in words and "value=hairline.batch" in words and "hairline.late" not in words
    assert "-device intel-iommu,intremap=on,eim=on" in words and "tcg,thread=single" in words


def test_run_late(house, monkeypatch):
    """The system is told that it is to launch Hairline beneath itself."""
    images_of_uefi(house)
    (house / "plan.yaml").write_text(host("disk: disk", "disk: disk, launch: late"))
    (house / "console").write_text(READY)
    monkeypatch.setenv("FAKE_HOST", POWER_DOWN)
    assert tool("run", "plan.yaml", "--batch").returncode == 0
    assert "value=hairline.late" in (house / "args").read_text()


def test_keys_to_the_host(house, monkeypatch):
    """Ctrl-] and its number: what is typed goes to its line, whose answer is shown as it is; root hears that it has the focus itself."""
    images_of_uefi(house)
    (house / "plan.yaml").write_text(HOST)
    (house / "console").write_text(READY)
    monkeypatch.setenv("FAKE_HOST", 'IFS= read -r line <&3; printf "got $line\\n" >&3; head -c 4 >"$FAKE_DIR/typed"; ' + POWER_DOWN)
    with subprocess.Popen(["bin/tool", "run", "plan.yaml"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        run.stdin.write(b"\x1d2hello\n")
        run.stdin.flush()
        said = iter(run.stdout.readline, b"")
        assert b"got hello\n" in said  # and not behind the host's name
        run.stdin.write(b"\x1d0")
        run.stdin.flush()
        assert b"debian| [ 9.9] reboot: Power down\n" in said and run.wait(PATIENCE) == 0
    assert (house / "typed").read_bytes() == b"\x1d0\x1d0"


def test_build_mtu(house):
    (house / "plan.yaml").write_text(GOOD.replace("lan: office", "lan: {name: office, mtu: 9000}") + "  - {name: gamma, kernel: pvh, memory: 2M, lan: {name: other}}\n")
    assert tool("build", "plan.yaml", "-o", "out").returncode == 0
    _, vms = vms_of(house / "out" / "plan.bin")
    assert [(vm.lan, vm.mtu) for vm in vms] == [(1, 9000), (1, 9000), (2, 1500)]


def test_build_spare(house):
    """And a VM that names no cores gets none that is spare."""
    (house / "plan.yaml").write_text(spare("    cores: [1]\n", ""))
    done = tool("build", "plan.yaml", "-o", "out")
    assert done.returncode == 0, done.stderr
    head, (service,) = vms_of(house / "out" / "plan.bin")
    assert head[7:] == (8, 32 << 20, 8 << 20, 0) and service.cores == 6
    assert struct.unpack("<2I32s", service.disk[:40]) == (0xFFFFFFFF, 8, bytes(32))


def test_build_volumes(house):
    """Who serves whom, by a LAN that the plan does not name; and what the service VM is told."""
    (house / "plan.yaml").write_text(STORE)
    done = tool("build", "plan.yaml", "-o", "out")
    assert done.returncode == 0, done.stderr
    head, (service, alpha, beta) = vms_of(house / "out" / "plan.bin")
    assert head[4] == 2 and [(vm.lan, vm.store, vm.server) for vm in (service, alpha, beta)] == [(0, 2, 1), (1, 2, 1), (0, 2, 1)]
    assert struct.unpack("<2I32s", alpha.disk[:40]) == (0xFFFFFFFF, 4, b"a-root".ljust(32, b"\0"))
    assert struct.unpack("<2I32s", beta.disk[40:80]) == (0xFFFFFFFF, 4, b"b-root".ljust(32, b"\0"))
    words = service.cmdline.rstrip(b"\0").decode().split()
    assert "hairline.store=02:68:6c:00:02:01" in words
    assert "hairline.volumes=a-root,8,2,0,02:68:6c:00:02:02/b-root,1024,3,1,02:68:6c:00:02:03" in words
    assert b"volumes" not in alpha.cmdline


def test_build_gateway(house):
    """Who leads out of the LAN, for all on it; and for that one, the others, and what is forwarded."""
    more = "        - {port: 8080, to: beta, proto: udp}\n        - {port: 53, to: alpha, to_port: 5353, proto: udp}\n        - {port: 53, to: alpha, proto: tcp}\n"
    (house / "plan.yaml").write_text(altered(GATEWAY, "  - {name: alpha", more + "  - {name: alpha"))
    assert tool("build", "plan.yaml", "-o", "out").returncode == 0
    words = [vm.cmdline.rstrip(b"\0").decode().split() for vm in vms_of(house / "out" / "plan.bin")[1]]
    assert words[0][1:] == ["hairline.ip=10.0.1.1/24", "hairline.peers=alpha:10.0.1.2,beta:10.0.1.3", "hairline.gateway=service:10.0.1.1",
                            "hairline.forward=8080:10.0.1.2:80,443:10.0.1.3:443,udp/8080:10.0.1.3:8080,udp/53:10.0.1.2:5353,53:10.0.1.2:53", "hairline.disengage=never"]
    assert words[1][1:] == ["hairline.ip=10.0.1.2/24", "hairline.peers=beta:10.0.1.3", "hairline.gateway=service:10.0.1.1"]
    assert words[3] == ["hairline.name=gamma"]


def cmdline(house, line, vm="", *options):
    """What a VM finds, given the plan's line."""
    (house / "plan.yaml").write_text(f"machine: {{memory: 64M}}\nvms:\n  - {{name: a, kernel: pvh, memory: 2M, cmdline: {json.dumps(line)}{vm}}}\n")
    done = tool("build", "plan.yaml", "-o", "out", *options)
    assert done.returncode == 0, done.stderr
    return vms_of(house / "out" / "plan.bin")[1][0].cmdline.rstrip(b"\0").decode()


@pytest.mark.parametrize("line, found", [
    ("quiet -- one two", "quiet hairline.name=a hairline.batch -- one two"),
    ("-- one", "hairline.name=a hairline.batch -- one"),
    ("quiet --", "quiet hairline.name=a hairline.batch --"),
    ("--x a--b -- c -- d", "--x a--b hairline.name=a hairline.batch -- c -- d"),
    ('k="a -- b" -- c', 'k="a -- b" hairline.name=a hairline.batch -- c'),
    ("quiet", "quiet hairline.name=a hairline.batch"),
])
def test_words_stand_before_those_for_init(house, line, found):
    assert cmdline(house, line, "", "--batch") == found


def test_longest_command_line(house):
    """Linux takes 2,047 bytes; a sealed VM's VMM adds to them."""
    added = len(" hairline.name=a")
    assert len(cmdline(house, "x" * (2047 - added))) == 2047
    added += len(" hairline.disengage=auto")
    assert len(cmdline(house, "x" * (2047 - 40 - added), ", mode: dedicated, sealed: true")) == 2007
    (house / "plan.yaml").write_text((house / "plan.yaml").read_text().replace("xx", "xxx", 1))
    assert "has 2008 bytes with what the tool adds: keep it below 2008" in tool("check", "plan.yaml").stderr


def test_words_that_are_good_after_all(house):
    """The TSC's frequency may come from elsewhere; another kernel's words may mean something else; and parts of words."""
    for kernel, line in (("bz", "no-kvmclock tsc_early_khz=2000000"), ("pvh", "nox2apic acpi=off"), ("bz", "no-kvmclock-vsyscall xacpi=off acpi=offx")):
        (house / "plan.yaml").write_text(f"vms: [{{name: a, kernel: {kernel}, memory: 2M, cmdline: {line}}}]\n")
        assert tool("check", "plan.yaml").stderr == ""
    (house / "plan.yaml").write_text("vms: [{name: a, kernel: bz, mode: dedicated, sealed: true, memory: 2M, cmdline: no-kvmclock}]\n")
    assert tool("check", "plan.yaml").stderr == ""


@pytest.mark.parametrize("machine, vms, good", [
    ("2815M", ["2600M"], True), ("2816M", ["2600M"], False), ("2816M", ["2040M"], False), ("2816M", ["1990M", "700M"], True), ("2816M", ["2000M", "700M"], False),
    ("8G", ["3584M"], True), ("8G", ["2G", "2G", "2G"], True), ("8G", ["3584M", "3584M"], False), ("8G", ["2G", "1G", "1G", "1G", "1G"], True), ("12G", ["3584M", "3584M"], True),
    ("128G", ["64G"], True), ("2048G", ["1024G", "900G"], True), ("8G", ["5G"], True), ("8G", ["6656M"], False),
])
def test_places_in_the_machine(house, machine, vms, good):
    """From 2816 MiB on a machine's RAM is in two pieces, of which the lower has 2 GiB."""
    lines = [f"  - {{name: n{i}, kernel: bz, memory: {size}}}\n" for i, size in enumerate(vms)]
    (house / "plan.yaml").write_text(f"machine: {{memory: {machine}}}\nvms:\n" + "".join(lines))
    assert (tool("check", "plan.yaml").returncode == 0) == good


def test_a_plan_of_more_frames_than_the_kernel_is_linked_with(house):
    (house / "plan.yaml").write_text(alone(*(SERVER.format(i, "32G") for i in range(64)), machine="memory: 4096G"))
    done = tool("check", "plan.yaml")
    assert done.returncode == 0 and not done.stderr


@pytest.mark.parametrize("cores", [4, 64])
@pytest.mark.parametrize("vcpus", [[1] * 64, [4] * 64, [64] * 4])
def test_how_many_vms_fit(house, cores, vcpus):
    """As README says; test_boot.py starts them, and one more of each is a row of BAD."""
    assert "64 cores, 64 VMs with 256 vCPUs" in " ".join((SOURCE / "README.md").read_text().split())
    plan = [{"name": f"n{i}", "kernel": "bz", "memory": "2M", "vcpus": n, "lan": f"l{i % 4}"} for i, n in enumerate(vcpus)]
    (house / "plan.yaml").write_text(json.dumps({"machine": {"cores": cores, "memory": "1G"}, "vms": plan}))
    done = tool("check", "plan.yaml")
    assert done.returncode == 0 and not done.stderr


@pytest.mark.parametrize("files", [124, 125])
def test_how_many_files_fit(house, files):
    """Beside root, VMM, switch and plan: 128 modules."""
    for i in range(files):
        (house / f"k{i}").write_bytes(bzimage())
    names = [f"k{i}" for i in range(files)]
    plan = [{"name": f"n{i}", "kernel": names[2 * i], "memory": "8M"} | ({"initrd": names[2 * i + 1]} if 2 * i + 1 < files else {}) for i in range((files + 1) // 2)]
    (house / "plan.yaml").write_text(json.dumps({"machine": {"memory": "2G"}, "vms": plan}))
    done = tool("check", "plan.yaml")
    assert done.returncode == (0 if files == 124 else 2), done.stderr
    assert ("too many files: a plan can name 124 different ones" in done.stderr) == (files == 125) and done.stderr.count("\n") == (files == 125)


def alone(*vms, machine, more=""):
    return f"machine: {{{machine}}}\n{more}vms:\n" + "".join(f"  - {{{vm}}}\n" for vm in vms)


SERVER = "name: n{}, kernel: bz, memory: {}"
TOO_MUCH = {
    "files for a loader": (alone("name: a, kernel: bz, memory: 64M, disks: [{file: large}, {file: larger}]", machine="memory: 8G"), 2, "the files have 1901 MiB, and a loader takes 1900 MiB"),
    "files for firmware": (alone("name: a, kernel: bz, memory: 64M, disks: [{file: larger}, {file: larger2}]", machine="firmware: uefi, memory: 8G"), 2,
                           "the files have 802 MiB, and a loader takes 800 MiB"),
    "frames, and before them objects": (alone(SERVER.format(0, "130G"), machine="memory: 4096G, small_pages: true"), 2, "kernel objects of 8191: take out VMs"),
    "objects for small pages": (alone(SERVER.format(0, "125G"), machine="memory: 4096G, small_pages: true"), 2, "kernel objects of 8191: take out VMs"),
    "memory beside a host": (alone(SERVER.format(0, "1800M"), "name: debian, mode: host", machine="firmware: uefi, memory: 8G, host: {disk: disk}"), 2,
                             "need 1853 MiB below 4 GiB, of which there are 1792 MiB for them"),
    "copies beside a host": (alone(*(f"name: n{i}, kernel: bz, memory: 16M, disks: [{{file: odd, mode: volatile}}]" for i in range(20)), "name: debian, mode: host",
                                   machine="firmware: uefi, memory: 1050M, host: {disk: disk}"), 1, "need 1089 MiB and the machine has 1050 MiB"),
    "spare in one piece": (alone("name: a, kernel: bz, memory: 1G, control: all, disks: [{upload: 1M}]", machine="memory: 8G", more="spare: {cores: [1], memory: 6300M}\n"), 2,
                           "`spare` needs 6300 MiB in one piece, and the largest left of the machine's 8192 MiB has 5120 MiB"),
}


@pytest.mark.parametrize("plan, line, words", TOO_MUCH.values(), ids=TOO_MUCH)
def test_what_no_machine_carries_is_refused(house, plan, line, words):
    for name, size in {"large": 1500 << 20, "larger": 401 << 20, "larger2": 401 << 20, "disk": 1 << 20, "odd": (4 << 20) + 512}.items():
        (house / name).touch()
        os.truncate(house / name, size)
    (house / "plan.yaml").write_text(plan)
    done = tool("check", "plan.yaml")
    assert done.returncode == 2 and done.stderr.startswith(f"plan.yaml:{line}: ") and words in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("files", [88, 89])
def test_how_many_files_fit_one_for_uefi(house, files):
    """Its header is a page, of which each section has some bytes."""
    for i in range(files):
        (house / f"k{i}").write_bytes(bzimage())
    plan = [{"name": f"n{i}", "kernel": f"k{i}", "memory": "8M"} for i in range(45)]
    for i in range(45, files):
        plan[i - 45]["initrd"] = f"k{i}"
    (house / "plan.yaml").write_text(json.dumps({"machine": {"memory": "2G", "firmware": "uefi"}, "vms": plan}))
    done = tool("check", "plan.yaml")
    assert done.returncode == (0 if files == 88 else 2) and ("holds 88" in done.stderr) == (files == 89), done.stderr
    if files == 88:
        subprocess.run([BUILD / "hairline-tool", "build", "plan.yaml", "--efi", "plan.efi"], check=True, capture_output=True)


def test_kernel_ends_where_check_thinks():
    """With root, VMM, LAN and a plan behind it."""
    symbols = subprocess.run(["nm", BUILD / "hairline64.elf"], check=True, capture_output=True, text=True).stdout
    (end,) = [int(line.split()[0], 16) for line in symbols.splitlines() if line.endswith(" kernel_end")]
    images = sum((BUILD / name).stat().st_size for name in ("root.img", "vmm.img", "lan.img"))
    text = (SOURCE / "cli/plan/check_memory.c").read_text()
    believed = int(re.search(r"#define KERNEL_END +\((\d+) \* MEBI\)", text)[1]) << 20
    assert 0 <= believed - (end - 0xFFFFFFFF80000000) - images < 2 << 20


PROMISES = {
    "alone": ([{}], {"n0": "50.0 % of core 1 (1 vCPU)"}),
    "two in turns": ([{}, {}], {"n0": "25.0 % of core 1 (1 vCPU)", "n1": "25.0 % of core 1 (1 vCPU)"}),
    "by vCPUs": ([{"vcpus": 2}, {"vcpus": 1}], {"n0": "33.3 % of core 1 (2 vCPUs)", "n1": "16.7 % of core 1 (1 vCPU)"}),
    "by slices": ([{"budget": "30ms"}, {"budget": "10ms"}], {"n0": "37.5 % of core 1 (1 vCPU)", "n1": "12.5 % of core 1 (1 vCPU)"}),
    "two cores": ([{"vcpus": 2, "cores": [1, 2]}], {"n0": "50.0 % of core 1 (1 vCPU), 100.0 % of core 2 (1 vCPU)"}),
    "on core 0": ([{"cores": [0]}, {"vcpus": 2, "cores": [1, 0]}], {"n0": "0.0 % of core 0 (1 vCPU)", "n1": "0.0 % of core 0 (1 vCPU), 100.0 % of core 1 (1 vCPU)"}),
    "below no limit": ([{"priority": 9}, {"priority": 8}], {"n0": "60.0 % of core 1 (1 vCPU)", "n1": "0.0 % of core 1 (1 vCPU)"}),
    "below a budget": ([{"priority": 20, "budget": "2ms", "period": "10ms"}, {"priority": 8}], {"n0": "20.0 % of core 1 (1 vCPU)", "n1": "30.0 % of core 1 (1 vCPU)"}),
    "below two budgets": ([{"priority": 20, "budget": "2ms", "period": "10ms", "vcpus": 2}, {"priority": 8}], {"n0": "40.0 % of core 1 (2 vCPUs)", "n1": "10.0 % of core 1 (1 vCPU)"}),
    "beside a budget": ([{"budget": "1ms", "period": "100ms"}, {"budget": "9ms"}], {"n0": "1.0 % of core 1 (1 vCPU)", "n1": "49.0 % of core 1 (1 vCPU)"}),
    "beside a helper": ([{"priority": 9, "budget": "2500us"}, {"priority": 8, "cores": [2]}, {"priority": 8}], {"n0": "50.0 % of core 1 (1 vCPU)", "n1": "50.0 % of core 2 (1 vCPU)", "n2": "0.0 % of core 1 (1 vCPU)"}),
    "switch": ([{"cores": [3], "lan": "a"}, {"cores": [3]}], {"n0": "25.0 % of core 3 (1 vCPU)", "n1": "25.0 % of core 3 (1 vCPU)"}),
    "switch alone": ([{"cores": [1, 3], "vcpus": 2, "lan": "a"}], {"n0": "50.0 % of core 1 (1 vCPU), 50.0 % of core 3 (1 vCPU)"}),
    "switch beside a core of one's own": ([{"cores": [1, 2], "vcpus": 2, "lan": "a"}, {"mode": "dedicated", "cores": [3]}],
                                          {"n0": "50.0 % of core 1 (1 vCPU), 50.0 % of core 2 (1 vCPU)", "n1": "100.0 % of core 3 (1 vCPU)"}),
    "its own": ([{"mode": "dedicated", "cores": [2, 3]}, {}], {"n0": "100.0 % of core 2 (1 vCPU), 100.0 % of core 3 (1 vCPU)", "n1": "50.0 % of core 1 (1 vCPU)"}),
}


@pytest.mark.parametrize("case", PROMISES)
def test_promises(house, case):
    """Root may take core 0, helpers half of their core; what they leave is shared out by priority and slice."""
    vms, promised = PROMISES[case]
    plan = [{"name": f"n{i}", "kernel": "bz", "memory": "2M", "cores": [1], **vm} for i, vm in enumerate(vms)]
    (house / "plan.yaml").write_text(json.dumps({"machine": {"cores": 4, "memory": "256M"}, "vms": plan}))
    done = tool("check", "plan.yaml")
    assert done.returncode == 0, done.stderr
    head, *lines = done.stdout.splitlines()
    assert head == f"plan.yaml: {len(vms)} VM{'s' * (len(vms) > 1)}, 1 file: good"
    told = dict(line.split(": ", 1) for line in lines)
    assert set(told) == {vm["name"] for vm in plan} and promised.items() <= told.items(), told


def test_build_dedicated(house):
    (house / "plan.yaml").write_text(OWN)
    done = tool("build", "plan.yaml", "-o", "out")
    assert done.returncode == 0, done.stderr
    _, (web, db, office) = vms_of(house / "out" / "plan.bin")
    assert fields(web, "mode", "cores") == (1, 2, 32 << 20, 0b1100) and fields(web, "disengage", "devices") == (0, 0, 0, 1)
    assert fields(db, "mode", "cores") == (1, 1, 32 << 20, 0b100000) and fields(db, "disengage", "devices") == (1, 1, 1, 2)
    assert fields(office, "mode", "cores") == (0, 1, 16 << 20, 0b10010) and fields(office, "disengage", "devices") == (0, 0, 0, 0)
    assert struct.unpack("<16I", web.device)[:8] == (2, 0, 0x200, 0, 0, 0, 0, 0)
    assert struct.unpack("<16I", db.device)[:8] == (1, 0, 0x108, 0, 0, 0x200, 0, 0)
    assert web.cmdline.rstrip(b"\0") == b"hairline.name=web hairline.disengage=auto hairline.iscsi=10.0.2.2:3260"
    assert office.cmdline.rstrip(b"\0") == b"hairline.name=office"


@pytest.mark.parametrize("iommu,device", [("intel", "intel-iommu,intremap=on,eim=on"), ("amd", "amd-iommu,intremap=on,xtsup=on,pt=off"), ("none", None)])
def test_machine_devices(house, iommu, device):
    """The IOMMU comes before the devices; each of those has a root port of its own, but on AMD."""
    console(house)
    (house / "plan.yaml").write_text(own("intel", iommu).replace("  iscsi: disk\n", ""))
    batch()
    words = (house / "args").read_text().split()
    assert words[words.index("-machine") + 1] == ("q35,kernel-irqchip=split" if device else "q35")
    devices = [value for option, value in zip(words, words[1:]) if option == "-device"]
    assert (devices.pop(0) if device else None) == device
    expected = ["igb", "nvme"] if iommu == "amd" else ["pcie-root-port", "igb", "pcie-root-port", "nvme"]
    assert [value.split(",")[0] for value in devices] == expected
    assert words[words.index("-netdev") + 1] == "user,id=net0,hostfwd=tcp:127.0.0.1:8080-10.0.2.15:80,hostfwd=tcp:127.0.0.1:8081-10.0.2.20:81"
    assert "snapshot=on" in words[words.index("-drive") + 1]


def test_cores_are_chosen_from_the_top(house):
    """Of those that nobody names, for each VM in turn; vcpus alone says how many, too."""
    more = "  - {name: a, mode: dedicated, kernel: bz, memory: 2M, vcpus: 2}\n  - {name: b, kernel: bz, memory: 2M, cores: [4]}\n"
    (house / "plan.yaml").write_text(own("cores: 6", "cores: 8") + more)
    done = tool("build", "plan.yaml", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert [(vm.vcpus, vm.cores) for vm in vms_of(house / "out" / "plan.bin")[1]] == [(2, 0b1100), (1, 1 << 7), (1, 0b10010), (2, 0b1100000), (1, 1 << 4)]


@pytest.mark.parametrize("machine, cores, by_turns", [("cores: 2", "[0, 1]", True), ("cores: 1", "[0]", False), ("cores: 2", "[1]", False)])
def test_word_about_turns(house, machine, cores, by_turns):
    """QEMU's cores take turns where a VM may be on core 0 beside others; the tool says so, unless told which way to go."""
    console(house)
    (house / "plan.yaml").write_text(f"machine: {{{machine}}}\nvms: [{{name: alpha, kernel: bz, memory: 2M, cores: {cores}}}]\n")
    for words, told in ((), by_turns), (("--", "-accel", "tcg,thread=multi"), False):
        done = batch(*words)
        assert done.returncode == 0
        assert ("thread=single" in (house / "args").read_text()) == told
        assert [line for line in done.stderr.splitlines() if "`alpha` may run on core 0" in line and "thread=single" in line] == done.stderr.splitlines()
        assert bool(done.stderr) == told


def test_core_0_is_for_who_names_it(house):
    """Or for all, where there is no other."""
    vms = "vms:\n" + "".join(f"  - {{name: {name}, kernel: bz, memory: 2M{keys}}}\n" for name, keys in (("a", ""), ("b", ", cores: [0]")))
    for head, masks in (("machine: {cores: 4}\n", [0b1110, 1]), ("machine: {cores: 1}\n", [1, 1])):
        (house / "plan.yaml").write_text(head + vms)
        assert tool("build", "plan.yaml", "-o", "out").returncode == 0
        assert [vm.cores for vm in vms_of(house / "out" / "plan.bin")[1]] == masks


@pytest.mark.parametrize("kernel,kind", [("bz", 0), ("pvh", 1), ("pvh32", 1), ("mb", 2), ("another", 1)])
def test_kernel_kinds(house, kernel, kind):
    (house / "plan.yaml").write_text(f"vms: [{{name: a, kernel: {kernel}, memory: 4M}}]\n")
    assert tool("build", "plan.yaml", "-o", "out", "--batch").returncode == 0
    head, (vm,) = vms_of(house / "out" / "plan.bin")
    assert head[2] == 1 and vm.kernel_type == kind and vm.cmdline.rstrip(b"\0") == b"hairline.name=a hairline.batch"


def test_same_file_is_one_module(house):
    vms = [f"  - {{name: n{i}, kernel: {k}, memory: 2M}}\n" for i, k in enumerate(("bz", "./bz", house / "bz"))]
    (house / "plan.yaml").write_text("vms:\n" + "".join(vms))
    tool("build", "plan.yaml", "-o", "out")
    assert vms_of(house / "out" / "plan.bin")[0][5] == 1


def console(house, alpha="poweroff", beta="exit_port", end=True, more=""):
    lines = ["hairline| ready cores=2 tsc_hz=1000000 vms=2", "alpha| hello|  world\r", "beta| alpha| not alpha", "nobody| x", more]
    for name, reason in (("alpha", alpha), ("beta", beta)):
        if reason:
            lines.append(f"hairline| vm name={name} state=off reason={reason} value=7 rip=0x10 cr3=0x20 restarts=1 memory=2097152 "
                         'time=5000000 first=99 exits.port=3 exits.msr=4 message="so it = ended"')
    if end:
        lines.append("hairline| end pool_frames=10 pool_free=9 objects=5 objects_free=4 table_frames=1 image_bytes=12345")
    (house / "console").write_text("\n".join(lines) + "\n")
    (house / "plan.yaml").write_text(GOOD)


def batch(*words):
    return tool("run", "plan.yaml", "--batch", "--logs", "logs", "--json", "out.json", *words)


def test_run(house):
    console(house)
    done = batch("--", "-icount", "shift=0")
    assert done.returncode == 0, done.stderr
    report = json.loads((house / "out.json").read_text())
    assert report["exit_code"] == 0 and report["wall_ms"] >= 0 and report["machine"] == {"cores": 2, "tsc_hz": 1000000, "vms": 2}
    assert report["kernel"] == {"pool_frames": 10, "pool_free": 9, "objects": 5, "objects_free": 4, "table_frames": 1, "image_bytes": 12345}
    assert report["vms"]["alpha"] == {"state": "off", "mode": "shared", "cores": [1], "left": None, "reason": "poweroff", "value": 7, "rip": "0x10", "cr3": "0x20", "restarts": 1,
                                      "memory": 2097152, "time": 5000000, "time_us": 5000000, "first": 99,
                                      "exits": {"port": 3, "msr": 4}, "message": "so it = ended",
                                      **dict.fromkeys(["next", "pause_ms", "sha256", "unclaimed", "engaged", "alone", "checks"]), "last_line": "hello|  world"}
    assert (house / "logs" / "alpha.log").read_text() == "hello|  world\n"
    assert (house / "logs" / "beta.log").read_text() == "alpha| not alpha\n"
    log = (house / "logs" / "hairline.log").read_text()
    assert log.startswith("ready ") and "nobody| x" in log
    args = (house / "args").read_text().split()
    assert args[-2:] == ["-icount", "shift=0"] and "-no-reboot" in args and args[args.index("-m") + 1] == "256M"
    assert not pathlib.Path(args[args.index("-kernel") + 1]).parent.exists()


def test_report_of_a_vm_whose_vmm_left(house):
    """What it took without its VMM is told apart; the record of its last life counts."""
    console(house)
    alone = "hairline| vm name=alpha state=off reason=poweroff left={} exits.port=900 exits.icr=50 exits.cpuid=7{}\n"
    text = alone.format(1500, " engaged.port=900 engaged.icr=20 engaged.cpuid=7") + "hairline| end objects=1\n"
    (house / "plan.yaml").write_text(own("  iscsi: disk\n", "").replace("name: web", "name: alpha"))
    (house / "console").write_text("hairline| ready tsc_hz=1000\n" + text)
    batch()
    vm = json.loads((house / "out.json").read_text())["vms"]["alpha"]
    assert (vm["mode"], vm["cores"], vm["left"], vm["alone"]) == ("dedicated", [2, 3], 1500, {"port": 0, "icr": 30, "cpuid": 0})
    (house / "console").write_text("hairline| ready tsc_hz=1000\n" + alone.format(1500, " engaged.port=900") + alone.format(0, "") + "hairline| end objects=1\n")
    batch()
    vm = json.loads((house / "out.json").read_text())["vms"]["alpha"]
    assert vm["left"] is None and vm["alone"] is None and vm["engaged"] is None


@pytest.mark.parametrize("reason", ["triple", "memory", "invalid", "opcode", "loader", "vmm", "port", "msr", "fault", ""])
def test_a_vm_died(house, reason):
    console(house, alpha=reason)
    done = batch()
    known = f"{reason} rip=0x10 cr3=0x20 so it = ended" if reason else "no record of its end"
    assert done.returncode == 1 and f"hairline: alpha did not end by itself: {known}\n" in done.stderr
    assert json.loads((house / "out.json").read_text())["exit_code"] == 1


def test_reboot_is_no_death(house):
    console(house, alpha="reboot")
    assert batch().returncode == 0


@pytest.mark.parametrize("said", ["reboot: machine restart", "[    2.1] reboot: Restarting system", "Rebooting in 1 seconds.."])
def test_a_triple_fault_that_was_a_reset(house, said):
    """Linux with reboot=t; the same words in mid-run mean nothing."""
    console(house, alpha="triple", more=f"alpha| {said}\nalpha| ")
    assert batch().returncode == 0, batch().stderr
    console(house, alpha="triple", more=f"alpha| {said}\nalpha| BUG: kernel NULL pointer dereference")
    assert batch().returncode == 1
    console(house, alpha="memory", more=f"alpha| {said}")
    assert batch().returncode == 1


def test_root_starts_nothing(house):
    """Its own line says why; no VM is told to have died."""
    console(house, alpha="", beta="", end=False, more="hairline| VM beta: no contiguous run\nhairline| nothing was started")
    done = batch()
    assert (done.returncode, done.stderr) == (1, "hairline: nothing was started: the line before says why\n")


def test_logs_can_be_followed(house, monkeypatch):
    console(house, beta="", end=False)
    monkeypatch.setenv("FAKE_SLEEP", "60")
    with subprocess.Popen(["bin/tool", "run", "plan.yaml", "--batch", "--logs", "logs"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as run:
        while b"reason=poweroff" not in run.stdout.readline():
            pass
        for _ in range(100):
            if (house / "logs" / "alpha.log").read_text():
                break
            time.sleep(0.1)
        assert (house / "logs" / "alpha.log").read_text() == "hello|  world\n"
        run.kill()
    assert (house / "logs" / "hairline.log").read_text().startswith("ready ")


def test_failed_checks(house):
    console(house, more="beta| HAIRLINE-CHECKS: failed")
    done = batch()
    assert done.returncode == 1 and "beta: a check in the guest failed" in done.stderr
    console(house, more="beta| HAIRLINE-CHECKS: ok")
    assert batch().returncode == 0 and json.loads((house / "out.json").read_text())["vms"]["beta"]["checks"] == "ok"


def test_the_machine_broke_down(house):
    console(house, end=False)
    assert batch().returncode == 1


def test_the_machine_refuses(house, monkeypatch):
    (house / "plan.yaml").write_text(GOOD)
    (house / "console").write_text("hairline: this processor has no nested paging\n")
    monkeypatch.setenv("FAKE_SLEEP", str(PATIENCE))
    assert batch().returncode == 1


FORGED = "hairline| vm name=alpha state=off reason=poweroff exits=5 left=3 engaged=1 alone=2"


def test_forged_records(house, monkeypatch):
    """A VM in focus writes raw lines: a number where a group belongs is none."""
    console(house, alpha="", more=FORGED)
    assert batch().returncode == 0
    alpha = json.loads((house / "out.json").read_text())["vms"]["alpha"]
    assert (alpha["exits"], alpha["left"], alpha["alone"]) == ({}, 3, {})
    console(house, alpha="", end=False, more=FORGED)
    monkeypatch.setenv("FAKE_SLEEP", str(PATIENCE))
    done = batch("--timeout", "1")
    assert done.returncode == 124 and "alpha was off: poweroff, rip=, 0 exits, " in done.stderr


def test_time_out(house, monkeypatch):
    console(house, beta="", end=False)
    monkeypatch.setenv("FAKE_SLEEP", str(PATIENCE))
    done = batch("--timeout", "5")
    assert done.returncode == 124 and "time is over" in done.stderr
    assert (house / "logs" / "alpha.log").read_text() == "hello|  world\n"
    report = json.loads((house / "out.json").read_text())
    beta = report["vms"]["beta"]
    assert report["exit_code"] == 124 and set(beta) == set(report["vms"]["alpha"])
    assert {key: value for key, value in beta.items() if value is not None and key != "cores"} == {"state": "unknown", "mode": "shared", "last_line": "alpha| not alpha"}
    lines = done.stderr.splitlines()
    assert re.fullmatch(r"hairline: alpha was off: poweroff, rip=0x10, 7 exits, restarts 1; it said last, \d s ago: hello\|  world", lines[1])
    assert re.fullmatch(r"hairline: beta was running; it said last, \d s ago: alpha\| not alpha", lines[2]) and len(lines) == 3


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_qemu_ends_with_the_tool(house, monkeypatch, name):
    console(house)
    monkeypatch.setenv("FAKE_SLEEP", str(PATIENCE))
    with subprocess.Popen(["bin/tool", "run", "plan.yaml", "--batch"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as run:
        while b"| end " not in run.stdout.readline():
            pass
        run.send_signal(getattr(signal, name))
        assert run.stdout.read() == b""  # the pipe is free once QEMU is gone, too
        assert run.wait(PATIENCE) == (-9 if name == "SIGKILL" else 128 + getattr(signal, name))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_signal_before_the_machine_starts(house, monkeypatch, name):
    """It ends the program that is waited for, and the private folder is gone."""
    console(house)
    (house / "slow").mkdir()
    (house / "slow" / "mke2fs").write_text(f'#!/bin/sh\nfor last; do :; done\necho "$last" >{house}/begun\nexec sleep {PATIENCE}\n')
    (house / "slow" / "mke2fs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{house}/slow:{os.environ['PATH']}")
    with subprocess.Popen(["bin/tool", "run", "plan.yaml", "--batch"], stdin=subprocess.DEVNULL) as run:
        while not (house / "begun").exists() or not (house / "begun").read_text():
            time.sleep(0.01)
        folder = pathlib.Path((house / "begun").read_text().strip()).parent
        assert folder.name.startswith("hairline.") and folder.exists()
        run.send_signal(getattr(signal, name))
        assert run.wait(PATIENCE / 2) == 128 + getattr(signal, name)
    assert not folder.exists() and not (house / "args").exists()


def test_qemu_is_missing_old_or_fails(house, monkeypatch):
    console(house)
    monkeypatch.setenv("FAKE_VERSION", "8.2.2")
    assert (batch().returncode, "too old" in batch().stderr) == (2, True)
    monkeypatch.delenv("FAKE_VERSION")
    monkeypatch.setenv("FAKE_FAIL", "1")
    assert (batch().returncode, "fake: no such device" in batch().stderr) == (2, True)
    monkeypatch.setenv("HAIRLINE_QEMU", "/nowhere/qemu")
    assert (batch().returncode, "cannot run /nowhere/qemu" in batch().stderr) == (2, True)


@pytest.mark.parametrize("machine,why", [("iommu: intel", "no IOMMU: take `iommu` out"), ("devices: [{nvme: disk}]", "no devices for VMs: take `devices` out"),
                                         ("iscsi: disk", "no devices for VMs: take `iscsi` out"), ("cores: 9", "at most 8 cores, and the plan asks for 9"),
                                         ("memory: 17G", "at most 16384 MiB, and the plan asks for 17408")])
def test_what_the_intel_machine_lacks(house, machine, why):
    """One line, before anything is started; the AMD machine has it."""
    (house / "plan.yaml").write_text(f"machine: {{{machine}}}\nvms: [{{name: a, kernel: bz, memory: 2M}}]\n")
    done = tool("run", "plan.yaml", "--vendor", "intel", "--batch")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1) and why in done.stderr
    assert tool("check", "plan.yaml").returncode == 0


def test_image_is_missing(house):
    console(house)
    (house / "bin" / "vmm.img").unlink()
    done = batch()
    assert done.returncode == 2 and "vmm.img is missing" in done.stderr and not (house / "args").exists()


@pytest.mark.parametrize("words", [["frob"], ["check"], ["check", "a", "b"], ["check", "--batch", "x"], ["run", "--timeout", "0", "x"],
                                   ["run", "--timeout", "x"], ["run", "--frob"], ["build", "plan.yaml"], ["run", "--json"], ["run", "--vendor", "via", "plan.yaml"],
                                   ["check", "--vendor", "intel", "plan.yaml"]])
def test_bad_usage(house, words):
    console(house)
    done = tool(*words)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and not (house / "args").exists()


@pytest.mark.parametrize("words", [[], ["help"], ["--help"], ["--version"], ["run", "--help"], ["check", "--help"], ["build", "-h"]])
def test_help(house, words):
    assert house and tool(*words).returncode == 0 and "hairline" in tool(*words).stdout


@pytest.mark.parametrize("path", ["logs", "out.json"])
def test_unwritable(house, path):
    """Nothing is started."""
    console(house)
    (house / path).write_text("") if path == "logs" else (house / path).mkdir()
    done = batch()
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and not (house / "args").exists()
    if path == "out.json":
        done = batch("--json", "nowhere/out.json")
        assert (done.returncode, done.stderr) == (2, "hairline: cannot write nowhere/out.json: No such file or directory\n")


def test_full(house):
    """Logs that are not whole, and standard output, by exit status and a line."""
    console(house)
    (house / "logs").mkdir()
    (house / "logs" / "alpha.log").symlink_to("/dev/full")
    done = batch()
    assert (done.returncode, done.stderr) == (1, "hairline: the logs are not whole: make room where --logs has them\n")
    assert json.loads((house / "out.json").read_text())["exit_code"] == 1
    with open("/dev/full", "w", encoding="ascii") as full:
        for words in (["check", "plan.yaml"], ["map", "--svg", "-", "plan.yaml"], ["help"]):
            done = subprocess.run(["bin/tool", *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
            assert (done.returncode, done.stderr) == (2, "hairline: cannot write to standard output\n")


def test_report_to_standard_output(house):
    console(house)
    done = batch("--json", "-")
    assert json.loads(done.stdout[done.stdout.index("\n{") :])["exit_code"] == done.returncode == 0 and not (house / "-").exists()


@pytest.fixture(name="run")
def make_run(house, monkeypatch):
    """A run that somebody could type to, with a root that answers."""
    console(house, alpha="", beta="", end=False)
    monkeypatch.setenv("FAKE_ROOT", "1")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(house))
    with subprocess.Popen(["bin/tool", "run", "plan.yaml"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.terminate()
        process.communicate()


def queued(pipe):
    """Bytes in it that nobody has read yet."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


def typed(house):
    return (house / "typed").read_text().replace("\x7f", "").split("\n")[:-1]


def test_commands_from_another_terminal(house, run):
    done = tool("kill", "alpha")
    assert (done.returncode, done.stderr) == (0, "") and "reason=stopped" in done.stdout
    done = tool("list")
    assert (done.returncode, done.stdout) == (0, "# name\n1 alpha off\n2 beta running\n")
    assert tool("start", "alpha").returncode == 0
    done = tool("start", "beta")
    assert (done.returncode, done.stderr) == (1, "hairline: beta is not off\n")
    assert typed(house) == ["stop alpha", "list", "start alpha", "start beta"]
    assert run.poll() is None


def test_stop_asks_first(house, run):
    """And kills what has not ended in time; meanwhile others are heard."""
    (house / "hears").touch()
    assert (tool("stop", "beta").returncode, typed(house)) == (0, ["ask beta"])
    slow = subprocess.Popen(["bin/tool", "stop", "alpha", "--timeout", "19"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "ask alpha" not in typed(house):
        assert slow.poll() is None
        time.sleep(0.01)
    assert tool("list").returncode == 0
    out, errors = slow.communicate(timeout=PATIENCE)
    assert (slow.returncode, errors) == (0, "hairline: alpha has not ended in 19 s: it is killed\n") and "reason=stopped" in out
    assert typed(house) == ["ask beta", "ask alpha", "list", "ask alpha", "stop alpha"]
    assert run.poll() is None


def test_a_command_leaves_the_focus_and_comes_back(house, run):
    run.stdin.write(b"\x1d2")
    run.stdin.flush()
    while queued(run.stdin):
        time.sleep(0.01)
    assert tool("kill", "alpha").returncode == 0
    run.stdin.write(b"\n")
    run.stdin.flush()
    end = time.monotonic() + PATIENCE
    while len(typed(house)) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    assert typed(house) == ["\x1d2\x1d0stop alpha", "\x1d2"]


def test_a_vm_in_focus_does_not_end_the_run(house, run):
    """What it writes may look like root's last words."""
    run.stdin.write(b"\x1d2forge\n")
    run.stdin.flush()
    while b"nothing was started" not in run.stdout.readline():
        pass
    with pytest.raises(subprocess.TimeoutExpired):
        run.wait(7)  # longer than a machine gets that has said so
    assert typed(house) == ["\x1d2forge"]
    run.stdin.write(b"\x1d0\x1dq")
    run.stdin.flush()
    assert run.wait(PATIENCE) == 1


def test_commands_that_reach_nobody(house, run):
    for words, code, message in ((["kill", "gamma"], 2, "no VM is called `gamma` in what is running"), (["kill"], 2, "kill: which VM?"),
                                 *((words, 2, f"{words[0]}: no VM can be called `{words[1]}`: `hairline list` shows their names")
                                   for words in (["kill", "alpha beta"], ["stop", ""], ["restart", "alpha\nstop beta"])),
                                 (["kill", "a", "b"], 2, "kill takes one name, and `b` is too much")):
        done = tool(*words)
        assert (done.returncode, done.stderr) == (code, f"hairline: {message}\n")
    run.terminate()
    run.wait()
    assert tool("kill", "alpha").stderr == "hairline: nothing is running: start it with `hairline run PLAN`\n"
    assert not list((house / "hairline").iterdir())


def test_commands_and_stale_doors(house, run):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(house / "hairline" / "1"))
    assert tool("kill", "alpha").returncode == 0
    assert not (house / "hairline" / "1").exists()
    (house / "hairline").chmod(0o777)
    assert "is not a folder of yours alone" in tool("kill", "alpha").stderr
    assert run.poll() is None


def test_commands_for_a_batch_or_one_of_two_runs(house, monkeypatch, run):
    monkeypatch.setenv("FAKE_ROOT", "")
    monkeypatch.setenv("FAKE_SLEEP", str(PATIENCE))
    with subprocess.Popen(["bin/tool", "run", "plan.yaml", "--batch"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        assert "2 runs have a VM alpha" in tool("kill", "alpha").stderr
        run.terminate()
        run.wait()
        done = tool("kill", "alpha")
        assert (done.returncode, done.stderr) == (1, "hairline: that run takes no commands: it was started with --batch\n")
        other.terminate()
