"""The tool at work: plans, runs that take no input, and runs that somebody types to."""

import contextlib
import functools
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HAIRLINE_BUILD", SOURCE / "build"))
USERLANDS = {"debian": "initrd", "debian-net": "initrd-net", "debian-service": "initrd-service"}  # by their names in a plan
ALL = bool(os.environ.get("HAIRLINE_ALL"))
SILENCE = int(os.environ.get("HAIRLINE_SILENCE", "300"))  # seconds of the emulated machine's, for its next line to come
TURNS = 4  # so many times that, for one thing to happen among many lines
PATIENCE = 3600  # seconds of the host's, for what no emulated machine delays
LAST_RESORT = 0 if ALL else 1500  # the same, for one test; 0: as long as it likes. No test needs a quarter of it on a busy host
COUNTED = ("-icount", "shift=3,sleep=off")  # each instruction takes 8 ns, whatever the host does meanwhile
ONE_GIPS = ("-icount", "shift=0,sleep=off")  # each takes 1 ns, a tick of the TSC
ENOUGH = 0.4 * 0.5  # of a core that two VMs share fairly
ESCAPE = "\x1d"  # Ctrl-]


def guest(name, image, cmdline=None, **keys):
    """A VM of a plan that runs one of our own programs, small and on core 1, away from root."""
    folder = "tests" if image in ("asker", "bars", "lme", "metronome", "toucher", "victim", "witness") else "guest/bare"
    keys = {"memory": "8M", "cores": [1], "exit_port": 0xF4, **keys}
    if cmdline:
        keys["cmdline"] = cmdline
    return {"name": name, "kernel": str(BUILD / folder / f"{image}.elf"), **keys}


def linux(name, kernel=None, **keys):
    """A VM of a plan that runs Debian's kernel: where none is named, the ELF inside it, since a third of an emulated boot is the
    bzImage's decompression. test_boot.py, the examples and what firmware reads have the packaged file."""
    keys = {"initrd": "debian", "cmdline": "console=ttyS0 quiet", "memory": "256M", **keys}
    if not kernel:
        kernel, userland = str(packaged("vmlinux")), USERLANDS.get(keys["initrd"])
        keys["initrd"] = str(packaged(userland)) if userland else keys["initrd"]
    return {"name": name, "kernel": kernel, **keys}


@functools.cache
def packaged(name):
    """A file of Debian's kernel's folder, made."""
    path = BUILD / "kernels/debian" / name
    made(path)
    return path


def make(*goals):
    """The Makefile's goals, made by one process at a time, since tests of two files run at once: what make said."""
    BUILD.mkdir(parents=True, exist_ok=True)
    command = ["flock", BUILD / ".lock", "make", "-s", "-C", SOURCE, f"O={BUILD}", *goals]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def made(*paths):
    """Files below the build folder that the Makefile makes, up to date."""
    done = make(*(str(path).removeprefix(f"{SOURCE}/") for path in paths))  # as the Makefile calls them
    assert done.returncode == 0, done.stderr


def write_plan(folder, vms, cores=2, memory="1G", spare=None, **machine):
    """Plans are YAML, of which JSON is a part."""
    path = folder / "plan.yaml"
    more = {"spare": spare} if spare else {}
    path.write_text(json.dumps({"machine": {"cores": cores, "memory": memory, **machine}, **more, "vms": vms}, indent=1))
    return path


def fields(record):
    """The `key=value` of a line, as a dictionary."""
    return {key: value.strip('"') for key, value in re.findall(r'([\w.]+)=("[^"]*"|\S*)', record)}


def symbol(program, name):
    """Where a function of a built program lies: [start, end)."""
    table = subprocess.run(["nm", "-S", BUILD / program], capture_output=True, text=True, check=True).stdout
    start, size = re.search(rf"^(\w+) (?:(\w+) )?\w {name}$", table, re.MULTILINE).groups()
    return int(start, 16), int(start, 16) + int(size or "0", 16)


