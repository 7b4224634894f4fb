"""An installed Debian that puts Hairline beneath itself while it runs, twice, and takes it away again (`launch: late`): its unit
`facts` (guest/disk) does that as a user would, by hand. In the second round its root user attacks."""

import pytest
import rig
from firmware import ovmf
from test_host import CORES, TOLD, Installed, host_plan, last_counts, seen


@pytest.fixture(scope="module", name="late")
def run_late(tmp_path_factory):
    ovmf()
    folder = tmp_path_factory.mktemp("late")
    return Installed(folder, host_plan(folder, memory="2G", host={"disk": "debian-disk", "launch": "late"}), TOLD)


def test_in_and_out_twice(late):
    """It gives up one processor and gets it back; beneath, and after it, it is as well as before."""
    facts, run = late.facts, late.run
    assert run.code == 0, run.errors + run.output
    assert [fact.split()[0] for fact in facts["launched"]] == [f"cores={CORES - 1}"] * 2
    assert [fact.split()[0] for fact in facts["left"]] == [f"cores={CORES}"] * 2
    assert facts["cores"] == [str(CORES)] and facts["svm"] == [str(CORES)]  # firmware knew nothing of Hairline
    assert [facts[name] for name in ("load", "launch", "leave", "unload")] == [["ok"], ["ok"] * 2, ["ok"] * 2, ["ok"]]
    assert [facts[name] for name in ("disk", "hotplug", "nmi")] == [["ok"] * 2] * 3


def test_it_says_what_it_is_worth(late):
    """Each time; and the VMs beside are there each time."""
    output = late.run.output
    assert output.count("hairline| host name=debian level=L0 iommus=0 launch=unmeasured") == 2
    assert output.count("hairline| host name=debian leaves: status 0") == 2
    assert "hello| hello from a bare guest" in output and late.run.vms["beside"]["reason"] == "stopped"


def test_its_root_reaches_nothing(late):
    """No MSR changes, none of the interrupts arrives, no sleep state is entered; and the VM beside looks on to the end."""
    run = late.run
    tries, (interrupts,), (sleep,) = seen(run, "msr"), map(rig.fields, seen(run, "interrupts")), map(rig.fields, seen(run, "sleep"))
    assert len(tries) > 15 and all(" kept " in line for line in tries)
    assert interrupts["arrived"] == "1" and int(interrupts["sent"]) > 1000 and int(interrupts["started"]) == CORES - 2
    assert int(sleep["tried"]) == 7 * 6 and last_counts(run)["port"] >= 7 * 6
    assert last_counts(run)["cpuid"] == 0
    assert last_counts(run)["msr"] >= len(tries) and last_counts(run)["icr"] >= int(interrupts["sent"])
    after = run.output.partition("ATTACK end of sleep")[2]
    assert "canary: wrong" not in run.output and "beside| canary: round" in after
