"""Dedicated guests whose VMM has left, against what little remains of the hypervisor, beside neighbours that own a canary."""

import json
import re

import pytest
import rig
from rig import guest

CANARIES = ("shared", "own", "silent")
ROUNDS = 6  # of a canary, at least: close() waits for two of its lines, each of four
PASSES = 2  # through all values of the ICR
CAUSES = {"nmi": {"nmi", "icr"}, "deaf": {"nmi", "icr"}, "db": {"nmi", "exception"}}  # of exits alone
RESTARTS = 100 if rig.ALL else 40
NOBODY = 0xF0000000  # no memory and no device there

SLOTS = 5  # acts of a VM: how often one that dies at once is started again
MSRS = (0xC0000080, 0x1B, 0x277, 0x2FF, 0x401, 0xC0010114, 0xC0010117, 0x12345678)  # EFER, APIC base, PAT, MTRR, MC0, VM_CR, VM_HSAVE_PA, none
READS = [(f"rdmsr:{msr:x}", "msr", msr) for msr in MSRS if msr != 0xC0000080]  # EFER may be read
WRITES = [(f"wrmsr:{msr:x}", "msr", msr) for msr in (*MSRS, 0x835)]  # and LVT LINT0
# The ports are the machine's own: behind them are its console, its power, its reset and its PCI functions.
PORTS = [(f"{act}:{port:x}{value}", "port", port) for act, port, value in (
    ("in8", 0x3F8, ""), ("in16", 0x604, ""), ("in32", 0xCFC, ""), ("out8", 0xCF9, ":6"), ("out16", 0x604, ":2000"), ("out32", 0xCF8, ":80000000"))]
STRINGS = [("ins:60", "port", 0x60), ("outs:3f8", "port", 0x3F8)]
MEMORY = [(f"{act}:{address:x}:{value:x}", "memory", address) for act, address, value in (
    ("read", NOBODY, 0), ("read", 0xFEE00020, 0), ("write", NOBODY, 1), ("write", 0xFEE00300, 0xC4500), ("fetch", NOBODY, 0))]
FAULTS = [(act, "fault", code) for act, code in (
    ("vmrun", 0x80), ("vmload", 0x82), ("vmsave", 0x83), ("stgi", 0x84), ("clgi", 0x85), ("skinit", 0x86), ("invlpga", 0x7A), ("invd", 0x76), ("rdpmc", 0x6F))]
TRIPLE = [("triple", "triple", 0)]


def lists(name, acts):
    return {f"{name}{i // SLOTS}": acts[i : i + SLOTS] for i in range(0, len(acts), SLOTS)}


def at_once(*groups):
    """One life in which nothing ends the VM before its last word."""
    return [(",".join(act for group in groups for act, _, _ in group), "poweroff", 0)]


# What each life of each VM comes to: acts, reason, value.
STRICT = lists("strict", READS + WRITES + PORTS + STRINGS + MEMORY + FAULTS + TRIPLE)
QUIET = lists("quiet-end", [*STRINGS, ("rsm", "fault", 0x73), MEMORY[-1], *TRIPLE])
QUIET |= {"quiet-ports": at_once(PORTS), "quiet-msrs": at_once(READS, WRITES), "quiet-memory": at_once(MEMORY[:-1])}
LISTS = STRICT | QUIET
# These do not end.
LASTING = {name: (name, "strict") for name in ("spin", "hlt", "nmi", "deaf", "db")} | {"scribble": (f"scribble:{NOBODY:x}", "quiet")}


def attacker(name, core, acts, after="strict", **keys):
    keys = {"mode": "dedicated", "cores": [core], "disengage": "guest", "after": after, **keys}
    return guest(name, "attack_alone", "acts=" + ",".join(acts), **keys)


