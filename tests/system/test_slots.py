"""The two slots of a stick: `hairline update` writes the other one, which firmware tries once, and `--keep` keeps it."""

import os
import re
import shutil
import subprocess

import firmware
import pytest
import rig
from firmware import TOOL, Booted, call, ovmf
from rig import guest

MODULES = "xhci_pci usb_storage sd_mod vfat nls_cp437 nls_ascii efivarfs".split()
IMAGES = ("hairline-tool", "hairline.elf", "hairline64.elf", "uefi.efi", "root.img", "vmm.img", "lan.img")
KEPT, OTHER = "EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/OTHER.EFI"


def write_plan(folder, name):
    folder.mkdir(exist_ok=True)
    return rig.write_plan(folder, [guest(name, "hello")])


@pytest.fixture(scope="module")
def sticks(tmp_path_factory):
    """A folder with a stick of the plan `old`, and both plans' files."""
    folder = tmp_path_factory.mktemp("sticks")
    for name in ("old", "new"):
        call(TOOL, "build", write_plan(folder / name, name), "--batch", "--efi", folder / f"{name}.efi")
    call(TOOL, "build", folder / "old/plan.yaml", "--batch", "--usb", folder / "stick")
    return folder


@pytest.fixture(name="stick")
def make_stick(sticks, tmp_path):
    return shutil.copy(sticks / "stick", tmp_path / "stick")


def volume(image):
    """mtools' name of an image's second partition."""
    return f"{image}@@{512 * int.from_bytes(image.read_bytes()[0x4A0:0x4A8], 'little')}"  # GPT, entry 2


def slot(image, name):
    done = subprocess.run(["mtype", "-i", volume(image), f"::{name}"], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def update(*words, **more):
    return subprocess.run([TOOL, "update", *map(str, words)], capture_output=True, text=True, check=False, **more)


# ---- an image


def test_image(sticks, stick):
    """The other slot is written, then both change places; the tool tells what `build` does."""
    old, new = (sticks / "old.efi").read_bytes(), (sticks / "new.efi").read_bytes()
    assert (slot(stick, KEPT), slot(stick, OTHER)) == (old, None)
    done = update(sticks / "new/plan.yaml", "--batch", "--esp", stick)
    assert done.returncode == 0 and "Nothing starts it yet" in done.stdout, done
    assert re.findall("PCR.*", done.stdout) == re.findall("PCR.*", call(TOOL, "build", sticks / "new/plan.yaml", "--batch", "--efi", sticks / "again.efi"))
    assert (slot(stick, KEPT), slot(stick, OTHER)) == (old, new)
    assert update("--keep", "--esp", stick).returncode == 0
    assert (slot(stick, KEPT), slot(stick, OTHER)) == (new, old)
    assert sorted(os.listdir(stick.parent)) == ["stick"]


def test_volume_alone(sticks, tmp_path):
    call(rig.SOURCE / "scripts/efi-volume", sticks / "old.efi", tmp_path / "esp")
    assert update(sticks / "new/plan.yaml", "--batch", "--esp", tmp_path / "esp").returncode == 0
    assert update("--keep", "--esp", tmp_path / "esp").returncode == 0
    assert subprocess.run(["mtype", "-i", tmp_path / "esp", f"::{KEPT}"], capture_output=True, check=True).stdout == (sticks / "new.efi").read_bytes()


# ---- what is wrong, and what is cut


def folder_of(sticks, tmp_path):
    esp = tmp_path / "esp"
    (esp / "EFI/BOOT").mkdir(parents=True)
    shutil.copy(sticks / "old.efi", esp / KEPT)
    return esp


def without_variables(folder):
    """An environment whose efibootmgr says what it says on a Linux that was not started by UEFI."""
    (folder / "bin").mkdir()
    program = folder / "bin/efibootmgr"
    program.write_text("#!/bin/sh\necho EFI variables are not supported on this system. >&2\nexit ${STATUS:-2}\n")
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}"}


