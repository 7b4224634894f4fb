"""A core that does not answer any more, or that stops: the console says which, and the machine is reset (by the tool, too)."""

import re
import subprocess
import time

import rig
from rig import guest

STOPPED = r"hairline: kernel stopped: (.*)$"
LIMIT = 10  # seconds of the machine's clock


def ends(run):
    """The run ends by itself: the tool says that the machine stopped before it was done."""
    assert run.finish() == 1


def test_core_without_an_answer(live):
    """A guest takes core 1 away from the emulated machine (lme.S); whoever ends that guest waits for the core."""
    run = live(guest("wild", "lme"), guest("victim", "victim", cores=[2]), cores=3)  # each core a thread of the host's: under -icount all would stand still with it
    hertz = int(run.expect(r"^hairline\| ready .* tsc_hz=(\d+)")[1])
    run.expect(r"^wild\| A")
    before = int(run.expect(r"^victim\| progress \d+ (\d+)")[1])
    run.command("stop wild")
    text = run.expect(STOPPED)[1]
    assert re.search(r"a core does not answer: its number 0*1\b", text), text
    told = [int(ticks) for ticks in re.findall(r"^victim\| progress \d+ (\d+)", "\n".join(run.lines), re.MULTILINE)]
    assert told[-1] - before <= LIMIT * hertz
    ends(run)


def test_machine_check(tmp_path):
    """A core has one while it idles: the kernel says so, and resets the machine, which ends the emulator."""
    log = tmp_path / "serial"
    machine = ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-M", "q35", "-m", "256M", "-smp", "3", "-cpu", "EPYC,+svm,+npt,+x2apic"]
    image = ["-kernel", rig.BUILD / "hairline.elf", "-initrd", f"{rig.BUILD / 'tests/idle.img'} root"]
    qemu = subprocess.Popen(["qemu-system-x86_64", *machine, *image, "-serial", f"file:{log}", "-monitor", "stdio"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        while "ok three cores" not in (log.read_text() if log.exists() else ""):
            assert qemu.poll() is None
            time.sleep(0.1)
        qemu.stdin.write(b"mce 2 1 0xb200000000000000 5 0 0\n")  # uncorrected, valid, and the check is in progress
        qemu.stdin.flush()
        assert qemu.wait(rig.PATIENCE) == 0
        text = re.search(STOPPED, log.read_text(), re.MULTILINE)[1]
        assert re.match(r"machine check, its bank's status and address: b200000000000000 0{16}\b", text), text
    finally:
        qemu.kill()