def canaries():
    """A shared neighbour, one with a core of its own, and one whose VMM has left, too."""
    own = {"mode": "dedicated", "disengage": "guest"}
    return [guest("shared", "canary", cores=[1]), guest("own", "canary", cores=[2], **own), guest("silent", "canary", "leave=1", cores=[3], **own)]


class Room:
    """Canaries, and attackers on the cores above theirs."""

    def __init__(self, folder, attackers):
        self.file = folder / "report.json"
        self.report = {}
        self.run = rig.Live(rig.write_plan(folder, [*canaries(), *attackers], cores=4 + len(attackers)), "--json", self.file)

    def records(self, pattern):
        return [rig.fields(line) for line in list(self.run.lines) if re.match(pattern, line)]

    def ends(self, name):
        return self.records(rf"hairline\| vm name={name} state=off ")

    def wait(self, pattern, count):
        """Until that many lines begin so, or a canary is dead."""
        dead = rf"hairline\| vm name=({'|'.join(CANARIES)}) state=off "
        self.run.wait(lambda: len(self.records(pattern)) >= count or self.records(dead))
        assert len(self.records(pattern)) >= count, "\n".join(line for line in self.run.lines if "canary: round" not in line)

    def wait_end(self, name, lives=1):
        self.wait(rf"hairline\| vm name={name} state=off ", lives)

    def wait_left(self, name, lives=1):
        self.wait(rf"hairline\| vm name={name} state=alone ", lives)

    def close(self):
        """The canaries look once more, then all ends."""
        for name in ("shared", "own"):
            rounds = rf"{name}\| canary: round"
            self.wait(rounds, len(self.records(rounds)) + 2)
        assert self.run.quit() in (0, 1)
        self.report = json.loads(self.file.read_text())["vms"]


def check_canaries(room):
    """They went on until they were stopped: nothing in their memory changed, and no interrupt came."""
    for name in CANARIES:
        vm = room.report[name]
        assert vm["reason"] == "stopped" and vm["exits"]["vmcall"] >= ROUNDS, vm
    assert room.report["silent"]["alone"]["vmcall"] >= ROUNDS


def end_of_all_lives(room):
    for name, acts in LISTS.items():
        room.wait_end(name, len(acts))


@pytest.fixture(scope="module", name="acts")
def make_acts(tmp_path_factory):
    """All acts that end, in one machine: those of a list in the lives of one VM."""
    attackers = [attacker(name, 4 + i, [act for act, _, _ in acts], "quiet" if name in QUIET else "strict", on_exit="restart") for i, (name, acts) in enumerate(LISTS.items())]
    room = Room(tmp_path_factory.mktemp("acts"), attackers)
    try:
        end_of_all_lives(room)
        room.close()
    finally:
        room.run.stop()
    return room


@pytest.mark.parametrize("name, life, act, reason, value", [pytest.param(n, i, *a, id=f"{n}-{a[0][:40]}") for n, acts in LISTS.items() for i, a in enumerate(acts)])
def test_act(acts, name, life, act, reason, value):
    """The record of that life has the cause and, if it came to that, an RIP in the act's own function."""
    end = acts.ends(name)[life]
    assert (end["reason"], int(end["value"])) == (reason, value), end
    if reason != "poweroff" and not act.startswith("fetch"):
        start, stop = rig.symbol("guest/bare/attack_alone.elf", f"act_{act.split(':')[0]}")
        assert start <= int(end["rip"], 16) < stop


def test_canaries_beside_acts(acts):
    check_canaries(acts)


@pytest.mark.parametrize("name", LISTS)
def test_report_as_on_the_console(acts, name):
    """The JSON report has the last life's end."""
    vm, end = acts.report[name], acts.ends(name)[-1]
    assert [str(vm[key]) for key in ("reason", "value", "rip")] == [end[key] for key in ("reason", "value", "rip")]


