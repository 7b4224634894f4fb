"""The flat PC: what guests expect of a machine without asking for it, in each mode."""

import pytest
from rig import guest, linux

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


@pytest.mark.parametrize("test", ["tsc", "nmi"])
def test_as_a_processor_does(batch, test):
    """Of a shared guest: it sets its TSC; an NMI waits for the end of the one before."""
    vm = batch(guest("pc", "platform", f"test={test}")).vms["pc"]
    assert (vm["reason"], vm["value"]) == ("exit_port", 0), vm.get("message")


@pytest.mark.parametrize("test, reason, words", [
    ("efer", "exit_port", ""), ("port", "port", "it used port 0x60 without its VMM"), ("msr", "msr", "it used MSR 0x2ff without its VMM")])
def test_without_a_vmm(batch, test, reason, words):
    vm = batch(guest("pc", "platform", f"test={test} leave=1", **OWN)).vms["pc"]
    assert (vm["reason"], vm["message"] or "") == (reason, words)


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
    assert (vm["reason"], vm["message"]) == ("loader", "kernel: a segment lies where a PC has its ROMs (A0000h to FFFFFh)")


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
