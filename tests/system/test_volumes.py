"""Disks that last: volumes that a service VM, with the machine's own disk controller, serves to others."""

import re
import subprocess

import pytest
import rig
from rig import guest, linux

DISK = ["-device", "nvme,drive=d,serial=1", "-drive"]


@pytest.fixture
def house(tmp_path, tool_with):
    """house(): a machine with a disk that lasts, a service VM and its clients; what still runs at the end is stopped. A
    VM's name may say how its VMM misbehaves (hostile_vmm.c)."""
    disk, runs = tmp_path / "disk", []
    with open(disk, "wb") as file:
        file.truncate(256 << 20)
    volumes = [{"name": "alpha-root", "size": "32M"}, {"name": "beta-root", "size": "32M"}, {"name": "huge", "size": "1G"}, {"name": "spys", "size": "1M"}]
    service = linux("service", initrd="debian-service", mode="dedicated", disengage="never", cores=[1], devices=["nvme/0"], volumes=volumes)

    def client(name, core, volume, **keys):
        return linux(name, cores=[core], disks=[{"volume": volume, "from": "service"}], **keys)

    own = {"mode": "dedicated", "disengage": "never"}
    spy = guest("spy", "attack", "test=hlt", cores=[2], disks=[{"volume": "spys", "from": "service"}])
    vms = [service, client("alpha", 2, "alpha-root"), client("beta", 3, "beta-root", **own), client("gamma", 2, "huge"), spy]
    tool = tool_with(vmm=rig.BUILD / "tests/hostile_vmm.img")
    plan = rig.write_plan(tmp_path, vms, cores=4, memory="2G", iommu="intel")

    def start():
        runs.append(rig.Live(plan, tool=tool, qemu=[*DISK, f"if=none,id=d,format=raw,file={disk}"]))
        return runs[-1]

    yield start
    for run in runs:
        run.stop()


def test_the_example_is_good():
    done = subprocess.run([rig.BUILD / "hairline-tool", "check", rig.SOURCE / "examples/disks.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "3 VMs" in done.stdout, done.stderr


def test_a_volume_outlasts_its_server_and_the_machine(house):
    run = house()
    run.until_up("alpha", "beta")

    # A volume that there is no room for is none, and its VM does not start.
    assert run.expect_end("gamma")["message"] == "huge: its service VM has no such volume"

    # The server starts again in the middle of what a client writes, which goes on.
    run.tell(2, "(: >/run/all; until [ -e /run/enough ]; do head -c 262144 /dev/urandom >/run/part; "
                 "[ $(wc -c </run/all) -lt 12000000 ] || { : >/run/all; : >/mnt/vda/all; }; cat /run/part >>/run/all; "
                 "cat /run/part >>/mnt/vda/all; sync; echo; echo part is there; done; echo 3 >/proc/sys/vm/drop_caches; "
                 "cmp /run/all /mnt/vda/all && echo && echo all is there) &")
    for _ in range(3):
        run.told(r"part is there$")
    run.key("0")
    run.command("")
    run.command("restart service")
    assert run.expect_end("service")["reason"] == "stopped"
    run.expect(r"^service\| SERVICE service: 3 volumes are served")
    run.told(r"part is there$")
    run.tell(2, "touch /run/enough")
    run.told(r"all is there$")
    run.key("0")

    # Who asks for another's volume gets no answer, and who writes to one changes nothing.
    answers = run.expect(r"^spy\| spy: ([1-9]\d*) answers of its own, (\d+) of others")
    assert answers.group(2) == "0", answers.string
    run.tell(2, "echo 3 >/proc/sys/vm/drop_caches; cmp /run/all /mnt/vda/all && echo all is there still")
    run.told(r"all is there still")

    # What is on one volume is not on the other, and is there after a power cut.
    before = run.seen
    run.tell(3, "ls -1 /mnt/vda; echo seen")
    run.told(r"seen$")
    assert not any(re.fullmatch(r"(beta\| )?all.*", line) for line in run.lines[before:])
    run.tell(2, "echo remember >/mnt/vda/record; sync; sha256sum /mnt/vda/all; echo done")
    hashed = run.told(r"([0-9a-f]{64})").group(2)
    run.told(r"done$")
    rig.kill_family(run.process.pid)

    run = house()
    run.until_up("alpha")
    run.tell(2, "cat /mnt/vda/record; sha256sum /mnt/vda/all")
    run.told(r"remember$")
    assert run.told(r"([0-9a-f]{64})").group(2) == hashed
