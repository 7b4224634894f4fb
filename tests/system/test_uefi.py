"""From UEFI firmware: the one file that `build --efi` writes, with Secure Boot, a TPM, and shim; and GRUB for UEFI."""

import json
import os
import re
import signal
import struct
import subprocess

import pytest
import rig
import screen
from firmware import OWNER, TOOL, Tpm, call, ovmf
from rig import guest, linux

class Built:
    """A plan's file, unsigned and signed, the key's variables, and what the tool said."""

    def __init__(self, folder):
        self.folder, self.vars = folder, folder / "vars.fd"
        disk = [{"file": "ext4:4M", "mode": "volatile"}]  # the tool makes it anew each time
        self.plan = rig.write_plan(folder, [guest("pvh", "hello", disks=disk), guest("multiboot", "mboot")])
        self.plain, self.signed = folder / "plain.efi", folder / "signed.efi"
        ovmf()
        call(rig.SOURCE / "scripts/secure-boot", folder)
        call(TOOL, "build", self.plan, "--batch", "--efi", self.plain)
        signer = "--sign", folder / "db.key", folder / "db.pem"
        self.said = call(TOOL, "build", self.plan, "--batch", "--efi", self.signed, *signer)


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    return Built(tmp_path_factory.mktemp("built"))


@pytest.fixture
def tpm(tmp_path):
    one = Tpm(tmp_path)
    yield one
    one.stop()


def test_signed_file_starts_and_is_measured(ready, boot, tpm):
    """Secure Boot is on: the next test has the same variables. The PCRs are those that the tool told from the files alone."""
    machine = boot(ready.signed, ready.vars, "-no-shutdown", *tpm.words())  # an emulator that ends takes the TPM along
    for _ in range(2):
        machine.expect(r"\| hello from a bare guest")
    machine.process.send_signal(signal.SIGKILL)
    machine.process.wait()
    assert [(str(pcr), tpm.read(pcr)) for pcr in (4, 11)] == pcrs(ready.said)


def flipped(ready, where):
    """The signed file with one bit changed: in the plan, or in the stub's code."""
    data = bytearray(ready.signed.read_bytes())
    data[where(data)] ^= 1
    path = ready.folder / "flipped.efi"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("change", ["unsigned", "plan", "code"])
def test_other_file_is_refused(ready, boot, change):
    spots = {"plan": lambda data: data.index(b"multiboot\0"), "code": lambda data: 4096 + 64}
    file = flipped(ready, spots[change]) if change in spots else ready.plain
    machine = boot(file, ready.vars)
    machine.expect(r"BdsDxe: failed to load Boot\d+ .*: Access Denied")
    assert "hairline" not in machine.text().lower()


def test_unsigned_file_without_secure_boot(ready, boot):
    """And without a TPM."""
    assert boot(ready.plain, f"{ovmf()}/OVMF_VARS_4M.fd").hellos() == 2


def test_refusal_on_firmwares_screen(boot, tmp_path):
    """The plan has a core more than the machine; root says so where firmware drew its console."""
    plan, file, door = rig.write_plan(tmp_path, [guest("hi", "hello", cores=[2])], cores=3), tmp_path / "file.efi", tmp_path / "door"
    call(TOOL, "build", plan, "--efi", file)
    machine = boot(file, f"{ovmf()}/OVMF_VARS_4M.fd", "-vga", "std", "-qmp", f"unix:{door},server,wait=off")
    assert machine.wait(lambda: "nothing was started" in machine.text())
    assert machine.wait(lambda: "hairline| nothing was started" in screen.picture(door, tmp_path))


def test_file_is_the_same_each_time(ready):
    again = ready.folder / "again.efi"
    said = call(TOOL, "build", ready.plan, "--batch", "--efi", again)
    assert again.read_bytes() == ready.plain.read_bytes() and said == ready.said
    assert not list(ready.folder.glob("*.new*"))


def section(file, name):
    """The bytes of a PE file's section."""
    data = file.read_bytes()
    (head,) = struct.unpack_from("<I", data, 60)
    count, optional = struct.unpack_from("<H12xH", data, head + 6)
    for i in range(count):
        found, size, _, _, at = struct.unpack_from("<8s4I", data, head + 24 + optional + 40 * i)
        if found.rstrip(b"\0") == name:
            return data[at : at + size]
    raise AssertionError(f"no section {name}")


def test_kernel_fits_any_place(ready):
    """Moved as the stub moves it, it has the bytes of one that was linked for that place."""
    data, wide = section(ready.plain, b"kernel"), 1 << 31
    base, _, size, _, count = struct.unpack_from("<QQQII", data)
    moves, image = struct.unpack_from(f"<{count}I", data, 32), bytearray(data[32 + 4 * count :])
    assert len(image) == size and count > 100
    distance = 0x12345000 - base
    for at in moves:
        form, bits = ("<Q", 64) if at & wide else ("<I", 32)
        (old,) = struct.unpack_from(form, image, at & ~wide)
        struct.pack_into(form, image, at & ~wide, (old + distance) % (1 << bits))
    assert image == (rig.BUILD / "tests/elsewhere.bin").read_bytes()


