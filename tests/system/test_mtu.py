"""A LAN: what a guest is told of its MTU, what passes, what is lost is counted, and where its switch is."""

import rig
from rig import guest, linux

LARGE = {"name": "l", "mtu": 9000}


def shell(run, command):
    """Its status, as the shell of the focused VM tells it; what is typed before its prompt is lost."""
    run.expect_prompt("alpha:")
    run.type(f"{command}; echo status=$?=\n")
    return int(run.expect(r"status=(\d+)=")[1])


def pair(live, lan):
    """Two Linux machines with a shell, the first in focus."""
    run = live(linux("alpha", cores=[1], lan=lan), linux("beta", cores=[2], lan=lan), cores=3, memory="2G")
    run.until(r"alpha\| alpha:/# ")
    run.until(r"beta\| HAIRLINE-CHECKS: ")  # in any order
    run.key("1")
    run.expect(r"focus on alpha")
    run.type("\n")
    return run


def test_large_frames_pass(live):
    """Linux takes the device's MTU at once."""
    run = pair(live, LARGE)
    assert shell(run, "grep -qx 9000 /sys/class/net/eth0/mtu") == 0
    assert shell(run, "ping -c 3 -s 8000 10.0.1.2") == 0
    assert shell(run, "ip link set eth0 mtu 9001") != 0
    run.key("0")
    run.command("stop alpha")
    end = run.expect_end("alpha")
    assert (end["lost.sent"], end["lost.received"]) == ("0", "0"), end
    assert run.quit() == 0


OFFLOADS = (0, 1, 7, 8, 9, 11, 12, 13, 15)  # checksums, TSO, merged buffers: bits of features (virtio 1.2, 5.1.3)


def test_stream_is_whole(live):
    """Both ways, in frames that no card cuts. Linux takes all that is offered."""
    run = pair(live, "l")
    run.key("2")
    run.type("\ncat /sys/class/net/eth0/device/features; (nc -l -p 7 >/run/in; nc -l -p 8 </run/in) & echo listens\n")
    features = run.expect(r"^([01]{64})$")[1]
    assert all(features[bit] == "1" for bit in OFFLOADS), features
    run.expect(r"^listens")
    run.key("1")
    run.type("\n")
    assert shell(run, "head -c 4194304 /dev/urandom >/run/out; until nc 10.0.1.2 7 </run/out; do :; done") == 0
    run.type("cd /sys/class/net/eth0/statistics; echo $(cat tx_bytes tx_packets) sent; cd\n")
    sent, packets = map(int, run.expect(r"^(\d+) (\d+) sent").groups())
    assert sent / packets > 1514, (sent, packets)  # on a wire there is no such frame
    assert shell(run, "mkfifo /run/open; (sleep 100000 >/run/open &)") == 0  # an input that does not end: nc ends with one
    assert shell(run, "until nc 10.0.1.2 8 </run/open >/run/back; do :; done; cmp /run/out /run/back") == 0
    run.key("0")
    assert run.quit() == 0


def test_usual_lan_refuses_more(live):
    run = pair(live, "l")
    assert shell(run, "ip link set eth0 mtu 9000") != 0
    assert shell(run, "ip link set eth0 mtu 1500") == 0
    assert shell(run, "ping -c 1 -s 1472 10.0.1.2") == 0
    run.key("0")
    assert run.quit() == 0


def flood(live, *beside, cores=2):
    """A flood that another VM on the LAN does not take, and how much that had lost when it was first seen."""
    run = live(guest("flood", "attack", "test=lan-flood forever=1", cores=[1], lan="l"), guest("deaf", "attack", "test=hlt", cores=[1], lan="l"), *beside, cores=cores)
    run.expect(r"^flood\| attack lan-flood: to end")
    lost = 0
    while not lost:
        run.command("list")
        lost = int(run.expect(r"^hairline\| 2 deaf .* (\d+)$")[1])
    return run, lost


def test_what_is_lost_is_shown(live):
    """The receiver's ring is full, and the table and the record say so."""
    run, lost = flood(live)
    run.command("stop deaf")
    end = run.expect_end("deaf")
    assert int(end["lost.received"]) >= lost and end["lost.sent"] == "0", end
    run.quit()


def test_switch_beside_a_core_of_ones_own(live):
    """A dedicated VM has the last core, where a switch would be otherwise: both run."""
    run, _ = flood(live, guest("own", "hello", mode="dedicated", cores=[2]), cores=3)
    run.until(r"hairline\| vm name=own ")
    assert run.quit() == 0
    end = next(rig.fields(line) for line in run.lines if line.startswith("hairline| vm name=own "))
    assert (end["reason"], end["value"]) == ("exit_port", "0"), end
