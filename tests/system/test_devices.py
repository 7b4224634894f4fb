"""Devices: what `probe` finds on each kind of machine, which plans root refuses, and a controller of a VM's own."""

import json
import re
import subprocess

import pytest
import rig

NETWORK, NVME = "01:00.0", "02:00.0"
DISK = ["-drive", "if=none,id=d,format=raw,snapshot=on,file={disk}", "-device", "nvme,drive=d,serial=1,cmb_size_mb=512,msix_qsize=512"]


class Probe:
    def __init__(self, folder, machine=None, qemu=()):
        report, plan = folder / "probe.json", []
        if machine:
            plan = [folder / "machine.yaml"]
            plan[0].write_text(json.dumps({"machine": machine, "vms": [rig.guest("any", "hello")]}))
        self.plan = folder / "start.yaml"
        command = [rig.BUILD / "hairline-tool", "probe", *plan, "--json", report, "--plan", self.plan, "--timeout", str(rig.PATIENCE), "--", *qemu]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        self.code, self.output, self.errors = done.returncode, done.stdout, done.stderr
        self.report = json.loads(report.read_text()) if report.exists() else {}
        self.functions = {f["function"]: f for f in self.report.get("functions", [])}


@pytest.fixture
def probe(tmp_path):
    return lambda machine=None, qemu=(): Probe(tmp_path, machine, qemu)


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    return Probe(tmp_path_factory.mktemp("usual"))


def test_probe_machine(usual):
    assert usual.code == 0, usual.errors
    assert [c["apic_id"] for c in usual.report["cores"]] == [0, 1, 2, 3]
    assert 1 << 30 < sum(m["bytes"] for m in usual.report["memory"]) < 2 << 30
    assert [i["kind"] for i in usual.report["iommus"]] == ["VT-d"]
    assert usual.report["assignment"]["possible"] == "yes"


def test_probe_functions(usual):
    for rid, name, class_, vfs in (NETWORK, "8086:10c9", "0x0200", 8), (NVME, "1b36:0010", "0x0108", 0):
        f = usual.functions[rid]
        assert (f["id"], f["class"], f["vfs"], f["iommu"], f["group"], f["assignable"]) == (name, class_, vfs, 0, rid, "yes")
    assert usual.functions["00:01.0"]["why"] == "it is a bridge"
    assert usual.functions["00:1f.2"]["why"] == "it is not a PCI Express endpoint"
    assert usual.functions["00:1f.3"]["why"] == "it leads to the SMBus, and so to memory modules and voltages"
    assert usual.functions["00:00.0"]["why"] == "it is a bridge or a part of the chipset"
    assert usual.functions["00:1f.2"]["group"] == usual.functions["00:1f.3"]["group"] == "00:1f.0"


def test_probe_table(usual):
    lines = usual.output.splitlines()
    assert any(line.startswith(NETWORK) and line.endswith("yes (and 8 virtual functions, once its owner enables them)") for line in lines)
    assert any(line.startswith("00:01.0") and line.endswith("no: it is a bridge") for line in lines)