def test_plan_that_boots_by_uefi(batch):
    """`run` makes keys, variables, volume and TPM."""
    run = batch(guest("pvh", "hello"), guest("multiboot", "mboot"), firmware="uefi")
    assert run.code == 0 and "BdsDxe: starting" in run.output, run.errors
    assert [run.vms[name]["reason"] for name in ("pvh", "multiboot")] == ["exit_port"] * 2


def test_firmware_that_is_not_there(ready, tmp_path):
    env = {**os.environ, "HAIRLINE_OVMF": str(tmp_path)}
    done = subprocess.run([TOOL, "run", ready.plan, "--batch", "--firmware", "uefi"], env=env, capture_output=True, text=True, check=False)
    sentence = f"hairline: {tmp_path}/OVMF_CODE_4M.fd is missing: install ovmf, swtpm and sbsigntool, or let ./hairline do it\n"
    assert (done.returncode, done.stderr) == (2, sentence)


def test_option_goes_before_the_plan(batch):
    run = batch(guest("pvh", "hello"), firmware="uefi", options=["--firmware", "bios"])
    assert run.code == 0 and "BdsDxe" not in run.output, run.errors


@pytest.fixture(scope="module")
def shim():
    return call(rig.SOURCE / "scripts/cache", "fetch", rig.SOURCE / "tests/tools.lock", "shim").strip()


def by_shim(ready, boot, shim, file, *variables):
    """Firmware that trusts Microsoft's keys starts Debian's shim, which has our key in its list (MOK)."""
    store, given = ready.folder / "mok.fd", ready.folder / "mok.json"
    given.write_text(json.dumps({"version": 2, "variables": variables}))
    call("virt-fw-vars", "-i", f"{ovmf()}/OVMF_VARS_4M.ms.fd", "-o", store, "--add-mok", OWNER, ready.folder / "db.pem", "--set-json", given)
    return boot(f"{shim}/usr/lib/shim/shimx64.efi.signed", store, beside=[("grubx64.efi", file)])


def test_by_shim(ready, boot, shim):
    assert by_shim(ready, boot, shim, ready.signed).hellos() == 2


SHIM, BOOT_ONLY = "605dab50-e046-4300-abb6-3dd810dd8b23", 3  # the owner of shim's variables; non-volatile, boot services


def asks_for(generation):
    """Shim's variable SbatLevel, newer than the one that it brings along."""
    text = f"sbat,1,2099010100\nshim,4\nhairline,{generation}\n"
    return {"name": "SbatLevel", "guid": SHIM, "attr": BOOT_ONLY, "data": text.encode().hex()}


def test_old_generation_is_refused(ready, boot, shim):
    """Shim asks for generation 2, and the file's .sbat says 1; of 1 it is good enough."""
    assert by_shim(ready, boot, shim, ready.signed, asks_for(1)).hellos() == 2
    machine = by_shim(ready, boot, shim, ready.signed, asks_for(2))
    machine.wait(lambda: "Security Violation" in machine.text())
    assert "Security Violation" in machine.text() and "hairline|" not in machine.text()


STICK = ["-device", "qemu-xhci", "-device", "usb-storage,drive=image"]
DISK = ["-device", "ide-hd,drive=image"]
DISC = ["-device", "ide-cd,drive=image"]


@pytest.mark.parametrize(
    "image, secure, how", [("stick", True, STICK), ("stick", False, DISK), ("disc", True, DISC)], ids=["uefi", "bios", "disc"]
)
def test_one_image_for_both_firmwares(ready, boot_from, tmp_path, image, secure, how):
    """`--usb` and `--iso`; by UEFI with Secure Boot on. From a disc by BIOS: test_boot.py."""
    out = {"stick": tmp_path / "stick", "disc": tmp_path / "out/hairline.iso"}[image]
    words = ["--usb", out] if image == "stick" else ["-o", out.parent, "--iso"]
    said = call(TOOL, "build", ready.plan, "--batch", *words, "--sign", ready.folder / "db.key", ready.folder / "db.pem")
    assert said == ready.said
    drive = "-drive", f"if=none,id=image,format=raw,snapshot=on,file={out}"
    machine = boot_from(ready.vars if secure else None, *drive, *how)
    assert machine.hellos() == 2 and ("BdsDxe: starting" in machine.text()) == secure


