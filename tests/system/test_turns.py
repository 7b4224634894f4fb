"""Root's turns, at a priority above all VMs': each is short, whatever there is to do."""

import re

import pytest
import rig
from rig import guest

LONGEST = 500  # us
COUNTED = ("-icount", "shift=0,sleep=off")  # an instruction takes 1 ns: the turn's own, and those of other cores meanwhile
BYTES = bytes(range(256))


def longest(run):
    run.quit()
    return int(re.search(r"^hairline\| turns longest_us=(\d+)", run.text(), re.MULTILINE)[1])


@pytest.fixture(name="file")
def make_file(tmp_path):
    """2 MiB, no page of zeros."""
    path = tmp_path / "bytes"
    path.write_bytes(BYTES * 8192)
    return str(path)


def test_measuring(live, file):
    run = live(guest("vm", "hello", mode="dedicated", sealed=True, memory="32M", initrd=file), qemu=COUNTED)
    assert run.expect_end("vm")["reason"] == "exit_port"
    assert longest(run) <= LONGEST


def test_copying_disks(live, file):
    disks = [{"file": file, "mode": "volatile"}] * 4
    run = live(guest("one", "hello", cores=[0], disks=disks), guest("other", "hello", cores=[0], disks=disks), cores=1, qemu=COUNTED)
    for _ in range(2):
        run.expect(r"^hairline\| vm name=\w+ state=off reason=exit_port")
    assert longest(run) <= LONGEST


def test_many_commands_at_once(live):
    """Lives that begin and end together, and what the operator asks about them."""
    names = [f"vm{i}" for i in range(8)]
    run = live(*(guest(name, "attack", "test=hlt", cores=[0], vcpus=1 + i % 4) for i, name in enumerate(names)), cores=1, qemu=COUNTED)
    for command in ("stop", "start", "restart"):
        run.type("".join(f"{command} {name}\nlist\n" for name in names))
        for _ in names:
            run.expect(r"^hairline\| # name")
    assert longest(run) <= LONGEST


def test_console_flood(live):
    run = live(*(guest(f"vm{i}", "attack", "test=console-flood", cores=[0]) for i in range(4)), cores=1, qemu=COUNTED)
    for _ in range(3):
        run.expect(r"^vm3\| flood")
        run.command("list")
        run.expect(r"^hairline\| # name")
    assert longest(run) <= LONGEST