def test_folder_without_variables(sticks, tmp_path):
    esp, env = folder_of(sticks, tmp_path), without_variables(tmp_path)
    old, new = (sticks / "old.efi").read_bytes(), (sticks / "new.efi").read_bytes()
    done = update(sticks / "new/plan.yaml", "--batch", "--esp", esp, env=env)
    assert done.returncode == 0 and "Nothing starts it yet" in done.stdout, done
    assert sorted(os.listdir(esp / "EFI/BOOT")) == ["BOOTX64.EFI", "OTHER.EFI"]
    assert ((esp / KEPT).read_bytes(), (esp / OTHER).read_bytes()) == (old, new)
    assert update("--keep", "--esp", esp, env=env).returncode == 0
    assert ((esp / KEPT).read_bytes(), (esp / OTHER).read_bytes()) == (new, old)


def test_cut_leaves_the_kept_one(sticks, tmp_path):
    """The tool, or the machine, ends in the middle of the new file: there is no other slot, and the next update starts anew."""
    esp, env, old = folder_of(sticks, tmp_path), without_variables(tmp_path), (sticks / "old.efi").read_bytes()
    shutil.copy(sticks / "new.efi", esp / OTHER)
    (tmp_path / "bin/cp").write_text('#!/bin/sh\nhead -c 100000 "$1" >"$2"\nkill -9 $PPID\n')
    (tmp_path / "bin/cp").chmod(0o755)
    words = [sticks / "new/plan.yaml", "--batch", "--esp", esp]
    assert update(*words, env=env).returncode == -9
    assert (sorted(os.listdir(esp / "EFI/BOOT")), (esp / KEPT).read_bytes()) == (["BOOTX64.EFI", "OTHER.NEW"], old)
    (tmp_path / "bin/cp").unlink()
    assert update("--keep", "--esp", esp, env=env).returncode == 2
    assert update(*words, env=env).returncode == 0
    assert (sorted(os.listdir(esp / "EFI/BOOT")), (esp / KEPT).read_bytes()) == (["BOOTX64.EFI", "OTHER.EFI"], old)


def test_what_reads_back_as_something_else(sticks, tmp_path):
    esp, env = folder_of(sticks, tmp_path), without_variables(tmp_path)
    (tmp_path / "bin/cp").write_text('#!/bin/sh\ntr x y <"$1" >"$2"\n')
    (tmp_path / "bin/cp").chmod(0o755)
    done = update(sticks / "new/plan.yaml", "--batch", "--esp", esp, env=env)
    assert (done.returncode, done.stderr) == (2, f"hairline: {esp}/EFI/BOOT/OTHER.NEW reads back as something else: take another stick\n")
    assert os.listdir(esp / "EFI/BOOT") == ["BOOTX64.EFI"]


def not_ours(esp):
    (esp / KEPT).write_bytes(b"MZ" + bytes(5000))


def half(esp):
    (esp / KEPT).write_bytes((esp / KEPT).read_bytes()[:-4096])


def empty_other(esp):
    (esp / OTHER).write_bytes(b"")


NEW, ESP = "NEW", "ESP"
NOTHING_KEPT = "ESP has no other slot that could be kept: write one by `hairline update PLAN`"


