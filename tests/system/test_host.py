"""Beneath an installed system, `mode: host`: a Debian on a disk of its own (guest/disk), which firmware starts. Its unit
`facts` says what it sees: without Hairline, so that it is known what would be there, and with it. Then its root user attacks
(guest/disk/attack.c), in both: where Hairline is not, each way bites."""

import base64
import collections
import hashlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess

import pytest
import rig
from firmware import call, make_initrd, ovmf, packaged_kernel
from rig import guest

CORES = 3
TOLD = ["hairline.attack", "hairline.sleep"]  # to `facts`, by the firmware
EDU = ["-device", "edu,dma_mask=0xffffffffff"]  # DMA wherever it is told to
RETURN = bytes.fromhex("31c0c3")  # xor eax, eax; ret: EFI_SUCCESS


def host_plan(folder, *beside, **more):
    """An installed Debian, and small VMs on the core that Hairline keeps."""
    disk = rig.BUILD / "debian-disk"
    rig.made(disk)
    machine = {"firmware": "uefi", "host": {"disk": os.path.realpath(disk)}, "memory": "1536M", **more}
    vms = [guest("hello", "hello", cores=[0]), guest("beside", "canary", cores=[0]), *beside, {"name": "debian", "mode": "host"}]
    return rig.write_plan(folder, vms, cores=CORES + len(beside), **machine)


def words(told):
    return [*(word for value in told for word in ("-smbios", f"type=11,value={value}")), *EDU]


def seen(run, way):
    """What each try of `way` saw, in order."""
    return re.findall(rf"ATTACK {way} (.*)", run.logs["debian"])


def runs_of(run, way):
    """{base: what was seen there} of the reserved runs of memory."""
    return {base: rig.fields(rest) for base, rest in (line.removeprefix("at ").split(" ", 1) for line in seen(run, way))}


def facts_of(log):
    """What follows each first word of its facts."""
    facts = collections.defaultdict(list)
    for name, value in re.findall(r"FACT (\w+) (.*)", log):
        facts[name].append(value)
    return facts


class Untouched:
    """The same machine with a driver in Hairline's place that does nothing: hairline.efi, but its code returns at once."""

    def __init__(self, folder):
        images = folder / "images"
        images.mkdir()
        for name in ("hairline-tool", "hairline.elf", "hairline64.elf", "root.img", "vmm.img", "lan.img", "uefi.efi"):
            shutil.copy(rig.BUILD / name, images / name)
        stub = bytearray((images / "uefi.efi").read_bytes())
        (head,) = struct.unpack_from("<I", stub, 60)
        (entry,) = struct.unpack_from("<I", stub, head + 24 + 16)
        stub[entry : entry + len(RETURN)] = RETURN
        (images / "uefi.efi").write_bytes(stub)
        plan, self.tool = host_plan(folder), images / "hairline-tool"
        self.predicted = call(self.tool, "build", plan, "--batch", "--efi", folder / "host.efi")
        self.run = rig.Batch(folder, plan, tool=self.tool, qemu=words(TOLD[:1]))
        self.facts = facts_of(self.run.logs["debian"])


@pytest.fixture(scope="module", name="untouched")
def run_untouched(tmp_path_factory):
    ovmf()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HAIRLINE_HOME", str(rig.SOURCE))
        yield Untouched(tmp_path_factory.mktemp("untouched"))


def test_installed_system_alone(untouched):
    """To its prompt and to the power switch, with all that a bare machine has."""
    log, facts = untouched.run.logs["debian"], untouched.facts
    assert re.search(r"^debian login: ", log, re.MULTILINE) and "reboot: Power down" in log
    assert facts["cores"] == [str(CORES)] and facts["svm"] == [str(CORES)] and facts["kvm"] == ["loads"]
    assert any("Enabled IRQ remapping in x2apic mode" in line for line in facts["apic"])
    assert [facts[name] for name in ("disk", "hotplug", "nmi", "nowarning")] == [["ok"]] * 4
    assert untouched.run.vms["debian"]["checks"] == "ok"
    told = [line for line in untouched.run.output.splitlines() if "FACT" in line]  # one that pauses is shown in two
    assert told and all(line.startswith("debian| ") for line in told)


