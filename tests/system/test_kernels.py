"""Packaged kernels of other years as guests: from power-on to a user space that looks at its disk, reports and powers off.

They are those of tests/kernels.lock; with --all also the newest that Debian has built, asked for anew each time: what
a new Linux does to a machine is to be seen here first.
"""

import os
import lzma
import shutil
import struct
import subprocess

import pytest
import rig

PINNED = ["linux-5.10", "linux-6.1", "linux-6.12", "linux-7.2"]
QUIET = ["linux-5.10", "linux-7.2"]  # the oldest and the newest
SHARED = [*PINNED, "newest"] if rig.ALL else QUIET
LONGEST = 2047  # bytes of a command line
ALONE = "newest" if rig.ALL else QUIET[-1]


def locked():
    lines = (rig.SOURCE / "tests/kernels.lock").read_text().splitlines()
    return list(dict.fromkeys(line.split()[0] for line in lines if line and line[0] != "#"))


def packaged(kernel):
    """Its folder, fetched if need be."""
    folder = rig.BUILD / "kernels" / kernel
    target = os.path.relpath(folder / "initrd", rig.SOURCE) if folder.is_relative_to(rig.SOURCE) else folder / "initrd"  # as the Makefile names it
    done = rig.make(target)
    assert done.returncode == 0, f"{kernel} cannot be fetched: {done.stderr}"
    return folder


def vm(name, kernel, added="", **keys):
    """A VM whose command line is as long as it may be; the last of its words, the tool's, tells it to power off."""
    folder = packaged(kernel)
    words = "console=ttyS0 quiet pad="
    pad = "x" * (LONGEST - len(f"{words} hairline.name={name}{added} hairline.batch"))
    files = {"kernel": str(folder / "vmlinuz"), "initrd": str(folder / "initrd")}
    return {"name": name, **files, "cmdline": words + pad, "memory": "384M", **keys}


@pytest.fixture(name="run", scope="module")
def make_run(tmp_path_factory):
    """All of them at once, each on a core of its own."""
    folder = tmp_path_factory.mktemp("kernels")
    disk = [{"file": "ext4:8M", "mode": "volatile"}]
    vms = [vm(k.replace(".", "-"), k, cores=[1 + i], disks=disk) for i, k in enumerate(SHARED)]
    vms.append(vm("alone", ALONE, " hairline.disengage=never", mode="dedicated", cores=2, disengage="never"))
    return rig.Batch(folder, rig.write_plan(folder, vms, cores=3 + len(SHARED), memory="6G"))


def test_the_lock_names_these():
    assert locked() == PINNED


def told(kernel, capsys):
    """Its version, and in the output of the whole run what is not as the lock says."""
    folder = rig.BUILD / "kernels" / kernel
    version = (folder / "version").read_text().strip()
    with capsys.disabled():
        if (folder / "note").exists():
            print(f"\nNOTE {(folder / 'note').read_text().strip()}")
        if kernel == "newest":
            print(f"\nNOTE the newest kernel of Debian's: Linux {version}")
    return version


def check(run, name, version, vcpus):
    log = run.logs[name]
    assert f"Linux {version}, {vcpus} vCPUs" in log, log[-2000:] + run.errors
    assert "HAIRLINE-CHECKS: ok" in log and "FAIL" not in log, log[-2000:]
    assert (run.vms[name]["reason"], run.vms[name]["exits"]["memory"]) == ("poweroff", 0)


@pytest.mark.parametrize("kernel", SHARED)
def test_shared(run, kernel, capsys):
    name = kernel.replace(".", "-")
    check(run, name, told(kernel, capsys), 1)
    assert "CHECK disk-vda ok" in run.logs[name]


@pytest.mark.parametrize("kernel", [ALONE])
def test_dedicated(run, kernel, capsys):
    check(run, "alone", told(kernel, capsys), 2)


# ---- guest/fetch-kernel, with an archive that only talks --------------------------------

ARCHIVE = """\
#!/bin/sh
# As scripts/cache. $ARCHIVE has: folders/NAME, what is unpacked; suites/SUITE/PACKAGE, records; gone/NAME, why not.
echo "$@" >>"$ARCHIVE/asked"
case $1 in
fetch) [ ! -f "$ARCHIVE/gone/$3" ] || { cat "$ARCHIVE/gone/$3" >&2; exit 2; }
    [ "$3" != kernel ] || grep -q '^kernel sid linux-binary-9' "$2" || exit 2
    echo "$ARCHIVE/folders/$3" ;;
show) cat "$ARCHIVE/suites/$2/$3" || { echo "cache: Debian's $2 has no package $3" >&2; exit 2; } ;;
lock) shift; name=$1 suite=$2; shift 2; for p in "$@"; do echo "$name $suite $p=1 HASH PATH"; done ;;
esac
"""


def bzimage():
    """One sector of setup, and the payload behind it."""
    payload = lzma.compress(b"\x7fELF a kernel")
    head = bytearray(1024)
    struct.pack_into("<II", head, 584, 512, len(payload))
    return bytes(head) + payload


