"""Two machines on one wire: a VM whose machine hangs starts on the other, once its own was reset. All of it is Debian's,
in the service VMs: Pacemaker, Corosync, DRBD, and fence_ipmilan, which speaks to each machine's management controller."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import threading

import pytest
import rig
from firmware import call
from rig import linux

NAMES = {1: "one", 2: "two"}
NO_STALLS = ("-icount", "shift=1")  # time is counted in instructions, when idle in seconds: a host that halts it costs no token
GONE = r"Operation '(reboot|off)'.* targeting {} .*: OK"  # Pacemaker's word that its machine was fenced
PRIMARY = r"role\( Secondary -> Primary \)"  # DRBD's word that its machine has the volume

CONTROLLER = """#!/bin/sh
# A management controller's hand on its machine: FOLDER ADDRESS get|set WHAT [VALUE], called by ipmi_sim. Power off is for certain:
# it is said once the machine's processes are gone.
cd "$1" || exit 1
case $3.$4.$5 in
get.power.) echo "power:$(cat power)" ;;
set.power.0)
    [ ! -e broken ] || { echo refused >>log; exit 1; }
    kill -KILL $(cat pids)
    for pid in $(cat pids); do while kill -0 "$pid" && ! grep -q '^State:.Z' "/proc/$pid/status"; do sleep 1; done; done 2>/dev/null
    echo 0 >power; echo off >>log ;;
set.power.1) echo 1 >power; echo on >>log ;;
*) exit 1 ;;
esac
"""

LAN = """name "{name}"
set_working_mc 0x20
startlan 1
  addr 127.0.0.1 {port}
  priv_limit admin
  allowed_auths_admin none md2 md5 straight
  guid a123456789abcdefa123456789abcdef
endlan
chassis_control "{folder}/controller {folder} 0x20"
user 1 false "" "" user 10 none
user 2 true "admin" "SECRET" admin 10 md5
"""

COROSYNC = """totem {
  version: 2
  cluster_name: house
  token: 60000
  crypto_cipher: aes256
  crypto_hash: sha256
}
nodelist {
  node {
    name: one
    nodeid: 1
    ring0_addr: 192.168.7.1
  }
  node {
    name: two
    nodeid: 2
    ring0_addr: 192.168.7.2
  }
}
quorum {
  provider: corosync_votequorum
  two_node: 1
}
logging {
  to_syslog: yes
}
"""

DRBD = """resource gamma-root {
  device /dev/drbd0;
  disk /dev/nvme0n2;
  meta-disk internal;
  disk { fencing resource-and-stonith; }
  net { timeout 300; ping-timeout 300; ping-int 60; connect-int 60; }
  handlers {
    fence-peer "/usr/lib/drbd/crm-fence-peer.sh";
    after-resync-target "/usr/lib/drbd/crm-unfence-peer.sh";
  }
  on one { address 192.168.7.1:7789; }
  on two { address 192.168.7.2:7789; }
}
"""


def udp():
    """A socket on this machine, and its port."""
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    return one, one.getsockname()[1]


class Wire:
    """Between the two machines' cards. It is here even while one of them is not."""

    def __init__(self):
        self.ends, self.cards = {}, {}
        for number in NAMES:
            self.ends[number] = udp()
            free, self.cards[number] = udp()
            free.close()
        for number in NAMES:
            threading.Thread(target=self._carry, args=(number, 3 - number), daemon=True).start()

    def _carry(self, source, target):
        while True:
            self.ends[target][0].sendto(self.ends[source][0].recv(65536), ("127.0.0.1", self.cards[target]))

    def words(self, number):
        return (f"dgram,id=wire,local.type=inet,local.host=127.0.0.1,local.port={self.cards[number]},"
                f"remote.type=inet,remote.host=127.0.0.1,remote.port={self.ends[number][1]}")