def test_driver_is_measured(untouched):
    """Firmware starts it before the system, and PCR 2 has what `build` told from the files alone; PCR 4 has the system's."""
    value = re.fullmatch(r"PCR 2  sha256 (\w{64})\n", untouched.predicted).group(1)
    pcrs = dict(fact.split() for fact in untouched.facts["pcr"])
    assert pcrs["2"] == value and pcrs["4"] != value


def test_run_without_hairline_fails(untouched):
    """Nothing spoke beneath the system: that is no success, though the machine was switched off in order."""
    assert untouched.run.code == 1 and "Hairline did not start beneath debian" in untouched.run.errors
    assert untouched.run.vms["beside"]["state"] == "unknown"


class Installed:
    """A run with an attack, and what the system saw."""

    def __init__(self, folder, plan, told=TOLD):
        self.run = rig.Batch(folder, plan, qemu=words(told))
        self.facts = facts_of(self.run.logs["debian"])


class Beneath(Installed):
    """The same machine with Hairline beneath the system."""

    def __init__(self, folder):
        plan = host_plan(folder)
        self.predicted = call(rig.BUILD / "hairline-tool", "build", plan, "--batch", "--efi", folder / "host.efi")
        super().__init__(folder, plan)


@pytest.fixture(scope="module", name="beneath")
def run_beneath(tmp_path_factory):
    ovmf()
    return Beneath(tmp_path_factory.mktemp("beneath"))


def test_installed_system_beneath_which_hairline_runs(beneath):
    """It boots to its prompt with one core less, is as well as without, and its power-off ends the run."""
    run, facts = beneath.run, beneath.facts
    assert run.code == 0, run.errors
    assert re.search(r"^debian login: ", run.logs["debian"], re.MULTILINE) and "reboot: Power down" in run.logs["debian"]
    assert facts["cores"] == [str(CORES - 1)] and any("x2apic" in line for line in facts["apic"])
    assert [facts[name] for name in ("disk", "hotplug", "nmi", "nowarning")] == [["ok"]] * 4


def test_hairline_is_out_of_its_reach(beneath, untouched):
    """No other hypervisor, nothing in Hairline's memory, and no core of its that could be called."""
    assert beneath.facts["kvm"] != ["loads"] and untouched.facts["kvm"] == ["loads"]
    known = {fact.split()[0] for fact in untouched.facts["reserved"]}
    ours = [fact.split() for fact in beneath.facts["reserved"] if fact.split()[0] not in known]
    assert ours and all(content in ("zeros", "ones") for _, _, content in ours)
    assert not beneath.facts["off"]


def test_vm_beside_says_hello(beneath):
    assert "hello from a bare guest" in beneath.run.logs["hello"] and beneath.run.vms["hello"]["reason"] == "exit_port"


def test_measured_beneath(beneath, untouched):
    """Hairline is in PCR 2, as told; what the system measures is as if it was not there."""
    here, there = (dict(fact.split() for fact in run.facts["pcr"]) for run in (beneath, untouched))
    assert beneath.predicted == f"PCR 2  sha256 {here['2']}\n"
    assert here["4"] == there["4"] and here["7"] == there["7"]


