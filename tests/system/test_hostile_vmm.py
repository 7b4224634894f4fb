"""VMMs that misbehave by their VM's name (hostile_vmm.c), in the real system, beside neighbours that are told apart from them
by what they promise: progress, memory, devices, exits."""

import re
import shutil

import pytest
import rig
from rig import guest

LINES = 600 if rig.ALL else 30  # of the victim's progress: so long does a storm last
BAD = r"root died|kernel stopped|does not answer|exception at"


@pytest.fixture(name="hostile")
def make_hostile(tmp_path):
    """hostile(vm, ...): a run whose VMMs are the misbehaving ones."""
    folder = tmp_path / "build"
    folder.mkdir()
    for name in ("hairline-tool", "hairline.elf", "root.img", "lan.img"):
        shutil.copy(rig.BUILD / name, folder)
    shutil.copy(rig.BUILD / "tests/hostile_vmm.img", folder / "vmm.img")
    (folder / "kernels").symlink_to(rig.BUILD / "kernels")
    runs = []

    def start(*vms, cores=2, qemu=()):
        runs.append(rig.Live(rig.write_plan(tmp_path, vms, cores), qemu=qemu, tool=folder / "hairline-tool"))
        return runs[-1]

    yield start
    for run in runs:
        run.stop()
        assert not [line for line in run.lines if re.search(BAD, line)]


def silent(core):
    """A canary that is alone on its core: it has no VMM any more. The last core is the LAN switch's."""
    return guest("silent", "canary", "leave=1", mode="dedicated", disengage="guest", cores=[core])


def heard_nothing(run):
    """The end of `silent`: as it was stopped, with no exit since its VMM left but those that it made itself."""
    run.command("stop silent")
    end = run.expect_end("silent")
    alone = {key[6:]: int(n) - int(end[f"engaged.{key[6:]}"]) for key, n in end.items() if key.startswith("exits.")}
    assert end["reason"] == "stopped" and {cause for cause, n in alone.items() if n} <= {"vmcall"}, alone


@pytest.mark.parametrize("kind", ["end", "ring", "nap"])
def test_one_right(hostile, kind):
    """One that does one thing without end: the neighbour of its core goes on, who is alone hears nothing. How much each
    has of its core is measured by tests/kernel/hostile.c: here all cores share one stream of instructions."""
    run = hostile(guest("victim", "victim", lan="l"), guest(f"{kind}s", "attack", "test=hlt", lan="l"), silent(3), cores=5, qemu=rig.COUNTED)
    run.expect(r"^hairline\| vm name=silent state=alone")
    assert rig.pace(run, "victim") > 0
    heard_nothing(run)
    run.command(f"stop {kind}s")
    assert run.expect_end(f"{kind}s")["reason"] == "stopped"
    assert run.quit() == 0


def test_all_rights_at_random(hostile):
    """Two that do anything, with lives that end by it; who dies is started again."""
    wild = [guest("wild", "attack", "test=hlt", cores=[1], lan="l", on_exit="restart"), guest("wilder", "smp", cores=[1, 2], vcpus=2, lan="l", on_exit="restart")]
    run = hostile(guest("victim", "victim", cores=[2], lan="l"), guest("canary", "canary", cores=[0]), *wild, silent(3), cores=5)
    run.expect(r"^hairline\| vm name=silent state=alone")
    for i in range(LINES):
        run.expect(r"^victim\| progress")
        if i % 5 == 0:
            for vm in wild:
                run.command(f"start {vm['name']}")
    assert run.expect(r"^canary\| canary: round")
    heard_nothing(run)
    run.command("stop canary")
    assert run.expect_end("canary")["reason"] == "stopped"
    run.command("list")
    run.expect(r"^hairline\| 1 victim .* running ")
    assert run.quit() in (0, 1)
    assert not any("name=victim state=off" in line and "reason=stopped" not in line for line in run.lines)


def test_fault_portal_called(hostile):
    """A VMM that calls its fault portal with nothing to say is shown with nothing, not with its former life's fault."""
    run = hostile(guest("faults", "attack", "test=hlt"))
    first = run.expect_end("faults")
    assert "address 0x123450" in first["message"] and int(first["rip"], 16) > 0
    run.command("start faults")
    second = run.expect_end("faults")
    assert second["reason"] == "vmm" and "vector 0, error 0x0, address 0x0" in second["message"] and int(second["rip"], 16) == 0