def unpacked(folder, version, image):
    (folder / "usr/lib/modules" / version / "kernel").mkdir(parents=True)
    (folder / image).parent.mkdir(parents=True, exist_ok=True)
    (folder / image).write_bytes(bzimage())


@pytest.fixture(name="archive")
def make_archive(tmp_path, monkeypatch):
    """A tree with fetch-kernel, a lock and that archive; sid has 9.1, stable's backports 9.0."""
    for room in ("guest", "scripts", "tests", "gone"):
        (tmp_path / room).mkdir()
    shutil.copy(rig.SOURCE / "guest/fetch-kernel", tmp_path / "guest")
    (tmp_path / "scripts/cache").write_text(ARCHIVE)
    (tmp_path / "scripts/cache").chmod(0o755)
    (tmp_path / "tests/kernels.lock").write_text("linux-5 sid linux-image-5.0=5.0-1 HASH PATH\n")
    unpacked(tmp_path / "folders/linux-5", "5.0", "boot/vmlinuz-5.0")
    unpacked(tmp_path / "folders/kernel", "9.1", "usr/lib/modules/9.1/vmlinuz")
    for suite, v in (("sid", "9.1"), ("stable-backports", "9.0")):
        (tmp_path / "suites" / suite).mkdir(parents=True)
        (tmp_path / "suites" / suite / "linux-image-cloud-amd64").write_text(f"Version: {v}\nDepends: linux-base-cloud-amd64, linux-image-{v} (= {v})\n")
        (tmp_path / "suites" / suite / f"linux-image-{v}").write_text(
            f"Version: {v}\nDepends: initramfs-tools (>= 1) | x, linux-base-{v} (= {v}), linux-binary-{v} (= {v}), linux-modules-{v} (= {v})\n")
    monkeypatch.setenv("ARCHIVE", str(tmp_path))
    return tmp_path


def fetch(archive, name):
    command = [archive / "guest/fetch-kernel", name, archive / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=archive)
    assert not list(archive.glob("out.*"))
    return done.returncode, done.stderr, {f.name: f.read_bytes() for f in (archive / "out").glob("[vn]*")}


def test_fetch_what_is_pinned(archive):
    code, errors, files = fetch(archive, "linux-5")
    assert code == 0, errors
    assert files == {"vmlinuz": bzimage(), "vmlinux": b"\x7fELF a kernel", "version": b"5.0\n"}
    assert (archive / "out/lib/modules/5.0/kernel").is_dir()


def test_fetch_what_is_gone(archive):
    """The suite's own of today, with a note; its parts are found by the metapackages."""
    (archive / "gone/linux-5").write_text("cache: URL has no PATH (now?)\n")
    code, errors, files = fetch(archive, "linux-5")
    assert code == 0 and "has no PATH (now?)" in errors
    assert files["version"] == b"9.1\n" and files["vmlinuz"] == bzimage()
    assert files["note"].decode() == ("linux-5 of tests/kernels.lock (linux-image-5.0=5.0-1) cannot be had any more: "
                                      "instead of it the suite's own of today is used: Linux 9.1\n")
    asked = (archive / "asked").read_text().splitlines()
    assert "lock kernel sid linux-base-9.1 linux-binary-9.1 linux-image-9.1 linux-modules-9.1" in asked


def test_fetch_another_file(archive):
    """What has another hash than the lock's is not replaced, and leaves nothing behind."""
    (archive / "gone/linux-5").write_text("cache: URL/PATH is not the file that was pinned: its hash is another\n")
    code, errors, files = fetch(archive, "linux-5")
    assert (code, files) == (1, {}) and "its hash is another" in errors


def test_fetch_nothing_at_all(archive):
    """No network: no pin, no suite."""
    (archive / "gone/linux-5").write_text("cache: URL has no PATH (now?)\n")
    shutil.rmtree(archive / "suites")
    code, errors, files = fetch(archive, "linux-5")
    assert (code, files) == (1, {}) and errors.endswith("fetch-kernel: Debian's sid has no linux-image-cloud-amd64 that leads to a kernel\n")
    assert fetch(archive, "newest")[0] == 1
    code, errors, _ = fetch(archive, "linux-4")
    assert (code, errors) == (1, "fetch-kernel: tests/kernels.lock has no kernel linux-4\n")


def test_fetch_the_newest(archive):
    code, errors, files = fetch(archive, "newest")
    assert code == 0 and files["version"] == b"9.1\n" and "note" not in files, errors
    record = archive / "suites/stable-backports/linux-image-cloud-amd64"
    record.write_text(record.read_text().replace("Version: 9.0", "Version: 9.2~bpo"))
    assert fetch(archive, "newest")[0] == 1  # this archive has only sid's; what counts is that it was asked for the other
    assert "lock kernel stable-backports linux-base-9.0 linux-binary-9.0 linux-image-9.0 linux-modules-9.0" in (archive / "asked").read_text()