def test_grub_for_uefi(ready, boot, tmp_path):
    """By multiboot 2: modules below 1 MiB, an RSDP that only the loader's tags tell, a map with holes."""
    out, config, grub = tmp_path / "out", tmp_path / "grub.cfg", tmp_path / "grub.efi"
    call(TOOL, "build", ready.plan, "--batch", "-o", out)
    files = sorted(file.name for file in out.iterdir() if file.name != "hairline.elf")
    lines = ["multiboot2 /boot/hairline.elf", *(f"module2 /boot/{file} {file.split('.')[0]}" for file in files), "boot"]
    config.write_text("\n".join(lines) + "\n")
    inside = [f"boot/{file}={out / file}" for file in ("hairline.elf", *files)]
    call("grub-mkstandalone", "-O", "x86_64-efi", "-o", grub, f"boot/grub/grub.cfg={config}", *inside)
    assert boot(grub, f"{ovmf()}/OVMF_VARS_4M.fd").hellos() == 2


def pcrs(text):
    """As the tool tells them, and as the guests' first process does (guest/common.sh)."""
    return re.findall(r"PCR (\d+) +sha256 ([0-9a-f]{64})", text)


@pytest.mark.parametrize("kind", ["tpm-crb", "tpm-tis"])
def test_vm_that_has_the_tpm(batch, tmp_path, monkeypatch, kind):
    """An unmodified Linux sees the machine's TPM, by a buffer or a FIFO, and reads in it what the tool told of the files. The other
    VM sees none."""
    monkeypatch.setenv("HAIRLINE_TPM", kind)
    run = batch(linux("keeper", "debian", cores=[1], tpm=True), linux("other", "debian", cores=[1]), firmware="uefi")
    assert run.code == 0, run.errors + run.output
    said = call(TOOL, "build", tmp_path / "plan.yaml", "--batch", "--efi", tmp_path / "same.efi")
    assert len(pcrs(said)) == 2 and pcrs(run.logs["keeper"]) == pcrs(said)
    assert f"TPM {kind.replace('-', '_')}" in run.logs["keeper"]
    assert "HAIRLINE-CHECKS: ok" in run.logs["other"] and not pcrs(run.logs["other"])


def test_sealed_vm_that_has_the_tpm(batch, tmp_path):
    """And nobody else has its memory: what it unseals is its own."""
    sealed = {"mode": "dedicated", "initrd": "debian-net", "sealed": True, "cores": [1], "tpm": True}
    run = batch(linux("keeper", "debian", **sealed), firmware="uefi")
    said = call(TOOL, "build", tmp_path / "plan.yaml", "--batch", "--efi", tmp_path / "same.efi")
    assert pcrs(run.logs["keeper"]) == pcrs(said), run.errors + run.output


def test_machine_without_a_tpm(batch):
    run = batch(guest("keeper", "hello", tpm=True))
    sentence = "VM keeper: this machine has no TPM 2.0 at 0xfed40000: take `tpm` out of the plan"
    assert (run.code, run.vms["keeper"]["state"]) == (1, "unknown") and sentence in run.output


def test_firmware_without_acpi(ready, boot):
    """A refusal is a sentence on the firmware's console, and nothing follows."""
    machine = boot(ready.plain, f"{ovmf()}/OVMF_VARS_4M.fd", "-machine", "acpi=off")
    machine.expect(r"^hairline: the firmware has no ACPI tables; switch them on in the firmware$")


PLAN = "PLAN"


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--batch"], "build: none of -o DIR, --efi FILE and --usb FILE is there: say what to write"),
        (["--sign", "a", "b", "-o", "x"], "build: --sign needs --efi FILE, --usb FILE or --iso"),
        (["--efi", "x.efi", "--sign", "a", "b"], "cannot read a: No such file or directory"),
        (["--efi", "x.efi", "--sign", "a"], "--sign takes two files: --sign KEY.pem CERT.pem"),
        (["--efi", "x.efi", "--sign", PLAN, PLAN], f"sbsign could not sign with {PLAN} and {PLAN}: name PEM files of an RSA key and its certificate"),
        (["--usb", "x.img", "--iso"], "build: --iso needs -o DIR"),
        (["-o", "nowhere/x"], "cannot make the folder nowhere/x: No such file or directory"),
        (["--usb", "nowhere/x"], "cannot write nowhere/x.new: name a file in a folder that is there"),
        (["--efi", "nowhere/x.efi"], "cannot write nowhere/x.efi.new: No such file or directory"),
    ],
)
def test_words_that_are_wrong(ready, tmp_path, words, sentence):
    words = [word.replace(PLAN, str(ready.plan)) for word in words]
    done = subprocess.run([TOOL, "build", ready.plan, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    said = done.stderr.replace("mkiso: ", "hairline: ", 1)
    assert (done.returncode, said) == (2, f"hairline: {sentence}\n".replace(PLAN, str(ready.plan)))
    assert os.listdir(tmp_path) == []
