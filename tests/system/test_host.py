"""Beneath an installed system, `mode: host`: a Debian on a disk of its own (guest/disk), which firmware starts. Its unit
`facts` says what it sees; here without Hairline, so that it is known what would be there."""

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
    prefixed = [line for line in untouched.run.output.splitlines() if line.startswith("debian| FACT")]
    assert len(prefixed) == sum(map(len, facts.values()))


def test_driver_is_measured(untouched):
    """Firmware starts it before the system, and PCR 2 has what `build` told from the files alone; PCR 4 has the system's."""
    value = re.fullmatch(r"PCR 2  sha256 (\w{64})\n", untouched.predicted).group(1)
    pcrs = dict(fact.split() for fact in untouched.facts["pcr"])
    assert pcrs["2"] == value and pcrs["4"] != value


def test_run_without_hairline_fails(untouched):
    """Nothing spoke beneath the system: that is no success, though the machine was switched off in order."""
    assert untouched.run.code == 1 and "Hairline did not start beneath debian" in untouched.run.errors
    assert untouched.run.vms["beside"]["state"] == "unknown"
