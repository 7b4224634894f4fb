"""No device access waits for a neighbour's traffic: its length in ticks of 1 ns, as the guest measures it."""

import pytest
import rig
from rig import guest

LONGEST = 100_000  # ns
LOOKS = 4  # of 33 ms each: more than a period of any budget


def looks(run, count=LOOKS):
    """What the toucher tells, some time after its neighbours are at work."""
    words = [run.expect(r"^toucher\| (touched .*)")[1].split() for _ in range(count)]
    return [{key: int(value) for key, value in zip(w[::2], w[1::2])} for w in words]


def metronome(core):
    return guest("metronome", "metronome", mode="dedicated", disengage="never", cores=[core])


CASES = [(attack, sleepers) for attack in ("spin", "lan-flood", "console-flood") for sleepers in (0, 1, 3)]
QUICK = [("lan-flood", 0), ("lan-flood", 3), ("console-flood", 3)]


@pytest.mark.parametrize("attack, sleepers", CASES if rig.ALL else QUICK)
def test_longest_access(live, attack, sleepers):
    """Attacker, VM and the LAN's switch are on a core each; VMs that sleep beside it share its worker's budget."""
    beside = [guest(f"sleeper{i}", "attack", "test=hlt") for i in range(sleepers)]
    wild = guest("wild", "attack", f"test={attack} forever=1", lan="l", cores=[2])
    run = live(guest("toucher", "toucher", lan="l"), wild, metronome(3), *beside, cores=5, qemu=rig.ONE_GIPS)
    run.expect(r"^metronome\| metronome: at work")
    run.expect(r"^toucher\| touched")
    seen = looks(run)
    assert attack != "lan-flood" or all(look["frames"] > 100 for look in seen), seen
    assert max(max(look["uart"], look["pci"], look["net"]) for look in seen) <= LONGEST, seen
