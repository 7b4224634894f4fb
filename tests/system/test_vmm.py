"""VMMs that die, and VMs that come and go: root and the others go on, and the kernel gets everything back."""

import pytest
import rig
from rig import guest, linux

UD2 = b"\x0f\x0b"
SPIN = b"\xeb\xfe"
WAIT = b"\xb8\x02\x00\x00\x00\x0f\x05"  # CALL_PT_REPLY without a caller: for ever
IMAGE_BASE = 0x400000  # abi/image.h


@pytest.fixture
def poisoned(tool_with):
    """poisoned(program, function): the tool in a folder of its own, with a root, vmm or lan that faults (or spins)
    where it enters that function."""

    def make(program, function, poison=UD2):
        tool = tool_with()
        at = rig.symbol(f"{program}.elf", function)[0] - IMAGE_BASE
        with open(tool.parent / f"{program}.img", "r+b") as image:
            image.seek(at)
            image.write(poison)
        return tool

    return make


def row(run, name):
    """What `list` says of a VM: its state."""
    run.command("list")
    return run.expect(rf"^hairline\| \d {name} +\w+ (\w+) ").group(1)


def expect_progress(run, name, times=5):
    for _ in range(times):
        run.expect(rf"^{name}\| progress")


@pytest.mark.parametrize("function, lan", [("vcpu_vmcall", {"lan": "l"}), ("virtio_work", {})], ids=["handler", "worker"])
def test_vmm_dies_alone(live, poisoned, function, lan):
    """A hypercall kills a handler thread, console input the worker, which a LAN's bell would wake as well; the VM
    comes back as planned."""
    plan = {"on_exit": "restart", **lan}
    run = live(guest("alpha", "victim", **plan), guest("beta", "victim", **plan), tool=poisoned("vmm", function))
    expect_progress(run, "alpha")
    expect_progress(run, "beta")
    for _ in range(3):
        run.key("2")
        run.expect(r"^hairline\| focus on beta")
        run.type("v")
        run.key("0")  # at once, for in focus lines have no name
        end = run.expect_end("beta")
        assert (end["reason"], end["value"], end["next"]) == ("vmm", "6", "restart")
        assert int(end["rip"], 16) >= IMAGE_BASE and "VMM fault: vector 6" in run.lines[run.seen - 1]
        run.expect(r"^beta\| victim: at work")
        expect_progress(run, "alpha")
        expect_progress(run, "beta")
    run.command("list")
    assert run.expect(r"^hairline\| 1 alpha .* (\d+) +\d+$").group(1) == "0"
    assert run.expect(r"^hairline\| 2 beta .* (\d+) +\d+$").group(1) == "3"
    assert run.quit() == 0


def test_vmm_that_dies_stays_off(batch, poisoned):
    run = batch(guest("alpha", "hello"), guest("beta", "bench"), tool=poisoned("vmm", "vcpu_vmcall"))
    assert run.code == 1 and "hairline| end " in run.output
    assert run.vms["alpha"]["reason"] == "exit_port" and "hello" in run.logs["alpha"]
    assert (run.vms["beta"]["reason"], run.vms["beta"]["value"], run.vms["beta"]["next"]) == ("vmm", 6, "off")


def test_linux_goes_on_beside_a_dead_vmm(live, poisoned):
    """A Linux boots and finds its peers while its neighbour's VMM dies again and again."""
    tool = poisoned("vmm", "vcpu_vmcall")
    disk = [{"file": "ext4:8M", "mode": "volatile"}]
    run = live(linux("alpha", cores=[1], disks=disk), guest("beta", "bench", on_exit="restart"), tool=tool)
    for _ in range(6):
        assert run.expect_end("beta")["reason"] == "vmm"
    run.until(r"alpha\| HAIRLINE-CHECKS: ok")
    run.tell(1, "echo still $((1 + 1))")
    run.told("still 2$")
    assert run.quit() == 1


def test_account_while_another_leaves(live, poisoned):
    """A guest that leaves quietly takes frames when it is let go. Its VMM does not return, so that root waits for some
    seconds; the life of another VM, begun before and ended in them, has lost nothing."""
    own = {"mode": "dedicated", "after": "quiet", "on_exit": "restart"}
    run = live(guest("leaves", "victim", **own), guest("short", "victim", cores=[2]), tool=poisoned("vmm", "vcpu_vmcall", SPIN), cores=3)
    state = None
    while state != "leaving":  # else its seconds were over before the other ended, and it begins anew
        expect_progress(run, "leaves", 3)
        run.key("1")
        run.expect(r"^hairline\| focus on leaves")
        run.type("v")
        run.key("0")
        run.expect(r"^hairline\| focus ends")
        run.command("restart short")
        run.expect(r"^short\| victim: at work")
        while row(run, "leaves") == "running":
            pass
        run.command("stop short")
        state = row(run, "leaves")
    assert run.quit() in (0, 1)


