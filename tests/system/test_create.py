"""VMs that another VM creates while the machine runs, out of what the plan has to spare."""

import json
import shutil
import subprocess

import pytest
import rig
from rig import guest, linux
from test_control import Inside, look

MIB = 1 << 20
ROUNDS = 500 if rig.ALL else 3  # of two VMs that are created and end


@pytest.fixture(scope="module")
def userland(tmp_path_factory):
    """The packaged userland, with the tool in it, Debian's kernel with that userland, and our own programs."""
    folder, kernel = tmp_path_factory.mktemp("userland"), rig.BUILD / "kernels/debian"
    rig.made(kernel / "initrd")
    shutil.copy(rig.BUILD / "hairline-tool", folder / "hairline")
    for name in ("attack", "canary"):
        shutil.copy(rig.BUILD / f"guest/bare/{name}.elf", folder)
    (folder / "broken.elf").write_bytes((rig.BUILD / "guest/bare/canary.elf").read_bytes()[:4096])
    programs = [*folder.iterdir(), kernel / "vmlinuz", kernel / "initrd"]
    subprocess.run([rig.SOURCE / "guest/mkinitrd", "plain", kernel, folder / "service", *programs], check=True)
    return folder / "service"


@pytest.fixture
def inside(live, userland):
    """inside(): a machine with the VM `service`, which may create others on core 3, and `beta`."""

    def start(memory="96M", upload="48M", machine=None, **keys):
        disks = {"disks": [{"file": "ext4:4M"}, {"upload": upload}]} if upload else {}
        service = linux("service", initrd=str(userland), cores=[1], memory="320M", control="all", **disks, **keys)
        beta = guest("beta", "attack", cmdline="test=hlt", cores=[2], on_exit="restart")
        spare = {"cores": [3], "memory": memory} if upload else None
        return Inside(live(service, beta, cores=4, spare=spare, machine=machine))

    return start


def vm(name, kernel="attack.elf", **keys):
    return {"name": name, "kernel": kernel, "memory": "8M", "exit_port": 0xF4, "cmdline": "test=hlt", **keys}


def create(shell, *vms, **top):
    """What `hairline create` says of a plan with these VMs, and its status."""
    shell.call(f"echo '{json.dumps({**top, 'vms': vms})}' >/bin/plan.yaml")
    return shell.call("hairline create /bin/plan.yaml")


def end(shell, name):
    assert shell.call(f"hairline kill {name}") == ([], 0)
    assert shell.call(f"hairline destroy {name}") == ([], 0)


def free(shell):
    """Frames and objects that the kernel has. And all spare memory is free: it is one VM's, but for less than any has."""
    assert create(shell, vm("large", memory="88M")) == ([], 0)
    end(shell, "large")
    return [look(shell)["machine"][key] for key in ("pool_free", "objects_free")]


def frames_of(shell, memory):
    """Frames that a VM of that memory takes."""
    before = look(shell)["machine"]["pool_free"]
    assert create(shell, vm("sized", "canary.elf", memory=memory)) == ([], 0)
    taken = before - look(shell)["machine"]["pool_free"]
    end(shell, "sized")
    return taken


def leave(shell):
    shell.leave()
    assert shell.run.quit() == 0


@pytest.mark.parametrize("small", [False, True])
def test_pages_of_a_guest(inside, small):
    """Of 4 KiB they need a table for each 2 MiB, in the guest alone, and in all of it; of the other sizes at most one more, where a GiB begins.
    Linux beside it works in such pages, too."""
    shell = inside(machine={"small_pages": small})
    assert frames_of(shell, "72M") - frames_of(shell, "8M") - (32 if small else 0) in (0, 1)
    leave(shell)


def test_lives_of_a_vm_that_was_created(inside):
    """It starts, starts again from what root has of it, goes, and leaves nothing: the next one finds clean memory."""
    shell = inside()
    assert create(shell, vm("gamma", "canary.elf")) == ([], 0)
    gamma = look(shell)["vms"]["gamma"]
    assert (gamma["unattested"], gamma["cores"], gamma["memory"]) == (1, "0x8", 8 * MIB)
    assert shell.call("hairline destroy gamma") == (["hairline: gamma is not off"], 1)
    shell.call("dd if=/dev/zero of=/dev/vdb bs=1M count=4; sync")
    assert shell.call("hairline restart gamma") == ([], 0)
    shell.leave()
    shell.run.expect(r"^gamma\| canary: round")
    shell.run.key("1")
    end(shell, "gamma")
    assert shell.call("hairline start gamma") == (["hairline: no VM is called 'gamma'"], 1)
    free(shell)
    assert create(shell, vm("delta", "canary.elf", cmdline="fresh=1")) == ([], 0)
    shell.leave()
    shell.run.expect(r"^delta\| canary: (?!wrong)")
    shell.run.key("1")
    end(shell, "delta")
    held = []
    for _ in range(ROUNDS):
        assert create(shell, vm("gamma"), vm("delta")) == ([], 0)
        end(shell, "gamma")
        end(shell, "delta")
        held.append(free(shell))
    assert held[1:] == held[:1] * (ROUNDS - 1)  # fault handlers stay, for the next of their number
    assert shell.call("hairline destroy beta") == (["hairline: beta is of the plan that was booted"], 1)
    leave(shell)


