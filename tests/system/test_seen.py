"""What somebody in front of a machine sees of it: serial lines, POST codes, and what stays when nothing can be done."""

import contextlib
import re
import subprocess

import pytest
import rig
from rig import guest
from screen import monitor, picture

STUB, KERNEL, ROOT, VMS, REFUSED, PANIC = 0xB1, 0xB2, 0xB3, 0xB4, 0xBE, 0xBF  # abi/boot.h, enum post
POST = ["-chardev", "stdio,id=post", "-device", "isa-debugcon,iobase=0x80,chardev=post"]


def table(signature, body):
    """An ACPI table with its header (6.5, 5.2.6), for -acpitable."""
    data = signature + (36 + len(body)).to_bytes(4, "little") + b"\x01\x00HAIRLITEST    " + bytes(12) + body
    return data[:9] + bytes([-sum(data) & 0xFF]) + data[10:]


def spcr(port):
    """A 16550 at an I/O port, with the rate that firmware set."""
    gas = bytes([1, 8, 0, 1]) + port.to_bytes(8, "little")
    return table(b"SPCR", bytes(4) + gas + bytes(28))


def disc(folder, kernel, modules, lines):
    """A disc that GRUB boots from a BIOS."""
    tree = folder / "tree"
    (tree / "boot/grub").mkdir(parents=True)
    for file, name in [(kernel, "kernel"), *modules]:
        (tree / name).write_bytes(file.read_bytes())
    (tree / "boot/grub/grub.cfg").write_text("\n".join([*lines, "multiboot2 /kernel", *(f"module2 /{name} {name}" for _, name in modules), "boot"]))
    subprocess.run(["grub-mkrescue", "-d", "/usr/lib/grub/i386-pc", "-o", folder / "disc.iso", tree], check=True, capture_output=True)
    return folder / "disc.iso"


class Bare:
    """QEMU with a built plan, and nothing that the tool would add. `grub`: boot by it, with these lines in its configuration."""

    def __init__(self, folder, vms, qemu, cores=2, batch=True, machine_cores=None, grub=None, cpu="+svm,+npt,+x2apic"):
        out = folder / "out"
        plan = rig.write_plan(folder, vms, cores)
        subprocess.run([rig.BUILD / "hairline-tool", "build", plan, "-o", out, *(["--batch"] if batch else [])], check=True, capture_output=True)
        modules = [(out / f"{name}.{end}", name) for name, end in (("root", "img"), ("vmm", "img"), ("lan", "img"), ("plan", "bin"))]
        modules += [(file, file.name) for file in sorted(out.glob("f?"))]
        self.door = folder / "door"
        machine = ["-M", "q35", "-cpu", f"EPYC,{cpu}", "-m", "1G", "-smp", str(machine_cores or cores), "-accel", "tcg"]
        bare = ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-qmp", f"unix:{self.door},server,wait=off"]
        boot = ["-kernel", out / "hairline.elf", "-initrd", ",".join(f"{file} {name}" for file, name in modules)]
        if grub is not None:
            boot = ["-cdrom", disc(folder, out / "hairline.elf", modules, grub)]
        self.run = rig.Machine(["qemu-system-x86_64", *machine, *bare, *boot, *qemu], subprocess.DEVNULL, None)

    def monitor(self, command):
        return monitor(self.door, command)

    def stands(self):
        """Wait until core 0 has nothing to do any more; false: the machine has ended instead."""
        return self.run.wait(lambda: "HLT=1" in self.monitor("info registers"))

    def picture(self, folder):
        return picture(self.door, folder)

    def stop(self):
        self.run.process.kill()
        self.run.finish()


@pytest.fixture
def bare(tmp_path):
    runs = []

    def start(*vms, qemu=(), **how):
        runs.append(Bare(tmp_path, vms, qemu, **how))
        return runs[-1]

    yield start
    for run in runs:
        run.stop()


def test_serial_line_at_com2(bare, tmp_path):
    """COM1 is not there, and firmware's table says where the console is."""
    (tmp_path / "spcr").write_bytes(spcr(0x2F8))
    com2 = ["-chardev", "stdio,id=com2", "-device", "isa-serial,index=1,chardev=com2", "-acpitable", f"file={tmp_path}/spcr"]
    run = bare(guest("hi", "hello"), qemu=com2).run
    assert run.finish() == 0
    assert "hairline| ready" in run.text() and "hi| hello from a bare guest" in run.text() and "hairline| end " in run.text()


def test_no_serial_line(bare):
    """The VM runs to its end, and the machine resets; its POST codes say how far it came."""
    run = bare(guest("hi", "hello"), qemu=POST).run
    run.process.wait(rig.PATIENCE)
    run.finish()
    assert [c for c in run.part if c >= STUB] == [STUB, KERNEL, ROOT, VMS]


