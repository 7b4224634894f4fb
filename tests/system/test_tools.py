"""What runs the tests: its words, its patience, and where it gets what it needs."""

import hashlib
import importlib.machinery
import importlib.util
import os
import re
import subprocess

import pytest
import rig


def call(*command, **environment):
    return subprocess.run(command, cwd=rig.SOURCE, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [["frob"], ["--frob"], ["--all", "--quick"], ["unit", "frob"], ["unit", "kernel_cap", "frob"], ["unit", "kernel", "frob"], ["fuzz", "frob"], ["kernel", "calls", "frob"]], ids=" ".join)
def test_unknown_words(words, tmp_path):
    """One line that names what there is, and nothing done."""
    done = call("tests/run", *words, O=str(tmp_path / "build"))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done
    assert "frob" in done.stderr or "--quick" in done.stderr
    assert not list(tmp_path.iterdir())


def test_one_function_of_a_unit_program(tmp_path):
    """A word behind a program's is one of its tests, which runs alone; a program without such a word runs whole."""
    done = call("tests/run", "unit", "rate", "assign", "any_other", O=str(tmp_path / "build"))
    ran = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("ok ")]
    others = [name for name in ran if name != "any_other"]
    assert done.returncode == 0 and len(ran) == len(others) + 1 and others, done
    assert not [name for name in others if f"void {name}(" not in (rig.SOURCE / "tests/unit/test_rate.c").read_text()], ran


@pytest.fixture(name="launcher")
def make_launcher(tmp_path):
    """./hairline in a folder of its own, with a tool that is built, where no package is installed; it says what it would
    install, and stops."""
    functions, commands = (rig.SOURCE / "hairline").read_text().split("# All commands")
    poor = 'installed() { return 1; }; install_packages() { say "packages: $*"; exit 3; }; install_all() { install_packages qemu "$@"; }\n'
    for name, text in (("hairline", functions + poor + "# All commands" + commands), ("build/hairline-tool", '#!/bin/sh\necho "tool $*"\n')):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return lambda *words: call(str(tmp_path / "hairline"), *words)


def tool_commands():
    table = re.search(r"^static const struct command commands.*?^};", (rig.SOURCE / "cli/main.c").read_text(), re.M | re.S)[0]
    return re.findall(r'^ *\{"(\w+)"', table, re.M)


def test_help_installs_nothing(launcher, tmp_path):
    """Nor does what another run is told. Without a tool what builds it is enough; a run does want QEMU."""
    assert len(tool_commands()) > 15
    for words in ([], ["help"], ["--help"], ["--version"], ["stop", "alpha"], *([name, "--help"] for name in tool_commands())):
        done = launcher(*words)
        assert (done.returncode, done.stdout) == (0, f"tool {' '.join(words)}\n"), done
    (tmp_path / "build/hairline-tool").unlink()
    for words in (["help"], ["run", "--help"], ["check", "plan.yaml"]):
        done = launcher(*words)
        assert done.returncode == 3 and "packages: gcc " in done.stderr and "qemu" not in done.stderr, done
    for words in (["run"], ["run", "--", "--help"]):
        assert "packages: qemu gcc" in launcher(*words).stderr


def test_mistyped_command(launcher, tmp_path):
    done = launcher("chek", "--help")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "hairline: `chek` is not a command; `./hairline help` lists them\n")
    assert not (tmp_path / "build/.lock").exists()


