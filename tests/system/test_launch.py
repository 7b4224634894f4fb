"""A launch beneath a Linux that runs (linux/): Debian's packaged kernel with a small userland, whose init (launch-init) loads
the module and says what it sees."""

import hashlib
import json
import pathlib
import re
import shutil
import struct
import subprocess

import pytest
import rig
from firmware import KERNEL, call, make_initrd, packaged_kernel
from rig import guest

CORES = 3
STEPS = 9  # of a launch: linux/steps.c
QEMU = ["qemu-system-x86_64", "-machine", "q35,kernel-irqchip=split", "-accel", "tcg,thread=single", "-m", "1024"]
QEMU += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
BOOKWORM = "VERSION_CODENAME=bookworm" in pathlib.Path("/etc/os-release").read_text()
KERNELS = ["debian", "debian-backports"] if BOOKWORM else ["debian"]  # 6.1 and 6.12; Debian 13's own is 6.12
IOMMU = ["-device", "intel-iommu,intremap=on,eim=on"]  # for Linux to take x2APIC mode
AMDVI = ["-device", "amd-iommu,intremap=on,xtsup=on,pt=off"]  # the same; but QEMU 10.0 loses the serial line's interrupts
PLAN_HEAD = struct.pack("<QI", 0x6E616C706C68, 10)  # PLAN_MAGIC, PLAN_VERSION
PLAN_FLAGS, PLAN_BATCH, PLAN_TPM, PLAN_MEMORY = 12, 1, 28, 104  # in struct plan, the last in its first VM
BY_KMSG = {"more": {"/kmsg": b""}, "words": "printk.devkmsg=on iomem=relaxed"}  # so what it says goes where Linux does not wait for them


def build(folder, name, kept=1, host=True, beside="hello", words=(), **keys):
    """hairline.efi of a plan with a small VM on the core that Hairline keeps; `words`: of `build`."""
    (folder / name).mkdir()
    (folder / "disk").write_bytes(bytes(4096))
    vms, machine = [guest("beside", beside, cores=[kept - 1], **keys)], {"firmware": "uefi"}
    if host:
        vms, machine = [*vms, {"name": "debian", "mode": "host"}], {**machine, "host": {"disk": str(folder / "disk")}}
    plan = rig.write_plan(folder / name, vms, cores=kept + 1, **machine)
    call(rig.BUILD / "hairline-tool", "build", plan, *words, "--efi", folder / f"{name}.efi")
    return folder / f"{name}.efi"


def patched(folder, name, base, at, value):
    """A copy of the file `base` whose plan is one that the tool does not write: root refuses it. Nobody is there to read why."""
    image = bytearray(base.read_bytes())
    plan = image.index(PLAN_HEAD)
    struct.pack_into("<I", image, plan + PLAN_FLAGS, PLAN_BATCH)
    struct.pack_into("<Q", image, plan + at, value)
    (folder / name).write_bytes(image)
    return folder / name


class Linux:
    """One run of it, from boot to power-off: what it said, and what Hairline did."""

    def __init__(self, folder, files, steps, *qemu, cpu="EPYC,+svm,+npt,+x2apic", cores=CORES, programs=(), more=(), modules=(), kernel=KERNEL, words=""):
        module, console = kernel / "hairline.ko", folder / "hairline.log"
        rig.made(module)
        files = {"/hairline.ko": module, "/steps": steps.encode(), **{f"/{file.name}": file for file in files}}
        files["/init"] = rig.SOURCE / "tests/system/launch-init"
        (folder / "linux").mkdir()
        initrd = make_initrd(folder / "linux", programs, files | dict(more), modules=modules, kernel=kernel)
        command = [*QEMU, "-smp", str(cores), "-cpu", cpu, *qemu, "-kernel", packaged_kernel(kernel), "-initrd", initrd, "-serial", "stdio"]
        command += ["-append", f"console=ttyS0 quiet panic=-1 no_timer_check {words}", "-chardev", f"file,id=hairline,path={console}"]
        command += ["-device", "isa-serial,iobase=0x3e8,irq=4,chardev=hairline"]
        run = rig.Machine([*map(str, command)], subprocess.DEVNULL, subprocess.DEVNULL)
        self.code, self.log = run.finish(), run.text()
        self.hairline = console.read_text(errors="replace") if console.exists() else ""
        self.facts = re.findall(r"^(?:\[ *[0-9.]+\] )?FACT (\S+) ?(.*)", self.log, re.MULTILINE)

    def said(self, name):
        return [text for word, text in self.facts if word == name]

    def states(self, name):
        return [rig.fields(text) for text in self.said(name)]