def events_of(facts):
    """The event log (TCG PC Client Platform Firmware Profile 1.05, 10.2): [(PCR, event type, SHA-256 digest, event)]."""
    log, found = base64.b64decode("".join(facts["log"])), []
    (size,) = struct.unpack_from("<I", log, 28)  # the first event, of the old form, tells of the algorithms
    at, sizes = 32 + size, {0x4: 20, 0xB: 32, 0xC: 48, 0xD: 64}
    while at < len(log):
        pcr, kind, count = struct.unpack_from("<III", log, at)
        at, digests = at + 12, {}
        for _ in range(count):
            (algorithm,) = struct.unpack_from("<H", log, at)
            digests[algorithm], at = log[at + 2 : at + 2 + sizes[algorithm]], at + 2 + sizes[algorithm]
        (size,) = struct.unpack_from("<I", log, at)
        found.append((pcr, kind, digests[0xB], log[at + 4 : at + 4 + size]))
        at += 4 + size
    return found


NO_ACTION, DRIVER = 3, 0x80000004  # EV_NO_ACTION is in no PCR; EV_EFI_BOOT_SERVICES_DRIVER


def replayed(events, pcr):
    value = bytes(32)
    for number, kind, digest, _ in events:
        if number == pcr and kind != NO_ACTION:
            value = hashlib.sha256(value + digest).digest()
    return value.hex()


def test_event_log_is_true(beneath, untouched):
    """With Hairline beneath and without: it accounts for each PCR, and names the driver's file."""
    for run in (beneath, untouched):
        events, pcrs = events_of(run.facts), dict(fact.split() for fact in run.facts["pcr"])
        assert pcrs == {number: replayed(events, int(number)) for number in pcrs}
        ((pcr, name),) = [(pcr, event) for pcr, kind, _, event in events if kind == DRIVER]
        assert pcr == 2 and "HAIRLINE.EFI".encode("utf-16-le") in name


def test_ways_bite_without_hairline(untouched):
    """What is written to memory is there, by a device, too; the MSRs that the emulator has change; NMIs arrive; the IOMMU's
    registers can be written."""
    memory, dma = runs_of(untouched.run, "memory"), runs_of(untouched.run, "dma")
    assert memory and all(run["kept"] == run["pages"] for run in memory.values())
    assert dma.keys() == memory.keys() and all(run["own"] == "works" and run["kept"] == run["places"] for run in dma.values())
    changed = {line.split()[0] for line in seen(untouched.run, "msr") if " changed" in line}
    assert changed == {"EFER.SVME", "VM_HSAVE_PA", "APIC_BASE"}
    (interrupts,) = map(rig.fields, seen(untouched.run, "interrupts"))
    assert interrupts["arrived"] == "1" and int(interrupts["sent"]) > 0 and int(interrupts["started"]) == CORES - 1
    assert any(line.startswith("fed90000 first=0x10 changed") for line in seen(untouched.run, "iommu"))


def hairlines_memory(beneath, untouched):
    """Where there is a reserved run that is not the firmware's."""
    return [base for base in runs_of(beneath.run, "memory") if base not in runs_of(untouched.run, "memory")]


def test_memory_is_out_of_reach(beneath, untouched):
    """One page is wherever Hairline's memory is, for the processor and for devices. It is no page of Hairline's: that lives."""
    memory, dma = runs_of(beneath.run, "memory"), runs_of(beneath.run, "dma")
    ours = hairlines_memory(beneath, untouched)
    assert len(ours) == 2 and sum(int(memory[base]["pages"]) for base in ours) > 0x4000
    for base in ours:
        assert memory[base]["kept"] == "1" and (dma[base]["own"], dma[base]["seen"], dma[base]["kept"]) == ("works", "0", "1")
    assert all(dma[base]["kept"] == dma[base]["places"] for base in dma if base not in ours)


def test_registers_are_out_of_reach(beneath):
    """No MSR changes, also none of those that the emulator does not have: each write exits. The IOMMU's page reads ones."""
    tries = seen(beneath.run, "msr")
    assert len(tries) > 15 and all(" kept " in line for line in tries)
    assert last_counts(beneath.run)["msr"] >= len(tries)
    assert any(line.startswith("fed90000 first=0xffffffff") for line in seen(beneath.run, "iommu"))


