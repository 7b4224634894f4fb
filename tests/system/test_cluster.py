"""A VM as a resource of a cluster: the agent that Pacemaker calls (guest/ocf-hairline), in a VM that commands the others."""

import json
import pathlib
import re
import shutil
import subprocess

import pytest
import rig
from firmware import call
from rig import guest, linux
from test_control import Inside, look

SUCCESS, GENERIC, ARGS, UNIMPLEMENTED, INSTALLED, CONFIGURED, NOT_RUNNING = 0, 1, 2, 3, 5, 6, 7
DTD = pathlib.Path("/usr/share/resource-agents/ra-api-1.dtd")  # where ocf-tester looks for it
DEAF = {"cmdline": "test=hlt", "cores": [2]}  # hears no power button


@pytest.fixture(scope="module")
def userland(tmp_path_factory):
    """The packaged userland with the tool, the agent, and what Debian tests agents with."""
    folder, kernel = tmp_path_factory.mktemp("userland"), rig.BUILD / "kernels/debian"
    rig.made(kernel / "initrd")
    debian = call(rig.SOURCE / "scripts/cache", "fetch", rig.SOURCE / "tests/tools.lock", "ocf-tester").strip()
    for program in (rig.SOURCE / "guest/ocf-hairline", f"{debian}/usr/sbin/ocf-tester", f"{debian}{DTD}", "/usr/bin/xmllint"):
        shutil.copy(program, folder)
    shutil.copy(rig.BUILD / "guest/bare/attack.elf", folder)
    shutil.copy(rig.BUILD / "hairline-tool", folder / "hairline")
    plan = {"vms": [{"name": "gamma", "kernel": "attack.elf", "memory": "8M", "exit_port": 0xF4, "cmdline": "test=hlt"}]}
    (folder / "gamma.yaml").write_text(json.dumps(plan))
    subprocess.run([rig.SOURCE / "guest/mkinitrd", "plain", kernel, folder / "initrd", *folder.iterdir()], check=True)
    return folder / "initrd"


@pytest.fixture
def inside(live, userland):
    """A machine with `service`, which may create VMs on core 3, a deaf VM `alpha`, and `beta`, which root starts again."""
    service = linux("service", initrd=str(userland), cores=[1], memory="384M", control="all", disks=[{"upload": "4M"}])
    shell = Inside(live(service, guest("alpha", "attack", start="command", **DEAF), guest("beta", "attack", on_exit="restart", **DEAF), cores=4,
                        spare={"cores": [3], "memory": "16M"}))
    shell.call(f"mkdir -p /usr/lib/ocf {DTD.parent}; ln -s /bin/{DTD.name} {DTD}")
    return shell


def agent(shell, action, words=""):
    """What the agent says, and its exit code; `words`: OCF_RESKEY_..."""
    return shell.call(f"{words} ocf-hairline {action}")


def words_for(vm, **more):
    return " ".join(f"OCF_RESKEY_{key}={value}" for key, value in {"vm": vm, **more}.items())


def test_debians_test_of_agents_passes(inside):
    """Of a VM of the plan and of one that is created; while others look, for one program at a time has the control line."""
    assert look(inside)["vms"]["alpha"]["state"] == "off"  # it waits for a command
    inside.call("hairline top --json - >/run/top & true")
    for words in ("-o vm=alpha", "-o vm=gamma -o plan=/bin/gamma.yaml"):
        told, status = inside.call(f"ocf-tester -n one {words} -o timeout=1 /bin/ocf-hairline")
        assert status == 0 and "/bin/ocf-hairline passed all tests" in told, told
    assert {name: vm["state"] for name, vm in look(inside)["vms"].items()} == {"service": "running", "alpha": "off", "beta": "running"}
    assert int(inside.call("kill $!; wait $!; wc -l </run/top")[0][-1]) > 1
    inside.leave()
    assert inside.run.quit() == 0