STEPS_OF_ONE = f"""
for step in $(seq {STEPS}); do
    echo $step >$module/fail_at
    say "failed $(launch /host.efi)"
done
echo 0 >$module/fail_at
say "refused $(launch /nothing.efi)"
say "refused $(launch /short.efi)"
say "refused $(launch /nohost.efi)"
say "refused $(launch /many.efi)"
say "refused $(launch /sealed.efi)"
say "refused $(launch /tpm.efi)"
say "refused $(launch /large.efi)"
say "launched $(launch /host.efi)"
say "again $(launch /host.efi)"
check hotplug core_off_and_on
check nmi nmi
insmod_all
say "kvm $(dmesg | sed -n 's/.*kvm: //p' | tail -n 1)"
say "after $(state)"
"""


@pytest.fixture(scope="module", name="linux")
def run_linux(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launch")
    files = [build(folder, "host"), build(folder, "nohost", host=False), build(folder, "many", kept=CORES)]
    files.append(build(folder, "sealed", kept=2, mode="dedicated", sealed=True))
    files.append(patched(folder, "tpm.efi", files[0], PLAN_TPM, 1))
    files.append(patched(folder, "large.efi", files[0], PLAN_MEMORY, 1 << 34))
    (folder / "short.efi").write_bytes((folder / "host.efi").read_bytes()[:-4096])
    return Linux(folder, [*files, folder / "short.efi"], STEPS_OF_ONE, *IOMMU, modules=["kvm_amd"])


def is_unchanged(before, now):
    """All processors, and memory but for half of what a launch takes: what works meanwhile has some."""
    return now["cores"] == before["cores"] and int(now["free"]) > int(before["free"]) - 48 * 1024


def test_launch_that_fails_changes_nothing(linux):
    """At each of its steps, the last one when Hairline had come up beside; and what was wrong with the files is said."""
    (before,), failed, refused = linux.states("before"), linux.states("failed"), linux.states("refused")
    assert before["cores"] == str(CORES) and linux.said("apic") == ["1"], linux.log
    assert len(failed) == STEPS and all(is_unchanged(before, state) and state["launched"] == "0" for state in failed)
    assert all("fail_at says so" in text for text in linux.said("failed"))
    assert all(is_unchanged(before, state) and state["launched"] == "0" for state in refused)
    reasons = ["cannot be read", "not what `hairline build --efi` wrote", "no VM of `mode: host`", "no processor would be left"]
    reasons += ["Hairline refuses"] * 3
    assert len(refused) == len(reasons) and all(reason in text for reason, text in zip(reasons, linux.said("refused")))


def test_linux_goes_on_as_a_guest(linux):
    """With all its cores but Hairline's, hotplug and NMIs; another hypervisor is refused; and it switches the machine off."""
    (launched,), (before,) = linux.states("launched"), linux.states("before")
    assert launched["launched"] == "1" and launched["cores"] == str(CORES - 1), linux.log
    assert int(launched["free"]) < int(before["free"]) - 64 * 1024
    assert linux.said("hotplug") == linux.said("nmi") == ["ok"]
    assert "disabled by bios" in linux.said("kvm")[0] or "not supported" in linux.said("kvm")[0]
    assert linux.said("warnings") == [""] and linux.said("end") == [""] and linux.code == 0
    assert "leaves: status 0" in linux.hairline  # it leaves first


def test_vm_runs_beside(linux):
    """Once for the launch and once for the one that failed last; what it is worth is said."""
    assert "beside| hello from a bare guest" in linux.hairline
    assert "hairline| VM beside: sealed, but devices of debian reach all memory here (level L0)" in linux.hairline
    assert "hairline| host name=debian level=L0 iommus=0 launch=unmeasured" in linux.hairline


CYCLES = 50 if rig.ALL else 3
STEPS_OF_MANY = f"""
insmod_all
compute & read_disk & fetch &
say "notbeneath $(leave)"
say "chipset $(devmem 0xfed80000 32)"
for cycle in $(seq {CYCLES}); do
    say "launched $(launch /host.efi)"
    rmmod hairline 2>/dev/null && say "gone"
    say "left $(leave)"
done
say "launched $(launch /host.efi)"
say "chipset $(devmem 0xfed80000 32)"
echo 0 2>/dev/null >$last/online
say "oneoff $(leave)"
echo 1 2>/dev/null >$last/online
say "left $(leave)"
say "chipset $(devmem 0xfed80000 32)"
check hotplug core_off_and_on
check nmi nmi
check rmmod rmmod hairline
kill %1 %2 %3
for load in computed read fetched; do
    sums /tmp/$load | while read -r line; do say "$load $line"; done
done
say "kvm $(grep -c '^kvm_amd ' /proc/modules)"
"""


DATA = bytes(range(256)) * 16384  # on a disk
FETCHED = DATA[: 1 << 17]  # from a server


MANY = [(KERNELS[0], 1, IOMMU), (KERNELS[-1], 3, IOMMU), (KERNELS[0], 2, AMDVI)]


@pytest.fixture(scope="module", name="cycles", params=MANY, ids=lambda param: f"{param[0]}-{param[1]}")
def run_cycles(tmp_path_factory, request):
    """A kernel, how many processors stay its own, and its IOMMU."""
    folder, (kernel, left, iommu) = tmp_path_factory.mktemp("cycles"), request.param
    (folder / "files").mkdir()
    (folder / "files/data").write_bytes(FETCHED)
    (folder / "nvme").write_bytes(DATA)
    disk = ["-drive", f"if=none,id=disk,format=raw,file={folder}/nvme", "-device", "nvme,drive=disk,serial=1"]
    net = ["-netdev", f"user,id=net,tftp={folder}/files", "-device", "virtio-net-pci,netdev=net,romfile="]
    how = {"cores": left + 1, "modules": ["nvme", "virtio_net", "virtio_pci"], "kernel": rig.BUILD / "kernels" / kernel}
    how |= BY_KMSG if iommu is AMDVI else {}
    cycles = Linux(folder, [build(folder, "host")], STEPS_OF_MANY, *iommu, *disk, *net, **how)
    cycles.left, cycles.iommu = left, iommu
    return cycles


def test_leave_gives_all_back(cycles):
    """Again and again, under load: processors and memory are Linux's again, and the module can be removed."""
    (before,), launched, left = cycles.states("before"), cycles.states("launched"), cycles.states("left")
    assert len(launched) == len(left) == CYCLES + 1, cycles.log
    assert all(state["launched"] == "1" and state["cores"] == str(cycles.left) for state in launched), cycles.log
    assert all(is_unchanged(before, state) and state["launched"] == "0" for state in left), cycles.log
    assert cycles.hairline.count("leaves: status 0") == cycles.hairline.count("vm name=beside state=off") == CYCLES + 1
    assert not cycles.said("gone") and cycles.said("rmmod") == ["ok"]
    assert cycles.said("hotplug") == cycles.said("nmi") == ["ok"]
    assert cycles.said("warnings") == [""] and cycles.said("end") == [""] and cycles.code == 0


def test_chipset_is_hidden_and_comes_back(cycles):
    """What is at AMD's registers: beneath a copy, of whose first ones are shown. On QEMU they may be the system's IOMMU instead."""
    before, beneath, after = cycles.said("chipset")
    assert before == after != "0xFFFFFFFF" and beneath == (before if cycles.iommu is AMDVI else "0xFFFFFFFF")


def test_load_does_not_notice(cycles):
    """What was computed and read meanwhile is right."""
    (computed,), (read,), (fetched,) = map(cycles.said, ("computed", "read", "fetched"))
    text = "".join(f"{i}\n" for i in range(1, 3001)).encode()
    assert computed.split()[1] == hashlib.md5(text).hexdigest() and int(computed.split()[0]) > CYCLES
    assert read.split()[1] == hashlib.md5(DATA).hexdigest() and int(read.split()[0]) > 0
    assert fetched.split()[1] == hashlib.md5(FETCHED).hexdigest() and int(fetched.split()[0]) > CYCLES


def test_leave_that_cannot_be(cycles):
    """Before a launch; and while one of its processors would stay beneath: the only one cannot be off."""
    (before,), (off,) = cycles.states("notbeneath"), cycles.states("oneoff")
    assert before["launched"] == "0"
    if cycles.left > 1:
        assert off["launched"] == "1" and "switch it on first" in cycles.said("oneoff")[0]
    else:
        assert off["launched"] == "0"


STEPS_OF_A_USER = """
places=/lib/modules/$(uname -r)
mkdir -p $places
for file in /modules/*; do cp $file $places/${file#/modules/??-}; done
depmod
modprobe kvm_amd
kvm() { grep -c '^kvm_amd ' /proc/modules; }
tool() { hairline-tool "$@" 2>&1 && say "done $1 $(state) kvm=$(kvm)" || say "not $1 $(state) kvm=$(kvm)"; }
tool leave 2>&1 | while read -r line; do say "leave $line"; done
tool launch /many.yaml | while read -r line; do say "many $line"; done
tool launch /plan.yaml
tool launch /plan.yaml | while read -r line; do say "twice $line"; done
hairline-tool list 2>&1 | while read -r line; do say "list $line"; done
tool leave
"""


@pytest.mark.parametrize("kernel", [rig.BUILD / "kernels" / name for name in (KERNELS if rig.ALL else KERNELS[-1:])], ids=lambda kernel: kernel.name)
def test_tool_launches_and_leaves(tmp_path, kernel):
    """`hairline launch` and `hairline leave` in the system itself, which has the tool and its images. KVM's module, which holds
    SVM from Linux 6.12 on, is away meanwhile; after a launch that was refused it is there, too."""
    images = ["hairline.elf", "hairline64.elf", "uefi.efi", "root.img", "vmm.img", "lan.img"]
    files = {f"/bin/{name}": rig.BUILD / name for name in images}
    files["/hello.elf"], files["/disk"] = rig.BUILD / "guest/bare/hello.elf", bytes(4096)
    for name, kept in (("plan", 1), ("many", CORES)):
        (tmp_path / name).mkdir()
        beside = {**guest("beside", "hello", cores=[kept - 1]), "kernel": "/hello.elf"}
        machine = {"firmware": "uefi", "host": {"disk": "/disk"}}
        plan = rig.write_plan(tmp_path / name, [beside, {"name": "debian", "mode": "host"}], cores=kept + 1, **machine)
        files[f"/{name}.yaml"] = plan
    run = Linux(tmp_path, [], STEPS_OF_A_USER, *IOMMU, programs=[rig.BUILD / "hairline-tool"], more=files, modules=["kvm_amd"], kernel=kernel)
    (before,), done = run.states("before"), run.said("done")
    assert [text.split()[0] for text in done] == ["launch", "leave"], run.log
    assert "cores=2" in done[0] and "cores=3" in done[1] and is_unchanged(before, rig.fields(done[1]))
    refused = [text for text in run.said("leave") + run.said("many") if text.startswith("FACT not")]
    assert "kvm=0" in done[0] and "kvm=1" in done[1] and len(refused) == 2 and all("kvm=1" in text for text in refused)
    assert "Hairline is beneath this system: level L0" in run.log and "hello from a bare guest" in run.hairline
    assert any("not beneath this system" in text for text in run.said("leave"))
    assert any("no processor would be left" in text for text in run.said("many"))
    assert [text.split(":")[1] for text in run.said("list")] == [" nothing is running"]  # the plan gives it no line
    assert any("`hairline leave` first" in text for text in run.said("twice"))


STEPS_OF_A_MASTER = """
tell() { # tell WHAT ARGUMENT...: what the tool says, each line a fact; and how it ended
    what=$1
    shift
    hairline-tool "$@" >/said 2>&1
    code=$?
    while read -r line; do say "$what $line"; done </said
    say "$what code=$code"
}
last() { hairline-tool logs canary | sed -n 's/^canary: round //p' | tail -n 1; }
tell before list
tell launch launch /plan.yaml
until [ -n "$(last)" ]; do sleep 1; done
tell list list --json -
tell top top --json - --timeout 2
tell kill kill canary
tell killed list
tell start start canary
before=$(last)
until [ "$(last)" != "$before" ]; do sleep 1; done
tell events events --timeout 2
tell private logs hello
echo typed | hairline-tool console canary --timeout 2 >/said 2>&1
say "console code=$?"
tell create create /plan.yaml
tell nobody kill nobody
line_storm /dev/hairline
say "storm code=$?"
before=$(last)
until [ "$(last)" != "$before" ]; do sleep 1; done
tell after list
tell leave leave
tell left list
tell again launch /plan.yaml
until [ -n "$(last)" ]; do sleep 1; done
tell relaunched list
tell last leave
"""


def test_system_commands_what_is_beside(tmp_path):
    """The tool in a system beneath which Hairline was launched, whose plan says `control: all`: as in a service VM. Its root also
    writes what it likes into the pages that it shares with Hairline."""
    images = ["hairline.elf", "hairline64.elf", "uefi.efi", "root.img", "vmm.img", "lan.img"]
    files = {f"/bin/{name}": rig.BUILD / name for name in images}
    files |= {f"/{name}.elf": rig.BUILD / f"guest/bare/{name}.elf" for name in ("hello", "canary")} | {"/disk": bytes(4096)}
    vms = [{**guest("canary", "canary", cores=[0], console="open"), "kernel": "/canary.elf"}]
    vms += [{**guest("hello", "hello", cores=[0]), "kernel": "/hello.elf"}, {"name": "debian", "mode": "host", "control": "all"}]
    files["/plan.yaml"] = rig.write_plan(tmp_path, vms, cores=2, firmware="uefi", host={"disk": "/disk"})
    storm = rig.BUILD / "tests/line_storm"
    rig.made(storm)
    run = Linux(tmp_path, [], STEPS_OF_A_MASTER, *IOMMU, programs=[rig.BUILD / "hairline-tool", storm], more=files)
    codes = {name: run.said(name)[-1] for name, _ in run.facts if run.said(name)[-1].startswith("code=")}
    good = ("launch", "list", "top", "kill", "killed", "start", "events", "console", "storm", "after", "leave", "again", "relaunched", "last")
    refused = {"before": 2, "left": 2, "private": 1, "create": 2, "nobody": 1}
    assert codes == {name: "code=0" for name in good} | {name: f"code={code}" for name, code in refused.items()}, run.log
    look = json.loads("".join(run.said("list")[:-1]))
    assert look["machine"]["self"] == "debian" and sorted(look["vms"]) == ["canary", "hello"] and look["vms"]["canary"]["exits"]["vmcall"] > 0
    assert any(re.match(r"canary +shared +off ", line) for line in run.said("killed"))
    assert "name=canary state=running" in run.said("events")
    for name in ("after", "relaunched"):
        assert any(re.match(r"canary +shared +running ", line) for line in run.said(name)), run.log
    assert "keeps its console private" in run.said("private")[0] and "nothing is running" in run.said("left")[0]
    assert run.hairline.count("leaves: status 0") == 2 and "canary: wrong" not in run.hairline and "LEAK" not in run.hairline


STEPS_OF_A_HOSTILE_ONE = """
say "launched $(launch /host.efi)"
insmod /reach.ko
say "reach $(dmesg | sed -n 's/.*reach: //p')"
say "left $(leave)"
insmod /reach.ko
say "reach $(dmesg | sed -n 's/.*reach: //p' | tail -n 1)"
"""


def test_its_kernel_reaches_no_memory(tmp_path):
    """A module that writes to all that Linux gave away: one page is wherever Hairline is, and the VM beside goes on."""
    module = KERNEL / "reach.ko"
    rig.made(module)
    run = Linux(tmp_path, [build(tmp_path, "host", beside="canary"), module], STEPS_OF_A_HOSTILE_ONE, *IOMMU)
    beneath, after = map(rig.fields, run.said("reach"))
    assert int(beneath["pages"]) > 0x4000 and int(beneath["kept"]) == int(beneath["own"]) + 1, run.log
    assert after["pages"] == after["kept"] == after["own"] == "16"
    assert "canary: wrong" not in run.hairline and "beside| canary: round" in run.hairline and "leaves: status 0" in run.hairline


STEPS_OF_A_CLOCK = """
now() { awk '/^now at/ { print $3 }' /proc/timer_list; }
mix() {
    from=$(now)
    i=0
    while [ $i -lt 10000 ]; do i=$((i + 1)); done
    for turn in 1 2; do
        seq 3000 | md5sum >/tmp/sum
        dd if=/dev/zero of=/tmp/zeros bs=64k count=32 2>/dev/null
        md5sum /tmp/zeros >/tmp/sum
        cat /proc/meminfo /proc/interrupts >/tmp/text
        rm /tmp/zeros
    done
    say "mix $1 $(($(now) - from))"
}
mixes() { for turn in 1 2 3 4; do mix $1; done; }
without() { # with as many processors as beneath
    echo 0 >/sys/devices/system/cpu/cpu$(($(nproc) - 1))/online
    mixes without
    echo 1 >/sys/devices/system/cpu/cpu$(($(nproc)))/online
}
without
say "launched $(launch /host.efi) $(cat $module/stopped)"
mixes beneath
say "left $(leave) $(cat $module/stopped)"
without
"""


def count_instructions(folder, left):
    """Of a launch beneath a Linux to which `left` processors stay: for how many instructions of each processor it stands, in a
    launch and in a leave; and a fixed mix of its own, beneath, of the same without. A tick is an instruction of any processor:
    all work or wait while it stands, so that many of each are a processor's share. Without the timer of the local APIC: QEMU
    10.0 gives up where that is read in x2APIC mode and time is instructions ("Bad icount read")."""
    run = Linux(folder, [build(folder, "host")], STEPS_OF_A_CLOCK, *IOMMU, *rig.ONE_GIPS, cores=left + 1, words="nolapic_timer")
    (launch,), (leave,) = run.said("launched"), run.said("left")
    launch, leave = (int(text.split()[-1]) // (left + 1) for text in (launch, leave))
    mixes = [text.split() for text in run.said("mix")]
    beneath, without = ([int(ticks) for where, ticks in mixes if where == name] for name in ("beneath", "without"))
    assert (len(beneath), len(without)) == (4, 8), run.log
    return {"launch": launch, "leave": leave, "mix": sum(beneath) / 4 / (sum(without) / 8)}


@pytest.mark.parametrize("left", [1, 3])
def test_linux_stands_for_a_moment(tmp_path, left):
    """At most for a million instructions and half a million a processor in a launch, for 100,000 a processor in a leave; and goes
    on as before."""
    count = count_instructions(tmp_path, left)
    assert 0 < count["launch"] <= 1000000 + left * 500000 and 0 < count["leave"] <= left * 100000, count
    assert left > 1 or 0.99 < count["mix"] <= 1.001, count


def test_processor_off_at_the_end(tmp_path):
    """So no leave can be. A power-off is root's to carry out; a reboot is one."""
    for name, end in (("off", ""), ("again", "reboot -f\n")):
        (tmp_path / name).mkdir()
        steps = f'say "launched $(launch /host.efi)"\necho 0 >$last/online\n{end}'
        run = Linux(tmp_path / name, [build(tmp_path / name, "host")], steps, *IOMMU)
        assert run.states("launched")[0]["launched"] == "1" and "a processor is off: switch it on first" in run.log
        assert "leaves" not in run.hairline and run.code == 0 and bool(run.said("end")) == (name == "off"), run.log


STEPS_OF_A_KEXEC = """
say "launched $(launch /host.efi)"
/kexec /vmlinuz /next "console=ttyS0 quiet panic=-1 no_timer_check"
say "no kexec"
"""
NEXT = b"""#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
echo "FACT next cores=$(nproc)"
poweroff -f
"""


def test_kexec_leaves_first(tmp_path):
    """Another Linux takes over a machine that is whole."""
    program = rig.BUILD / "tests/kexec"
    rig.made(program)
    (tmp_path / "next").mkdir()
    shutil.copy(make_initrd(tmp_path / "next", [], {"/init": NEXT}), tmp_path / "initrd")
    more = {"/next": tmp_path / "initrd", "/vmlinuz": packaged_kernel()}
    run = Linux(tmp_path, [build(tmp_path, "host"), program], STEPS_OF_A_KEXEC, *IOMMU, more=more)
    (launched,) = run.states("launched")
    assert launched["launched"] == "1" and not run.said("no") and run.said("next") == [f"cores={CORES}"], run.log
    assert "leaves: status 0" in run.hairline and run.code == 0


STEPS_BESIDE_KVM = """
insmod_all
say "loads $(launch /host.efi)"
leave >/dev/null
/kvm_holder >/tmp/holds & until grep -q holds /tmp/holds; do sleep 1; done
say "refused $(launch /host.efi)"
kill %1; wait %1
say "again $(launch /host.efi)"
"""


def test_kvm_with_a_vm_is_in_the_way(tmp_path):
    """Its module alone is not, in Linux 6.1."""
    holder = rig.BUILD / "tests/kvm_holder"
    rig.made(holder)
    run = Linux(tmp_path, [build(tmp_path, "host"), holder], STEPS_BESIDE_KVM, *IOMMU, modules=["kvm_amd"])
    (before,), (refused,) = run.states("before"), run.states("refused")
    assert "KVM is loaded" in run.said("refused")[0] and is_unchanged(before, refused), run.log
    assert [state["launched"] for state in run.states("loads") + run.states("again")] == ["1", "1"] and run.code == 0


REFUSED = 'say "refused $(launch /host.efi)"\n'


@pytest.mark.parametrize(
    "qemu, how, reason",
    [
        ((), {}, "xAPIC mode"),
        (IOMMU, {"cpu": "EPYC,+svm,+npt,+x2apic,+la57"}, "5-level page tables"),
        (IOMMU, {"cpu": "EPYC,-svm,+x2apic"}, "no AMD virtualization"),
        (IOMMU, {"words": "memmap=4K$0x8000"}, "the page at 8000h is not free"),
    ],
)
def test_machine_that_does_not_do(tmp_path, qemu, how, reason):
    run = Linux(tmp_path, [build(tmp_path, "host")], REFUSED, *qemu, **how)
    (before,), (state,) = run.states("before"), run.states("refused")
    assert reason in run.said("refused")[0] and is_unchanged(before, state) and run.code == 0