@pytest.mark.parametrize("plan, wants", [
    ("machine: {cores: 4, firmware: uefi, iscsi: debian}", "uefi target"),
    ("machine: {firmware: uefi}", "uefi"),
    ("machine:\n  firmware:  'uefi' # as it is\n  host:\n    disk: debian-disk\n", "uefi host"),
    ('{"machine":{"iscsi":"ext4:16M","firmware":"uefi","host":{"disk":"debian-disk"}}}', "uefi target host"),
    ("machine: {cores: 4, # of them\n  firmware:\n    uefi, host: {disk: debian-disk}}", "uefi host"),
    ("machine: {firmware: bios} # firmware: uefi, iscsi: debian\n# disk: debian-disk\n", ""),
    ("#firmware: uefi\nvms:\n  - {name: a, cmdline: my-iscsi:1 hairline.iscsi=1, disks: [{file: debian-disk}]}", ""),
    ("machine: {firmware: uefi2}", ""),
])
def test_wants_of_a_plan(tmp_path, plan, wants):
    """In each style that YAML has, and no comment counts."""
    functions = (rig.SOURCE / "hairline").read_text().split("# All commands", maxsplit=1)[0]
    (tmp_path / "plan").write_text(plan)
    asks = "".join(f"! wants_{what} run plan --batch || echo {what}\n" for what in ("uefi", "target", "host"))
    done = subprocess.run(["sh", "-c", functions + asks], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == wants.split()


def test_help_names_every_stage():
    done = call("tests/run", "--help")
    assert done.returncode == 0
    for stage in ("lint", "unit", "fuzz", "proof", "kernel", "bochs", "system"):
        assert f"\n  {stage} " in done.stdout
        assert call("tests/run", "--look", stage).returncode == 0


@pytest.fixture(name="patience")
def make_patience(monkeypatch):
    """patience(ran, waited)(seconds): the host's time passes, in each second of which the machine's threads run and wait for
    so long; is it over?"""
    now = [0.0]
    monkeypatch.setattr(rig.time, "monotonic", lambda: now[0])

    def make(ran, waited):
        monkeypatch.setattr(rig.Patience, "_got", lambda self: (now[0] * ran * 1e9, now[0] * waited * 1e9))
        patience = rig.Patience(1)

        def go(seconds, news=False):
            now[0] += seconds
            return patience.is_over(news)

        return go

    return make


@pytest.mark.parametrize("ran, waited, tenth", [(1, 0, False), (0.05, 0.95, True), (0.2, 3.8, True), (0.001, 0.02, False)])
def test_patience_counts_what_the_machine_had(patience, ran, waited, tenth):
    """Twenty times slower: twenty times as long, with one busy thread or four. One that is idle has all of the time, though it
    waits twenty times as long as it runs."""
    go = patience(ran, waited)
    assert not go(rig.SILENCE * 0.9)
    assert go(rig.SILENCE * 0.2) != tenth
    if tenth:
        assert not go(rig.SILENCE * 18)
        assert go(rig.SILENCE)


def test_patience_with_who_talks(patience):
    go = patience(1, 0)
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


NESTED = "a ?: inside another"
CHANGES = "a condition, chain or ?: that changes something"
REPORTS = "a chain or ?: that reports a failure"


@pytest.fixture(name="style")
def make_style(tmp_path):
    """style(text): what scripts/check-style says about a source, as [(line, what)]."""
    source = tmp_path / "source.c"

    def check(text, *options):
        source.write_text(text)
        done = call("scripts/check-style", *options, str(source))
        said = [line.removeprefix(f"{source}:").split(": ", 1) for line in done.stdout.splitlines()]
        assert (done.returncode, done.stderr) == (1 if said else 0, ""), done
        return [(int(number), what) for number, what in said]

    return check


@pytest.mark.parametrize(
    "statement, what",
    [
        ("x = a ? b : c ? d : e;", NESTED),
        ("x = (a ? b : c) ? d : e;", NESTED),
        ("return a ? f(b ? c : d) : e;", NESTED),
        ("return a ? f(g[b ? c : d]) : e;", NESTED),
        ("if (a ? b : c ? d : e) x = 1;", NESTED),
        ("struct s s = {.a = b ? c : d ? e : g};", NESTED),
        ("s = a ? (struct s){1} : b ? (struct s){2} : (struct s){3};", NESTED),
        ("if ((x = f())) return;", CHANGES),
        ("if (a++ == 3) return;", CHANGES),
        ("else if (f(b--)) return;", CHANGES),
        ("while ((x = f()) > 0) g();", CHANGES),
        ("do g(); while (x /= 10);", CHANGES),
        ("switch (x = f()) {}", CHANGES),
        ("for (x = f(); (y = g()); x++) h();", CHANGES),
        ("for (; i-- > 0;) h();", CHANGES),
        ("x = a && b++;", CHANGES),
        ("return a || (b = c);", CHANGES),
        ("return a[i++] && c;", CHANGES),
        ("for (i = 0; i < 9; i++) x |= a || b[j++];", CHANGES),
        ("x = a ? b++ : c;", CHANGES),
        ("x = (a = b) ? c : d;", CHANGES),
        ('return good || host_fail("no");', REPORTS),
        ("return owns_group(vm, i) && refuse(vm, i, why);", REPORTS),
        ('bool ok = f() && (g() || host_fail("no"));', REPORTS),
        ("if (!a && !refuse(vm)) x = 1;", REPORTS),
        ('return a ? X : (host_fail("no"), Y);', REPORTS),
        ('a ? console_say("yes") : f();', REPORTS),
    ],
)
def test_style_finds(style, statement, what):
    """In a function, and in a macro: on its line, and nothing else."""
    function = f"void f(void)\n{{\n    {statement}\n    x = 1;\n}}\n"
    macro = f"#define M(a, \\\n          b) /* it\n   goes on */ \\\n    do {{ \\\n        {statement} \\\n    }} while (0)\n"
    assert style(function + macro + function) == [(3, what), (10, what), (14, what)]


def test_style_lets_pass(style):
    """What looks like a fault: choices and steps of two statements, in text, in comments, as a value, as an argument."""
    assert not style(
        """#include <a ? b : c ? d : e>
#define EMPTY
#define VALUE(x) ((x) ? 1 : 0) /* a ? b : c
                                  ? d : e */
struct s s = {.a = x ? 1 : 2, .b = x ? 3 : 4, .c = a && b};
static bool f(void) { return a ? b : c; }
bool g(void)
{
    x = "if (a = b) \\" ? c : d ? e"[a ? 1 : 2] + '?' + '"'; // a ? b : c ? d : e
    /* if (a = b) return; */
    for (i = a ? b : c; i < 9; i++)
        x = d ? e : f;
    for (i = 0, x = a && b; i < 9; i++, x = a || b)
        *p++ |= a || b;
    if (a ? b : c)
        x = d ? e : f;
    else if (a == b && c <= d && e >= f && g != h)
        x += a && b;
    while (a ? b : c)
        x = d ? e : f;
    do
        x--;
    while (x > 0);
    switch (a ? b : c) {
    case 1: x = d ? e : f; break;
    default: return host_fail("a || b");
    }
    if (!good)
        refuse(a && b, a ? b : c);
    h(a ? b : c, d ? e : f, x = 1);
    x = (a ? b : c) + (d ? e : f);
    for (;;)
        x++;
    host_failed = a && b;
    s = (struct s){a ? b : c};
    x = d ? e : f;
    return say(host_fail);
}
"""
    )


PTE = """#define BITS PTE_WRITE
uint64_t f(void)
{
    return BITS | PTE_USER; /* PTE_NX */
}
"""


@pytest.mark.parametrize("place, lines", [("kernel/mr.c", [1, 4]), ("kernel/ptab.c", []), ("kernel/ptab.h", []), ("tests/unit/test.c", [])])
def test_style_keeps_bits_of_page_tables(tmp_path, place, lines):
    """They are named where entries are made, and in tests."""
    source = tmp_path / place
    source.parent.mkdir(parents=True)
    source.write_text(PTE)
    said = call("scripts/check-style", str(source)).stdout.splitlines()
    assert said == [f"{source}:{line}: a bit of a page-table entry outside kernel/ptab.[ch]" for line in lines]


def test_style_columns(style):
    assert style(f"//{'x' * 98}\n//{'x' * 99}\n") == [(2, "101 columns of 100")]
    assert not style(f"//{'x' * 138}\n", "--columns", "140")


UNPAIRED = [
    ("int f(void)\n{\n    g(;\n}\n", 3),
    ("int f(void)\n{\n    g(]);\n}\n", 3),
    ("int f(void)\n{\n    g();\n", 2),
    ("int a;\n}\nint b;\n", 2),
]


@pytest.mark.parametrize("text, line", UNPAIRED)
def test_style_understands_the_source(style, text, line):
    """A file that it cannot read to its end is not good."""
    assert style(text) == [(line, "a bracket without its other half")]


@pytest.fixture(name="names")
def make_names(tmp_path):
    """names({path: text}): what scripts/check-style says about the names in a tree of these files, as lines."""

    def check(files):
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        done = subprocess.run([f"{rig.SOURCE}/scripts/check-style", *files], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (1 if done.stdout else 0, ""), done
        return done.stdout.splitlines()

    return check


@pytest.mark.parametrize(
    "one",
    [
        "static void start(struct s *s)\n{\n    f(s);\n}\n",
        "static inline void start(void) { f(); }\n",
        "static void __attribute__((noreturn)) start(void);\n",
        "static int start;\n",
        "static _Alignas(64) struct s *start[A][B] = {{f(1, 2)}, {0}};\n",
        "static const struct {\n    int a, b;\n} other = {1}, start[] = {{1, 2}};\n",
        "static int other = f(a, b), start;\n",
        "static void (*const start[])(int) = {f, g};\n",
    ],
)
@pytest.mark.parametrize("two", ["static bool start(int a) { return a; }\n", "bool start(int a);\n", "extern int a, start;\n", "int start[3] = {1};\n"])
def test_style_finds_shared_names(names, one, two):
    """One line, which says what to rename: a static, and of two statics the later file's."""
    line = 1 + one[: one.index("start")].count("\n")
    assert names({"lib/hw/b.c": f"{one}#define A 1\n", "lib/a.h": f"#define B {{ 1 }}\n{two}"}) == [
        f"lib/hw/b.c:{line}: `start` is in lib/a.h too: call this one b_start"
    ]


def test_style_lets_names_pass(names):
    """Names of other rooms, of what is no program, of all that is neither a static nor a global; and one file's own."""
    one = "static void start(void);\nstatic void start(void) { f(); }\n"
    other = """#define start 1
#define CALL(start) \\
    static int start(void) { f(); }
typedef int start;
struct start;
struct start {
    int start;
} s = {.start = 1};
enum start { A = 1 } e = A;
static struct s a[] = {start, {start}};
void f(int start)
{
    static int start;
    start(start);
}
"""
    assert not names({"root/a.c": one, "root/b.c": other, "vmm/a.c": one, "guest/a.c": one, "guest/b.c": one, "tests/lib/a.c": one})
    assert not names({"root/a.c": "int a;\nvoid f(void) {}\n", "root/a.h": "extern int a;\nvoid f(void);\n"})


def test_style_finds_each_but_one(names):
    files = {f"cli/{file}.c": "static int first;\n" for file in "cab"} | {"cli/d.c": "int second;\n", "cli/e.c": "static int second;\n"}
    assert names(files) == [
        "cli/b.c:1: `first` is in cli/a.c too: call this one b_first",
        "cli/c.c:1: `first` is in cli/a.c too: call this one c_first",
        "cli/e.c:1: `second` is in cli/d.c too: call this one e_second",
    ]


CODE = """
static int f(struct cap c, int a)
{
    const char *s = "/* mutant: bounds */ ;";
    /* mutant: bounds */
    if (a > 9 /* ; */ ||
        a <
            0)
        return 1;
    if (a)
        /* mutant: call */
        g((struct cap){.gen = 1}, a + 1,
          a + 12);
    /* mutant: loop */
    for (int i = 0; i < a; i++)
        a--;
    return 0;
}
"""


def mutate(folder, mutation, code=CODE):
    (folder / "f.c").write_text(code)
    return call("tests/proof/mutate", str(folder), f"f.c {mutation}")


@pytest.mark.parametrize(
    "mutation, old, new",
    [
        ("bounds never", "a > 9 /* ; */ ||\n        a <\n            0", "0"),
        ("bounds swap a>9||a<0 => a < 0", "a > 9 /* ; */ ||\n        a <\n            0", "a < 0"),
        ("call drop", "g((struct cap){.gen = 1}, a + 1,\n          a + 12);", ";"),
        ("call swap a + 1 => a | b", "a + 1,", "a | b,"),
        ("call swap , a + 12 =>", ",\n          a + 12", ""),
        ("loop swap i < a => 0", "i < a", "0"),
    ],
    ids=lambda word: word.split("\n")[0],
)
def test_a_mutant_is_one_statement_changed(mutation, old, new, tmp_path):
    """Found by its mark, across line breaks and comments; token by token; and nothing else is touched."""
    done = mutate(tmp_path, mutation)
    assert (done.returncode, done.stdout, done.stderr) == (0, CODE.replace(old, new), "")


@pytest.mark.parametrize(
    "mutation, old, new, why",
    [
        ("nowhere never", "", "", "the mark nowhere is there 0 times"),
        ("bounds never", "mutant: loop", "mutant: bounds", "the mark bounds is there 2 times"),
        ("call swap a => b", "", "", "a occurs 2 times"),
        ("call swap a - 1 => b", "", "", "a - 1 occurs 0 times"),
        ("call swap a > 9 => 0", "", "", "a > 9 occurs 0 times"),  # in the code, but of another statement
        ("loop swap a-- => 0", "", "", "a-- occurs 0 times"),  # of the loop, but not of its head
        ("call never", "", "", "not an if's"),
        ("bounds drop", "", "", "a head's"),
        ("bounds sometimes", "", "", "no operation: sometimes"),
        ("bounds", "", "", "FILE MARK OPERATION"),
        ("bounds never", "bounds */\n", "bounds */ ", "does not stand alone"),
        ("bounds never", "bounds */\n", "bounds */\n\n", "does not stand alone"),
        ("bounds never", "    /* mutant: bounds", "    a = 1; /* mutant: bounds", "does not stand alone"),
        ("bounds never", "/* mutant: bounds */\n    if", "/* mutant: bounds */\n    else if", "no statement"),
        ("bounds never", "/* mutant: loop */", "/* mutant: the loop */", "no mark: /* mutant: the loop */"),
        ("body drop", "static int f", "/* mutant: body */\nstatic int f", "has no end"),
        ("body drop", "static int f", "/* mutant: body */\nstatic int g(void)\n{\n}\nint x;\nstatic int f", "has no end"),
    ],
    ids=lambda word: word.split("\n")[0],
)
def test_a_mutant_that_does_not_fit(mutation, old, new, why, tmp_path):
    """Refused with one line that says why; no mutant comes of it."""
    done = mutate(tmp_path, mutation, CODE.replace(old, new, 1) if old else CODE)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1), done
    assert why in done.stderr


@pytest.mark.parametrize(
    "loop, why",
    [
        ("f.c loop swap i < a => 0", []),
        ("", ["f.c: no mutant uses the mark loop"]),
        ("f.c lop drop", ["m: the mark lop is there 0 times", "f.c: no mutant uses the mark loop"]),
        ("g.c loop drop", ["g.c", "f.c: no mutant uses the mark loop"]),
    ],
)
def test_marks_and_mutants_match(loop, why, tmp_path):
    """Every mutant fits, and every mark is used."""
    (tmp_path / "f.c").write_text(CODE)
    (tmp_path / "list").write_text(f"# comment\n\np | f | g | |\nm | f | g | | {loop}\nn | f | g | | f.c bounds never\no | f | g | | f.c call drop\n")
    done = call("tests/proof/mutate", "--check", str(tmp_path), str(tmp_path / "list"))
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines)) == (len(why) > 0, len(why)), done
    assert all(part in line for part, line in zip(why, lines))