def test_what_the_agent_says(inside):
    """One sentence, and the code by which Pacemaker tells what is wrong here from what is wrong everywhere."""
    for words, action, code, reason in (
        ("", "monitor", CONFIGURED, "the parameter vm is missing"),
        (words_for("--json"), "start", CONFIGURED, "--json is no VM's name"),
        (words_for("alpha", timeout="soon"), "stop", CONFIGURED, "timeout is soon"),
        (words_for("gamma", plan="/none"), "start", ARGS, "the plan /none cannot be read here"),
        (words_for("delta", plan="/bin/gamma.yaml"), "start", CONFIGURED, "/bin/gamma.yaml has no VM delta"),
        (words_for("delta"), "start", INSTALLED, "this machine has no VM delta"),
        (words_for("delta"), "validate-all", INSTALLED, "this machine has no VM delta"),
    ):
        told, status = agent(inside, action, words)
        assert status == code and told[-1].startswith(f"ocf-exit-reason:{reason}"), (words, action, told, status)
    assert agent(inside, "migrate_to") == ([], UNIMPLEMENTED)
    for action, code in (("monitor", NOT_RUNNING), ("stop", SUCCESS)):
        assert agent(inside, action, words_for("delta")) == ([], code)
        assert agent(inside, action, words_for("delta", plan="/none")) == ([], code)

    # What came of the plan that had another VM runs, and is taken for what it is.
    assert agent(inside, "monitor", words_for("gamma")) == ([], SUCCESS)
    inside.call("hairline kill gamma")
    assert agent(inside, "monitor", words_for("gamma")) == ([], NOT_RUNNING)
    for words in (words_for("gamma", plan="/bin/gamma.yaml"), words_for("alpha")):
        assert agent(inside, "start", words) == ([], SUCCESS)

    # A guest that takes long to end holds up nobody: others are seen to, and it may be killed.
    slow = words_for("beta", timeout=3600) + " OCF_RESKEY_CRM_meta_timeout=4000000"
    inside.call(f"{slow} ocf-hairline stop & sleep 1")
    assert agent(inside, "monitor", words_for("beta")) == ([], SUCCESS)
    assert agent(inside, "stop", words_for("alpha", timeout=1)) == ([], SUCCESS)
    inside.call("hairline kill beta; wait $!; echo $? >/run/code")
    assert inside.call("cat /run/code") == (["0"], 0)
    assert agent(inside, "monitor", words_for("beta")) == ([], NOT_RUNNING)

    # A reader of events has the line until it ends: that is no failure of the VM's.
    inside.call("hairline events --timeout 7 >/run/events & until grep -q running /run/events; do sleep 1; done")
    assert agent(inside, "monitor", words_for("gamma")) == ([], SUCCESS)
    assert inside.call("grep -c state=running /run/events") == (["2"], 0)
    inside.leave()
    assert inside.run.quit() == 0


def test_a_machine_ends_without_what_was_never_started(batch):
    run = batch(guest("alpha", "hello"), guest("beta", "hello", start="command"))
    assert run.code == 0, run.output + run.errors
    assert run.vms["alpha"]["reason"] == "exit_port" and run.vms["beta"]["reason"] is None
    assert not any(line.startswith("beta| ") for line in run.output.splitlines())


def stubbed(folder, script, action, **words):
    """The agent on this machine, with a script in the tool's place: its exit code, and what it says."""
    tool = folder / "hairline"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin"} | {f"OCF_RESKEY_{key}": value for key, value in words.items()}
    done = subprocess.run([rig.SOURCE / "guest/ocf-hairline", action], env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_each_state_of_a_vm_has_a_code(tmp_path):
    """Only what is off for certain may start elsewhere."""
    states = set(re.findall(r'\[LIFE_\w+\] = "(\w+)"', (rig.SOURCE / "root/console/report.c").read_text()))
    assert {"off", "ending", "running", "waiting"} < states
    table = "printf 'one: 4 cores\\nVM mode state\\nalpha shared %s 1\\nalpha-two shared running 1\\n'"
    for state in states - {"ending"}:
        assert stubbed(tmp_path, f"{table} {state}", "monitor", vm="alpha") == (NOT_RUNNING if state == "off" else SUCCESS, "")
    ends = f"if mkdir {tmp_path}/asked; then {table} ending; else {table} off; fi"
    assert stubbed(tmp_path, ends, "monitor", vm="alpha") == (NOT_RUNNING, "")
    for words in ({}, {"plan": "/none"}):
        assert stubbed(tmp_path, f"{table} off", "monitor", vm="beta", **words) == (NOT_RUNNING, "")
    lost = "echo hairline: no answer on /dev/hvc1 >&2; exit 2"
    for action in ("monitor", "stop", "start"):
        assert stubbed(tmp_path, lost, action, vm="alpha") == (GENERIC, "ocf-exit-reason:hairline: no answer on /dev/hvc1\n")
    (tmp_path / "hairline").unlink()
    done = subprocess.run(["/bin/sh", rig.SOURCE / "guest/ocf-hairline", "monitor"], env={"PATH": str(tmp_path), "OCF_RESKEY_vm": "alpha"},
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (INSTALLED, "ocf-exit-reason:the tool hairline is not installed\n")