@pytest.mark.parametrize(
    "words, change, sentence",
    [
        ([NEW], None, "update: --esp is missing: say where the stick's second partition is mounted, or name an image"),
        (["--esp", ESP], None, "update: which plan?"),
        (["--keep", NEW, "--esp", ESP], None, "update: --keep takes --esp and nothing else: what is kept was written before"),
        (["--keep", "--batch", "--esp", ESP], None, "update: --keep takes --esp and nothing else: what is kept was written before"),
        (["--usb", "x", NEW, "--esp", ESP], None, "update does not take this option; `hairline update --help` shows those it takes"),
        ([NEW, "--esp", "nowhere"], None, "cannot look at nowhere: No such file or directory"),
        ([NEW, "--esp", "/dev/null"], None, "/dev/null is neither a folder nor an image: mount the stick's second partition, and name that folder"),
        ([NEW, "--esp", NEW], None, "NEW has no EFI volume: name the image that `build --usb` wrote, or where the stick's second partition is mounted"),
        ([NEW, "--esp", ESP], not_ours, f"ESP/{KEPT} is not Hairline's: name the volume of a stick that `build --usb` wrote"),
        ([NEW, "--esp", ESP], half, f"ESP/{KEPT} is not Hairline's: name the volume of a stick that `build --usb` wrote"),
        ([NEW, "--esp", ESP, "--sign", "a", "b"], None, "cannot read a: No such file or directory"),
        (["--keep", "--esp", ESP], None, NOTHING_KEPT),
        (["--keep", "--esp", ESP], empty_other, NOTHING_KEPT),
    ],
)
def test_words_that_are_wrong(sticks, tmp_path, words, change, sentence):
    """One line, exit status 2, and the slots as they were."""
    esp, env, new = folder_of(sticks, tmp_path), without_variables(tmp_path), sticks / "new/plan.yaml"
    if change:
        change(esp)
    before = {path.name: path.read_bytes() for path in (esp / "EFI/BOOT").iterdir()}
    done = update(*({NEW: new, ESP: esp}.get(word, word) for word in words), env=env)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"hairline: {sentence}\n".replace(ESP + "/", f"{esp}/").replace("ESP ", f"{esp} ").replace("NEW ", f"{new} "))
    assert {path.name: path.read_bytes() for path in (esp / "EFI/BOOT").iterdir()} == before


def test_folder_that_is_no_partition(sticks, tmp_path):
    """Firmware has variables, but could not find the file."""
    esp, env = folder_of(sticks, tmp_path), without_variables(tmp_path)
    done = update(sticks / "new/plan.yaml", "--esp", esp, env={**env, "STATUS": "0"})
    assert (done.returncode, done.stderr) == (2, f"hairline: {esp} is not where a partition is mounted: mount the stick's second one, and name that folder\n")
    assert os.listdir(esp / "EFI/BOOT") == ["BOOTX64.EFI"]


def test_manager_that_fails(sticks, tmp_path):
    esp, env = folder_of(sticks, tmp_path), without_variables(tmp_path)
    done = update(sticks / "new/plan.yaml", "--esp", esp, env={**env, "STATUS": "5"})
    assert (done.returncode, done.stderr) == (2, "hairline: efibootmgr cannot show the boot entries: EFI variables are not supported on this system.\n")
    assert os.listdir(esp / "EFI/BOOT") == ["BOOTX64.EFI"]


def test_link_to_an_image(sticks, stick):
    """It stays one, and the image as it was."""
    before, link = stick.read_bytes(), stick.parent / "link"
    link.symlink_to(stick)
    done = update(sticks / "new/plan.yaml", "--batch", "--esp", link)
    assert (done.returncode, done.stderr) == (2, f"hairline: {link} is a device, a folder or a link: name a file\n")
    assert link.is_symlink() and stick.read_bytes() == before


def test_image_without_room(sticks, stick):
    """As it was, and nothing beside it."""
    before = stick.read_bytes()
    plan = rig.write_plan(stick.parent, [guest("new", "hello", disks=[{"file": "ext4:64M"}])])
    done = update(plan, "--batch", "--esp", stick)
    assert (done.returncode, done.stderr) == (2, f"hairline: the new file does not fit into the second slot of {stick}: write a new image by `build --usb`\n")
    assert stick.read_bytes() == before and sorted(os.listdir(stick.parent)) == ["plan.yaml", "stick"]


# ---- a machine