def family(pid):
    """A process and all that it started."""
    table = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in table.splitlines()]
    pids = [pid]
    for one in pids:  # which grows
        pids += [child for child, parent in pairs if parent == one and child not in pids]
    return pids


def is_alive(pid):
    """Has a process a thread that has not let go of all yet?"""
    try:
        stats = [stat.read_text() for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/stat")]
        return any(stat.rpartition(")")[2].split()[0] not in "ZX" for stat in stats)
    except OSError:
        return os.path.exists(f"/proc/{pid}")  # a thread has gone meanwhile, or all have


def kill_family(pid):
    """At once, as a power cut does: the emulator ends in the middle of an instruction, and the tool with it. Its disks are free."""
    pids = family(pid)
    for one in pids:
        with contextlib.suppress(ProcessLookupError):  # it has ended with the one before
            os.kill(one, signal.SIGKILL)
    while any(is_alive(one) for one in pids):
        time.sleep(0.01)


class Patience:
    """Says when to give a machine up, by the time that the machine had, not by the host's: what its threads waited for a
    processor (/proc/PID/task/TID/schedstat) is taken off a second, of several busy ones each its part. One that hangs idle has
    all of its seconds, however busy the host is. A line on the console begins SILENCE anew, but not TURNS. A host ten times
    slower, or ten times as busy, decides nothing."""

    def __init__(self, pid):
        self.pid, self.pids, self.silent, self.had = pid, family(pid), 0.0, 0.0
        self.last, self.got = time.monotonic(), self._got()

    def _got(self):
        """Nanoseconds that the threads ran, and that they waited for a processor."""
        ran = waited = 0
        for pid in self.pids:
            try:
                for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
                    ran, waited = (a + int(b) for a, b in zip((ran, waited), stat.read_text().split()))
            except OSError:
                pass  # it, or one of its threads, has ended: glob() itself says so, too
        return ran, waited

    def is_over(self, news):
        """Has it had enough time? `news`: a line came since the last look."""
        now = time.monotonic()
        if now - self.last >= 1:
            self.pids = family(self.pid)
            got = self._got()
            ran, waited = (max(new - old, 0) for new, old in zip(got, self.got))
            passed = now - self.last
            part = passed * (1 - waited / max(ran + waited, passed * 1e9))
            self.last, self.got, self.silent, self.had = now, got, self.silent + part, self.had + part
        if news:
            self.silent = 0.0
        return self.silent > SILENCE or self.had > SILENCE * TURNS


class Machine:
    """A program that talks, in the end QEMU. Its lines gather in `lines`; expect() goes through them in order."""

    def __init__(self, command, stdin, stderr):
        self.process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr)
        self.lines, self.seen, self.part, self.ended = [], 0, b"", False
        self.news = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        while data := os.read(self.process.stdout.fileno(), 65536):
            with self.news:
                *lines, self.part = (self.part + data).split(b"\n")
                self.lines += [line.decode(errors="replace").rstrip("\r") for line in lines]
                self.news.notify_all()
        with self.news:
            self.ended = True
            self.news.notify_all()

    def wait(self, happened):
        """Until happened() is true, looked at with each news; false: the run ended, or its time is over."""
        with self.news:
            if happened():
                return True
        patience = Patience(self.process.pid)
        with self.news:
            while not happened():
                known = len(self.lines), self.part
                if self.ended or patience.is_over(False):
                    return False
                self.news.wait(1)
                patience.is_over(known != (len(self.lines), self.part))
        return True

    def finish(self):
        """Its exit code, once it has ended by itself; what does not is told to."""
        if not self.wait(lambda: self.ended):
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        self.process.stdout.close()
        return code

    def has(self, pattern):
        """Has a line begun with `pattern`, whatever was expected meanwhile?"""
        return any(re.match(pattern, line) for line in self.lines)

    def until(self, pattern):
        """Wait until one has."""
        assert self.wait(lambda: self.has(pattern)), self.text()

    def text(self):
        return "\n".join([*self.lines, self.part.decode(errors="replace")])


