"""Cores of real machines: without x2APIC mode, and named in the firmware's tables without being there."""

import json
import struct
import subprocess

import pytest
import rig
from rig import guest

WITHOUT_X2APIC = ["-cpu", "EPYC,+svm,+npt,-x2apic"]
ABSENT = (0x76, 0x77)  # APIC IDs. The emulator puts them behind its own, so it is the second that the first might be in the way of


@pytest.fixture(scope="module")
def lying_table(tmp_path_factory):
    """A MADT (ACPI 6.5 5.2.12) with two enabled local APICs that nobody has, as `-acpitable` takes it: its text behind the header."""
    body = struct.pack("<II", 0xFEE00000, 0) + b"".join(struct.pack("<BBBBI", 0, 8, 0, apic, 1) for apic in ABSENT)
    path = tmp_path_factory.mktemp("acpi") / "madt.bin"
    path.write_bytes(body)
    return ["-acpitable", f"sig=APIC,rev=4,oem_id=LIAR,data={path}"]


def test_shared_vms_need_no_x2apic(batch):
    run = batch(
        guest("pair", "smp", vcpus=2, cores=[1, 2]),
        guest("crowd", "smp", vcpus=2, cores=[2]),
        cores=3,
        qemu=WITHOUT_X2APIC,
    )
    assert run.code == 0, run.errors + run.output
    for name in ("pair", "crowd"):
        assert run.vms[name]["reason"] == "exit_port" and run.vms[name]["value"] == 0, run.logs[name]


def test_dedicated_vms_need_x2apic(batch):
    run = batch(guest("alone", "hello", cores=[1], mode="dedicated"), qemu=WITHOUT_X2APIC)
    assert run.code != 0
    assert "plan: VM 1: mode dedicated needs x2APIC, which this processor does not have: make it shared" in run.output
    assert "nothing was started" in run.output


def test_a_core_that_is_not_there_is_left_out(batch, lying_table):
    run = batch(guest("pair", "smp", vcpus=2, cores=[1, 2]), cores=3, qemu=lying_table)
    for apic in ABSENT:
        assert f"core with APIC ID {apic} does not start (status 0) and is left out" in run.output
    assert run.code == 0 and run.vms["pair"]["value"] == 0, run.errors + run.output


def test_more_cores_than_hairline_uses(batch):
    """A VM on the last core that it does use, another that has the one before it for itself, and a switch between two."""
    run = batch(
        guest("last", "hello", cores=[63]),
        guest("own", "hello", cores=[62], mode="dedicated"),
        guest("spread", "smp", "last=2", vcpus=3, cores=[1, 31, 32]),
        cores=64,
        qemu=["-smp", "65"],
    )
    assert "this machine has more than 64 cores: the first 64 are used" in run.output
    assert run.code == 0 and run.report["machine"]["cores"] == 64, run.errors + run.output
    assert all(vm["reason"] == "exit_port" and vm["value"] == 0 for vm in run.vms.values()), run.output


SMT = ["-smp", "4,cores=2,threads=2"]


def test_threads_of_a_core(batch, tmp_path):
    """Two VMs get both of them only if the plan says so; `probe` shows which they are."""
    vms = [guest("a", "hello", cores=[2]), guest("b", "hello", cores=[3])]
    refused = batch(*vms, cores=4, qemu=SMT)
    why = "plan: cores 2 of VM a and 3 of VM b are threads of one: choose others, or say share_siblings: true"
    assert refused.code == 1 and f"hairline| {why}\n" in refused.output.replace("\r", "")
    assert rig.Batch(tmp_path, rig.write_plan(tmp_path, vms, cores=4, share_siblings=True), qemu=SMT).code == 0
    assert batch(vms[0], guest("b", "hello", cores=[1]), cores=4, qemu=SMT).code == 0
    report = tmp_path / "probe.json"
    subprocess.run([rig.BUILD / "hairline-tool", "probe", "--json", report, "--", *SMT], check=True, capture_output=True)
    assert [core["thread_of"] for core in json.loads(report.read_text())["cores"]] == [0, 0, 2, 2]
