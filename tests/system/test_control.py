"""The machine seen and commanded from within: the tool in a VM that has a control line."""

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as xml

import pytest
import rig
from rig import guest, linux


@pytest.fixture(scope="module")
def userland(tmp_path_factory):
    """The packaged userland, with the tool in it as `hairline`."""
    folder, kernel = tmp_path_factory.mktemp("userland"), rig.BUILD / "kernels/debian"
    rig.made(kernel / "initrd")
    shutil.copy(rig.BUILD / "hairline-tool", folder / "hairline")
    subprocess.run([rig.SOURCE / "guest/mkinitrd", "plain", kernel, folder / "initrd", folder / "hairline"], check=True)
    return folder / "initrd"


class Inside:
    """A shell in the VM `service`, which is the first."""

    def __init__(self, run):
        self.run, self.count = run, 0
        run.expect(r"^service\| A shell on service")
        run.key("1")
        run.expect(r"^hairline\| focus on service")
        self.call("true")  # what follows the shell's greeting

    def call(self, command):
        """What `command` prints there, and its exit status."""
        self.count += 1
        number = 1000 + self.count
        self.run.command(f"echo from $((1000 + {self.count})); {command}; echo status $? of $((1000 + {self.count}))")
        self.run.expect(f"^from {number}$")  # the terminal's echo, which it may wrap, is before
        first = self.run.seen
        status = self.run.expect(rf"^status (\d+) of {number}$").group(1)
        told = self.run.lines[first : self.run.seen - 1]
        return [line for line in told if not re.match(r"[a-z0-9-]+[|] ", line)], int(status)

    def leave(self):
        self.run.key("0")
        self.run.expect(r"^hairline\| focus ends")


@pytest.fixture
def inside(live, userland):
    """inside(right): a machine with the VM `service`, which has this control line, and `alpha` and `beta`."""

    def start(control, alpha="attack"):
        right = {"control": control} if control else {}
        service = linux("service", initrd=str(userland), cores=[1], memory="320M", **right)
        quiet = {"cmdline": "test=hlt", "cores": [2]}
        return Inside(live(service, guest("alpha", alpha, **quiet), guest("beta", "attack", on_exit="restart", **quiet), cores=3))

    return start


def look(shell):
    lines, status = shell.call("hairline list --json -")
    assert status == 0, lines
    return json.loads("\n".join(lines))


def test_all_is_seen_and_commanded(inside):
    shell = inside("all")
    all_vms = look(shell)
    assert list(all_vms["vms"]) == ["service", "alpha", "beta"] and all_vms["machine"]["self"] == "service"
    assert {vm["state"] for vm in all_vms["vms"].values()} == {"running"}
    lines, status = shell.call("hairline list")
    assert status == 0 and [line.split()[:3] for line in lines[2:]] == [[vm, "shared", "running"] for vm in all_vms["vms"]]
    assert shell.call("hairline kill alpha") == ([], 0)
    assert look(shell)["vms"]["alpha"]["state"] == "off"
    assert shell.call("hairline kill alpha") == (["hairline: alpha is off"], 1)
    assert shell.call("hairline start alpha") == ([], 0)
    assert shell.call("hairline start alpha") == (["hairline: alpha is not off"], 1)
    assert shell.call("hairline restart beta") == ([], 0)
    assert look(shell)["vms"]["beta"]["restarts"] == 1
    assert shell.call("hairline stop gamma") == (["hairline: no VM is called 'gamma'"], 1)
    shell.leave()
    assert shell.run.quit() == 0


def test_stop_asks_and_then_kills(live, userland):
    """A guest that hears the power button ends by itself, and stays off whatever its plan says; one that does not is killed."""
    quiet = {"cmdline": "test=hlt", "on_exit": "restart"}
    shell = Inside(live(linux("service", initrd=str(userland), cores=[1], control="all"), linux("alpha", cores=[2], on_exit="restart"),
                        guest("deaf", "attack", cores=[2], **quiet), guest("own", "attack", mode="dedicated", sealed=True, cores=[3], **quiet), cores=4))
    assert shell.call("hairline stop alpha --timeout 3600") == ([], 0)
    assert shell.call("sh -c 'hairline stop deaf & sleep 3; kill $!; wait $!'")[1] == 143
    assert look(shell)["vms"]["deaf"]["state"] == "running", "who waits can go without the kill"
    assert shell.call("hairline stop deaf --timeout 1") == (["hairline: deaf has not ended in 1 s: it is killed"], 0)
    for name in ("own", "deaf"):
        refusal = f"hairline: {name} cannot be asked to end: it does not run, or has no virtual devices"
        assert shell.call(f"hairline stop {name}") == ([refusal], 1)
    there = look(shell)["vms"]
    assert {name: vm["state"] for name, vm in there.items()} == {"service": "running", "alpha": "off", "deaf": "off", "own": "running"}
    ends = [rig.fields(line) for line in shell.run.lines if line.startswith("hairline| vm name=")]
    assert [(end["name"], end["reason"], end["next"]) for end in ends] == [("alpha", "poweroff", "off"), ("deaf", "stopped", "off")]
    assert shell.call("hairline start alpha") == ([], 0)
    shell.leave()
    shell.run.expect(r"^alpha\| A shell on alpha")
    shell.run.command("ask alpha")
    shell.run.expect(r"^hairline\| ok")
    assert shell.run.expect_end("alpha")["reason"] == "poweroff"
    shell.run.command("ask own")
    shell.run.expect(r"^hairline\| error own cannot be asked to end: ")
    assert shell.run.quit() == 0