class Batch:
    """One `run --batch`, from start to end."""

    def __init__(self, folder, plan, *options, qemu=(), tool=BUILD / "hairline-tool"):
        logs, report, errors = folder / "logs", folder / "report.json", folder / "errors"
        command = [tool, "run", plan, "--batch", "--logs", logs, "--json", report, *options, "--", *qemu]
        with open(errors, "wb") as stderr:
            run = Machine(command, subprocess.DEVNULL, stderr)
            self.code = run.finish()
        self.output, self.errors = run.text(), errors.read_text(errors="replace")
        print(self.output, self.errors, sep="\n")  # pytest keeps it, and shows it of a test that fails
        self.report = json.loads(report.read_text()) if report.exists() else {}
        self.vms = self.report.get("vms", {})
        assert "LEAK" not in self.output, self.output
        self.logs = {log.stem: log.read_text(errors="replace") for log in logs.glob("*.log")}


class Live(Machine):
    """A run with its keyboard."""

    def __init__(self, plan, *options, qemu=(), tool=BUILD / "hairline-tool"):
        super().__init__([tool, "run", plan, *options, "--", *qemu], subprocess.PIPE, subprocess.STDOUT)

    def expect(self, pattern):
        """The match of the next line that has `pattern`."""
        match = None

        def found():
            nonlocal match
            while not match and self.seen < len(self.lines):
                self.seen += 1
                match = re.search(pattern, self.lines[self.seen - 1])
            return match

        if not self.wait(found):
            raise AssertionError(f"no line with `{pattern}`: {self.why()}")
        return match

    def expect_prompt(self, prompt):
        """Wait for a shell's prompt: unfinished, or in a line after the last that was expected, where its kernel said the rest."""

        def shown():
            return prompt.encode() in self.part or any(prompt in line for line in self.lines[self.seen :])

        assert self.wait(shown), f"no prompt `{prompt}`: {self.why()}"

    def why(self):
        """What a wait came to, and what was seen before it."""
        why = "the run ended" if self.ended else "its time is over"
        return "\n".join([f"{why}; the last lines:", *self.lines[-30:], repr(self.part)])

    def expect_end(self, name):
        """The record of the end of a VM's life, as a dictionary."""
        return fields(self.expect(rf"^hairline\| vm name={name} ").string)

    def type(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def key(self, char):
        self.type(ESCAPE + char)

    def command(self, line):
        self.type(line + "\n")

    def tell(self, number, line):
        """Type a line to VM `number`."""
        self.key(str(number))
        self.command("")
        self.command(line)

    def told(self, pattern):
        """A whole line of a VM's, with its name before it or, if that has the keyboard, without."""
        return self.expect(rf"^([a-z]+\| )?{pattern}")

    def until_up(self, *names):
        """Each has passed its checks and has a shell."""
        for name in names:
            self.until(rf"{name}\| A shell on")
            assert self.has(rf"{name}\| HAIRLINE-CHECKS: ok"), self.text()

    def quit(self):
        """By root's command: the key has the tool itself end a machine that takes longer than some seconds."""
        self.key("0")
        self.command("")
        self.command("quit")
        self.expect(r"^hairline\| end ")
        assert not any("LEAK" in line for line in self.lines), self.text()
        return self.process.wait(PATIENCE)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        self.process.stdin.close()
        self.process.stdout.close()


def pace(run, name, turns=6):
    """Turns of a victim's loop in a tick, from now on."""
    told = [tuple(map(int, run.expect(rf"^{name}\| progress (\d+) (\d+)").groups())) for _ in range(turns)]
    return (told[-1][0] - told[0][0]) / (told[-1][1] - told[0][1])
