"""The flat PC: what guests expect of a machine without asking for it, in each mode."""

import struct

import pytest
import rig
from rig import guest, linux

PAGE = 4096
MASKED = 2  # ports that nobody has: the guest masks a PC's interrupt controllers
OWN = {"mode": "dedicated", "cores": [1], "disengage": "guest"}
MODES = {
    "shared": ("", {}),
    "dedicated": ("", OWN),
    "strict": ("leave=1", OWN | {"after": "strict"}),
    "quiet": ("leave=1", OWN | {"after": "quiet"}),
}


@pytest.mark.parametrize("mode", MODES)
def test_the_chipset_is_there(batch, mode):
    """Linux reads why an AMD machine was reset, and clears it, whatever else the machine has."""
    words, keys = MODES[mode]
    vm = batch(guest("pc", "platform", f"test=chipset {words}", **keys)).vms["pc"]
    assert (vm["reason"], vm["value"]) == ("exit_port", 0), vm.get("message")


def test_the_tsc_is_set(batch):
    """Of a shared guest."""
    vm = batch(guest("pc", "platform", "test=tsc")).vms["pc"]
    assert (vm["reason"], vm["value"]) == ("exit_port", 0), vm.get("message")


@pytest.mark.parametrize("mode", MODES)
def test_an_nmi_waits_for_the_end_of_the_one_before(batch, mode):
    words, keys = MODES[mode]
    vm = batch(guest("pc", "platform", f"test=nmi {words}", **keys)).vms["pc"]
    assert (vm["reason"], vm["value"]) == ("exit_port", 0), vm.get("message")


@pytest.mark.parametrize("test, reason, words", [
    ("efer", "exit_port", ""), ("port", "port", "it used port 0x60 without its VMM"), ("msr", "msr", "it used MSR 0x2ff without its VMM")])
def test_without_a_vmm(batch, test, reason, words):
    vm = batch(guest("pc", "platform", f"test={test} leave=1", **OWN)).vms["pc"]
    assert (vm["reason"], vm["message"] or "") == (reason, words)


SEALED = MODES | {"sealed": ("", OWN | {"sealed": True})}


def ends_well(batch, test, mode):
    words, keys = SEALED[mode]
    vm = batch(guest("pc", "platform", f"test={test} {words}", **keys)).vms["pc"]
    assert (vm["reason"], vm["value"]) == ("exit_port", 0), vm.get("message")


@pytest.mark.parametrize("mode", SEALED)
def test_a_trap_behind_each_step(batch, mode):
    """Over NOP, CPUID, VMMCALL and RDMSR, whoever does them."""
    ends_well(batch, "step-processor", mode)


@pytest.mark.parametrize("mode", ["shared", "dedicated", "sealed", "quiet"])
def test_a_trap_behind_each_port(batch, mode):
    """And MSR; without a VMM it would be the guest's end, or nothing is there."""
    ends_well(batch, "step-ports", mode)


@pytest.mark.parametrize("mode", MODES)
def test_a_trap_behind_a_halt(batch, mode):
    ends_well(batch, "step-halt", mode)


@pytest.mark.parametrize("mode", MODES)
def test_a_trap_behind_a_write_of_the_priority(batch, mode):
    """A shared guest's write is stepped over by the kernel, too, for a vector is on offer."""
    ends_well(batch, "step-priority", mode)


@pytest.mark.parametrize("mode", MODES)
def test_the_task_priority_is_one_register(batch, mode):
    """It holds back what is below it, in a sleep, too."""
    ends_well(batch, "task-priority", mode)


@pytest.mark.parametrize("kind", ["low", "mboot"])
@pytest.mark.parametrize("base", ["0x7fe0", "0xffe0", "0x1ffe0"])
def test_an_image_in_low_memory(batch, kind, base):
    """The loader puts what it has to tell where the image is not."""
    run = batch(guest("pc", f"{kind}-{base}", "name=pc"))
    assert (run.vms["pc"]["reason"], run.vms["pc"]["value"]) == ("exit_port", 0), run.vms["pc"].get("message")
    assert "hello from pc" in run.logs["pc"]


@pytest.mark.parametrize("kind", ["low", "mboot"])
def test_an_image_among_roms(batch, kind):
    vm = batch(guest("pc", f"{kind}-0xe0000")).vms["pc"]
    assert (vm["reason"], vm["message"]) == ("loader", "kernel: a segment lies where a PC has its ROMs (A0000h to FEFFFh)")