class Pc:
    """A machine that keeps its firmware's variables and its stick, and the ordinary Linux that somebody starts on it."""

    def __init__(self, folder, stick, initrd):
        self.folder, self.stick, self.initrd, self.vars = folder, stick, initrd, folder / "vars.fd"
        self.machines = []
        shutil.copy(f"{ovmf()}/OVMF_VARS_4M.fd", self.vars)

    def start(self, *more):
        words = ["-drive", f"if=none,id=stick,format=raw,file={self.stick}", "-device", "qemu-xhci", "-device", "usb-storage,drive=stick"]
        self.machines.append(Booted(self.folder, self.vars, *words, *more))
        return self.machines[-1]

    def ended(self, machine):
        assert machine.finish() == 0, machine.text()
        shutil.copy(self.folder / "own-vars.fd", self.vars)
        return machine.text()

    def linux(self, *commands):
        """What the tool says there to each of these lines, with its exit status, and the entries that firmware has then."""
        words = ";".join(line.replace(" ", ",") for line in commands)
        kernel = ["-kernel", firmware.packaged_kernel(), "-initrd", self.initrd, "-append", f"console=ttyS0 quiet do={words}"]
        return self.ended(self.start(*map(str, kernel)))

    def boots(self):
        """The name of the VM that says hello when the machine is switched on."""
        return re.findall(r"(\w+)\| hello from a bare guest", self.ended(self.start()))


@pytest.fixture
def pc(sticks, stick, tmp_path):
    files = {f"/hairline/{name}": rig.BUILD / name for name in IMAGES}
    files |= {"/init": rig.SOURCE / "tests/system/slots-init"}
    (tmp_path / "linux").mkdir()
    for name in ("old", "new"):
        plan = (sticks / name / "plan.yaml").read_text().replace(str(rig.BUILD / "guest/bare"), "/hairline")
        files |= {f"/hairline/{name}.yaml": plan.encode()}
    big = rig.write_plan(tmp_path, [guest("big", "hello", memory="128M", initrd="/tmp/big")])
    files |= {"/hairline/big.yaml": big.read_text().replace(str(rig.BUILD / "guest/bare"), "/hairline").encode()}
    files |= {"/hairline/hello.elf": rig.BUILD / "guest/bare/hello.elf"}
    initrd = firmware.make_initrd(tmp_path / "linux", [shutil.which("efibootmgr", path="/usr/bin:/bin:/usr/sbin")], files, modules=MODULES)
    machine = Pc(tmp_path, stick, initrd)
    yield machine
    for one in machine.machines:
        one.stop()


UPDATE, KEEP = "update --batch --esp /mnt", "update --keep --esp /mnt"


def statuses(text):
    return [int(code) for code in re.findall(r"exit status (\d+)", text)]


def spoil(stick):
    """The other slot loses its header."""
    (stick.parent / "junk").write_bytes(bytes(1 << 20))
    call("mcopy", "-o", "-i", volume(stick), stick.parent / "junk", f"::{OTHER}")


def test_new_one_is_tried_once(pc):
    """And then the old one again, until it is kept. A cut in the middle of the next one leaves that, and one that cannot be
    started gives way at once."""
    assert pc.boots() == ["old"]
    said = pc.linux(f"{UPDATE} /hairline/new.yaml", KEEP)
    assert "Firmware starts it next, once" in said and statuses(said) == [0, 2]
    assert "hairline: update: the new file was not started yet: restart this machine first" in said
    assert [pc.boots(), pc.boots()] == [["new"], ["old"]]
    said = pc.linux(KEEP)
    assert "Firmware starts the new one from now on" in said and statuses(said) == [0]
    assert [pc.boots(), pc.boots()] == [["new"], ["new"]]
    said = pc.linux(f"{UPDATE} /hairline/old.yaml", f"{UPDATE} /hairline/big.yaml", "cut", f"{UPDATE} /hairline/new.yaml")
    assert statuses(said) == [0, 2] and re.search(r"hairline: the new file has \d+ MiB, and the second slot of /mnt has room for \d+", said)
    assert pc.boots() == ["new"] and not slot(pc.stick, OTHER)
    said = pc.linux(f"{UPDATE} /hairline/new.yaml", f"{UPDATE} /hairline/old.yaml")
    assert statuses(said) == [0, 0] and len(re.findall(r"^Boot\d+\* Hairline", said, re.MULTILINE)) == 1
    spoil(pc.stick)
    assert pc.boots() == ["new"]