def test_interrupts_do_not_arrive(beneath):
    """An NMI to itself does; of all that it sends elsewhere the VM beside sees none, and core 0 goes on. A start-up IPI has its
    own processor start, and at least once of three times the stand-in of the kept one, which firmware has left waiting."""
    (interrupts,) = map(rig.fields, seen(beneath.run, "interrupts"))
    assert interrupts["arrived"] == "1" and int(interrupts["sent"]) > 1000
    assert CORES - 2 < int(interrupts["started"]) <= CORES - 2 + 3
    assert last_counts(beneath.run)["icr"] >= int(interrupts["sent"])


def last_counts(run):
    """Exits of the installed system, as root told them last, in a whole line: the machine may go off in the middle of one."""
    told = [rig.fields(line) for line in run.output.splitlines() if re.match(r"hairline\| host name=debian cores=.* exits.step=\d+$", line)]
    return {key.removeprefix("exits."): int(value) for key, value in told[-1].items() if key.startswith("exits.")}


def test_it_cannot_suspend(beneath):
    """Each write vanishes, and is counted. Power-off goes on working: it ended the run."""
    (sleep,) = map(rig.fields, seen(beneath.run, "sleep"))
    assert int(sleep["tried"]) == 7 * 6 and last_counts(beneath.run)["port"] >= 7 * 6 + chipset(beneath)["tried"]
    assert "HAIRLINE-CHECKS: ok" in beneath.run.logs["debian"] and beneath.run.code == 0


def chipset(run):
    """What it saw of AMD's chipset; `tried`: writes of CD7h."""
    (found,) = map(rig.fields, seen(run.run, "chipset"))
    return {**found, "tried": int(found["tried"])}


def test_chipset_is_a_copy(beneath, untouched):
    """Where AMD's registers would be it has memory: what was there, and ones. Writes of the port that moves PM1 control vanish,
    with that of a word which, at PM1 control, would power off."""
    here, there = chipset(beneath), chipset(untouched)
    assert there["page"] == "kept" and there["ids"] != "0xffffffff"
    assert (here["page"], here["ids"], here["power"]) == ("changed", "0xffffffff", there["power"])
    assert here["tried"] == 512 and here["is"] == here["was"] and last_counts(beneath.run)["port"] >= here["tried"]


def test_vm_beside_lives_to_the_end(beneath):
    """Its memory and registers are as they were, it saw no interrupt, and it looks on behind the last attack."""
    assert "canary: wrong" not in beneath.run.output
    lines = beneath.run.output.splitlines()
    (last,) = [i for i, line in enumerate(lines) if "ATTACK end of sleep" in line]
    assert any(line.startswith("beside| canary: round") for line in lines[last:])


OWNER = "8be0e274-3970-4b44-80c5-1ab9502f3bfc"  # of lists of keys: any GUID does
SCRIPT = """#!/bin/sh
set -e
{before}
{source}/scripts/{name} "$@"
{after}
"""