def test_a_mark_is_in_one_file(tmp_path):
    (tmp_path / "f.c").write_text(CODE)
    (tmp_path / "g.h").write_text("/* mutant: bounds */\nint x;\n")
    (tmp_path / "list").write_text("".join(f"m | f | g | | {m}\n" for m in ("f.c bounds never", "f.c call drop", "f.c loop swap 0 => 1", "g.h bounds drop")))
    done = call("tests/proof/mutate", "--check", str(tmp_path), str(tmp_path / "list"))
    assert (done.returncode, done.stderr) == (1, "the mark bounds is there 2 times\n")


@pytest.fixture(name="budget", scope="module")
def load_budget():
    loader = importlib.machinery.SourceFileLoader("budget", str(rig.SOURCE / "scripts/budget"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("budget", loader))
    loader.exec_module(module)
    return module


AMD_ONLY = {"svm_enter", "svm_exit", "svm_rare_event"}
INTEL_ONLY = {"vmx_enter", "vmx_exit", "vmx_back", "vmx_event", "control_register", "set_xcr0", "answer_cpuid", "vmx_go_home", "vmx_go_abroad"}


@pytest.mark.parametrize("vendor, its, others, most", [("AMD", AMD_ONLY, INTEL_ONLY, 60), ("Intel", INTEL_ONLY, AMD_ONLY, 100)], ids=["AMD", "Intel"])
def test_budget_follows_the_binary(budget, vendor, its, others, most):
    """Into the assembly, through what is in line, over the stack (an IRET); not along what is cut, nor to the other vendor."""
    names = {name for _, name in budget.disengaged(rig.BUILD / "hairline64.elf", vendor, budget.CUTS[vendor])}
    assert names >= its | {"guest_exit", "disengaged_exit", "icr_write", "cpu_idle", "nmi_from_user", "trap_common", "trap_user"}
    assert not names & (others | {"pt_event", "core_attention", "sched_tick", "panic", "first", "move_cr8", "syscall_entry"})
    assert len(names) < most


WAYS = [
    *(("AMD", way) for way in (("resume", "attention"), ("guest_exit", "pt_event"), ("vcpu_prepare", "vcpu_load_core"), ("trap_user", "pt_event"))),
    *(("Intel", way) for way in (("vmx_event", "vmx_offer"), ("control_register", "move_cr8"), ("resume", "svm_enter"), ("guest_exit", "pt_event"))),
]


@pytest.mark.parametrize("vendor, cut", WAYS, ids=str)
def test_budget_needs_each_cut(budget, vendor, cut):
    elf, cuts = rig.BUILD / "hairline64.elf", budget.CUTS[vendor]
    rest = {way: why for way, why in cuts.items() if way != cut}
    assert budget.disengaged(elf, vendor, cuts) < budget.disengaged(elf, vendor, rest)


@pytest.mark.parametrize("vendor", ["AMD", "Intel"])
def test_budget_refuses_a_stale_cut(budget, vendor, monkeypatch, capsys):
    monkeypatch.setitem(budget.CUTS[vendor], ("vcpu_exit", "sched_tick"), "there is no such way")
    with pytest.raises(SystemExit):
        budget.disengaged(rig.BUILD / "hairline64.elf", vendor, budget.CUTS[vendor])
    assert "vcpu_exit -> sched_tick" in capsys.readouterr().err


@pytest.fixture(name="bench", scope="module")
def load_bench():
    loader = importlib.machinery.SourceFileLoader("bench", str(rig.SOURCE / "scripts/bench"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench", loader))
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("vm,bare,good", [(2000002, 2000000, True), (1998000, 2002000, True), (2002001, 2000000, False), (2000000, 9000001, False), (None, 2000000, False)])
def test_bench_counts_instructions_or_nothing(bench, capsys, vm, bare, good):
    """A loop of known length may be off by 0.1 %."""
    done = {"exits": ({"loop": vm} if vm else {}, {}), "bare": {"loop": bare}}
    if good:
        bench.calibrate(done)
        return
    with pytest.raises(SystemExit) as end:
        bench.calibrate(done)
    assert end.value.code == 2 and "a tick is no instruction here" in capsys.readouterr().err


def test_bench_of_intel(bench, tmp_path, capsys):
    """Its own limits; what is not measured says why and breaks none; what is missing, but not named, breaks its limit."""
    intel, amd = bench.IntelBench(rig.BUILD, tmp_path), bench.Bench(rig.BUILD, tmp_path)
    assert set(amd.jobs()) - set(intel.jobs()) == set(bench.INTEL_NOT) - {"sm-up-other-core"} and not set(intel.jobs()) - set(amd.jobs())
    assert all(set(row.jobs.split()) <= set(amd.jobs()) for row in bench.ROWS.values())
    values = {"cpuid": 250, "rdmsr": 701, "port-write": 5000, "own-work-exits": 0}
    rows = {row["name"]: row for row in bench.table(intel, values, {})}
    good = {name: rows[name]["ok"] for name in ("cpuid", "rdmsr", "port-write", "own-work-exits", "own-icr", "self-ipi")}
    assert good == {"cpuid": True, "rdmsr": False, "port-write": True, "own-work-exits": True, "own-icr": True, "self-ipi": False}
    assert rows["own-icr"]["not_measured"] and rows["cpuid"]["kvm"] is None
    assert not {row["name"]: row for row in bench.table(amd, values, {})}["cpuid"]["ok"]
    bench.show(list(rows.values()))
    shown = capsys.readouterr().out
    assert "BROKEN  MSR read" in shown and "-  not measured: it needs several CPUs" in shown


def test_bench_waits_for_the_end_of_a_line(bench):
    """Of half a line half a number would be read."""
    assert not bench.is_done("bench name=execs ticks=12", "name=execs") and bench.is_done("bench name=execs ticks=123\r\n", "name=execs")


def test_bench_counts_exits_alone(bench):
    """Those that the processor always makes are not the hypervisor's."""
    vm = {"left": 1, "exits": {"cpuid": 9, "xsetbv": 3, "port": 5}, "engaged": {"cpuid": 2, "xsetbv": 0, "port": 5}}
    assert bench.exits_alone(vm, bench.IntelBench.always) == 0 and bench.exits_alone(vm) == 10
    with pytest.raises(SystemExit):
        bench.exits_alone({**vm, "left": None})


WORKS = ("disk-read-1", "disk-read-16", "disk-write-1", "disk-write-16", "disk-mib")
PROGRAMS = ("kernel", "root", "vmm", "lan", *(f"guest.{core}" for core in range(8)))


def counts(word, value):
    return " ".join([word, *(f"{program}={value * (i + 1)}" for i, program in enumerate(PROGRAMS))]) + "\n"


def count_file(folder, *words):
    """What the plugin writes; from line to line each program executes 1,000 more times its number."""
    (folder / "marks").write_text("".join(counts(word, 1000 * i) for i, word in enumerate(words)))
    return folder / "marks"


def told(works, count=1):
    return "".join(f"bench name={work} count={count}\n" for work in works)


@pytest.fixture(name="counted")
def count_all(bench, tmp_path):
    """What is said of each machine in which instructions are counted."""
    control = ("create", "top-5", "top-25", "rest-20")
    return {
        "disk": bench.pieces("disk", told(WORKS, 2), count_file(tmp_path, *["mark"] * 10)),
        "aoe": bench.pieces("aoe", told(WORKS, 4), count_file(tmp_path, "first.0", "mark", "first.1", *["mark"] * 9)),
        "net": bench.pieces("net", told(("udp-echo", "tcp-mib")), count_file(tmp_path, *["mark"] * 4)),
        "out": bench.pieces("out", told(("out-echo",)), count_file(tmp_path, "mark", "mark")),
        "control": bench.pieces("control", told(control), count_file(tmp_path, "first.2", "mark", "first.3", *["mark"] * 7)),
    }


def test_bench_takes_who_executes_what(bench, counted):
    """All pieces of work, and of a creation what is before its VM's first instruction."""
    shares = bench.io_shares(counted)
    assert set(shares) == {*WORKS, "udp-frame", "out-frame", "tcp-mib", "create", "top"}
    assert shares["disk-read-1"] == {"kernel": 500, "VMMs": 1500, "switch": 2000, "root": 1000, "guest": 3500, "its server": 3000}
    assert shares["out-frame"] == shares["udp-frame"] == shares["disk-read-1"]
    assert shares["create"]["kernel"] == 1000 and shares["top"]["kernel"] == -1000 / bench.LOOKS
    assert bench.FIGURES["create"](counted) == 1000 * sum(range(1, 13))
    assert bench.FIGURES["aoe-read-1"](counted) == 4 / 2 / 2  # of which there is a line of another core's first instruction, too
    assert bench.FIGURES["aoe-mib"](counted) == 4 / 2


@pytest.mark.parametrize("text, marks", [("", ()), (told(WORKS), ()), ("", ["mark"] * 10), (told(WORKS), ["mark"] * 9), (told(WORKS), ["first.1"] * 10)])
def test_bench_misses_a_mark(bench, tmp_path, capsys, text, marks):
    with pytest.raises(SystemExit) as end:
        bench.pieces("disk", text, count_file(tmp_path, *marks))
    assert end.value.code == 2 and "ends were seen" in capsys.readouterr().err


def test_bench_needs_the_first_instruction(bench, counted, capsys):
    """A VM that was created and did not begin is no figure."""
    count, marks = counted["control"]["create"]
    counted["control"]["create"] = count, [mark for mark in marks if mark[0] == "mark"]
    assert "create" not in bench.io_shares(counted) and bench.known("create", bench.FIGURES["create"], counted) is None
    assert "first.3" in capsys.readouterr().err


def life(*told_exits):
    """What root says of a system: (seconds, exits by ICR, by CPUID), with a TSC of 100 Hz."""
    ends = "".join(f"hairline| host name=debian cores=2 tsc={100 * s} exits.icr={icr} exits.cpuid={cpuid}\n" for s, icr, cpuid in told_exits)
    return f"hairline| ready cores=1 tsc_hz=100 vms=1\n{ends}hairline| host name=debian leaves: status 0\n"


def test_bench_takes_minutes(bench, capsys):
    """From the first record behind the launch's own time to the first that is a minute later, as if that were a minute."""
    console = life((0, 7, 7), (2, 10, 20), (12, 11, 20), (70, 40, 26), (72, 41, 26), (74, 99, 99)) + life((0, 0, 0), (10, 0, 0), (130, 8, 80))
    minutes = dict(zip(("idle", "busy"), bench.exits_of_minutes(console)))
    assert minutes == {"idle": {"icr": 30, "cpuid": 6}, "busy": {"icr": 4, "cpuid": 40}}
    done = {"minutes": minutes}
    assert [bench.FIGURES[f"host-{name}-exits"](done) for name in ("idle", "busy", "more")] == [36, 44, 46]
    for short in (life(), life((0, 1, 1), (10, 1, 1), (69, 2, 2)), life((0, 1, 1), (2, 1, 1))):
        with pytest.raises(SystemExit):
            bench.exits_of_minutes(short)
        assert "did not tell" in capsys.readouterr().err
    assert bench.exits_of_minutes("") == []


NOTHING = {"exits": {}, "engaged": {}, "left": 1, "value": 0}  # what a VM's record has, of a VM that did


def test_bench_without_a_value_fails(bench, tmp_path, capsys):
    """Each row but two sums, when what it is made of said nothing, has a limit or none: it is shown, and is not in order."""
    jobs = bench.Bench(rig.BUILD, tmp_path).jobs()
    done = {name: {} for name in jobs} | {name: ({}, NOTHING) for name in ("exits", "mix", "boot", "idle", "off", "own", "own-work", "own-idle", "begin")}
    rows = bench.table(bench.Bench(rig.BUILD, tmp_path), *bench.figures(bench.Bench(rig.BUILD, tmp_path), done))
    assert [row["name"] for row in rows if row["ok"]] == ["memory-faults", "vmm-memory"] and len(rows) == len(bench.ROWS)
    bench.show(rows)
    assert capsys.readouterr().out.count("MISSING ") == len(bench.ROWS) - 2


def test_bench_goes_on_without_a_run(bench, capsys):
    """One that fails takes its own rows along."""
    done = bench.do_all({"bad": (bench.fail, "it fails"), "broken": (int, "x"), "good": (int, "7")}, 1)
    assert done == {"good": 7} and "bad is not measured" in capsys.readouterr().err


def test_bench_rows_by_name(bench, capsys):
    assert bench.rows_named([]) == list(bench.ROWS) and bench.rows_named(["create"]) == ["create"]
    assert bench.rows_named(["top", "aoe-read"]) == ["aoe-read-1", "aoe-read-16", "top"]
    with pytest.raises(SystemExit) as end:
        bench.rows_named(["no-such"])
    assert end.value.code == 2 and "no row's name has `no-such`" in capsys.readouterr().err
