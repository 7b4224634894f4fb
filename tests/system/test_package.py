"""The Debian package: all that a plan of bare files needs, from a folder that is no source tree."""

import os
import subprocess

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
    plan = rig.write_plan(tmp_path, [rig.guest("one", "hello")])
    words = [tree / "usr/bin/hairline", "build", plan, "--batch", "--efi", tmp_path / "one.efi"]
    alone = {name: value for name, value in os.environ.items() if name != "HAIRLINE_HOME"}
    subprocess.run(words, cwd=tmp_path, env=alone, check=True)
    ours = [rig.BUILD / "hairline-tool", *words[1:-1], tmp_path / "two.efi"]
    subprocess.run(ours, cwd=tmp_path, check=True)
    assert (tmp_path / "one.efi").read_bytes() == (tmp_path / "two.efi").read_bytes()
