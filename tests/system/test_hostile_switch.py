"""A LAN switch that plays all its rights: who is on its LAN, on its core or beside keeps time, memory, devices and exits."""

import collections

import pytest
import rig
from rig import guest

# What the switch does: its LAN's MTU says it (enum act, hostile_switch.c).
ACTS = {act: 1500 + i for i, act in enumerate("mixture sleep spin nap ring scribble invent call forward die mortal".split())}
FAIR = 0.95  # of what is promised
CORES = {"root": 0, "inside": 1, "beside": 2, "with": 3}  # victims, each of which always has work: the switch is on the last core
# What each is promised, of what it has beside a switch that sleeps: workers and switches have half a core at most.
PROMISE = {"root": 1, "inside": 0.5, "beside": 1, "with": 0.5}
TIMED = ["spin", "nap", "ring", "scribble", "invent", "call", "forward", "mixture"]
LOOKS = 4  # of 2^27 ticks
SOME = 40 if rig.ALL else 1  # looks of a long run


def lan(act):
    return {"name": "wild", "mtu": ACTS[act]}


@pytest.fixture(name="hostile")
def make_hostile(tool_with):
    """The tool beside images of which the switch is another."""
    return tool_with(lan=rig.BUILD / "tests/hostile_switch.img")


def paces(folder, hostile, act):
    """Turns in a tick of each victim beside a switch that does only this."""
    folder.mkdir()
    vms = [guest(name, "victim", cores=[core], **({"lan": lan(act)} if name == "inside" else {})) for name, core in CORES.items()]
    run = rig.Live(rig.write_plan(folder, vms, len(CORES)), qemu=rig.ONE_GIPS, tool=hostile)
    told = collections.defaultdict(list)
    try:
        while len(told) < len(CORES) or min(map(len, told.values())) < LOOKS:
            name, turns, ticks = run.expect(r"^(\w+)\| progress (\d+) (\d+)").groups()
            told[name].append((int(turns), int(ticks)))
    finally:
        run.stop()
    return {name: (looks[-1][0] - looks[0][0]) / (looks[-1][1] - looks[0][1]) for name, looks in told.items()}


def time_of_victims(tmp_path, hostile):
    """Against what they have beside a switch that sleeps; the others have work, too, so that the emulator's turns are as long."""
    quiet = paces(tmp_path / "sleep", hostile, "sleep")
    for act in TIMED:
        wild = paces(tmp_path / act, hostile, act)
        shares = {name: wild[name] / quiet[name] for name in CORES}
        print(act, shares)
        assert all(shares[name] >= FAIR * PROMISE[name] for name in CORES), (act, shares)


if rig.ALL:  # long: four victims' paces beside each act
    test_time = time_of_victims


def rounds(run, names, count):
    """Until each of these canaries has told so many rounds."""
    missing = {name: count for name in names}
    while any(left > 0 for left in missing.values()):
        missing[run.expect(rf"^({'|'.join(names)})\| canary: round")[1]] -= 1


def test_memory_devices_and_exits(live, hostile):
    """Canaries in the LAN, on the switch's core, alone, and on the LAN of a switch that dies now and then;
    one takes the frames that come, and touches its devices: its switch lives, or the frames could end before they are looked at."""
    wild = lan("mixture")
    room = [guest("inside", "canary", lan=wild), guest("with", "canary", cores=[5]), guest("toucher", "toucher", lan=wild, cores=[2])]
    room.append(guest("bereft", "canary", lan={"name": "mortal", "mtu": ACTS["mortal"]}))
    room.append(guest("silent", "canary", "leave=1", cores=[4], mode="dedicated", disengage="guest"))
    run = live(*room, cores=6, tool=hostile)
    run.expect(r"^hairline\| vm name=silent state=alone")
    rounds(run, ["bereft", "inside", "with"], SOME)
    run.expect(r"^toucher\| touched .* frames [1-9]")
    assert run.wait(lambda: any("hairline| LAN 2 died" in line for line in run.lines)), run.text()
    rounds(run, ["bereft"], 1)
    ends = {}
    for name in ("inside", "with", "toucher", "bereft", "silent"):
        run.command(f"stop {name}")
        ends[name] = run.expect_end(name)
    assert {end["reason"] for end in ends.values()} == {"stopped"}, ends
    silent = {cause: int(ends["silent"][f"exits.{cause}"]) - int(ends["silent"][f"engaged.{cause}"]) for cause in ("nmi", "intr", "vmcall")}
    assert silent["intr"] == 0 and silent["vmcall"] > 0, silent
    assert run.quit() == 0


def test_it_dies_and_is_given_up(live, hostile):
    run = live(guest("inside", "canary", lan=lan("die")), guest("with", "canary", cores=[0]), tool=hostile)
    for _ in range(4):
        run.expect(r"^hairline\| LAN 1 died and starts again")
    run.expect(r"^hairline\| LAN 1 died and stays off")
    rounds(run, ["inside", "with"], 1)
    assert run.quit() == 0
