"""A way out: a service VM that leads its LAN to the outside by a network card of the machine's."""

import http.client
import http.server
import os
import re
import socket
import socketserver
import struct
import subprocess
import threading
import time
import urllib.request

import pytest
import rig
from rig import linux

AHEAD = 400 * 86400  # seconds: the outside's clock, before the host's
SINCE_1900 = 2208988800


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):  # pylint: disable=invalid-name
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello from outside\n")

    def log_message(self, *args):  # pylint: disable=arguments-differ
        pass


class Name(socketserver.BaseRequestHandler):
    """DNS (RFC 1035): the outside is 10.0.2.2, and nothing else is known."""

    def handle(self):
        query, reply = self.request
        known = b"\7outside\4test\0\0\1\0\1" in query.lower()
        answer = b"\xc0\x0c\0\1\0\1" + struct.pack("!IH", 60, 4) + bytes([10, 0, 2, 2]) if known else b""
        end = query.index(b"\0", 12) + 5
        head = query[:2] + struct.pack("!HHHHH", 0x8180 if known else 0x8183, 1, int(known), 0, 0)
        reply.sendto(head + query[12:end] + answer, self.client_address)


class Time(socketserver.BaseRequestHandler):
    """NTP (RFC 5905): a server of stratum 1."""

    def handle(self):
        query, reply = self.request
        now = struct.pack("!Q", int((time.time() + AHEAD + SINCE_1900) * 2**32))
        reply.sendto(struct.pack("!BBbb", 0x24, 1, 6, -20) + bytes(8) + b"TEST" + now + query[40:48] + now + now, self.client_address)


@pytest.fixture
def outside():
    """Servers on the host, which the emulated machine's outside has as 10.0.2.2: {name: port}; and a port that is free."""
    servers = {"page": http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)}
    servers |= {name: socketserver.ThreadingUDPServer(("127.0.0.1", 0), kind) for name, kind in (("dns", Name), ("ntp", Time))}
    for server in servers.values():
        threading.Thread(target=server.serve_forever, daemon=True).start()
    ports = {name: server.server_address[1] for name, server in servers.items()}
    with socket.socket() as alpha, socket.socket() as service:
        for name, free in (("alpha", alpha), ("service", service)):
            free.bind(("127.0.0.1", 0))
            ports[name] = free.getsockname()[1]
    yield ports
    for server in servers.values():
        server.shutdown()
        server.server_close()


@pytest.fixture
def house(tmp_path, outside):
    """A machine with a gateway, told of the outside by words, and two guests on its LAN; alpha has an NTP client."""
    programs, kernel = rig.BUILD / "guest/gateway", rig.BUILD / "kernels/debian"
    rig.made(kernel / "initrd", programs / "chronyd")
    with_client = [rig.SOURCE / "guest/mkinitrd", "plain", kernel, tmp_path / "initrd", programs / "chronyd"]
    subprocess.run(with_client, check=True, env=os.environ | {"LD_LIBRARY_PATH": str(programs)})
    words = f"console=ttyS0 quiet hairline.outside=10.0.2.15/24,10.0.2.2 hairline.dns=10.0.2.2#{outside['dns']} hairline.ntp=10.0.2.2:{outside['ntp']}"
    service = linux("service", initrd="debian-service", cmdline=words, mode="dedicated", disengage="never", cores=[1],
                    devices=["network/0"], lan="office", gateway={"forward": [{"port": 8080, "to": "alpha", "to_port": 80}]})
    reach = f"console=ttyS0 quiet hairline.reach=http://outside.test:{outside['page']}/,http://service:8080/"
    guests = [linux(name, cores=[core], lan="office", cmdline=reach) for name, core in (("alpha", 2), ("beta", 3))]
    guests[0]["initrd"] = str(tmp_path / "initrd")
    cards = [{"igb": {"forward": [f"{outside['alpha']}:8080", f"{outside['service']}:80"]}}]
    run = rig.Live(rig.write_plan(tmp_path, [service, *guests], cores=4, memory="2G", iommu="intel", devices=cards))
    yield run
    run.stop()


