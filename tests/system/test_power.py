"""Power cuts: whatever a guest was told to be on its volume is there, in file systems that recover by themselves."""

import os
import random
import re
import shutil
import subprocess

import pytest
import rig
from firmware import changed_initrd
from rig import linux
from write_log import FLUSH, Replay

CAREFUL, CARELESS = ("alpha", "beta"), "careless"  # whose server opens its volume without O_SYNC: the mutant
MIB = 1 << 20
RECORDS = 300 if rig.ALL else 25  # that each guest keeps before the emulator is killed
KILLS, CUTS = (3, 67) if rig.ALL else (1, 8)  # cuts of the log of each run


def sbin(name):
    return shutil.which(name, path="/usr/sbin:/sbin")


def make_initrds(folder):
    """That of the service VM, whose server is careless with one volume; and that of its clients."""
    service = (rig.SOURCE / "guest/init-service").read_text()
    sync = " vblade -s "
    assert service.count(sync) == 1
    service = service.replace(sync, f' vblade $([ "$4" = /volumes/{CARELESS} ] || echo -s) ')
    yield changed_initrd(folder, "initrd-service", [], {"/init": service.encode()})
    yield changed_initrd(folder, "initrd", [sbin("mke2fs")], {"/init": rig.SOURCE / "tests/system/records-init"})


class House:
    """A service VM whose disk logs what is written to it, and guests that keep records on its volumes."""

    def __init__(self, folder):
        self.folder, self.disk, self.log = folder, folder / "disk", folder / "log"
        for path, size in ((self.disk, 96 * MIB), (self.log, 0)):
            path.touch()
            os.truncate(path, size)
        service, client = make_initrds(folder)
        names = (*CAREFUL, CARELESS)
        volumes = [{"name": name, "size": "16M"} for name in names]
        vms = [linux("service", initrd=service, mode="dedicated", disengage="never", cores=[1], devices=["nvme/0"], volumes=volumes)]
        vms += [linux(name, initrd=client, cores=[2 + i % 2], disks=[{"volume": name, "from": "service"}]) for i, name in enumerate(names)]
        self.plan = rig.write_plan(folder, vms, cores=4, memory="2G", iommu="intel")
        self.acknowledged = []  # (bytes of the log when it was heard, whose, number)

    def run_until_killed(self):
        """What is heard was acknowledged before, so all that it rests on was in the log: it has no buffer, and a write ends for
        the guest after it is there."""
        nodes = [f"driver=file,node-name=file,filename={self.disk}", f"driver=file,node-name=log,filename={self.log}"]
        nodes += ["driver=blklogwrites,node-name=disk,file=file,log=log"]
        words = [word for node in nodes for word in ("-blockdev", node)]
        run = rig.Live(self.plan, qemu=[*words, "-device", "nvme,drive=disk,serial=1"])
        count = dict.fromkeys((*CAREFUL, CARELESS), 0)
        try:
            while min(count.values()) < RECORDS:
                name, number = run.expect(r"^(\w+)\| ack (\d+)$").groups()
                self.acknowledged.append((self.log.stat().st_size, name, int(number)))
                count[name] += 1
        finally:
            rig.kill_family(run.process.pid)
            run.stop()

    def read_more(self, log):
        """A record in the log says that the one before it was acknowledged, and that before it was heard here."""
        seen = set()
        for found in re.finditer(rb"record ([a-z]+) (\d{8})", log):
            if found[0] not in seen:
                seen.add(found[0])
                self.acknowledged.append((found.end(), found[1].decode(), int(found[2]) - 1))

    def begin(self):
        """Bytes of the log when each guest had its file system, and a record there."""
        return max(min(at for at, whose, number in self.acknowledged if whose == name and number >= 0) for name in (*CAREFUL, CARELESS))

    def last(self, name, size):
        """The last record of the guest that was acknowledged when the log had `size` bytes; -1: none."""
        return max((number for at, whose, number in self.acknowledged if whose == name and at <= size), default=-1)


def e2fsck(image):
    """What is wrong with it that is not repaired without a question, as at each boot."""
    done = subprocess.run([sbin("e2fsck"), "-fp", image], capture_output=True, text=True, check=False)
    return [] if done.returncode < 4 else [f"{image.name} does not recover: {done.stdout}"]


def take_out(image, path, to):
    to.unlink(missing_ok=True)
    subprocess.run([sbin("debugfs"), "-R", f"dump {path} {to}", image], capture_output=True, check=True)
    return to.read_bytes() if to.exists() else b""


def record(name, number):
    return (" ".join([f"record {name} {number:08}"] * 8) + "\n").encode()


def look(disk, name, last):
    """What is wrong with the guest's volume on a disk: all records up to `last` are to be there, and none of another's."""
    volume = disk.parent / f"volume-{name}"
    content = take_out(disk, f"/{name}", volume)
    wrong = [f"{name} has what is {other}'s" for other in (*CAREFUL, CARELESS) if other != name and f"record {other} ".encode() in content]
    wrong += [f"{name} has {len(content)} bytes"] if len(content) != 16 * MIB else []
    wrong += e2fsck(volume)
    records = take_out(volume, "/records", disk.parent / f"records-{name}")
    wanted = b"".join(record(name, i) for i in range(last + 1))
    if not records.startswith(wanted):
        there = next(i for i in range(last + 1) if not records.startswith(record(name, i), i * len(record(name, i))))
        wrong.append(f"{name} was told that record {last} is there, and {there} is not")
    return wrong


def judge(house, content, size):
    """A disk that a cut left when the log had `size` bytes: what is wrong for each guest."""
    disk = house.folder / "cut"
    disk.write_bytes(content)
    wrong = e2fsck(disk)
    return {name: wrong + look(disk, name, house.last(name, size)) for name in (*CAREFUL, CARELESS)}


def choose_cuts(entries, size, chance):
    """Anywhere from `size` bytes of the log on; every second one right before a flush, when most is open."""
    first = next(i for i, entry in enumerate(entries, 1) if entry.end >= size)
    flushes = [i for i, entry in enumerate(entries) if entry.flags & FLUSH and i >= first]
    return sorted(chance.choice(flushes) if cut % 2 else chance.randint(first, len(entries)) for cut in range(CUTS))


@pytest.mark.parametrize("seed", range(KILLS))
def test_what_was_acknowledged_is_there(tmp_path, seed):
    """The emulator is killed, and the power cut at points before that. The careless server loses something: so the others' test
    would have shown it."""
    house, chance = House(tmp_path), random.Random(seed)
    house.run_until_killed()
    replay = Replay(house.log, 96 * MIB)
    house.read_more(replay.log)
    found = [("killed", judge(house, house.disk.read_bytes(), house.log.stat().st_size))]
    open_writes = 0
    for end in choose_cuts(replay.entries, house.begin(), chance):
        content, concerned = replay.cut(end, chance)
        open_writes += concerned
        found.append((f"cut after {end} writes", judge(house, content, replay.entries[end - 1].end)))
    assert open_writes > 0
    for when, wrong in found:
        assert not any(wrong[name] for name in CAREFUL), (when, wrong)
    assert any(re.search("is not$", text) for _, wrong in found for text in wrong[CARELESS]), found