class Secured:
    """The machine with Secure Boot on, by keys of our own, with which the installed system's loader and kernel are signed,
    and, if it is to be, Hairline."""

    def __init__(self, folder):
        self.folder = folder
        request = ["openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=Test"]
        call(*request, "-keyout", folder / "key", "-out", folder / "cert")
        disk = rig.BUILD / "debian-disk"
        rig.made(disk)
        call("cp", "--sparse=always", os.path.realpath(disk), folder / "disk")
        for name in ("EFI/BOOT/BOOTX64.EFI", "debian/vmlinuz"):
            call("mcopy", "-n", "-i", f"{folder}/disk@@1M", f"::{name}", folder / "unsigned")
            call("mcopy", "-o", "-i", f"{folder}/disk@@1M", self.signed(folder / "unsigned"), f"::{name}")

    def signed(self, file):
        out = self.folder / "signed"
        call("sbsign", "--key", self.folder / "key", "--cert", self.folder / "cert", "--output", out, file)
        return out

    def run(self, sign):
        """A run of it: the tool's scripts, one with more variables, one that signs."""
        folder = self.folder / f"run-{sign}"
        (folder / "home/scripts").mkdir(parents=True)
        for path in rig.SOURCE.iterdir():
            (folder / "home" / path.name).symlink_to(path) if path.name != "scripts" else None
        keys = " ".join(f"{word} {OWNER} {self.folder}/cert" for word in ("--set-pk", "--add-kek", "--add-db"))
        sbsign = f'sbsign --key {self.folder}/key --cert {self.folder}/cert --output "$1" "$1" 2>/dev/null >&2' if sign else ""
        after = f'virt-fw-vars -i "$1/vars.fd" -o "$1/vars.new" {keys} --sb 2>/dev/null >&2; mv "$1/vars.new" "$1/vars.fd"'
        for name, what in (("host-driver", {"before": "", "after": after}), ("efi-volume", {"before": sbsign, "after": ""})):
            (folder / "home/scripts" / name).write_text(SCRIPT.format(source=rig.SOURCE, name=name, **what))
            (folder / "home/scripts" / name).chmod(0o755)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HAIRLINE_HOME", str(folder / "home"))
            return rig.Batch(folder, host_plan(folder, host={"disk": str(self.folder / "disk")}))


def is_secure(facts):
    """What firmware measured of its variable SecureBoot (EV_EFI_VARIABLE_DRIVER_CONFIG: its value is the last byte)."""
    (value,) = [event[-1] for pcr, _, _, event in events_of(facts) if pcr == 7 and "SecureBoot".encode("utf-16-le") in event[:60]]
    return value == 1


@pytest.fixture(name="secured")
def make_secured(tmp_path):
    ovmf()
    return Secured(tmp_path)


def test_secure_boot(secured, untouched):
    """A driver that is signed comes beneath a system that is signed."""
    run = secured.run(True)
    facts = facts_of(run.logs["debian"])
    assert is_secure(facts) and not is_secure(untouched.facts)
    assert run.code == 0 and facts["cores"] == [str(CORES - 1)], run.errors


if rig.ALL:

    def test_secure_boot_leaves_out_what_is_not_signed(secured):
        """The system boots alone."""
        run = secured.run(False)
        facts = facts_of(run.logs["debian"])
        assert is_secure(facts) and facts["cores"] == [str(CORES)]
        assert "Hairline did not start beneath debian" in run.errors


def test_busy_vm_does_not_hold_it_up(tmp_path):
    """Firmware waits for the stand-ins of the processors that Hairline keeps, five on one core, where a VM of more than usual
    priority never rests."""
    ovmf()
    busy = guest("busy", "attack", cmdline="test=spin", cores=[0], priority=20)
    run = rig.Live(host_plan(tmp_path, busy, *(guest(f"keeps-{core}", "canary", cores=[core]) for core in range(1, 5))))
    try:
        run.expect(r"^busy\| attack spin")
        run.expect(r"^debian\| \[ *[0-9.]+\] ")  # Linux, which firmware has let go
    finally:
        run.stop()


SEALED = guest("vault", "canary", cores=[1], mode="dedicated", sealed=True)


def test_amds_unit_keeps_devices_out(tmp_path, untouched):
    """Level L1 on AMD's IOMMU, too, with all attacks; a sealed VM on a core of its own lives to the end, as the other one does.
    Then the system ends by a triple fault, as any other does: the machine is reset, and root says why."""
    ovmf()
    run = rig.Batch(tmp_path, host_plan(tmp_path, SEALED, iommu="amd"), qemu=words([*TOLD, "hairline.triple"]))
    assert run.code != 0 and "host name=debian level=L1 iommus=1" in run.output, run.errors
    assert "HAIRLINE-CHECKS: ok" in run.logs["debian"]
    memory, dma = runs_of(run, "memory"), runs_of(run, "dma")
    ours = [base for base in memory if base not in runs_of(untouched.run, "memory")]
    assert ours and all((dma[base]["own"], dma[base]["seen"], dma[base]["kept"]) == ("works", "0", "1") for base in ours)
    assert any(line.startswith("fed80000 first=0xffffffff") for line in seen(run, "iommu"))
    after = run.output.partition("ATTACK end of sleep")[2]
    assert "canary: wrong" not in run.output and "beside| canary: round" in after and "vault| canary: round" in after
    assert re.search(r"VM debian: processor \d: shutdown at 0x[0-9a-f]+: reset", run.output)


