"""A LUKS disk that opens for one measured boot on one machine: enrolled by an ordinary Linux before that was ever booted."""

import re
import shutil

import firmware
import pytest
import rig
from firmware import TCTI, TOOL, Booted, Tpm, call, ovmf

MODULES = "nvme dm_crypt xts ecb algif_skcipher".split()
TOOLS = "createprimary createpolicy create load unseal".split()
IMAGES = ("hairline.elf", "hairline64.elf", "uefi.efi", "root.img", "vmm.img", "lan.img")
IOMMU = ["-smp", "3", "-machine", "kernel-irqchip=split", "-device", "intel-iommu,intremap=on,eim=on"]


def pcrs(text):
    return re.findall(r"PCR \d+ +sha256 ([0-9a-f]{64})", text)


class Machine:
    """A machine with a TPM and an NVMe disk, and the file for which the disk is enrolled."""

    def __init__(self, folder):
        self.folder, self.disk, self.tpms = folder, folder / "disk", folder / "tpm"
        self.tpms.mkdir()
        (folder / "initrd").mkdir()
        init, links = rig.SOURCE / "tests/system/disk-init", {f"/bin/tpm2_{name}": "tpm2" for name in TOOLS}
        files = {"/init": init, "/lib/libtss2-tcti-device.so.0": TCTI}
        programs = ["/usr/bin/tpm2", shutil.which("cryptsetup", path="/usr/sbin:/sbin")]
        self.kernel = firmware.packaged_kernel()
        self.initrd = firmware.make_initrd(folder / "initrd", programs, files, links, MODULES)
        with open(self.disk, "wb") as file:
            file.truncate(32 << 20)
        self.good, said = self.build("good")
        self.told = pcrs(said)
        values = "".join(self.told)
        linux = ["-kernel", self.kernel, "-initrd", self.initrd, "-append", f"console=ttyS0 quiet values={values}"]
        self.said = self.run(*linux)

    def keeper(self, name="keeper", **changes):
        keys = {"mode": "dedicated", "sealed": True, "disengage": "never", "cores": [1], "devices": ["nvme/0"], "tpm": True}
        return rig.linux(name, str(self.kernel), initrd=str(self.initrd), memory="320M") | keys | changes

    def build(self, name, vms=None, tool=TOOL):
        """The file for UEFI, and what the tool said."""
        folder = self.folder / name
        folder.mkdir()
        plan = rig.write_plan(folder, vms or [self.keeper()], cores=3, iommu="intel", devices=[{"nvme": "ext4:8M"}])
        said = call(tool, "build", plan, "--batch", "--efi", folder / "file.efi")
        return folder / "file.efi", said

    def run(self, *words, state=None, snapshot="off"):
        """What a machine with the disk and the TPM (of the folder `state`) says until it ends."""
        tpm = Tpm(state or self.tpms)
        nvme = ["-drive", f"if=none,id=nvme,format=raw,file={self.disk},snapshot={snapshot}", "-device", "pcie-root-port,id=port0,chassis=1"]
        nvme += ["-device", "nvme,bus=port0,drive=nvme,serial=1"]
        words = [*map(str, words), *tpm.words(), *nvme]  # an IOMMU comes first
        machine = Booted(self.folder, f"{ovmf()}/OVMF_VARS_4M.fd", *words)
        try:
            assert machine.finish() == 0, machine.text()
            return machine.text()
        finally:
            machine.stop()
            tpm.stop()

    def boot(self, file, **how):
        """What its VMs say of the disk."""
        esp = self.folder / "esp"
        call(rig.SOURCE / "scripts/efi-volume", file, esp)
        volume = ["-drive", f"if=none,id=esp,format=raw,file={esp}", "-device", "ide-hd,drive=esp,bootindex=0"]
        text = self.run(*IOMMU, *volume, snapshot="on", **how)
        told = re.findall(r"^(\w+)\| .*disk: (.*)", text, re.MULTILINE)
        assert told, text
        return told


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    return Machine(tmp_path_factory.mktemp("machine"))


def test_opens_at_the_first_boot(machine):
    """For the plan and the files whose PCRs `build` told."""
    assert "disk: enrolled" in machine.said, machine.said
    assert machine.boot(machine.good) == [("keeper", "opened the treasure")]


def other_images(machine, name, old, new):
    """The tool beside images of which one has other bytes."""
    folder = machine.folder / f"images-{name}"
    folder.mkdir()
    shutil.copy(TOOL, folder / "hairline-tool")
    for image in IMAGES:
        shutil.copy(rig.BUILD / image, folder)
    data = (folder / name).read_bytes()
    assert data.count(old) >= 1
    (folder / name).write_bytes(data.replace(old, new, 1))
    return folder / "hairline-tool"


def other_plan(machine):
    return machine.build("plan", [machine.keeper(cmdline="console=ttyS0 quiet other")])


def other_kernel(machine):
    kernel = machine.folder / "kernel"
    kernel.write_bytes(machine.kernel.read_bytes() + bytes(16))
    return machine.build("kernel-of-guest", [machine.keeper(kernel=str(kernel))])


def other_vmm(machine):
    return machine.build("vmm", tool=other_images(machine, "vmm.img", b"powered off", b"Powered off"))


def other_hairline(machine):
    return machine.build("hairline", tool=other_images(machine, "hairline64.elf", b"kernel stopped", b"Kernel stopped"))


def added_vm(machine):
    """The operator gives disk and TPM to a VM of his, which runs the same system."""
    return machine.build("added", [rig.guest("keeper", "hello", cores=[2]), machine.keeper("spy")])


CHANGES = [other_plan, added_vm, other_kernel, other_vmm, other_hairline]


@pytest.fixture(scope="module", name="changed")
def make_changed(machine):
    """changed(make): the file with that change and what `build` told of it, made once."""
    files = {}

    def change(make):
        if make not in files:
            files[make] = make(machine)
        return files[make]

    return change


def named(make):
    return make.__name__


@pytest.mark.parametrize("make", CHANGES, ids=named)
def test_other_pcrs_are_told(machine, changed, make):
    other = pcrs(changed(make)[1])
    assert other != machine.told and len(other) == len(machine.told) > 0


@pytest.mark.parametrize("make", CHANGES if rig.ALL else CHANGES[:2], ids=named)
def test_does_not_open(machine, changed, make):
    """It boots, has disk and TPM, and gets no key."""
    assert machine.boot(changed(make)[0]) == [("spy" if make == added_vm else "keeper", "refused: policy check failed")]


def test_does_not_open_elsewhere(machine, tmp_path):
    """The same file and disk, with another TPM."""
    assert machine.boot(machine.good, state=tmp_path) == [("keeper", "refused: integrity check failed")]
