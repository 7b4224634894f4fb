"""What runs the tests: its words, its patience, and where it gets what it needs."""

import hashlib
import os
import subprocess

import pytest
import rig


def call(*command, **environment):
    return subprocess.run(command, cwd=rig.SOURCE, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [["frob"], ["--frob"], ["--all", "--quick"], ["unit", "frob"], ["fuzz", "frob"], ["kernel", "calls", "frob"]], ids=" ".join)
def test_unknown_words(words, tmp_path):
    """One line that names what there is, and nothing done."""
    done = call("tests/run", *words, O=str(tmp_path / "build"))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done
    assert "frob" in done.stderr or "--quick" in done.stderr
    assert not list(tmp_path.iterdir())


def test_help_names_every_stage():
    done = call("tests/run", "--help")
    assert done.returncode == 0
    for stage in ("lint", "unit", "fuzz", "proof", "kernel", "bochs", "system"):
        assert f"\n  {stage} " in done.stdout
        assert call("tests/run", "--look", stage).returncode == 0


@pytest.fixture(name="patience")
def make_patience(monkeypatch):
    """patience(part)(seconds): the host's time passes, of which the machine gets a part; is it over?"""
    now = [0.0]
    monkeypatch.setattr(rig.time, "monotonic", lambda: now[0])

    def make(part):
        monkeypatch.setattr(rig.Patience, "_got", lambda self: (now[0] * part, now[0] * (1 - part)))
        patience = rig.Patience(1)

        def go(seconds, news=False):
            now[0] += seconds
            return patience.is_over(news)

        return go

    return make


@pytest.mark.parametrize("part, tenth", [(1, False), (0.05, True)])
def test_patience_counts_what_the_machine_had(patience, part, tenth):
    """Twenty times slower: twenty times as long."""
    go = patience(part)
    assert not go(rig.SILENCE * 0.9)
    assert go(rig.SILENCE * 0.2) != tenth
    if tenth:
        assert not go(rig.SILENCE * 18)
        assert go(rig.SILENCE)


def test_patience_with_who_talks(patience):
    go = patience(1)
    for _ in range(rig.TURNS - 1):
        assert not go(rig.SILENCE * 0.9)
        assert not go(rig.SILENCE * 0.05, news=True)
    assert not go(rig.SILENCE * 0.9, news=True)
    assert go(rig.SILENCE * 0.9)  # it talks for ever of something else


@pytest.fixture(name="archive")
def make_archive(tmp_path):
    """An archive of one package, and a lock file with lines of it."""
    tree, pool = tmp_path / "tree", tmp_path / "archive/pool"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr").mkdir()
    (tree / "usr/word").write_text("hello\n")
    (tree / "DEBIAN/control").write_text("Package: word\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: a word\n")
    pool.mkdir(parents=True)
    deb = pool / "word_1_all.deb"
    subprocess.run(["dpkg-deb", "-b", tree, deb], check=True, capture_output=True)
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    lines = [f"good bookworm word=1 {digest} pool/word_1_all.deb", f"bad bookworm word=1 {'0' * 64} pool/word_1_all.deb",
             f"gone bookworm word=2 {digest} pool/word_2_all.deb"]
    lock = tmp_path / "lock"
    lock.write_text("# comment\n" + "\n".join(lines) + "\n")
    where = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HAIRLINE_SNAPSHOT": f"file://{tmp_path}/archive"}
    return lambda name: call("scripts/cache", "fetch", str(lock), name, **where)


def test_cache_keeps_what_it_fetched(archive, tmp_path):
    done = archive("good")
    folder = done.stdout.strip()
    assert done.returncode == 0 and folder.startswith(str(tmp_path / "cache/hairline/good-")), done
    assert (tmp_path / folder / "usr/word").read_text() == "hello\n"
    (tmp_path / "archive/pool/word_1_all.deb").unlink()
    again = archive("good")
    assert (again.stdout, again.stderr) == (done.stdout, "")


@pytest.mark.parametrize("name, why", [("bad", "its hash is another"), ("gone", "set HAIRLINE_SNAPSHOT"), ("other", "has no lines of other")])
def test_cache_refuses(archive, tmp_path, name, why):
    """One line, nothing unpacked."""
    done = archive(name)
    said = [line for line in done.stderr.splitlines() if "fetching" not in line]
    assert (done.returncode, done.stdout, len(said)) == (2, "", 1) and why in said[0], done
    assert not [path for path in (tmp_path / "cache/hairline").iterdir() if not path.name.startswith(".lock")]
