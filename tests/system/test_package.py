"""The Debian packages: the tool with all that a plan of bare files needs, from a folder that is no source tree; and the module."""

import os
import subprocess

import pytest
import rig


def test_package_builds_a_plan(tmp_path):
    package, tree, twice = rig.BUILD / "hairline.deb", tmp_path / "tree", []
    for _ in range(2):
        rig.made("deb")
        twice.append(package.read_bytes())
    assert twice[0] == twice[1]
    fields = subprocess.run(["dpkg-deb", "-f", package, "Package", "Depends"], capture_output=True, text=True, check=True).stdout
    assert "Package: hairline" in fields and {"libc6", "libcyaml1", "libyaml-0-2"} <= set(fields.replace(",", " ").split())
    subprocess.run(["dpkg-deb", "-x", package, tree], check=True)
    assert (tree / "usr/lib/ocf/resource.d/hairline/vm").read_bytes() == (rig.SOURCE / "guest/ocf-hairline").read_bytes()
    for path, source in {"usr/lib/hairline/serve-volume": "guest/serve-volume", "usr/lib/hairline/common.sh": "guest/common.sh",
                         "usr/share/doc/hairline/examples/cluster.crm": "examples/cluster.crm"}.items():
        assert (tree / path).read_bytes() == (rig.SOURCE / source).read_bytes()
    assert "/usr/lib/hairline/serve-volume %i" in (tree / "lib/systemd/system/hairline-volume@.service").read_text()
    assert (tree / "usr/share/doc/hairline/examples/pair.yaml").samefile(tree / "usr/lib/hairline/examples/pair.yaml")
    plan = rig.write_plan(tmp_path, [rig.guest("one", "hello")])
    words = [tree / "usr/bin/hairline", "build", plan, "--batch", "--efi", tmp_path / "one.efi"]
    alone = {name: value for name, value in os.environ.items() if name != "HAIRLINE_HOME"}
    subprocess.run(words, cwd=tmp_path, env=alone, check=True)
    ours = [rig.BUILD / "hairline-tool", *words[1:-1], tmp_path / "two.efi"]
    subprocess.run(ours, cwd=tmp_path, check=True)
    assert (tmp_path / "one.efi").read_bytes() == (tmp_path / "two.efi").read_bytes()
    done = subprocess.run([tree / "usr/bin/hairline", "run"], cwd=tmp_path, env=alone, capture_output=True, text=True, check=False)
    reason = ":7: packaged kernels need Hairline's source tree, which is not here: name a kernel file\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{tree}/usr/lib/hairline/examples/pair.yaml{reason}")


def test_module_is_whole(tmp_path):
    """The package has all that the module is built of: it is built from there, by DKMS's command, for the packaged kernel."""
    package, tree, kernel = rig.BUILD / "hairline-dkms.deb", tmp_path / "tree", rig.BUILD / "kernels/debian"
    rig.made("deb", kernel / "headers")
    subprocess.run(["dpkg-deb", "-x", package, tree], check=True)
    (source,) = (tree / "usr/src").iterdir()
    values = dict(line.split("=", 1) for line in (source / "dkms.conf").read_text().splitlines() if "=" in line and line[0] != "#")
    assert source.name == f"{values['PACKAGE_NAME']}-{values['PACKAGE_VERSION']}".replace('"', "")
    (tmp_path / "dkms/hairline/0.1").mkdir(parents=True)
    (tmp_path / "dkms/hairline/0.1/build").symlink_to(source)
    headers = kernel / "headers/usr/src" / f"linux-headers-{(kernel / 'version').read_text().strip()}"
    shell = f'. {source}/dkms.conf; eval "$MAKE"'
    alone = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
    words = {"kernel_source_dir": str(headers), "dkms_tree": str(tmp_path / "dkms")}
    done = subprocess.run(["bash", "-ec", shell], env=alone | words, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and (source / "linux/hairline.ko").exists(), done.stderr


if rig.ALL:  # minutes, and some 600 MB

    @pytest.mark.parametrize("suite", ["bookworm", "trixie"])
    def test_dkms_builds_the_module(tmp_path, suite):
        """In a Debian 12 and a Debian 13 of its own: installed, it is there for that kernel; removed, it is gone."""
        rig.made("deb")
        keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
        mirror = subprocess.run([rig.SOURCE / "scripts/cache", "mirror", suite], capture_output=True, text=True, check=True).stdout.strip()
        here = 'for module in "$1"/lib/modules/*/updates/dkms/hairline.ko*; do [ ! -e "$module" ] || echo "MODULE $module"; done'
        hooks = [f"upload {rig.BUILD / 'hairline-dkms.deb'} /hairline-dkms.deb", 'chroot "$1" dpkg -i /hairline-dkms.deb', "echo BUILT", here]
        hooks += ['chroot "$1" dpkg -r hairline-dkms', "echo REMOVED", here]
        words = ["mmdebstrap", "--quiet", "--mode=auto", "--variant=minbase", "--include=dkms,linux-image-amd64,linux-headers-amd64"]
        words += [f"--customize-hook={hook}" for hook in hooks]
        words += [suite, tmp_path / "root.tar", f"deb [signed-by={keys}] {mirror} {suite} main"]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        built, _, removed = done.stdout.partition("BUILT")[2].partition("REMOVED")
        assert done.returncode == 0 and built.count("MODULE ") == 1 and "MODULE" not in removed, done.stdout