if rig.ALL:

    def test_level_0_is_no_more_than_it_says(tmp_path, untouched):
        """Without an IOMMU a device reads Hairline's memory."""
        ovmf()
        run = rig.Batch(tmp_path, host_plan(tmp_path, iommu="none"), qemu=words(["hairline.peek"]))
        assert run.code == 0 and "host name=debian level=L0 iommus=0" in run.output, run.errors
        ours = {base: found for base, found in runs_of(run, "peek").items() if base not in runs_of(untouched.run, "memory")}
        assert ours and all(found["seen"] != "0" for found in ours.values())


def test_sealed_needs_level_1(tmp_path):
    """Root, which sees the machine, refuses it in one sentence."""
    ovmf()
    run = rig.Live(host_plan(tmp_path, SEALED, iommu="none"))
    try:
        run.expect(r"VM vault: sealed, but devices of debian reach all memory here \(level L0\)")
        run.expect(r"nothing was started")
    finally:
        run.stop()
    assert not any(re.match(r"(vault|beside|hello)\|", line) for line in run.lines)


def test_vault_signs():
    """The example: the Debian has its tool ask the sealed VM beside for signatures, by that one's serial line."""
    ovmf()
    run = rig.Live(rig.SOURCE / "examples/vault.yaml")
    good = ("debian| FACT sign ok", "debian| HAIRLINE-CHECKS: ok", "vault| HAIRLINE-CHECKS: ok")
    try:
        assert run.wait(lambda: all(line in run.lines for line in good)), run.text()
        assert run.has(r"debian\| FACT locked none \[integrity\] confidentiality refused") and run.has(r"debian\| FACT locked ok"), run.text()
        assert run.has(r"hairline\| host name=debian level=L1") and run.has(r"debian\| FACT beside vault +dedicated +running "), run.text()
        assert not run.has(r"vault\| A shell on"), run.text()
    finally:
        run.stop()


class Sleeper(rig.Machine):
    """A bare machine with a small Linux, whose root user does the same; QEMU says on `events` what becomes of the machine."""

    def __init__(self, folder):
        init = b"#!/bin/busybox sh\nbusybox mount -t sysfs sys /sys\nbusybox mount -t devtmpfs dev /dev\n/attack sleep\n"
        call("cc", "-O2", "-static", "-o", folder / "attack", *(rig.SOURCE / "guest/disk").glob("*.c"))
        initrd = make_initrd(folder, [], {"/init": init, "/attack": folder / "attack"})
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(folder / "events"))
        self.socket.listen(1)
        command = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-m", "512", "-nodefaults", "-display", "none"]
        command += ["-serial", "stdio", "-kernel", packaged_kernel(), "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1"]
        command += ["-no-reboot", "-qmp", f"unix:{folder}/events"]
        super().__init__([*map(str, command)], subprocess.DEVNULL, subprocess.DEVNULL)


def test_bare_machine_suspends(tmp_path):
    """By the first of these writes: the machine says so, and the program does not come to its end."""
    machine = Sleeper(tmp_path)
    events, _ = machine.socket.accept()
    with events, events.makefile("rw") as wire:
        wire.write('{"execute": "qmp_capabilities"}\n')
        wire.flush()
        told = []
        while line := wire.readline():
            told.append(json.loads(line).get("event"))
            if told[-1] == "SUSPEND":
                machine.process.terminate()
    machine.finish()
    assert "SUSPEND" in told and "ATTACK sleep" not in machine.text(), machine.text()