STORM = [f"icr:{PASSES:x}", "nmi:1000", "db:1000"]
STORMS = {
    "icr-strict": {"acts": STORM},
    "icr-quiet": {"acts": [*STORM, f"read:{NOBODY:x}"], "after": "quiet"},
    "dirty": {"acts": ["dirty", "fresh"], "on_exit": "restart"},
    **{name: {"acts": [act] * 2, "after": after} for name, (act, after) in LASTING.items()},
}
# Few in one machine: each that spins takes an emulated core's whole share of the host.
ROOMS = [("icr-strict", "dirty"), ("icr-quiet", "hlt"), ("spin", "nmi"), ("deaf", "db"), ("scribble",)]


def stop_twice(room, names):
    """Those that do not end are stopped, have another life, and are stopped again."""
    for life in (1, 2):
        for name in names:
            room.wait_left(name, life)
            room.run.command(f"stop {name}")
            room.wait_end(name, life)
            if life == 1:
                room.run.command(f"start {name}")


@pytest.fixture(scope="module", name="storms", params=ROOMS, ids="+".join)
def make_storms(request, tmp_path_factory):
    """Storms of two kinds beside canaries."""
    names = request.param
    room = Room(tmp_path_factory.mktemp("storms"), [attacker(name, 4 + i, **STORMS[name]) for i, name in enumerate(names)])
    room.names = names
    try:
        stop_twice(room, [name for name in names if name in LASTING])
        for name in names:
            if name not in LASTING:
                room.wait_end(name, 2 if name == "dirty" else 1)
        room.close()
    finally:
        room.run.stop()
    return room


def check_icr(storms, name):
    """Nobody else is told by the canaries; itself: it ends well only if it was reached."""
    assert storms.ends(name)[0]["reason"] == "poweroff"
    assert any(f"{name}| attack_alone: icr: ok" in line for line in storms.run.lines)
    assert storms.report[name]["alone"]["icr"] > PASSES * 1000


def check_next_life(storms, name):
    """It has a fresh core: no interrupt, priority or timer of the life before."""
    assert [end["reason"] for end in storms.ends(name)[:2]] == ["triple", "poweroff"]


def check_stopped_and_started_again(storms, name):
    assert [end["reason"] for end in storms.ends(name)] == ["stopped", "stopped"]
    causes = {cause for cause, n in storms.report[name]["alone"].items() if n}
    assert causes <= CAUSES.get(name, {"nmi"}), causes


CHECKS = {"icr-strict": check_icr, "icr-quiet": check_icr, "dirty": check_next_life}


def test_storms(storms):
    """Each ends as it must, and its neighbours notice nothing."""
    check_canaries(storms)
    for name in storms.names:
        CHECKS.get(name, check_stopped_and_started_again)(storms, name)


def test_every_storm_has_a_room():
    assert sorted(name for names in ROOMS for name in names) == sorted(STORMS)


def lose(folder, lives):
    """What the kernel holds after so many short lives of two guests, each dying as soon as it is alone, in some way."""
    ways = ["vmrun", "ins:60", "triple", "fetch:f0000000"]
    vms = [attacker(after, core, ways * (RESTARTS // 4 + 1), after) for core, after in ((1, "strict"), (2, "quiet"))]
    folder.mkdir()
    run = rig.Live(rig.write_plan(folder, vms, cores=3))
    try:
        ended = []
        while len(ended) < lives * len(vms):
            end = run.expect_end(r"\S+ state=off")
            ended.append(end["name"])
            assert end["reason"] in ("fault", "port", "triple", "memory")
            if ended.count(end["name"]) < lives:
                run.command(f"start {end['name']}")
        run.command("quit")
        held = rig.fields(run.expect(r"^hairline\| end ").string)
    finally:
        run.stop()
    assert not any("LEAK" in line for line in run.lines)
    return held


def test_nothing_is_lost_by_lives(tmp_path):
    few, many = lose(tmp_path / "few", 1), lose(tmp_path / "many", RESTARTS)
    assert few == many and int(few["pool_free"]) > 0
