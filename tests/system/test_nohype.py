"""The dedicated machines of examples/nohype.yaml, as a user runs them: a network card's owner, a web server with its
root on iSCSI, a machine with an NVMe disk, and a shared one beside them; and commands from another terminal."""

import http.client
import os
import pathlib
import re
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest
import rig

FETCH = 1000 if rig.ALL else 200
WORK = 60 if rig.ALL else 15


def free_port():
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return door.getsockname()[1]


class Visitor(threading.Thread):
    """Asks the host's port for the page until it comes, and then lets its server end: whichever of the machines is fast,
    none ends before. QEMU takes a connection whose guest is not there yet and asks that guest ever more seldom: a try is
    short, and each next one is longer."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.page, self.over = port, None, threading.Event()

    def fetch(self, path):
        patience = 4
        while not self.over.wait(1):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=patience) as answer:
                    return answer.read().decode()
            except (urllib.error.URLError, http.client.HTTPException, OSError):
                patience += 1
        return None

    def run(self):
        self.page = self.fetch("")
        self.fetch("quit")


class Example:
    def __init__(self, folder, iommu):
        port = free_port()
        plan = (rig.SOURCE / "examples/nohype.yaml").read_text()
        for old, new in (("iommu: intel", f"iommu: {iommu}"), ("8080:80]", f"{port}:80]"), ("hairline.work=60", f"hairline.work={WORK}"),
                         ("hairline.role=web", "hairline.role=web hairline.quits=2"),
                         ("hairline.peer=web:10.0.2.15", f"hairline.peer=web:10.0.2.15 hairline.fetch={FETCH}")):
            assert old in plan
            plan = plan.replace(old, new, 1)
        path = folder / "nohype.yaml"
        path.write_text(plan)
        visitor = Visitor(port)
        visitor.start()
        os.environ.update([MARK.split("=")])
        self.run = rig.Batch(folder, path)
        visitor.over.set()
        visitor.join(10)
        self.page = visitor.page


MARK = f"HAIRLINE_TESTED_BY={os.getpid()}"  # in the environment of what we start: another suite may run beside this one


def targets():
    """Processes of tgtd that come from here, the dead ones' children among them."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text() == "tgtd\n" and MARK.encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(process.name)
        except OSError:
            pass  # it has ended
    return found


@pytest.fixture(name="example", scope="module", params=["intel", "amd"])
def make_example(request, tmp_path_factory):
    return Example(tmp_path_factory.mktemp("nohype"), request.param)


def test_all_end_well(example):
    assert example.run.code == 0, example.run.errors
    assert {vm["reason"] for vm in example.run.vms.values()} == {"poweroff"}
    assert all(vm["checks"] == "ok" for vm in example.run.vms.values())


def test_the_network_card_and_its_functions(example):
    log = example.run.logs["service"]
    assert "CHECK network ok" in log and "CHECK virtual-functions ok" in log
    assert f"{FETCH} of {FETCH} pages were right" in log
    assert example.run.vms["service"]["left"] is None


def test_root_on_iscsi_and_the_page_outside(example):
    log = example.run.logs["web"]
    assert "CHECK iscsi-login ok" in log and "CHECK iscsi-root ok" in log
    assert example.page == "hello from web\n"


def test_the_nvme_disk(example):
    assert "CHECK disk-nvme0n1 ok" in example.run.logs["db"]


def test_the_hypervisor_left(example):
    """From then on: a machine of one core nothing at all, one of two cores ICR writes."""
    for name, causes in (("db", set()), ("web", {"icr"})):
        vm = example.run.vms[name]
        assert vm["left"] > 0 and vm["reason"] == "poweroff"
        assert {cause for cause, n in vm["alone"].items() if n} == causes, vm["alone"]


def test_modes_cores_and_seal(example):
    vms = example.run.vms
    assert {name: vm["mode"] for name, vm in vms.items()} == {"web": "dedicated", "db": "dedicated", "office": "shared", "service": "dedicated"}
    cores = [core for name in ("web", "db", "service") for core in vms[name]["cores"]]
    assert len(set(cores)) == 4 and not set(cores) & set(vms["office"]["cores"])
    assert re.fullmatch("[0-9a-f]{64}", vms["web"]["sha256"]) and vms["db"]["sha256"] == "-"


def test_no_target_stays_behind(example):
    assert example.run.code == 0 and not targets()


def command(*words):
    return subprocess.run([rig.BUILD / "hairline-tool", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=rig.PATIENCE)


def test_stop_and_restart_from_another_terminal(live, tmp_path, monkeypatch):
    """A dedicated VM without its VMM ends and starts at the word of another terminal."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    calc = {"name": "calc", "mode": "dedicated", "kernel": "debian", "initrd": "debian-net", "memory": "256M", "cores": 1,
            "disengage": "guest", "cmdline": "console=ttyS0 quiet hairline.role=work hairline.work=9999"}
    run = live(calc)
    for turn, verb in enumerate(("restart", "restart", "kill")):
        run.expect(r"^hairline\| vm name=calc state=alone")
        done = command(verb, "calc")
        assert (done.returncode, done.stderr) == (0, "")
        end = run.expect_end("calc")
        assert (end["reason"], int(end["restarts"])) == ("stopped", turn)
    done = command("list")
    assert done.returncode == 0 and re.search(r"calc +dedicated off", done.stdout)
    assert command("start", "calc").returncode == 0
    run.expect(r"^hairline\| vm name=calc state=alone")
    assert re.search(r"calc +dedicated alone", command("list").stdout)
    assert run.quit() == 0
    assert not os.listdir(tmp_path / "hairline")


def test_stop_a_sealed_vm_while_it_is_loaded(live, tmp_path):
    """Its loader, which has much to copy, goes with it: the next start finds nothing of it."""
    initrd = tmp_path / "initrd"
    initrd.write_bytes(bytes(300 << 20))
    own = {"mode": "dedicated", "memory": "512M", "cores": 1, "sealed": True, "initrd": str(initrd)}
    run = live({key: value for key, value in rig.guest("own", "hello", **own).items() if key != "vcpus"})
    run.expect(r"^hairline\| ready")
    for turn in range(12):
        run.command("stop own")
        run.command("start own")
        time.sleep(turn / 8)
    ends = iter(lambda: run.expect_end("own")["reason"], "exit_port")
    assert set(ends) <= {"stopped"}  # then it ran to its end
