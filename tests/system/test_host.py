"""Beneath an installed system, `mode: host`: a Debian on a disk of its own (guest/disk), which firmware starts. Its unit
`facts` says what it sees: without Hairline, so that it is known what would be there, and with it."""

import collections
import os
import re
import shutil
import struct

import pytest
import rig
from firmware import call, ovmf
from rig import guest

CORES = 3
RETURN = bytes.fromhex("31c0c3")  # xor eax, eax; ret: EFI_SUCCESS


def host_plan(folder):
    """An installed Debian, and a small VM on the core that Hairline keeps."""
    disk = rig.BUILD / "debian-disk"
    rig.made(disk)
    machine = {"firmware": "uefi", "host": {"disk": os.path.realpath(disk)}}
    vms = [guest("beside", "hello", cores=[0]), {"name": "debian", "mode": "host"}]
    return rig.write_plan(folder, vms, cores=CORES, memory="1536M", **machine)


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
        self.run = rig.Batch(folder, plan, tool=self.tool)
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


class Beneath:
    """The same machine with Hairline beneath the system."""

    def __init__(self, folder):
        plan = host_plan(folder)
        self.predicted = call(rig.BUILD / "hairline-tool", "build", plan, "--batch", "--efi", folder / "host.efi")
        self.run = rig.Batch(folder, plan)
        self.facts = facts_of(self.run.logs["debian"])


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
    assert "hello from a bare guest" in beneath.run.logs["beside"] and beneath.run.vms["beside"]["reason"] == "exit_port"


def test_measured_beneath(beneath, untouched):
    """Hairline is in PCR 2, as told; what the system measures is as if it was not there."""
    here, there = (dict(fact.split() for fact in run.facts["pcr"]) for run in (beneath, untouched))
    assert beneath.predicted == f"PCR 2  sha256 {here['2']}\n"
    assert here["4"] == there["4"] and here["7"] == there["7"]
