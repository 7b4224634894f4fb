"""A machine with UEFI firmware, its TPM, and small userlands for a Linux on it."""

import array
import functools
import hashlib
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess

import rig

OWNER = "8be0e274-3970-4b44-80c5-1ab9502f3bfc"  # as in scripts/secure-boot
TOOL = rig.BUILD / "hairline-tool"
KERNEL = rig.BUILD / "kernels/debian"
TCTI = "/usr/lib/x86_64-linux-gnu/libtss2-tcti-device.so.0"


def call(*command):
    return subprocess.run([*map(str, command)], check=True, capture_output=True, text=True).stdout


@functools.lru_cache
def ovmf():
    """The folder of the firmware that tests/tools.lock pins, whatever this machine has; for the tool, too, from now on."""
    folder = call(rig.SOURCE / "scripts/cache", "fetch", rig.SOURCE / "tests/tools.lock", "ovmf").strip()
    os.environ["HAIRLINE_OVMF"] = f"{folder}/usr/share/OVMF"
    return os.environ["HAIRLINE_OVMF"]


def which_ovmf():
    """Its package and its hash, in words; None: no test has asked for it."""
    if not ovmf.cache_info().currsize:
        return None
    (line,) = (line.split() for line in (rig.SOURCE / "tests/tools.lock").read_text().splitlines() if line.startswith("ovmf "))
    return f"{line[2]}, OVMF_CODE_4M.fd {hashlib.sha256(pathlib.Path(ovmf(), 'OVMF_CODE_4M.fd').read_bytes()).hexdigest()}"


class Booted(rig.Live):
    """A machine with OVMF, or without variables a BIOS, and QEMU's words for what it boots from. Its variables are a copy."""

    def __init__(self, folder, variables, *more):
        command = ["qemu-system-x86_64", "-machine", "q35,smm=off", "-cpu", "EPYC,+svm,+npt,+x2apic", "-m", "1024", "-smp", "2"]
        command += ["-accel", "tcg", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", *more]
        if variables:
            shutil.copy(variables, folder / "own-vars.fd")
            command += ["-drive", f"if=pflash,format=raw,readonly=on,file={ovmf()}/OVMF_CODE_4M.fd"]
            command += ["-drive", f"if=pflash,format=raw,file={folder}/own-vars.fd"]
        rig.Machine.__init__(self, command, subprocess.PIPE, subprocess.DEVNULL)

    def hellos(self):
        """How many guests said hello, once the machine has ended by itself."""
        assert self.finish() == 0
        return len(re.findall(r"\| hello from a bare guest", self.text()))


class Tpm:
    """A TPM that outlives its machine, so that its PCRs can be read when all has been measured."""

    def __init__(self, folder):
        self.path = folder / "tpm-socket"
        self.path.unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(self.path))
        server.listen(1)
        words = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}", "--ctrl", f"type=unixio,fd={server.fileno()}"]
        self.process = subprocess.Popen(words, pass_fds=[server.fileno()])
        server.close()

    def words(self):
        """QEMU's."""
        chardev = ["-chardev", f"socket,id=tpm,path={self.path}", "-tpmdev", "emulator,id=tpm0,chardev=tpm"]
        return [*chardev, "-device", "tpm-crb,tpmdev=tpm0"]

    def read(self, pcr):
        """TPM2_PCR_Read (TPM 2.0 part 3, 22.4) of the bank of SHA-256, over a channel of our own (CMD_SET_DATAFD, 16)."""
        ours, its = socket.socketpair()
        with socket.socket(socket.AF_UNIX) as control, ours, its:
            control.connect(str(self.path))
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [its.fileno()]))]
            control.sendmsg([struct.pack(">I", 16)], rights)
            assert control.recv(4) == bytes(4)
            ours.sendall(struct.pack(">HIIIHB3s", 0x8001, 20, 0x17E, 1, 0xB, 3, (1 << pcr).to_bytes(3, "little")))
            return ours.recv(4096)[-32:].hex()

    def stop(self):
        self.process.kill()
        self.process.wait()


def libraries(program):
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return re.findall(r"(/\S+) \(", done.stdout) if done.returncode == 0 else []  # a static one has none


def packaged_kernel(kernel=KERNEL):
    """Debian's, with its modules."""
    rig.made(kernel / "vmlinuz")
    return kernel / "vmlinuz"


def add_modules(root, modules, kernel):
    """/modules/NN-NAME.ko, in the order in which insmod takes them."""
    packaged_kernel(kernel)
    (root / "modules").mkdir()
    (version,) = (path.name for path in (kernel / "lib/modules").iterdir())
    lines = "".join(call("/usr/sbin/modprobe", "-d", kernel, "-S", version, "--show-depends", name) for name in modules).splitlines()
    paths = [line.split()[1] for line in dict.fromkeys(lines) if line.startswith("insmod")]
    for number, path in enumerate(paths):
        plain = root / f"modules/{number:02}-{re.sub(r'[.](xz|zst|gz)$', '', path.rsplit('/', 1)[1])}"
        reader = {"xz": ["xz", "-dc"], "zst": ["zstd", "-qdc"], "gz": ["gzip", "-dc"]}.get(path.rsplit(".", 1)[1], ["cat"])
        plain.write_bytes(subprocess.run([*reader, path], check=True, capture_output=True).stdout)


def make_initrd(folder, programs, files=(), links=(), modules=(), kernel=KERNEL):
    """busybox; programs of the host's go to /bin, with their libraries; files: {path there: path here, or bytes}."""
    root, out = folder / "root", folder / "initrd"
    for name in ("bin", "lib", "lib64", "dev", "proc", "sys", "tmp", "mnt"):
        (root / name).mkdir(parents=True)
    everything = {f"/bin/{name.rsplit('/', 1)[1]}": name for name in map(str, [shutil.which("busybox"), *programs])} | dict(files)
    for there, here in everything.items():
        place = root / there[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(here if isinstance(here, bytes) else open(here, "rb").read())
        place.chmod(0o755)
        for library in [] if isinstance(here, bytes) else libraries(here):
            shutil.copy(library, root / ("lib64" if "ld-linux" in library else "lib"))
    for there, to in dict(links).items():
        (root / there[1:]).symlink_to(to)
    add_modules(root, modules, kernel) if modules else None
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with open(out, "wb") as archive:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=names.encode(), stdout=archive, check=True)
    return out


def changed_initrd(folder, name, programs, files):
    """The packaged initrd of that name, with other files in the place of its own or beside them: a second archive behind it."""
    packaged = rig.packaged(name)
    (folder / name).mkdir()
    added, out = make_initrd(folder / name, programs, files), folder / f"{name}.cpio"
    out.write_bytes(packaged.read_bytes() + added.read_bytes())
    return str(out)