def test_probe_plan_is_good(usual):
    text = usual.plan.read_text()
    assert NETWORK in text and NVME in text and "dedicated" in text
    done = subprocess.run([rig.BUILD / "hairline-tool", "check", usual.plan], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_probe_amd(probe):
    found = probe({"iommu": "amd", "memory": "1G", "devices": [{"igb": {}}, {"nvme": "ext4:8M"}]})
    assert found.code == 0, found.errors
    assert [i["kind"] for i in found.report["iommus"]] == ["AMD-Vi"]
    assert {f["class"] for f in found.functions.values() if f["assignable"] == "yes"} == {"0x0200", "0x0108"}


def nothing_for(found, why):
    assert found.code == 0, found.errors
    assert found.report["assignment"] == {"possible": "no", "why": why}
    assert f"no function can be assigned: {why}" in found.output
    assert all(f["assignable"] == "no" for f in found.functions.values())
    assert found.functions[NETWORK]["why"] == why


def test_no_iommu(probe):
    nothing_for(probe({"memory": "1G", "devices": [{"igb": {}}]}), "the machine has no IOMMU")


def test_no_interrupt_remapping(probe):
    found = probe({"memory": "1G", "devices": [{"igb": {}}]}, ["-machine", "kernel-irqchip=split", "-device", "intel-iommu,intremap=off"])
    nothing_for(found, "the machine has no interrupt remapping")


def test_what_cannot_be_assigned(probe):
    """Conventional PCI, no way to reset, one of several functions that could talk to each other."""
    port = "pcie-root-port,id=p{0},chassis={0},slot={0}"
    found = probe(
        {"iommu": "intel", "memory": "1G"},
        [
            *("-device", "e1000,addr=5", "-device", port.format(7), "-device", "qemu-xhci,bus=p7"),
            *("-drive", "if=none,id=a,file=null-co://,format=raw", "-drive", "if=none,id=b,file=null-co://,format=raw"),
            *("-device", "nvme,drive=a,serial=1,addr=6.0,multifunction=on", "-device", "nvme,drive=b,serial=2,addr=6.1"),
        ],
    )
    assert found.code == 0, found.errors
    by_id = {f["id"]: f for f in found.functions.values()}
    assert by_id["8086:100e"]["why"] == "it is not a PCI Express endpoint"
    assert by_id["1b36:000d"]["why"] == "it cannot be reset"
    pair = found.functions["00:06.0"], found.functions["00:06.1"]
    assert [(f["group"], f["assignable"]) for f in pair] == [("00:06.0", "yes")] * 2
    lines = {line.split()[0]: line for line in found.output.splitlines() if line}
    assert lines["00:06.0"].endswith(" yes, only with 00:06.1") and lines["00:06.1"].endswith(" yes, only with 00:06.0")
    plan = found.plan.read_text()
    assert re.search(r"devices:\n +- 00:06\.0 .*\n +- 00:06\.1 ", plan) and plan.count("00:06.") == 2, plan


def test_group_that_no_vm_can_have(probe):
    """A good controller in a slot with a network card that is not PCI Express: the group goes as a whole, or not at all."""
    pair = ["-device", "e1000,addr=7.1", "-drive", "if=none,id=a,file=null-co://,format=raw"]
    found = probe({"iommu": "intel", "memory": "1G"}, [*pair, "-device", "nvme,drive=a,serial=1,addr=7.0,multifunction=on"])
    assert found.code == 0, found.errors
    nvme = found.functions["00:07.0"]
    assert (nvme["group"], nvme["assignable"], nvme["why"]) == ("00:07.0", "no", "its group has 00:07.1, which no VM can have")
    assert "00:07.0" not in found.plan.read_text()


def ports_of_a_slot(acs):
    """Two root ports that are functions of one slot, an NVMe controller behind each."""
    words = []
    for i in range(2):
        port = f"pcie-root-port,id=p{i},chassis={8 + i},slot={8 + i},addr=8.{i},multifunction=on,disable-acs={'off' if acs else 'on'}"
        words += ["-device", port, "-drive", f"if=none,id=d{i},file=null-co://,format=raw", "-device", f"nvme,drive=d{i},serial={i},bus=p{i}"]
    return words


@pytest.mark.parametrize("acs", [False, True])
def test_ports_of_a_slot(probe, acs):
    """What comes through one port can go out through the other, before any IOMMU, unless both have ACS."""
    found = probe({"iommu": "intel", "memory": "1G"}, ports_of_a_slot(acs))
    assert found.code == 0, found.errors
    rids = sorted(rid for rid, f in found.functions.items() if f["class"] == "0x0108")
    assert len(rids) == 2
    assert [found.functions[rid]["group"] for rid in rids] == (rids if acs else ["00:08.0"] * 2)


def null_disk(name, bus):
    return ["-drive", f"if=none,id={name},file=null-co://,format=raw", "-device", f"nvme,drive={name},serial={name},bus={bus}"]


def test_four_root_buses(probe):
    """As on servers: a controller behind a port of each bus. All can be assigned."""
    words = []
    for i, bus in enumerate((64, 128, 160)):
        words += ["-device", f"pxb-pcie,id=x{i},bus_nr={bus},bus=pcie.0", "-device", f"pcie-root-port,id=r{i},bus=x{i},chassis={20 + i},slot={20 + i}"]
        words += null_disk(f"n{i}", f"r{i}")
    found = probe({"iommu": "intel", "memory": "1G", "devices": [{"igb": {}}]}, words)
    assert found.code == 0, found.errors
    disks = {rid: f for rid, f in found.functions.items() if f["class"] == "0x0108"}
    assert {rid[:2] for rid in disks} == {"41", "81", "a1"}
    assert all(f["assignable"] == "yes" and f["group"] == rid for rid, f in disks.items()), disks
    assert NETWORK in found.functions


def alone(name, *devices, core=1):
    return rig.guest(name, "hello", mode="dedicated", cores=[core], devices=list(devices))


HIGH = ["-cpu", "EPYC,+svm,+npt,+x2apic,phys-bits=46", "-device", "pcie-root-port,id=p8,chassis=8,slot=8"]
HIGH += ["-drive", "if=none,id=h,file=null-co://,format=raw", "-device", "nvme,drive=h,serial=h,bus=p8,cmb_size_mb=64"]


def test_registers_above_a_tebibyte(tmp_path):
    """With so much RAM firmware places a prefetchable BAR where the processor's addresses end. A VM gets it."""
    run = rig.Live(rig.write_plan(tmp_path, [{**alone("a", "nvme/0"), "kernel": str(rig.BUILD / "tests/victim.elf")}], memory="5G", iommu="intel"), qemu=[*HIGH, "-monitor", "none"])
    try:
        run.expect(r"^a\| progress")
        assert run.quit() == 0
    finally:
        run.stop()


@pytest.mark.parametrize("iommu", ["intel", "amd"])
def test_large_bars(tmp_path, iommu):
    """Controllers with memory of 512 MiB and 4 GiB: all of it is above the VM's RAM, and behind it there is nothing."""
    words = []
    for i, size in enumerate((512, 4096)):
        words += ["-drive", f"if=none,id=c{i},file=null-co://,format=raw", "-device", f"nvme,drive=c{i},serial={i},cmb_size_mb={size}"]
    vm = rig.guest("far", "bars", "beyond=1", mode="dedicated", devices=["nvme/0", "nvme/1"], disengage="never")
    run = rig.Batch(tmp_path, rig.write_plan(tmp_path, [vm], iommu=iommu), qemu=words)
    for line in ("8.2 at 100000000, 20000000 bytes: ok", "9.2 at 200000000, 100000000 bytes: ok"):
        assert f"bars: {line}" in run.output, run.output
    end = run.vms["far"]
    assert (end["reason"], end["message"]) == ("memory", "there is no memory at 0x300000000, nor a PCI device: it stays where ACPI says")


def assert_refused(run, why):
    """The reason once, and nothing after it but that nothing runs."""
    assert run.code == 1
    said = run.output.replace("\r", "")
    assert f"hairline| plan: {why}\nhairline| nothing was started" in said and said.count(why) == 1, said


def test_refused_with_somebody_there(tmp_path):
    """The machine stands still; the tool ends it after some seconds."""
    run = rig.Live(rig.write_plan(tmp_path, [alone("a", "05:00.0")], iommu="intel"))
    assert run.finish() == 1
    assert "hairline: nothing was started: the line before says why" in run.text()


APART = "VM a: device 1: it shares its isolation group with a function that the VM does not have"
MACHINE = {"iommu": "intel", "devices": [{"igb": {}}, {"nvme": "ext4:8M"}]}


@pytest.mark.parametrize(
    "vms, why",
    [
        ([alone("a", "05:00.0")], "VM a: device 1: this machine has no such function"),
        ([alone("a", "nvme/1")], "VM a: device 1: this machine has no such function"),
        ([alone("a", "nvme-vf/0")], "VM a: device 1: this machine has no such function"),
        ([alone("a", "network-vf/8")], "VM a: device 1: this machine has no such function"),
        ([alone("a", NVME, "00:01.0")], "VM a: device 2: it is a bridge"),
        ([alone("a", NVME), alone("b", "nvme/0", core=2)], "VM b: device 1: VM a has it already"),
        ([alone("a", "network-vf/1"), alone("b", "01:10.2", core=2)], "VM b: device 1: VM a has it already"),
    ],
)
def test_refused(tmp_path, vms, why):
    plan = rig.write_plan(tmp_path, vms, cores=3, **MACHINE)
    assert_refused(rig.Batch(tmp_path, plan), why)


def test_refused_without_its_group(tmp_path):
    plan = rig.write_plan(tmp_path, [alone("a", "00:06.1")], iommu="intel")
    null = ["-drive", "if=none,id=a,file=null-co://,format=raw", "-drive", "if=none,id=b,file=null-co://,format=raw"]
    pair = ["-device", "nvme,drive=a,serial=1,addr=6.0,multifunction=on", "-device", "nvme,drive=b,serial=2,addr=6.1"]
    assert_refused(rig.Batch(tmp_path, plan, qemu=[*null, *pair]), APART)


def test_refused_behind_ports_without_acs(tmp_path):
    """One VM can have both functions; two VMs cannot have one each."""
    plan = rig.write_plan(tmp_path, [alone("a", "nvme/0"), alone("b", "nvme/1", core=2)], cores=3, iommu="intel")
    assert_refused(rig.Batch(tmp_path, plan, qemu=ports_of_a_slot(acs=False)), APART)
    plan = rig.write_plan(tmp_path, [alone("a", "nvme/0", "nvme/1")], iommu="intel")
    run = rig.Batch(tmp_path, plan, qemu=ports_of_a_slot(acs=False))
    assert run.code == 0, run.output


@pytest.mark.parametrize("iommu", ["intel", "amd"])
def test_nvme_of_its_own(tmp_path, iommu):
    """DMA and MSI-X with the guest's own driver, twice: the second life has the device as new. Its MSI-X table has more than a
    page, and its memory a window above 4 GiB, which Linux finds."""
    disk, folder = tmp_path / "disk", tmp_path / "files"
    folder.mkdir()
    (folder / "README").write_text("This is the disk of db.\n")
    disk.write_bytes(bytes(16 << 20))
    subprocess.run(["/sbin/mke2fs", "-qF", "-t", "ext4", "-d", folder, disk], check=True)
    vm = rig.linux("db", initrd="debian-net", mode="dedicated", cores=[1], devices=["nvme/0"], disengage="never")
    vm["cmdline"] += " hairline.role=nvme hairline.work=1"
    plan = rig.write_plan(tmp_path, [vm], iommu=iommu)
    run = rig.Live(plan, qemu=[word.format(disk=disk) for word in DISK])
    try:
        for life in range(2):
            run.expect(r"^db\| .*CHECK bars ok")
            run.expect(r"^db\| .*CHECK disk-nvme0n1 ok")
            if life == 0:
                run.command("restart db")
                assert run.expect_end("db")["reason"] == "stopped"
        assert run.quit() == 0
        assert not any("iommu blocked" in line for line in run.lines)
    finally:
        run.stop()


@pytest.mark.parametrize("iommu", ["intel", "amd"])
def test_virtual_function(tmp_path, iommu):
    """One VM waits until another, the card's owner, has made its function; it can start anew any time after that."""
    vms = [rig.linux(name, initrd="debian-net", mode="dedicated", cores=[1 + i], disengage="never") for i, name in enumerate(("web", "service"))]
    for i, (vm, device) in enumerate(zip(vms, ("network-vf/1", "network/0"))):
        vm["devices"] = [device]
        vm["cmdline"] += f" hairline.role={vm['name']} hairline.ip=10.0.2.{15 + i}/24"
    plan = rig.write_plan(tmp_path, vms, cores=3, memory="2G", iommu=iommu, devices=[{"igb": {}}])
    run = rig.Live(plan)
    try:
        run.expect(r"^hairline\| ready")
        states = []
        while "running" not in states[1:]:
            run.command("list")
            states = [run.expect(rf"^hairline\| \d {name} +dedicated (\w+) ")[1] for name in ("web", "service")]
        assert states == ["equipping", "running"]
        run.until(r"web\| .*CHECK network ok")
        run.until(r"service\| .*CHECK virtual-functions ok")  # in any order
        run.command("restart web")
        run.expect_end("web")
        run.expect(r"^web\| .*CHECK network ok")
        assert not any("iommu blocked" in line for line in run.lines)
    finally:
        run.stop()