class House:
    """A machine: its service VM's disk, its half of the volume, its files, its management controller; and its lives."""

    def __init__(self, folder, number, wire, programs):
        self.folder, self.number, self.name, self.wire = folder, number, NAMES[number], wire
        folder.mkdir()
        free, self.port = udp()
        free.close()
        self.userland, self.run = rig.BUILD / "cluster", None
        self.controller = self._controller(programs)
        with open(folder / "data", "wb") as file:
            file.truncate(40 << 20)

    def _controller(self, programs):
        folder = self.folder
        (folder / "state").mkdir()
        (folder / "power").write_text("1\n")
        (folder / "log").write_text("")
        (folder / "controller").write_text(CONTROLLER)
        (folder / "controller").chmod(0o755)
        (folder / "lan.conf").write_text(LAN.format(name=self.name, port=self.port, folder=folder))
        (folder / "sim.emu").write_text("mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n")
        words = [f"{programs}/usr/bin/ipmi_sim", "-n", "-c", folder / "lan.conf", "-f", folder / "sim.emu", "-s", folder / "state"]
        libraries = {"LD_LIBRARY_PATH": f"{programs}/usr/lib/x86_64-linux-gnu"}
        with open(folder / "sim.log", "wb") as log:
            return subprocess.Popen(words, env=os.environ | libraries, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def asked(self):
        """What its controller was asked to do, in order."""
        return (self.folder / "log").read_text().split()

    def seed(self, files):
        """The service VM's third disk."""
        tree = self.folder / "seed"
        shutil.rmtree(tree, ignore_errors=True)
        network = "[Match]\nMACAddress={}\n[Network]\nAddress={}\nLinkLocalAddressing=no\nConfigureWithoutCarrier=yes\n"
        console = "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --noclear hvc0 linux\n"
        for path, text in {
            "etc/hostname": f"{self.name}\n",
            "etc/hosts": "127.0.0.1 localhost\n192.168.7.1 one\n192.168.7.2 two\n",
            "etc/systemd/network/10-wire.network": network.format(f"02:68:6c:07:00:0{self.number}", f"192.168.7.{self.number}/24"),
            "etc/systemd/network/10-controllers.network": network.format(f"02:68:6c:08:00:0{self.number}", "10.0.2.15/24"),
            "etc/systemd/system/serial-getty@hvc0.service.d/login.conf": console,
            "etc/systemd/journald.conf.d/console.conf": "[Journal]\nForwardToConsole=yes\nMaxLevelConsole=info\nTTYPath=/dev/hvc0\nStorage=volatile\n",
            "etc/systemd/system/serial-getty@ttyS0.service": "",  # or it would take what is typed
            "etc/sysctl.d/printk.conf": "kernel.printk = 7 4 1 7\n",  # what DRBD says
            "etc/inputrc": "set enable-bracketed-paste off\n",
            "etc/corosync/corosync.conf": COROSYNC,
            "etc/drbd.d/gamma-root.res": DRBD,
            **files,
        }.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes(text if isinstance(text, bytes) else text.encode())
        disk = self.folder / "seed.ext4"
        disk.unlink(missing_ok=True)
        call("/sbin/mke2fs", "-qF", "-t", "ext4", "-E", "root_owner=0:0", "-d", tree, disk, "16M")

    def start(self):
        """Power on."""
        service = linux("service", str(self.userland / "vmlinuz"), initrd=str(self.userland / "initrd"), memory="640M", mode="dedicated",
                        cmdline="console=ttyS0 console=hvc0 quiet root=/dev/nvme0n1 rw init=/usr/sbin/seed net.ifnames=0 no_timer_check",
                        disengage="never", cores=[1], devices=["network/0", "network/1", "nvme/0"], control="all",
                        volumes=[{"name": "gamma-root", "size": "32M"}])
        gamma = linux("gamma", cores=[2], memory="192M", start="command", disks=[{"volume": "gamma-root", "from": "service"}])
        plan = rig.write_plan(self.folder, [service, gamma], cores=3, memory="1536M", iommu="intel")
        disks = {"root": self.userland / "root.ext4", "data": self.folder / "data", "seed": self.folder / "seed.ext4"}
        words = ["-device", "nvme,id=n,serial=1"]
        for name, file in disks.items():
            lasts = "off" if name == "data" else "on"
            words += ["-drive", f"if=none,id={name},format=raw,snapshot={lasts},file={file}", "-device", f"nvme-ns,drive={name},bus=n"]
        for number, (name, card) in enumerate({"wire": self.wire.words(self.number), "controllers": "user,id=controllers"}.items(), 1):
            words += ["-device", f"pcie-root-port,id=port{number},chassis={number},slot={number}", "-netdev", card]
            words += ["-device", f"igb,bus=port{number},netdev={name},mac=02:68:6c:0{6 + number}:00:0{self.number}"]
        self.run = rig.Live(plan, qemu=[*words, *NO_STALLS])
        assert self.run.wait(lambda: self.run.lines), self.run.text()
        (self.folder / "pids").write_text(" ".join(map(str, rig.family(self.run.process.pid))))

    def hang(self):
        for pid in rig.family(self.run.process.pid):
            os.kill(pid, signal.SIGSTOP)

    def is_off(self):
        return self.run.process.poll() is not None

    def stop(self):
        self.controller.kill()
        self.controller.wait()
        if self.run and not self.is_off():
            rig.kill_family(self.run.process.pid)  # one that hangs, too
        if self.run:
            self.run.stop()


@pytest.fixture
def houses(tmp_path):
    """houses(): both machines, running, with what they share."""
    programs = call(rig.SOURCE / "scripts/cache", "fetch", rig.SOURCE / "tests/tools.lock", "ipmi-sim").strip()
    rig.made("cluster", "deb", rig.BUILD / "kernels/debian/initrd")
    wire, key = Wire(), os.urandom(256)
    cluster = (rig.SOURCE / "examples/cluster.crm").read_text()
    cluster = cluster.replace("pcmk_delay_base=60s", "pcmk_delay_base=5s")  # nobody cuts the wire here
    cluster = re.sub(r"timeout=(\d+)s", r"timeout=\g<1>0s", cluster)  # an emulated machine takes ten times as long, or more
    # ipmi_sim has no later cipher. A fence that was refused is tried again once its time is over: that is not as long.
    cluster = cluster.replace("lanplus=1", "lanplus=1 cipher=3 pcmk_reboot_timeout=90")
    with contextlib.ExitStack() as stack:
        both = {}
        for number, name in NAMES.items():
            both[number] = House(tmp_path / name, number, wire, programs)
            stack.callback(both[number].stop)
            cluster = cluster.replace(f"ip=192.168.9.1{number}", f"ip=10.0.2.2 ipport={both[number].port}")
        for house in both.values():
            house.seed({"etc/corosync/authkey": key, "root/cluster.crm": cluster, "hairline.deb": (rig.BUILD / "hairline.deb").read_bytes()})
            house.start()
        yield both[1], both[2]


def formed(one, two):
    """Both are in the cluster, both have the volume. The machine that Pacemaker chose for gamma, which has written to it; the other."""
    for house in (one, two):
        house.run.expect("ROOT LOGIN")
        house.run.tell(1, "drbdadm up gamma-root")
    one.run.tell(1, "drbdadm wait-connect gamma-root && drbdadm -- --clear-bitmap new-current-uuid gamma-root")
    one.run.tell(1, "until crm_mon -1 | grep 'Online: . one two .'; do sleep 5; done; crm configure load replace cluster.crm; echo LOA''DED")
    one.run.expect("LOADED")
    for house in (one, two):
        house.run.key("0")  # else no other VM is shown
    assert one.run.wait(lambda: has_begun(one) or has_begun(two)), one.run.text()
    has, other = (one, two) if has_begun(one) else (two, one)
    has.run.until_up("gamma")
    has.run.tell(2, "echo the first life >>/mnt/vda/lives; sync; echo written")
    has.run.told("written$")
    has.run.key("0")
    return has, other


def has_begun(house):
    """Its machine has the volume, or gamma runs there."""
    return any(re.search(PRIMARY, line) or line.startswith("gamma| CHECK") for line in house.run.lines)


def taken_over(dead, alive):
    """`alive` has fenced `dead` first, then has the volume, then gamma: never two at once."""
    alive.run.expect(GONE.format(dead.name))
    assert dead.is_off() and dead.asked()[-2:] == ["off", "on"]
    alive.run.expect(PRIMARY)
    alive.run.expect(r"^gamma\| CHECK disk-vda ok")


if rig.ALL:  # two machines at once, for half an hour

    def test_a_machine_that_hangs_is_reset_first(houses):
        has, other = formed(*houses)

        # As long as it cannot be reset, nothing starts.
        (has.folder / "broken").touch()
        has.hang()
        assert other.run.wait(lambda: has.asked().count("refused") >= 2 or has_begun(other)), other.run.text()
        assert not has_begun(other), other.run.text()

        (has.folder / "broken").unlink()
        taken_over(has, other)
        other.run.until_up("gamma")
        other.run.tell(2, "cat /mnt/vda/lives")
        other.run.told("the first life$")
