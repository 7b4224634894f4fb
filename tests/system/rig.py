"""The tool at work: plans, runs that take no input, and runs that somebody types to."""

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
ALL = bool(os.environ.get("HAIRLINE_ALL"))
PATIENCE = 240  # seconds for one thing to happen
COUNTED = ("-icount", "shift=3,sleep=off")  # each instruction takes 8 ns, whatever the host does meanwhile
ENOUGH = 0.4 * 0.5  # of a core that two VMs share fairly
ESCAPE = "\x1d"  # Ctrl-]


def guest(name, image, cmdline=None, **keys):
    """A VM of a plan that runs one of our own programs, small and on core 1, away from root."""
    folder = "tests" if image in ("victim", "witness") else "guest/bare"
    keys = {"memory": "8M", "cores": [1], "exit_port": 0xF4, **keys}
    if cmdline:
        keys["cmdline"] = cmdline
    return {"name": name, "kernel": str(BUILD / folder / f"{image}.elf"), **keys}


def linux(name, kernel="debian", **keys):
    return {"name": name, "kernel": kernel, "initrd": "debian", "cmdline": "console=ttyS0 quiet", "memory": "256M", **keys}


def write_plan(folder, vms, cores=2, memory="1G", **machine):
    """Plans are YAML, of which JSON is a part."""
    path = folder / "plan.yaml"
    path.write_text(json.dumps({"machine": {"cores": cores, "memory": memory, **machine}, "vms": vms}, indent=1))
    return path


def fields(record):
    """The `key=value` of a line, as a dictionary."""
    return {key: value.strip('"') for key, value in re.findall(r'([\w.]+)=("[^"]*"|\S*)', record)}


def symbol(program, name):
    """Where a function of a built program lies: [start, end)."""
    table = subprocess.run(["nm", "-S", BUILD / program], capture_output=True, text=True, check=True).stdout
    start, size = re.search(rf"^(\w+) (?:(\w+) )?\w {name}$", table, re.MULTILINE).groups()
    return int(start, 16), int(start, 16) + int(size or "0", 16)


class Batch:
    """One `run --batch`, from start to end; PATIENCE is for what must end by itself."""

    def __init__(self, folder, plan, *options, qemu=(), tool=BUILD / "hairline-tool"):
        logs, report = folder / "logs", folder / "report.json"
        limit = [] if "--timeout" in options else ["--timeout", str(PATIENCE)]
        command = [tool, "run", plan, "--batch", "--logs", logs, "--json", report, *limit, *options, "--", *qemu]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
        self.code, self.output, self.errors = done.returncode, done.stdout, done.stderr
        self.report = json.loads(report.read_text()) if report.exists() else {}
        self.vms = self.report.get("vms", {})
        assert "LEAK" not in self.output, self.output
        self.logs = {log.stem: log.read_text(errors="replace") for log in logs.glob("*.log")}


class Live:
    """A run with its keyboard. The console's lines gather in `lines`; expect() goes through them in order."""

    def __init__(self, plan, *options, qemu=(), tool=BUILD / "hairline-tool"):
        command = [tool, "run", plan, *options, "--", *qemu]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT)
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

    def expect(self, pattern, seconds=PATIENCE):
        """The match of the next line that has `pattern`."""
        end = time.monotonic() + seconds
        with self.news:
            while True:
                while self.seen < len(self.lines):
                    self.seen += 1
                    match = re.search(pattern, self.lines[self.seen - 1])
                    if match:
                        return match
                left = end - time.monotonic()
                if self.ended or left <= 0:
                    why = "the run ended" if self.ended else f"{seconds} s are over"
                    raise AssertionError(f"no line with `{pattern}`: {why}; the last lines:\n" + "\n".join(self.lines[-30:]))
                self.news.wait(left)

    def expect_prompt(self, prompt, seconds=PATIENCE):
        """Wait until the last line, unfinished, has `prompt`."""
        with self.news:
            assert self.news.wait_for(lambda: prompt.encode() in self.part, seconds), self.part

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

    def quit(self):
        self.key("q")
        self.expect(r"^hairline\| end ")
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
