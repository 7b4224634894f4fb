"""What boots: the pair of the README, kernels of all kinds, from GRUB too; and what refuses to."""

import re
import subprocess

import pytest
import rig
from firmware import call
from rig import guest, linux

CAUSES = "start recall port msr hlt vmcall memory shutdown invalid opcode xsetbv exception cpuid intr nmi icr step".split()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return rig.Batch(tmp_path_factory.mktemp("pair"), rig.SOURCE / "examples/pair.yaml")


def test_pair_ends_by_itself(pair):
    assert pair.code == 0, pair.errors + pair.output[-2000:]
    assert "hairline| end " in pair.output


@pytest.mark.parametrize("name, peer", [("alpha", "beta"), ("beta", "alpha")])
def test_pair_checks(pair, name, peer):
    lines = pair.logs[name].splitlines()
    for what in ("network", "disk-vda", f"ping-{peer}", f"http-{peer}"):
        assert f"CHECK {what} ok" in lines
    assert f"This is the disk of {name}." in lines
    assert f"Hairline guest {name}: Linux 6." in pair.logs[name] and "2 vCPUs" in pair.logs[name]
    assert "HAIRLINE-CHECKS: ok" in lines and "FAIL" not in pair.logs[name]


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_pair_report(pair, name):
    vm = pair.vms[name]
    assert (vm["state"], vm["reason"], vm["restarts"], vm["checks"]) == ("off", "poweroff", 0, "ok")
    assert vm["memory"] == 512 << 20
    assert vm["time"] > 0 and vm["time_us"] > 0 and vm["first"] > 0
    assert all(vm["exits"][cause] >= 0 for cause in CAUSES)
    assert vm["exits"]["cpuid"] > 100 and vm["exits"]["port"] > 100 and vm["exits"]["msr"] > 100
    assert [vm["exits"][c] for c in ("memory", "shutdown", "invalid", "opcode")] == [0, 0, 0, 0]


def test_pair_report_of_the_machine(pair):
    report = pair.report
    assert report["exit_code"] == 0 and report["wall_ms"] > 0
    assert report["machine"]["cores"] == 4 and report["machine"]["tsc_hz"] > 0 and report["machine"]["vms"] == 2
    kernel = report["kernel"]
    assert 0 < kernel["pool_free"] <= kernel["pool_frames"] and 0 < kernel["objects_free"] <= kernel["objects"]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """The other packaged kernels, and the usual one as an ELF file by PVH, each with one vCPU and a disk."""
    folder = tmp_path_factory.mktemp("kernels")
    disk = [{"file": "ext4:8M", "mode": "volatile"}]
    vms = [
        linux("cloud", "debian-cloud", cores=[1], lan="office", disks=disk),
        linux("backports", "debian-backports", cores=[2], lan="office", disks=disk),
        linux("elf", cores=[3], disks=disk),
    ]
    return rig.Batch(folder, rig.write_plan(folder, vms, cores=4, memory="2G"))


@pytest.mark.parametrize("name", ["cloud", "backports", "elf"])
def test_kernel_boots(kernels, name):
    log = kernels.logs[name]
    assert "HAIRLINE-CHECKS: ok" in log and "CHECK disk-vda ok" in log, log[-2000:]
    assert kernels.vms[name]["reason"] == "poweroff"


def test_memory_above_4_gib(batch):
    """RAM goes on behind the devices, in more than one mapping (QUOTA_MAPPING); Linux takes from its end first, so the disk's
    buffers and rings are there, too. The host backs only what is touched."""
    disk = [{"file": "ext4:8M", "mode": "volatile"}]
    run = batch(linux("big", "debian", memory="20G", vcpus=2, cores=[1], cmdline="console=ttyS0", disks=disk),
                guest("multiboot", "mboot", "name=multiboot", memory="4G"), cores=2, memory="32G")
    assert run.code == 0, run.errors + run.output[-2000:]
    log = run.logs["big"]
    assert re.search(r"e820: \[mem 0x0{8}00100000-0x0{8}bfffffff\] usable", log), log[:2000]
    assert re.search(r"e820: \[mem 0x0{7}100000000-0x0{7}53fffffff\] usable", log), log[:2000]
    assert "CHECK disk-vda ok" in log and "HAIRLINE-CHECKS: ok" in log
    assert "hello from multiboot" in run.logs["multiboot"]


