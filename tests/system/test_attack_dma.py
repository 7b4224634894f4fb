"""A hostile guest that aims its own device at the rest of the machine, with its VMM and without: guest/bare/attack_dma.c
beside tests/system/witness.c, a sealed VM that sees what comes to it. One run for each kind of IOMMU."""

import re
import time

import pytest
import rig

PLACES = (0x800000, 0xFEC00000, 0xFED40000, 0xFED90000, 1 << 39)  # of attack_dma.c
FORGED = 0xFEE07FF0  # a message by an entry that is not there, and its number
ENTRY = 0x3FF
LOG = 1.5  # seconds: root looks once a second of the machine's time, which is the host's
WORKS = ("the device starts", "it answers", "its data arrive", "its interrupt arrives")


def write_plan(folder, iommu):
    key = {"mode": "dedicated", "disengage": "never"}
    vms = [
        rig.guest("attacker", "attack", f"test=dma iommu={iommu}", **key | {"disengage": "guest"}, cores=[1], devices=["nvme/0"], on_exit="restart"),
        rig.guest("witness", "witness", "messages=1" if iommu == "amd" else None, **key, cores=[2], devices=["nvme/1"], sealed=True),
    ]
    return rig.write_plan(folder, vms, cores=3, memory="256M", iommu=iommu, devices=[{"nvme": "ext4:8M"}] * 2)


def spoken(lines):
    """What the attacker said. Root's own lines may break into those of the VM that has the keyboard."""
    return "".join(re.sub(r"^attacker\| ", "", line) for line in lines if not line.startswith("hairline| "))


class Attack:
    """The run, as far as it went; `lines` are of the attacker's first life, `again` of what came after it."""

    def __init__(self, folder, iommu):
        self.intel, self.end, self.witness, self.trouble, self.heard = iommu == "intel", None, None, None, 0
        self.run = rig.Live(write_plan(folder, iommu))
        try:
            self._attack()
        except AssertionError as trouble:
            self.trouble = trouble
        finally:
            self.run.stop()
        lines = self.run.lines
        parts = [i for i, line in enumerate(lines) if re.match(r"hairline\| vm name=attacker state=(alone|off)", line)] + [len(lines)] * 2
        self.lines, self.alone, self.again = lines[: parts[0]], lines[parts[0] : parts[1]], lines[parts[1] :]

    def _hear(self, what):
        """The attacker's word, and nothing that it said before."""
        assert self.run.wait(lambda: f"dma: {what}" in spoken(self.run.lines[self.heard :])), (what, self.run.lines[-20:])
        self.heard = len(self.run.lines)

    def _go(self, told, blocked):
        """The attacker waits for this; VT-d's log has, or gets, a line with `blocked`."""
        self._hear(told)
        if self.intel:
            self.run.expect(rf"iommu blocked .*{blocked} ")
        self.run.type("g")

    def _ends(self, name):
        return self.run.expect(rf"vm name={name} state=off reason=(\w+) value=(\w+)").groups()

    def _empty_log(self):
        """Root's next turn after LOG looks into it: what it says then to a command comes later. Where its line is full it looks
        another time; once it has answered the first command it is not."""
        for _ in range(2 if self.intel else 0):
            time.sleep(LOG)
            self.run.key("s")
            self.run.expect(r"^hairline\| # name ")

    def _attack(self):
        self._hear("waits")
        self.run.expect("witness: at work")
        self.run.key("1")
        self.run.type("g")
        for place in PLACES:
            self._go(f"insists on {place:x}", f"address=0x{place:x}")
        self._go(f"insists on {FORGED:x}", f"address=0x{ENTRY << 12:x}")
        self._hear("waits")
        self._empty_log()
        self.run.type("g")
        self.run.expect("name=attacker state=alone")
        self.end = self._ends("attacker")
        self._hear("waits")
        self._empty_log()
        self.run.key("2")
        self.run.type("q")
        self.run.seen = 0  # it ends earlier if it sees something
        self.witness = self._ends("witness")

    def blocked(self, lines):
        return [line for line in lines if "iommu blocked" in line]


@pytest.fixture(name="attack", scope="module", params=["intel", "amd"])
def make_attack(request, tmp_path_factory):
    return Attack(tmp_path_factory.mktemp("attack"), request.param)


def said(lines, *what):
    text = spoken(lines)
    assert not [w for w in what if f"dma: {w}" not in text], lines[-30:]


def test_device_works_for_its_own(attack):
    """Identify data and an interrupt arrive, before the attacks, between them, and without a VMM."""
    said(attack.lines, *WORKS)
    text = spoken(attack.lines)
    assert text.index(f"dma: {WORKS[-1]}") < text.index("dma: waits")
    assert text.count("dma: its interrupt arrives") == 5, attack.lines


def test_decoding_is_turned_off_for_show(attack):
    """An access that nothing decodes is an error for the machine (XSA-120): the guest sees its bit clear, the device never does."""
    said(attack.lines, "no machine sees it without its decoding")


def test_data_and_queues_elsewhere(attack):
    """With the VMM there. The controller itself says that queues elsewhere cannot be used."""
    said(attack.lines, "data elsewhere leave it as it was", "queues elsewhere are refused", "no command of a witness was read")


def test_who_did_it_is_told(attack):
    """By VT-d, with requester, address and VM. QEMU's AMD-Vi writes no event log: with it there is nothing to see, and
    only what the others here see tells that nothing arrived. QEMU's VT-d does not say who sends a message that is data."""
    lines = attack.blocked(attack.lines)
    own = [line for line in lines if re.search(r"rid=01:00.0 address=\S+ reason=\d+ vm=attacker$", line)]
    messages = [line for line in lines if re.search(r"rid=ff:1f.7 address=\S+ reason=3[34] vm=-$", line)]
    assert sorted(own + messages) == sorted(lines), "\n".join(lines)
    assert any(f"address=0x{ENTRY << 12:x} reason=33 " in line for line in messages) == attack.intel
    for place in PLACES:
        assert any(f"address=0x{place:x} " in line for line in own) == attack.intel, lines


def test_messages(attack):
    """VT-d: of all entries of the table one is the guest's, which its forged messages reach, too; messages in
    compatibility format are not tried, QEMU lets them through. AMD-Vi: QEMU takes them for the IOAPIC's."""
    mine = "one message that it forged is its own" if attack.intel else "messages of its own making are refused"
    said(attack.lines, mine, "no interrupt that it did not ask for", "a forged table leads to itself at most")


def test_without_a_vmm(attack):
    """All of it again: value 0 says that all was as before, another one names the line of attack_dma.c that was not."""
    assert attack.end == ("exit_port", "0"), (attack.end, attack.lines[-20:])
    lines = attack.blocked(attack.alone + attack.again)
    assert bool(lines) == attack.intel
    assert not attack.intel or "address=0x800000 " in lines[0], lines


def test_witness_saw_nothing(attack):
    """Its memory, sealed, is as it was; no NMI, no interrupt; its own controller works."""
    assert attack.witness == ("exit_port", "0"), (attack.trouble, attack.run.lines[-20:])
    assert any("witness: changed at 0, 0 interrupts, own ok" in line for line in attack.run.lines)


def test_device_is_reset(attack):
    """The next life finds the controller off, and can use it."""
    said(attack.again, "it is new", *WORKS)
    assert attack.trouble is None