def test_rules_lead_ports():
    """Of TCP and of UDP; what the gateway serves to its LAN stays its own there."""
    words = "8080:10.0.1.2:80,udp/53:10.0.1.3:5353,udp/8080:10.0.1.3:8080"
    shell = f"""cd {rig.SOURCE}/guest; . ./gateway.sh; word() {{ [ "$1" != hairline.forward ] || echo {words}; }}
        name=service here=10.0.1.1 net=10.0.1.0 peers=alpha:10.0.1.2 card_lan=lan outside=out; rules"""
    rules = subprocess.run(["sh", "-euc", shell], capture_output=True, text=True, check=True).stdout
    chain = [line.strip() for line in re.search(r"chain inward \{(.*?)\}\n *chain", rules, re.S)[1].splitlines()]
    assert [line for line in chain if "dnat" in line] == [f"fib daddr type local {port} dnat to {to}" for port, to in (
        ("tcp dport 8080", "10.0.1.2:80"), ("udp dport 53", "10.0.1.3:5353"), ("udp dport 8080", "10.0.1.3:8080"))]
    own = [line for line in rules.splitlines() if "dport" in line and "accept" in line and "iifname lan" in line and "saddr" not in line]
    assert len(own) == 4 and own[:2] == own[2:] and all(line.strip() in chain for line in own), rules


def fetch(port, tries=20):
    """What a client on the host gets there; None: no page. Guests and QEMU's network give up by the host's clock."""
    for _ in range(tries):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as page:
                return page.read().decode()
        except (OSError, http.client.HTTPException):
            time.sleep(1)
    return None


def test_the_way_out_and_back(house, outside):
    # Their checks are: a lease, each other's and the outside's names, a page of the outside's, the forwarded port.
    house.until_up("alpha", "beta")
    for check in (f"alpha| CHECK reach-http://outside.test:{outside['page']}/ ok", "beta| CHECK http-alpha ok"):
        assert house.has(re.escape(check)), house.text()

    # From the outside one port leads to alpha, and no other in.
    house.tell(1, "mkdir /run/www; echo from within >/run/www/index.html; httpd -h /run/www; wget -q -O - http://127.0.0.1/")
    house.told(r"from within$")
    assert fetch(outside["alpha"]) == "hello from alpha\n"
    assert fetch(outside["service"], 1) is None

    # The time is the outside's.
    house.tell(2, "until chronyd -q -t 60 -u root 'server service iburst'; do :; done; echo it is $(date +%s)")
    assert abs(int(house.told(r"it is (\d+)$").group(2)) - time.time() - AHEAD) < 86400, house.text()

    # Random bytes are the processor's.
    house.tell(2, "cat /sys/class/misc/hw_random/rng_available; head -c 4096 /dev/hwrng | sort -u | wc -c")
    house.told(r"virtio_rng\.0")
    assert int(house.told(r"(\d+)$").group(2)) > 3000

    # Who speaks for another is not heard. What is the guest's own is.
    ask = f"timeout 20 wget -q -O /dev/null http://10.0.2.2:{outside['page']}/"
    house.tell(3, f"ip addr del 10.0.1.3/24 dev eth0; ip addr add 10.0.1.2/24 dev eth0; ip route add default via 10.0.1.1; {ask} || echo unheard")
    house.told(r"unheard$")
    assert fetch(outside["alpha"]) == "hello from alpha\n"
    house.tell(3, f"ip addr del 10.0.1.2/24 dev eth0; ip addr add 10.0.1.3/24 dev eth0; ip route add default via 10.0.1.1; until {ask}; do :; done; echo heard")
    house.told(r"heard$")

    # The gateway starts again, and all of that is there again.
    house.key("0")
    house.command("")
    house.command("restart service")
    assert house.expect_end("service")["next"] == "restart"
    house.expect(r"^service\| GATEWAY service: from 10\.0\.1\.1 to 10\.0\.2\.15/24")
    assert fetch(outside["alpha"]) == "hello from alpha\n"
    assert not re.search(r"CHECK \S+ FAIL", house.text())


def test_a_small_server(tmp_path, outside):
    """The example ends well: disks outlast a VM's life, the outside is reached, a port is forwarded, all from within."""
    text = (rig.SOURCE / "examples/house.yaml").read_text()
    assert "8080:8080" in text
    plan = tmp_path / "house.yaml"
    plan.write_text(text.replace("8080:8080", f"{outside['alpha']}:8080"))
    run = rig.Batch(tmp_path, plan)
    assert run.code == 0, run.output + run.errors
    assert [vm["checks"] for vm in run.vms.values()] == ["ok"] * 3, run.output
    assert run.logs["beta"].index("The first life of beta ends here.") < run.logs["beta"].index("CHECK again ok")
    assert "CHECK reach-10.0.2.2 ok" in run.logs["alpha"] and "CHECK reach-http://service:8080/ ok" in run.logs["beta"]
    assert "GATEWAY service: from 10.0.1.1 to 10.0.2.15/24" in run.logs["service"]