def test_linux_on_the_lan(inside):
    """A Debian is created on the LAN of the VM that creates it, and the LAN goes on for the others when it is gone."""
    shell = inside(memory="160M", lan="office")
    debian = vm("gamma", "vmlinuz", initrd="initrd", memory="128M", cmdline="console=ttyS0 quiet", lan="office", vcpus=2)
    assert create(shell, debian) == ([], 0)
    shell.leave()
    shell.run.expect(r"^gamma\| A shell on gamma")
    shell.run.key("1")
    assert shell.call("ping -c 3 -w 60 10.0.1.3 >/dev/null")[1] == 0
    end(shell, "gamma")
    assert shell.call("ping -c 1 -w 2 10.0.1.3 >/dev/null")[1] == 1
    assert create(shell, debian) == ([], 0)
    assert shell.call("until ping -c 1 -w 2 10.0.1.3 >/dev/null; do :; done")[1] == 0
    leave(shell)


REFUSED = [
    (vm("beta"), "two VMs of this name"),
    (vm("gamma", cores=[2]), "core 2 is not one of the spare cores"),
    (vm("gamma", memory="96M"), "the spare memory has no room for it"),
    (vm("gamma", lan="office"), "the VM that creates it has no LAN"),
    (vm("gamma", sealed="true", mode="dedicated"), "`sealed` is for VMs of the plan that is booted"),
    (vm("gamma", control="own"), "`control` is for VMs of the plan that is booted"),
    (vm("gamma", "debian"), "names what is not a file"),
    (vm("gamma", "broken.elf"), "kernel `broken.elf`"),
    (vm("gamma", "missing.elf"), "is missing"),
    (vm("gamma", disks=[{"file": "ext4:4M"}]), "names what is not a file"),
    (vm("gamma", disks=[{"volume": "root", "from": "service"}]), "volumes are for VMs of the plan that is booted"),
    (vm("gamma", initrd="big", memory="80M"), "the disk for uploads, which has 48"),
    (vm("gamma", vcpus=65), "write a number from 1 to 64"),
]


def test_refusals(inside):
    """One sentence, status 2, and all is as before."""
    shell = inside()
    shell.call("dd if=/dev/zero of=/bin/big bs=1M count=60")
    for record, sentence in REFUSED:
        lines, status = create(shell, record)
        assert status == 2 and len(lines) == 1 and sentence in lines[0], (record, lines)
    lines, status = create(shell, vm("gamma"), spare={"cores": [1], "memory": "8M"})
    assert status == 2 and "`spare` is for the plan that is booted" in lines[0]
    lines, status = create(shell, *(vm(f"g{i}") for i in range(5)))  # all of them, or none
    assert status == 2 and "four workers of VMs are on its first core already" in lines[-1]
    assert list(look(shell)["vms"]) == ["service", "beta"] and free(shell)
    leave(shell)


def test_anything_on_the_line_and_on_the_disk(inside):
    shell = inside()
    shell.call("stty -F /dev/hvc1 raw -echo")
    ask = "exec 3<>/dev/hvc1; echo create >&3; read -r answer <&3; exec 3>&-; echo $answer"
    for what in ("/dev/zero", "/dev/urandom"):
        shell.call(f"dd if={what} of=/dev/vdb bs=1M count=1; sync")
        assert shell.call(ask)[0] == ["error no VM is created: what was uploaded is not a VM of this version's"]
    create(shell, vm("gamma"))
    end(shell, "gamma")
    for at in (8, 16, 24):  # the version; offset and size of the first file
        create(shell, vm("gamma"))
        end(shell, "gamma")
        shell.call(f"printf '\\377\\377\\377\\377\\377\\377\\377\\377' | dd of=/dev/vdb bs=1 seek={at} conv=notrunc; sync")
        (answer,), _ = shell.call(ask)
        assert answer.startswith("error no VM is created: ")
    assert list(look(shell)["vms"]) == ["service", "beta"]
    leave(shell)


def test_not_without_a_disk_for_uploads(inside):
    shell = inside(upload=None)
    (line,), status = create(shell, vm("gamma"))
    assert status == 2 and "the plan that was booted gives it no disk `- upload: 128M`" in line
    leave(shell)