def without_pm_timer(tmp_path):
    """A second FADT, which says that there is no PM timer, and how to reset; root believes the last one."""
    body = bytearray(244 - 36)
    body[112 - 36 : 116 - 36] = (1 << 10).to_bytes(4, "little")
    body[116 - 36 : 129 - 36] = bytes([1, 8, 0, 1]) + (0xCF9).to_bytes(8, "little") + b"\x0f"
    (tmp_path / "fadt").write_bytes(table(b"FACP", bytes(body)))
    return ["-acpitable", f"file={tmp_path}/fadt", "-rtc", "clock=vm", "-serial", "stdio", *rig.COUNTED]


def test_rate_without_a_pm_timer(bare, tmp_path):
    """By the seconds of the real-time clock: the same, but for what a second of polls leaves open."""
    hertz = []
    for i, qemu in enumerate((["-serial", "stdio", *rig.COUNTED], without_pm_timer(tmp_path))):
        run = bare(guest("hi", "hello"), qemu=qemu).run
        assert run.finish() == 0, run.text()
        hertz.append(int(re.search(r"tsc_hz=(\d+)", run.text())[1]))
    assert abs(hertz[0] - hertz[1]) < hertz[0] / 1000, hertz


def test_refusal_stays(bare):
    """Two cores in the plan, one in the machine, and somebody at the console: the sentence is the last one, and stays."""
    run = bare(guest("hi", "hello"), qemu=["-serial", "stdio"], batch=False, machine_cores=1)
    assert run.run.wait(lambda: "nothing was started" in run.run.text())
    assert run.stands()
    assert re.search(r"hairline\| plan: VM 1: .*core.*\n", run.run.text()) and run.run.process.poll() is None


def test_refusal_in_batch(bare):
    """Nobody is there to read it: reset, with the POST code of a refusal."""
    run = bare(guest("hi", "hello"), qemu=POST, machine_cores=1).run
    run.process.wait(rig.PATIENCE)
    run.finish()
    assert [c for c in run.part if c >= STUB] == [STUB, KERNEL, ROOT, REFUSED]


PIXELS = ["insmod all_video", "set gfxpayload=800x600x32"]


def test_refusal_on_the_screen(bare, tmp_path):
    """No serial line, a screen of pixels: the sentences stand on it."""
    run = bare(guest("hi", "hello"), qemu=["-vga", "std", *POST], batch=False, machine_cores=1, grub=PIXELS)
    assert run.run.wait(lambda: bytes([REFUSED]) in run.run.part) and run.stands()
    lines = [line for line in run.picture(tmp_path) if line]
    assert lines[-1] == "hairline| nothing was started" and lines[-2].startswith("hairline| plan: VM 1: "), lines


def test_processor_refused_on_the_screen(bare, tmp_path):
    """Before there is a kernel: the stub's own sentence."""
    run = bare(guest("hi", "hello"), qemu=["-vga", "std", *POST], batch=False, grub=PIXELS, cpu="-svm,+x2apic")
    assert run.run.wait(lambda: bytes([REFUSED]) in run.run.part) and run.stands()
    text = " ".join(line for line in run.picture(tmp_path) if line)
    assert "SVM" in text and "hairline: " in text, text


def test_panic_on_the_screen(tmp_path):
    """The kernel's last word stands on the screen for ten seconds of the clock, beside what root said; then the machine is reset."""
    door, post = tmp_path / "door", tmp_path / "post"
    disc_file = disc(tmp_path, rig.BUILD / "hairline.elf", [(rig.BUILD / "tests/idle.img", "root")], PIXELS)
    machine = ["-M", "q35", "-cpu", "EPYC,+svm,+npt,+x2apic", "-m", "1G", "-smp", "3", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-vga", "std"]
    run = rig.Machine(["qemu-system-x86_64", *machine, "-cdrom", disc_file, "-serial", "stdio", "-chardev", f"file,id=post,path={post}", *POST[2:], "-qmp", f"unix:{door},server,wait=off"], subprocess.DEVNULL, None)
    try:
        assert run.wait(lambda: "ok three cores" in run.text())
        monitor(door, "mce 2 1 0xb200000000000000 5 0 0")
        assert run.wait(lambda: "kernel stopped" in run.text())

        def is_shown():
            with contextlib.suppress(OSError, ValueError):  # it has gone meanwhile: then it was not
                return any(line.startswith("hairline: kernel stopped: ") for line in picture(door, tmp_path))
            return False

        assert run.wait(is_shown)
        assert PANIC in post.read_bytes() and run.finish() == 0
    finally:
        run.process.kill()