def with_headers(image, at, folder):
    """The program as a linker writes it that loads a file's headers, too: in a page before the text, which is at 1 MiB."""
    file = bytearray((rig.BUILD / f"guest/bare/{image}.elf").read_bytes())
    wide, form = (True, "<IIQQQQQ") if file[4] == 2 else (False, "<IIIIII")
    header = struct.unpack_from("<Q" if wide else "<I", file, 32 if wide else 28)[0]
    kind, *numbers = struct.unpack_from(form, file, header)
    flags = [numbers.pop(0)] if wide else []
    offset, virtual, physical, size, memory = numbers
    assert (kind, offset, physical) == (1, PAGE, 256 * PAGE)
    struct.pack_into(form, file, header, kind, *flags, 0, virtual - PAGE, at, size + PAGE, memory + PAGE)
    path = folder / f"{image}.elf"
    path.write_bytes(file)
    return str(path)


@pytest.mark.parametrize("image", ["hello", "mboot"])
def test_headers_below_the_text(batch, tmp_path, image):
    """QEMU and GRUB start such a kernel: in the last page of the ROMs are headers, of which no kernel expects much."""
    run = batch(guest("pc", image, "name=pc", kernel=with_headers(image, 255 * PAGE, tmp_path)))
    assert (run.vms["pc"]["reason"], run.vms["pc"]["value"]) == ("exit_port", 0), run.vms["pc"].get("message")
    assert "hello from pc" in run.logs["pc"]


@pytest.mark.parametrize("image", ["hello", "mboot"])
def test_headers_further_below(batch, tmp_path, image):
    vm = batch(guest("pc", image, kernel=with_headers(image, 255 * PAGE - 1, tmp_path))).vms["pc"]
    assert (vm["reason"], vm["message"]) == ("loader", "kernel: a segment lies where a PC has its ROMs (A0000h to FEFFFh)")


def test_what_is_polled_is_ready(batch):
    vm = batch(guest("pc", "platform", "test=legacy")).vms["pc"]
    assert (vm["reason"], vm["value"], vm["unclaimed"]["ports"]) == ("exit_port", 0, MASKED), vm.get("message")


@pytest.mark.parametrize("way", ["keyboard", "port-a", "chipset"])
def test_ways_to_reset(batch, way):
    vm = batch(guest("pc", "platform", f"test=reset-{way}")).vms["pc"]
    assert (vm["reason"], vm["unclaimed"]["ports"]) == ("reboot", MASKED), vm.get("message")


@pytest.mark.parametrize("test, reason, words", [
    ("old-apic", "memory", "there is no memory at 0xfee00020, nor a local APIC: it has x2APIC mode only"),
    ("triple", "triple", "triple fault of vCPU 0, it had tried to leave x2APIC mode")])
def test_an_old_apic_is_named(batch, test, reason, words):
    vm = batch(guest("pc", "platform", f"test={test}")).vms["pc"]
    assert (vm["reason"], vm["message"]) == (reason, words)


def test_keyboard_goes_to_the_prompt(live):
    """A shell on ttyS0 hears what is typed, though a driver of the virtio console waits for it, too; a shell on that
    console does when the other has gone."""
    run = live(linux("pc", cmdline="console=ttyS0 quiet rdinit=/bin/sh", cores=[1]))
    run.expect(r"^pc\| BusyBox ")
    run.key("1")
    run.type("/bin/busybox --install -s /bin; PATH=/bin; mount -t devtmpfs dev /dev; mount -t sysfs sys /sys\n")
    run.type("for m in $(cat /modules/order); do insmod /modules/$m; done; echo loaded $((6 * 7))\n")
    run.expect(r"^loaded 42")
    run.type("ls /dev/hvc0 && echo heard $((6 * 7))\n")
    run.expect(r"^heard 42")
    run.type("exec </dev/hvc0 >/dev/hvc0 2>&1; echo moved $((6 * 7))\n")
    run.expect(r"^moved 42")
    run.type("echo there $((6 * 7))\n")
    run.expect(r"^there 42")
    assert run.quit() == 0


def test_a_disk_that_is_found_again(live):
    """Linux gives new addresses to a function that it finds by a rescan; it works there."""
    run = live(linux("pc", cores=[1], disks=[{"file": "ext4:8M", "mode": "volatile"}]))
    run.expect(r"^pc\| A shell on pc")
    run.key("1")
    run.type("umount /mnt* /mnt/*; cat /dev/vda | md5sum; echo 1 >/sys/bus/pci/devices/0000:00:03.0/remove\n")
    before = run.expect(r"^(\w{32})  -").group(1)
    run.type("echo 1 >/sys/bus/pci/rescan; cat $(ls /dev/vd? | tail -n 1) | md5sum\n")
    assert run.expect(r"^(\w{32})  -").group(1) == before
    assert run.quit() == 0