def test_consoles_that_are_shown(live, userland):
    """What a VM said in all its lives, as text that does nothing to a terminal; and of a VM whose plan does not say so, nothing."""
    shell = Inside(live(linux("service", initrd=str(userland), cores=[1], control="all", console="shown"),
                        guest("alpha", "attack", cmdline="test=hlt", cores=[2], console="shown"),
                        guest("beta", "attack", cmdline="test=hlt", cores=[2]),
                        guest("wild", "attack", cmdline="test=console-flood", cores=[2], console="shown"), cores=3))
    said, status = shell.call("hairline logs alpha")
    assert (said, status) == (["attack hlt: to end: sleeps until stopped"], 0)
    assert shell.call("hairline console alpha --timeout 1") == (said, 0)
    assert shell.call("hairline logs service | grep -c 'A shell on servic[e]'") == (["1"], 0)
    for verb in ("logs", "console"):
        assert shell.call(f"hairline {verb} beta") == (["hairline: beta keeps its console private: its plan does not say `console: shown`"], 1)
    shell.call("hairline logs wild >/flood")
    assert shell.call("tail -n 2 /flood | head -n 1 | grep -c '^flood [0-9]*: '") == (["1"], 0)
    assert shell.call("tr -d '\\n\\t -~' </flood | wc -c") == (["0"], 0)
    assert 8192 < int(shell.call("wc -c </flood")[0][0]) <= 16384
    assert shell.call("hairline restart alpha") == ([], 0)
    shell.leave()
    shell.run.expect(r"^alpha\| attack hlt: to end")
    shell.run.key("1")
    shell.run.expect(r"^hairline\| focus on service")
    assert shell.call("hairline logs alpha") == (said * 2, 0)
    shell.leave()
    assert shell.run.quit() == 0


def test_rates_and_events(inside):
    shell = inside("all")
    lines, status = shell.call("hairline top --json - --timeout 2")
    tops = [json.loads(line)["vms"]["service"] for line in lines]
    assert status == 0 and len(tops) == 2 and tops[0]["time"] < tops[1]["time"]
    lines, status = shell.call("hairline top --timeout 1")
    assert status == 0 and float(next(line for line in lines if line.startswith("service ")).split()[6]) > 0
    page, picture = (xml.fromstring("\n".join(shell.call(command)[0])) for command in
                     ("hairline top --html /run/top.html --timeout 1; cat /run/top.html", "hairline map --svg -"))
    for root in (page, picture):
        words = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
        assert {"The machine as service sees it", "service", "alpha", "beta", "shared, running, not sealed", "1 vCPU on core 1, 320 MiB"} <= set(words)
    rows = {row[0].text: [cell.text for cell in row] for row in page.iter("{http://www.w3.org/1999/xhtml}tr")}
    assert list(rows) == ["VM", "service", "alpha", "beta"] and rows["service"][1] == "running" and float(rows["service"][2]) > 0
    assert not list(page.iter("{http://www.w3.org/1999/xhtml}meta"))[1:], "the page that stays does not load itself anew"
    shell.call("mkfifo /run/e; hairline events --json - >/run/e & exec 3</run/e")

    def next_event():
        return json.loads(shell.call('read -r line <&3; echo "$line"')[0][0])

    there = [next_event() for _ in range(3)]
    assert there == [{"name": name, "state": "running"} for name in ("service", "alpha", "beta")]
    shell.leave()
    shell.run.command("restart beta")
    shell.run.expect_end("beta")
    shell.run.key("1")
    told = [next_event() for _ in range(2)]
    assert [(one["name"], one["state"]) for one in told] == [("beta", "off"), ("beta", "running")]
    assert (told[0]["reason"], told[0]["next"]) == ("stopped", "restart")
    assert shell.call("hairline list")[0] == ["hairline: another hairline has /dev/hvc1: wait until it ends"]
    shell.leave()
    assert shell.run.quit() == 0


def test_own_is_all_that_it_sees(inside):
    shell = inside("own")
    assert list(look(shell)["vms"]) == ["service"]
    for verb in ("stop", "kill", "start", "restart"):
        assert shell.call(f"hairline {verb} alpha") == (["hairline: no VM is called 'alpha'"], 1)
    shell.run.command("hairline restart service")
    shell.run.key("0")
    assert shell.run.expect_end("service")["next"] == "restart"
    shell.run.expect(r"^service\| A shell on service")
    assert shell.run.quit() == 0


def test_no_line_is_a_sentence(inside):
    shell = inside(None)
    (line,), status = shell.call("hairline list")
    assert status == 2 and line.endswith("has this VM a control line (`control: own` or `all` in its plan)?")
    shell.leave()
    assert shell.run.quit() == 0


@pytest.mark.parametrize("noise", ["cat /dev/urandom", "yes 'vm #1'", "yes events on"])
def test_line_that_sends_without_end(inside, noise):
    """And reads nothing. The others' consoles and the operator's commands go on, and so does the line, when it behaves again."""
    shell = inside("all", alpha="victim")
    shell.call("stty -F /dev/hvc1 raw -echo")
    shell.call(f"{noise} >/dev/hvc1 & sleep 1")
    shell.leave()
    for _ in range(20):
        shell.run.expect(r"^alpha\| progress")
    shell.run.command("restart beta")
    assert shell.run.expect_end("beta")["next"] == "restart"
    shell.run.expect(r"^beta\| ")
    shell.run.key("1")
    shell.call("kill %1; wait")
    shell.call("true")  # the shell tells of jobs that end
    assert list(look(shell)["vms"]) == ["service", "alpha", "beta"]
    shell.leave()
    assert shell.run.quit() == 0
