"""A service VM whose servers of volumes misbehave: its clients wait or see I/O errors; all else goes on."""

import os
import re

import pytest
import rig
from firmware import changed_initrd
from rig import guest, linux

DISK = ["-device", "nvme,drive=d,serial=1", "-drive"]
FAIR = 0.95  # of what is promised
LOOKS = 12  # of 2^27 ticks
NONE, SOME, ANY = (lambda count: count == 0), (lambda count: count > 0), (lambda count: True)
# By the volume's name, how its server misbehaves (hostile_blade.c): requests that are answered, how many of them by an I/O
# error, and how many blocks are other ones.
KINDS = {
    "good": (40, NONE, NONE),
    "late": (3, NONE, NONE),
    "short": (20, SOME, NONE),
    "error": (20, SOME, NONE),
    "other": (40, NONE, NONE),
    "swap": (20, NONE, SOME),
    "crash": (25, NONE, NONE),
    "hang": (20, NONE, NONE),
    "wild": (10, ANY, ANY),
    "flood": (40, NONE, NONE),
}
SHARE = 300  # answers to a flood for each request of another's: a fair switch has 80, one that is not 18,000


def client(volume, core, image="asker", *cmdline):
    return guest(volume, image, *cmdline, cores=[core], disks=[{"volume": volume, "from": "service"}])


@pytest.fixture
def house(tmp_path):
    """house(clients, others, tool=...): a service VM whose servers are hostile_blade, one for each client, and other VMs."""
    runs = []

    def start(clients, *others, **how):
        disk = tmp_path / "disk"
        disk.touch()
        os.truncate(disk, 64 << 20)
        initrd = changed_initrd(tmp_path, "initrd-service", [], {"/bin/vblade": rig.BUILD / "tests/hostile_blade"})
        volumes = [{"name": one["name"], "size": "1M"} for one in clients]
        service = linux("service", initrd=initrd, mode="dedicated", disengage="never", cores=[1])
        service |= {"devices": ["nvme/0"], "volumes": volumes}
        plan = rig.write_plan(tmp_path, [service, *clients, *others], cores=6, memory="1G", iommu="intel")
        runs.append(rig.Live(plan, qemu=[*rig.COUNTED, *DISK, f"if=none,id=d,format=raw,file={disk}"], **how))
        return runs[-1]

    yield start
    for run in runs:
        run.stop()


def until_seen(run, kinds):
    """Until each client has had so many answers, and none that it may not have."""
    missing = set(kinds)
    while missing:
        line = run.expect(r"^(\w+)\| asked (\d+) errors (\d+) wrong (\d+) ")
        name, *numbers = line.groups()
        answers, errors, wrong = map(int, numbers)
        enough, may_fail, may_differ = KINDS[name]
        assert (may_fail is not NONE or not errors) and (may_differ is not NONE or not wrong), line.string
        assert name != "hang" or answers <= enough, line.string
        if answers >= enough and may_fail(errors) and may_differ(wrong):
            missing.discard(name)


def share(run):
    """What the victim beside a client gets of what the one gets that is alone on its core, in the same time."""
    told = {"free": [], "with": []}
    while min(map(len, told.values())) < LOOKS:
        name, turns, ticks = run.expect(r"^(free|with)\| progress (\d+) (\d+)").groups()
        told[name].append((int(turns), int(ticks)))
    pace = {name: (looks[-1][0] - looks[0][0]) / (looks[-1][1] - looks[0][1]) for name, looks in told.items()}
    return pace["with"] / pace["free"]


def test_clients_wait_or_see_errors(house):
    """Victims beside them: one alone on its core, one on the core of the client that is flooded."""
    clients = [client(kind, 3 if kind == "flood" else 2) for kind in KINDS]
    run = house(clients, guest("free", "victim", cores=[4]), guest("with", "victim", cores=[3]))
    before = share(run)
    for victim in ("free", "with"):
        run.command(f"stop {victim}")
        run.expect_end(victim)
    run.expect(rf"^service\| SERVICE service: {len(KINDS)} volumes are served")
    for victim in ("free", "with"):
        run.command(f"start {victim}")
        run.expect(rf"^{victim}\| victim: at work")
    until_seen(run, KINDS)
    after = share(run)
    until_seen(run, ("good", "hang", "late"))  # they still go on, or wait
    for name in ("hang", "flood", "wild", "service"):
        run.command(f"stop {name}")
        assert run.expect_end(name)["reason"] == "stopped"
    assert run.quit() == 0
    # The client's worker has half a core at most; of the rest the client, who polls, has half.
    assert after / before >= FAIR * 0.25, (before, after)
    assert not any(re.search("died|fault", line) for line in run.lines)


def test_a_flood_to_the_server_has_its_share(house, tool_with):
    """One VMM sends as many requests as its ring takes; the others' go on."""
    clients = [client("alpha", 2), client("beta", 3), client("greedy", 4, "attack", "test=hlt")]
    run = house(clients, tool=tool_with(vmm=rig.BUILD / "tests/hostile_vmm.img"))
    done, begin = {}, {}
    while not all(name in begin and done[name] - begin[name] >= 30 for name in ("alpha", "beta")):
        name, number = run.expect(r"^(alpha|beta|greedy)\| (?:asked|greedy:) (\d+)").groups()
        done[name] = int(number)
        if len(done) == 3 and not begin:
            begin = dict(done)
        assert not begin or done["greedy"] - begin["greedy"] < 40 * SHARE, (begin, done)
    moved = {name: done[name] - begin[name] for name in done}
    print(moved)
    assert moved["greedy"] > 0 and moved["greedy"] < SHARE * min(moved["alpha"], moved["beta"]), moved