def test_bare_guests(batch):
    run = batch(
        guest("pvh", "hello", "name=pvh"),
        guest("multiboot", "mboot", "name=multiboot"),
        guest("pair", "smp", vcpus=2, cores=[0, 1]),
        guest("crowd", "smp", vcpus=2),
    )
    assert run.code == 0, run.errors
    assert "hello from pvh" in run.logs["pvh"]
    assert "hello from multiboot" in run.logs["multiboot"]
    assert "smp: ok" in run.logs["pair"] and "smp: ok" in run.logs["crowd"]
    assert {vm["reason"] for vm in run.vms.values()} == {"exit_port"}


def screen(run, name):
    """What a VM wrote without ends of lines; the console cuts it where it is long, or has waited."""
    return "".join(line.removeprefix(f"{name}| ") for line in run.lines if line.startswith(f"{name}| "))


def test_memtest(tmp_path):
    """A packaged kernel that is not Linux tests its VM's memory; its 32-bit half has no entry for a VM."""
    folder = call(rig.SOURCE / "scripts/cache", "fetch", rig.SOURCE / "tests/tools.lock", "memtest").strip()
    memtest = {"name": "memtest", "memory": "32M", "cores": [1], "cmdline": "console=ttyS0 nopause"}
    run = rig.Live(rig.write_plan(tmp_path, [{**memtest, "kernel": f"{folder}/boot/memtest86+x64.bin"}]))
    try:
        words = ["Memtest86+ v6.10 ", "Using: Core #0 ", "[Address test, walking ones, no cache]", "0KB - 4MB [4MB of 31.6MB]"]
        assert run.wait(lambda: all(word in screen(run, "memtest") for word in words)), run.text()
        assert run.quit() == 0
    finally:
        run.stop()
    plan = rig.write_plan(tmp_path, [{**memtest, "kernel": f"{folder}/boot/memtest86+ia32.bin"}])
    done = subprocess.run([rig.BUILD / "hairline-tool", "run", plan, "--batch"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "is a bzImage without a 64-bit entry" in done.stderr


@pytest.mark.parametrize("image", ["hello", "mboot"])
def test_longest_command_line(batch, image):
    """2,047 bytes, of which the last are still there, behind the words of the tool."""
    end = " -- name=the-end"
    pad = "x" * (2047 - len(" hairline.name=long hairline.batch" + end))
    run = batch(guest("long", image, pad + end))
    assert run.code == 0 and "the-end" in run.logs["long"], run.errors


def test_core_0_beside_x87(batch):
    """VMs on core 0, or all of the machine, would die here if the emulator's CPUs were threads: cli/machine/qemu.c, accelerator()."""
    zeros = [guest(f"zero{i}", "smp", vcpus=2, cores=[0]) for i in range(4)]
    run = batch(*zeros, guest("one", "attack", "test=x87-loads"))
    assert run.code == 0, run.errors


@pytest.mark.parametrize("cores", [1, 64])
def test_machine_of_any_size(batch, cores):
    """As many VMs as a plan takes, on the smallest and the largest machine."""
    everywhere = list(range(cores))
    vms = [guest(f"vm{i}", "smp" if i % 2 else "hello", vcpus=1 + i % 2, cores=everywhere) for i in range(64)]
    run = batch(*vms, cores=cores)
    assert run.code == 0 and run.report["machine"]["cores"] == cores, run.errors
    assert all(("smp: ok" if i % 2 else "hello") in run.logs[f"vm{i}"] for i in range(64))


@pytest.mark.parametrize("vcpus, cores", [([4] * 64, 4), ([64] * 4, 4)])
def test_the_most_that_check_lets_pass(batch, vcpus, cores):
    """Each VM's last vCPU runs. A VM more, or a vCPU more, is refused (test_plan.py)."""
    run = batch(*(guest(f"vm{i}", "smp", f"last={n - 1}", vcpus=n, cores=list(range(1, cores))) for i, n in enumerate(vcpus)), cores=cores)
    assert run.code == 0 and len(run.vms) == len(vcpus), run.errors
    assert all("smp: ok" in log for name, log in run.logs.items() if name != "hairline")


def test_several_tebibytes(batch):
    """A VM that does not fit below 4 GiB is at the end of them. The host backs only what is touched. 4 TiB cost the pool a frame more than 1 GiB."""
    run = batch(guest("high", "hello", memory="8G"), memory="4096G")
    assert run.code == 0 and "hello" in run.logs["high"], run.errors + run.output
    assert run.report["kernel"]["pool_free"] > 8000


@pytest.mark.parametrize("size", ["24G", "1024G"])
def test_vm_of_a_server(batch, size):
    """A call maps at most QUOTA_MAPPING, 8 GiB, so such a VM's RAM is several mappings, in both of its domains."""
    run = batch(guest("big", "hello", memory=size), memory="2048G")
    assert run.code == 0 and "hello" in run.logs["big"], run.errors + run.output


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_pool_is_as_long_as_the_plan_needs(batch, firmware):
    """A VM whose memory takes more tables than the kernel is linked with has them. What the plan needs and what it says: the larger of both."""
    run = batch(guest("big", "hello", memory="18G"), memory="22G", firmware=firmware, machine={"small_pages": True})
    assert run.code == 0 and "hello" in run.logs["big"], run.errors + run.output
    assert 18 * 512 < run.report["kernel"]["pool_frames"] < 18 * 512 + 1024


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_pool_is_as_long_as_the_plan_says(batch, firmware):
    run = batch(guest("small", "hello"), memory="2G", firmware=firmware, machine={"kernel_memory": "255M"})
    assert run.code == 0 and "hello" in run.logs["small"], run.errors + run.output
    assert run.report["kernel"]["pool_frames"] == 255 * 256


def test_iso_boots_by_grub(tmp_path):
    plan = rig.write_plan(tmp_path, [guest("pvh", "hello"), guest("multiboot", "mboot")])
    out = tmp_path / "out"
    command = [rig.BUILD / "hairline-tool", "build", plan, "-o", out, "--iso", "--batch"]
    subprocess.run(command, check=True, capture_output=True)
    machine = ["-machine", "q35", "-cpu", "EPYC,+svm,+npt,+x2apic", "-m", "1024", "-smp", "2", "-accel", "tcg"]
    quiet = ["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"]
    run = rig.Machine(["qemu-system-x86_64", *machine, *quiet, "-cdrom", out / "hairline.iso"], subprocess.DEVNULL, None)
    assert run.finish() == 0
    assert len(re.findall(r"hello from a bare guest", run.text())) == 2 and "hairline| end " in run.text()


def test_vm_without_a_place(batch):
    """The tool believes the plan's memory; root sees what is there, and says what it would take."""
    run = batch(guest("big", "hello", memory="2560M"), memory="8G", qemu=["-m", "4096M"])
    assert "hairline| VM big: no contiguous run of 2560 MiB (largest free: 2048 MiB): raise machine.memory" in run.output
    assert (run.code, run.errors) == (1, "hairline: nothing was started: the line before says why\n")


@pytest.mark.parametrize(
    "cpu, name",
    [("-svm,+x2apic", "SVM"), ("+svm,-npt,+x2apic", "nested paging")],
    ids=["svm", "npt"],
)
def test_machine_that_lacks(batch, cpu, name):
    """One sentence, then nothing: in a batch the machine is reset."""
    run = batch(guest("pvh", "hello"), qemu=["-cpu", f"EPYC,{cpu}"])
    said = [line for line in run.output.splitlines() if line.startswith("hairline")]
    assert len(said) == 1 and name in said[0] and said[0].startswith("hairline: "), run.output
    assert run.code == 1
    assert "hairline| " not in run.output
