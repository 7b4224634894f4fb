import os
import shutil
import signal
import subprocess
import threading

import pytest
import rig
from firmware import Booted, call, ovmf, which_ovmf


# Files of many or long machines, the longest first: two processes take a file each, and the last one is to be short.
LONG = ["host", "launch", "volumes", "house", "uefi", "disk", "nohype", "create", "control", "devices", "late", "power", "operator", "kernels", "wild"]
MINUTE = 60


def pytest_collection_modifyitems(items):
    rank = {f"test_{name}.py": at for at, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONG)))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """What hangs where no machine's own time is looked at costs one test, and not the whole run, whose minutes are counted. Of a
    second on a host with more to run than it has processors, the part counts that one of those programs got."""
    left, processors = rig.LAST_RESORT, len(os.sched_getaffinity(0))

    def take_minute(*_):
        nonlocal left
        left -= MINUTE * processors / max(processors, os.getloadavg()[0])
        if left <= 0:
            raise AssertionError(f"{item.nodeid}: no end after {rig.LAST_RESORT} s")
        signal.alarm(MINUTE)

    if left and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGALRM, take_minute)
        signal.alarm(MINUTE)
    yield
    signal.alarm(0)


def pytest_terminal_summary(terminalreporter):
    """For build/test/system.log: the firmware on which all of that ran."""
    if which_ovmf():
        terminalreporter.write_line(f"firmware: {which_ovmf()}")


@pytest.fixture(scope="session", autouse=True)
def built():
    """All that the tests need, made once; a build that fails fails every test with its own message."""
    done = rig.make("all", "system-guests")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def live(tmp_path):
    """live(vm, ...): start these VMs and keep a hand on the keyboard; what still runs at the end is stopped."""
    runs = []

    def start(*vms, cores=2, memory="1G", spare=None, machine=None, **how):
        runs.append(rig.Live(rig.write_plan(tmp_path, vms, cores, memory, spare, **(machine or {})), **how))
        return runs[-1]

    yield start
    for run in runs:
        run.stop()


@pytest.fixture
def batch(tmp_path):
    """batch(vm, ..., options=[...], qemu=[...], firmware="uefi", machine={...}): run these VMs to their end."""

    def start(*vms, cores=2, memory="1G", options=(), firmware="bios", machine=(), **how):
        ovmf() if firmware == "uefi" else None
        return rig.Batch(tmp_path, rig.write_plan(tmp_path, vms, cores, memory, firmware=firmware, **dict(machine)), *options, **how)

    return start


@pytest.fixture
def tool_with(tmp_path):
    """tool_with(vmm=IMAGE, ...): the tool in a folder of its own, with other images than those that were built."""

    def make(**other):
        folder = tmp_path / "build"
        folder.mkdir()
        shutil.copy(rig.BUILD / "hairline-tool", folder)
        (folder / "kernels").symlink_to(rig.BUILD / "kernels")
        shutil.copy(rig.BUILD / "hairline.elf", folder)
        for program in ("root", "vmm", "lan"):
            shutil.copy(other.get(program, rig.BUILD / f"{program}.img"), folder / f"{program}.img")
        return folder / "hairline-tool"

    return make


@pytest.fixture
def boot_from(tmp_path):
    """boot_from(variables, *QEMU's words)"""
    machines = []

    def start(variables, *more):
        machines.append(Booted(tmp_path, variables, *more))
        return machines[-1]

    yield start
    for machine in machines:
        machine.stop()


@pytest.fixture
def boot(tmp_path, boot_from):
    """boot(file, variables, *QEMU's words): start firmware that finds the file on its volume."""

    def start(file, variables, *more, beside=()):
        esp = tmp_path / "esp"
        call(rig.SOURCE / "scripts/efi-volume", file, esp)
        for name, other in beside:
            call("mcopy", "-i", esp, other, f"::EFI/BOOT/{name}")
        return boot_from(variables, "-drive", f"if=none,id=esp,format=raw,file={esp}", "-device", "ide-hd,drive=esp", *more)

    return start
