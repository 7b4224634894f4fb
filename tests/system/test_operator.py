"""Root's console as its operator has it: commands, keys, focus, and how a run ends."""

import os
import pty
import re
import select
import signal
import subprocess
import termios
import time

import pytest
import rig
from rig import guest, linux


def two(live, **keys):
    run = live(guest("alpha", "victim", cores=[0], **keys), guest("beta", "victim"))
    for name in ("alpha", "beta"):
        run.expect(rf"^{name}\| progress")
    return run


def row(run, name):
    """What `list` says of a VM: its state."""
    run.command("list")
    return run.expect(rf"^hairline\| \d {name} +shared (\w+) ").group(1)


def test_list_shows_all(live):
    run = two(live)
    assert row(run, "alpha") == "running"
    run.key("s")
    run.expect(r"^hairline\| # name +mode")
    run.expect(r"^hairline\| 2 beta +shared running +1 +1 +8 .* \d+%")
    assert run.quit() == 0


def test_stop_and_start(live):
    run = two(live)
    run.command("stop beta")
    end = run.expect_end("beta")
    assert (end["reason"], end["next"]) == ("stopped", "off")
    assert row(run, "beta") == "off"
    run.expect(r"^alpha\| progress")
    run.command("start beta")
    run.expect(r"^beta\| victim: at work")
    assert row(run, "beta") == "running"
    run.command("start beta")
    run.expect(r"^hairline\| error beta is not off")
    assert run.quit() == 0


def test_restart(live):
    run = two(live)
    run.command("restart beta")
    end = run.expect_end("beta")
    assert (end["reason"], end["next"], end["restarts"]) == ("stopped", "restart", "0")
    run.expect(r"^beta\| victim: at work")
    run.command("restart beta")
    assert run.expect_end("beta")["restarts"] == "1"
    run.expect(r"^beta\| victim: at work")
    assert run.quit() == 0


def test_restart_as_planned(live):
    """A guest that powers off is started again; one that dies at once, again and again, is given up."""
    run = live(guest("alpha", "victim", on_exit="restart"), guest("beta", "attack", "test=triple", on_exit="restart"))
    ends = [run.expect_end("beta") for _ in range(6)]
    assert [end["next"] for end in ends] == ["restart"] * 5 + ["given-up"]
    assert [int(end["pause_ms"]) for end in ends[:5]] == [200, 400, 800, 1600, 3200]
    assert all(end["reason"] == "triple" for end in ends)
    run.key("1")
    run.type("q")
    end = run.expect_end("alpha")
    assert (end["reason"], end["next"]) == ("exit_port", "restart")
    run.expect("victim: at work")
    run.key("0")
    assert run.quit() == 1


def test_focus_passes_keys_to_one(live):
    run = two(live)
    run.key("2")
    run.expect(r"^hairline\| focus on beta")
    run.type("x")
    run.expect("^key x$")
    run.key("1")
    run.expect(r"^hairline\| focus on alpha")
    run.type("y")
    run.expect("^key y$")
    run.key("\x1d")
    run.expect(r"^hairline\| focus ends")
    run.command("focus beta")
    run.expect(r"^hairline\| focus on beta")
    run.type("z")
    run.expect("^key z$")
    run.key("0")
    run.expect(r"^hairline\| focus ends")
    run.expect(r"^alpha\| progress")
    assert not any(re.match(r"alpha\| key [xz]|beta\| key y", line) for line in run.lines)
    assert run.quit() == 0


def test_nonsense_gets_an_answer(live):
    run = two(live)
    run.command("frobnicate")
    run.expect(r"^hairline\| error unknown command 'frobnicate'")
    run.command("stop nobody")
    run.expect(r"^hairline\| error no VM is called 'nobody'")
    run.command("help")
    run.expect(r"^hairline\| quit +end all VMs")
    run.key("h")
    run.expect(r"^hairline\| Ctrl-\] then")
    run.type("lx\x7fist\n")
    run.expect(r"^hairline\| # name")
    run.type("x" * 200 + "\n")
    run.expect(r"^hairline\| error unknown command 'x+'")
    assert run.quit() == 0


def test_quit_by_command(live):
    run = two(live)
    run.command("quit")
    assert {run.expect(r"^hairline\| vm name=(\w+) state=off reason=stopped").group(1) for _ in range(2)} == {"alpha", "beta"}
    run.expect(r"^hairline\| end ")
    assert run.process.wait(rig.PATIENCE) == 0