@pytest.mark.parametrize("function", ["vcpu_vmcall", "virtio_work"], ids=["handler", "worker"])
def test_vmm_that_hangs(live, poisoned, function):
    """A VMM that spins for ever takes no more of the core than its VM may, and can be stopped."""
    tool = poisoned("vmm", function, SPIN)
    run = live(guest("alpha", "victim"), guest("beta", "victim"), tool=tool, qemu=rig.COUNTED)
    expect_progress(run, "beta")
    run.key("2")
    run.expect(r"^hairline\| focus on beta")
    run.type("v")
    run.key("0")
    run.expect(r"^hairline\| focus ends")
    beside = rig.pace(run, "alpha")
    run.command("stop beta")
    assert run.expect_end("beta")["reason"] == "stopped"
    assert beside / rig.pace(run, "alpha") >= rig.ENOUGH
    run.command("start beta")
    run.expect(r"^beta\| victim: at work")
    assert run.quit() == 0


def test_vmm_never_ready(batch, poisoned):
    """Root gives it a minute, which is short where time passes when nobody works."""
    run = batch(guest("alpha", "hello"), tool=poisoned("vmm", "load_guest", WAIT), qemu=rig.COUNTED)
    assert run.code == 1 and (run.vms["alpha"]["reason"], run.vms["alpha"]["next"]) == ("vmm", "off")
    assert "not ready in time" in run.vms["alpha"]["message"]


def test_two_vmms_die_on_one_core(batch, poisoned):
    """Both again and again, one beside the other, until root gives them up; a third VM there lives."""
    dying = [guest(name, "bench", on_exit="restart") for name in ("alpha", "beta")]
    run = batch(*dying, guest("gamma", "hello"), tool=poisoned("vmm", "vcpu_vmcall"))
    for name in ("alpha", "beta"):
        vm = run.vms[name]
        assert (vm["reason"], vm["value"], vm["next"], vm["restarts"]) == ("vmm", 6, "given-up", 5)
    assert run.code == 1 and run.vms["gamma"]["reason"] == "exit_port"


def test_lan_switch_dies_alone(live, poisoned):
    """The first frame kills the switch, again and again until it stays off; the machines on it go on."""
    tool = poisoned("lan", "memcpy")
    run = live(guest("victim", "victim", lan="l"), guest("wild", "attack", "test=lan-flood", lan="l"), tool=tool)
    run.expect(r"^hairline\| LAN 1 died and starts again: vector 6, ")
    run.expect(r"^hairline\| LAN 1 died and stays off: vector 6, ")
    expect_progress(run, "victim")
    run.command("restart wild")
    run.expect(r"^wild\| attack lan-flood: to end")
    expect_progress(run, "victim")
    assert run.quit() == 0


def test_root_dies_with_a_word(batch, poisoned):
    """The one that all depend on: it says where it died, and the machine ends."""
    run = batch(guest("alpha", "hello"), tool=poisoned("root", "report_vm"))
    assert "hairline| root died: vector 6, " in run.output and "hairline| end " not in run.output
    assert run.code == 1 and "the machine stopped before it was done" in run.errors


def pool_after(run, name, lives):
    """End the machine after so many lives of the VM; what its last record says of the kernel's memory."""
    for life in range(lives):
        run.command(f"start {name}") if life else None
        assert run.expect_end(name)["reason"] == "exit_port"
    run.quit()
    return rig.fields(next(line for line in run.lines if line.startswith("hairline| end ")))


def test_lives_leave_nothing(live):
    """Build and destroy a VM with its VMM, disk and LAN a thousand times: the pool is as after its first life. And the
    same with two cores and no devices, beside nobody."""
    disk = [{"file": "ext4:4M", "mode": "volatile"}]
    plans = {
        1000: [guest("alpha", "hello", vcpus=2, cores=[1, 2], lan="l", disks=disk), guest("beta", "attack", "test=hlt", cores=[3])],
        10: [guest("alpha", "smp", vcpus=2, cores=[0, 1])],
    }
    for lives, vms in plans.items():
        once, often = (pool_after(live(*vms, cores=4), "alpha", n) for n in (1, lives))
        assert once == often and int(once["pool_free"]) > 0 and int(once["objects_free"]) > 0
