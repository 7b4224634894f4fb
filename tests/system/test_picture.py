"""Pictures of a plan's machine: `hairline map`."""

import subprocess
import xml.etree.ElementTree as xml

import pytest
import rig
from rig import guest

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def plan(tmp_path):
    """Two VMs that share a core, and one that is sealed on its own, with devices; the file's name is as odd as it may be."""
    sealed = guest("safe", "attack", mode="dedicated", memory="64M", vcpus=2, cores=[2, 3], sealed=True, devices=["network-vf/0", "01:00.0"])
    vms = [guest("one", "attack", lan="l"), guest("two", "attack", lan="l", control="all"), sealed]
    path = tmp_path / "a <b> & \"c\" 'd'\x01\u00e4.yaml"
    return rig.write_plan(tmp_path, vms, cores=4, iommu="intel").rename(path)


def draw(plan, to):
    done = subprocess.run([rig.BUILD / "hairline-tool", "map", "--svg", to, plan], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr, done.stdout


def test_map_shows_who_has_what(plan):
    code, errors, svg = draw(plan, "-")
    assert (code, errors) == (0, "")
    root = xml.fromstring(svg)
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert words[:2] == ["a <b> & \"c\" 'd'???.yaml", "4 cores, 1024 MiB, 3 VMs, as planned"]
    assert [word for word in words if word in ("one", "two", "safe")] == ["one", "two", "safe", "safe", "safe", "one", "two", "safe"]
    for word in ("network-vf/0: safe", "01:00.0: safe", "dedicated, sealed", "2 vCPUs on cores 2-3, 64 MiB", "shared, not sealed, keeps its VMM",
                 "LAN 1", "LAN 1, commands all VMs"):
        assert word in words, words
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == {"svg", "rect", "title", "text"}
    assert not any("href" in name or ":" in value for element in root.iter() for name, value in element.attrib.items())
    width, height = float(root.get("width")), float(root.get("height"))
    for box in root.iter(f"{SVG}rect"):
        assert float(box.get("x", 0)) + float(box.get("width")) <= width and float(box.get("y", 0)) + float(box.get("height")) <= height


def test_map_of_the_largest_machine(tmp_path):
    vms = [guest(f"vm-{i}-{'x' * 20}", "attack", memory="2M", cores=[1 + i % 63]) for i in range(64)]
    code, errors, svg = draw(rig.write_plan(tmp_path, vms, cores=64, memory="8G"), "-")
    assert (code, errors) == (0, "") and len(svg) < 100000
    titles = [title.text for title in xml.fromstring(svg).iter(f"{SVG}title")]
    assert all(titles.count(vm["name"]) >= 2 for vm in vms), "on its core and in the memory"


def test_map_is_whole_or_not_there(plan, tmp_path):
    """Who reads the old picture reads on in it; what cannot be written leaves nothing behind."""
    picture = tmp_path / "map.svg"
    picture.write_text("old" * 10000)
    with open(picture, encoding="ascii") as reader:
        assert reader.read(3) == "old" and draw(plan, picture)[0] == 0
        assert reader.read() == "old" * 9999
    xml.parse(picture)
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.iterdir())
    code, errors, _ = draw(plan, tmp_path / "folder")
    assert (code, errors) == (2, f"hairline: {tmp_path}/folder is a device, a folder or a link: name a file\n")
    for to, why in ((tmp_path / "none/map.svg", "No such file or directory"), ("/dev/full/x", "Not a directory")):
        assert draw(plan, to)[:2] == (2, f"hairline: cannot write {to}: {why}\n")
    assert sorted(tmp_path.iterdir()) == before


def test_map_needs_to_know(plan):
    for words, message in (([plan], "map: where to? write --svg FILE, or --svg - for standard output"),
                           (["--svg", "-"], "map: which plan? Only in a VM with a control line it can do without")):
        done = subprocess.run([rig.BUILD / "hairline-tool", "map", *words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (2, f"hairline: {message}\n")