def test_guest_cannot_speak_for_others(live):
    """What a guest prints is marked as its own, control characters and all."""
    run = live(guest("victim", "victim", cores=[1]), guest("wild", "attack", "test=console-flood", cores=[1]))
    whole = 0
    while whole < 100:  # of a guest that stood still for a while in a line, root shows what there is
        line = run.expect(r"flood \d").string
        assert re.match(r"wild\| flood \d+(:( [ -~]*)?)?$", line), line
        whole += re.match(r"wild\| flood \d+: the quick brown fox jumps over the lazy dog, \?* and over and over$", line) is not None
    run.key("1")
    run.type("k")
    run.expect("^key k$")
    run.key("0")
    run.expect(r"^wild\| flood")
    assert run.quit() == 0


def test_shell_of_a_linux(live):
    run = live(linux("alpha", cores=[1]))
    run.expect("A shell on alpha")
    run.key("1")
    run.type("\r")  # the first prompt may be older than the focus
    run.expect_prompt("alpha:/# ")
    run.type("echo $((6*7))-$(uname -s)\r")
    run.expect("^42-Linux")
    run.key("0")
    run.command("restart alpha")
    assert run.expect_end("alpha")["reason"] == "stopped"
    run.expect("HAIRLINE-CHECKS: ok")
    run.key("1")
    run.type("\r")  # the first prompt may be older than the focus
    run.expect_prompt("alpha:/# ")
    run.type("exit\r")
    assert run.expect_end("alpha")["reason"] == "poweroff"
    assert run.quit() == 0


# ---- how a run ends


def test_a_vm_that_dies_gives_1(batch):
    run = batch(guest("alpha", "hello"), guest("beta", "attack", "test=triple"))
    assert run.code == 1
    assert re.search(r"^hairline: beta did not end by itself: triple rip=0x\w+ cr3=0x\w+", run.errors, re.MULTILINE)
    assert "alpha did not" not in run.errors
    assert (run.vms["alpha"]["reason"], run.vms["beta"]["reason"]) == ("exit_port", "triple")


def test_exit_port_value_is_reported(batch):
    run = batch(guest("alpha", "attack", "test=no-such-thing"))
    assert run.code == 0 and (run.vms["alpha"]["reason"], run.vms["alpha"]["value"]) == ("exit_port", 2)


def test_timeout_gives_124(batch):
    """However long this machine takes to come to the guest's first line."""
    for seconds in (4, 40, 400):
        run = batch(guest("alpha", "attack", "test=spin"), options=["--timeout", str(seconds)])
        assert run.code == 124 and "time is over" in run.errors
        assert seconds * 1000 <= run.report["wall_ms"] and run.report["exit_code"] == 124
        if "attack spin: to end" in run.logs.get("alpha", ""):
            return
    raise AssertionError(run.output)


def descendants(pid):
    table = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    return [int(child) for child, parent in map(str.split, table.splitlines()) if int(parent) == pid]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_terminal_is_given_back(tmp_path, ending):
    """The tool takes the terminal raw; however it ends, it leaves it as it was, and no machine behind."""
    plan = rig.write_plan(tmp_path, [guest("alpha", "victim")])
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    command = [rig.BUILD / "hairline-tool", "run", plan]
    tool = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TMPDIR": str(tmp_path)})
    seen = b""
    end = time.monotonic() + rig.PATIENCE
    while b"progress" not in seen and time.monotonic() < end:
        if select.select([ours], [], [], 1)[0]:
            seen += os.read(ours, 4096)
    assert b"progress" in seen and b"Ctrl-]" in seen
    assert not termios.tcgetattr(theirs)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
    machines = descendants(tool.pid)
    assert machines
    tool.send_signal(ending)
    assert tool.wait(rig.PATIENCE) == 128 + ending
    assert termios.tcgetattr(theirs) == before
    assert not any(os.path.exists(f"/proc/{pid}") for pid in machines)
    assert [path.name for path in tmp_path.iterdir()] == ["plan.yaml"]
    os.close(ours)
    os.close(theirs)


def test_machine_goes_with_a_killed_tool(live):
    run = live(guest("alpha", "victim"))
    run.expect("progress")
    machines = descendants(run.process.pid)
    run.process.kill()
    run.process.wait(rig.PATIENCE)
    end = time.monotonic() + rig.PATIENCE
    while any(os.path.exists(f"/proc/{pid}") for pid in machines) and time.monotonic() < end:
        time.sleep(0.05)
    assert machines and not any(os.path.exists(f"/proc/{pid}") for pid in machines)
