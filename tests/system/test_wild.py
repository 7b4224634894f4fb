"""Each hostile guest beside one that works: who is wild gets reported, and nobody else notices."""

import re

import pytest
import rig
from rig import guest, linux

DISK = 1 << 20  # bytes

# Those that end by themselves, and how; None: in any way that is the guest's own doing.
ENDING = {
    "triple": "triple",
    "msr-storm": "exit_port",
    "cpuid-storm": "exit_port",
    "port-storm": "exit_port",
    "pci-storm": "exit_port",
    "string-io": "exit_port",
    "rings": "exit_port",
    "memory": "memory",
    "svm": "exit_port",
    "db-storm": "exit_port",
    "ipi-storm": "exit_port",
    "bad-state": "exit_port",
    "ac-loop": None,
}
# Those that go on until they are stopped.
LASTING = "spin hlt msr-storm port-storm pci-storm ipi-storm db-storm cr8-storm console-flood lan-flood".split()
OWN_DOING = {"exit_port", "poweroff", "reboot", "triple", "memory", "invalid", "opcode"}


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """All attacks that end by themselves, at once, in one machine of two cores."""
    folder = tmp_path_factory.mktemp("crowd")
    disk = folder / "disk.img"
    disk.write_bytes(bytes(DISK))
    vms = [guest(n, "attack", f"test={n}", cores=[i % 2], lan="wild", disks=[{"file": str(disk)}]) for i, n in enumerate(ENDING)]
    vms.append(guest("neighbour", "smp", vcpus=2, cores=[0, 1]))
    return rig.Batch(folder, rig.write_plan(folder, vms))


def test_crowd_neighbour(crowd):
    assert "hairline| end " in crowd.output and crowd.code == 1, crowd.errors + crowd.output[-3000:]
    assert "smp: ok" in crowd.logs["neighbour"] and crowd.vms["neighbour"]["reason"] == "exit_port", crowd.vms["neighbour"]


@pytest.mark.parametrize("name", ENDING)
def test_attack_ends(crowd, name):
    vm, log = crowd.vms[name], crowd.logs[name]
    assert f"attack {name}: to end" in log
    assert vm["reason"] == ENDING[name] or (ENDING[name] is None and vm["reason"] in OWN_DOING), (vm, log[-2000:])
    if vm["reason"] == "exit_port":
        assert f"attack {name}: ok" in log and vm["value"] == 0, log[-2000:]


def test_rings_of_all_devices(crowd):
    log = crowd.logs["rings"]
    assert "no net device" not in log and "no blk device" not in log and "no answer" not in log
    for device in ("net", "blk", "console", "input"):
        assert len(re.findall(rf"attack {device} .*: ok$", log, re.MULTILINE)) == 26, log


@pytest.mark.parametrize("name", ["triple", "memory"])
def test_report_says_where(crowd, name):
    """Cause, address, RIP and CR3 in the record, and a sentence for the operator."""
    vm = crowd.vms[name]
    start, end = rig.symbol("guest/bare/attack.elf", f"attack_{name}")
    assert start <= int(vm["rip"], 16) < end
    assert int(vm["cr3"], 16) == rig.symbol("guest/bare/attack.elf", "page_root")[0]
    assert ("0xf0000000" if name == "memory" else "triple fault") in vm["message"]
    assert vm["value"] == (0xF0000000 if name == "memory" else 0)


@pytest.mark.parametrize("seeds", [range(128) if rig.ALL else range(8)])
def test_wild_code(live, seeds):
    """Random bytes as code: each comes to an end of its own, or is stopped; the victim never does."""
    for first in range(seeds.start, seeds.stop, 8):
        wild = [guest(f"wild{seed}", "attack", f"test=wild-code seed={seed}", lan="l") for seed in range(first, first + 8)]
        run = live(guest("victim", "victim", cores=[0]), *wild)
        begun = set()  # by their first words: a slow line comes in pieces
        while len(begun) < len(wild):
            begun.add(run.expect(r"^(wild\d+)\| ")[1])
        rig.pace(run, "victim")
        run.key("1")
        run.type("kkk")  # in the midst of one of the lines may stand the record of a VM that ends
        run.expect("^key k$")
        run.key("0")
        for vm in wild:
            run.command(f"stop {vm['name']}")
        run.command("list")
        run.expect(r"^hairline\| 1 victim .* running ")
        assert run.quit() in (0, 1)
        ends = [line for line in run.lines if line.startswith("hairline| vm name=wild")]
        assert len(ends) == 8 and not any("reason=vmm" in line or "reason=none" in line for line in ends), ends


def share(run, victim, wild):
    """The victim's pace beside the wild one against its pace alone; that its console works; then the end."""
    beside = rig.pace(run, victim)
    run.key("1")
    run.type("k")
    run.expect("^key k$")
    run.key("0")
    run.command(f"stop {wild}")
    assert run.expect_end(wild)["reason"] == "stopped"
    alone = rig.pace(run, victim)
    assert run.quit() == 0
    return beside / alone


@pytest.mark.parametrize("name", LASTING)
def test_victim_keeps_its_share(live, name):
    """Both on one core."""
    attack = guest("wild", "attack", f"test={name} forever=1", lan="l")
    run = live(guest("victim", "victim", lan="l"), attack, qemu=rig.COUNTED)
    run.expect(rf"wild\| attack {name}: to end")
    assert share(run, "victim", "wild") >= rig.ENOUGH


@pytest.mark.parametrize(
    "plan, low, high",
    [
        ({"priority": 4}, 0.97, 1.03),
        ({"priority": 20, "budget": "3ms", "period": "10ms"}, 0.65, 0.72),
        ({"priority": 20, "budget": "9ms", "period": "10ms"}, 0.06, 0.12),
    ],
    ids=["lower", "three-of-ten", "nine-of-ten"],
)
def test_plan_says_who_gets_what(live, plan, low, high):
    """A guest that never stops, at another priority than the victim's, and with a budget."""
    run = live(guest("victim", "victim"), guest("wild", "attack", "test=spin", **plan), qemu=rig.COUNTED)
    run.expect(r"victim\| victim: at work")
    assert low <= share(run, "victim", "wild") <= high


def test_linux_pair_in_a_flood(live):
    """Two Linux machines talk on a LAN that a third one floods, while a fourth floods the console."""
    pair = [linux("alpha", "debian-cloud", cores=[1], lan="l"), linux("beta", "debian-cloud", cores=[2], lan="l")]
    floods = [guest("lan", "attack", "test=lan-flood", cores=[3], lan="l"), guest("console", "attack", "test=console-flood", cores=[3])]
    run = live(*pair, *floods, cores=4, memory="2G")
    for _ in range(2):
        run.expect(r"^(alpha|beta)\| CHECK http-(alpha|beta) ok")
    run.expect(r"^console\| flood")
    run.command("stop lan")
    assert int(run.expect_end("lan")["exits.port"]) > 1000
    assert run.quit() == 0
