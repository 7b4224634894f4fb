#include <cli/host.h>
#include <cli/options.h>
#include <cli/plan/check.h>
#include <cli/session/control.h>
#include <cli/session/inside.h>
#include <cli/session/line.h>
#include <cli/session/stop.h>

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MS   10000u /* ms for root to do it and say so */
#define REQUEST_MAX 128

/* ---- the door ---------------------------------------------------------------- */

/* The folder of all runs' sockets, of this user's and writable by nobody else; NULL after one line
 * on stderr. */
static const char *doors(void)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    const char *folder = runtime && *runtime ? host_text("%s/hairline", runtime)
                                             : host_text("/tmp/hairline-%u", geteuid());
    struct stat status;
    if ((mkdir(folder, 0700) != 0 && errno != EEXIST) || lstat(folder, &status) != 0)
        host_fail("cannot make the folder %s: %s", folder, strerror(errno));
    else if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || status.st_mode & 077)
        host_fail("%s is not a folder of yours alone: remove it", folder);
    else
        return folder;
    return NULL;
}

static int make_socket(const char *path, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address->sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address->sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = 1 + ANSWER_MS / 1000};
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

void control_open(struct control *control)
{
    struct sockaddr_un address;
    const char *folder = doors();
    *control = (struct control){.door = -1, .client = -1};
    if (!folder)
        return;
    control->path = host_text("%s/%d", folder, getpid());
    unlink(control->path);
    control->door = make_socket(control->path, &address);
    if (control->door >= 0 &&
        bind(control->door, (struct sockaddr *)&address, sizeof(address)) == 0 &&
        listen(control->door, 4) == 0)
        return;
    host_fail("cannot open %s: %s", control->path, strerror(errno));
    control_close(control);
}

static void hang_up(struct control *control, struct console *console)
{
    close(control->client);
    control->client = -1;
    console_listen(console, false);
}

void control_close(struct control *control)
{
    if (control->client >= 0)
        close(control->client);
    if (control->door >= 0) {
        close(control->door);
        unlink(control->path);
    }
    control->door = control->client = -1;
}

/* ---- the run's side: an answer is lines, and the last begins with `ok` or `error` */

static void control_say(const struct control *control, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t part = send(control->client, text, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (part <= 0)
            return;
        text += part;
        size -= (size_t)part;
    }
}

static void answer(struct control *control, struct console *console, const char *text)
{
    control_say(control, text, strlen(text));
    hang_up(control, console);
}

/* How often the VM has ended: who waits for that asks again and again, and keeps no others out. */
static void answer_ends(struct control *control, struct console *console, const char *name)
{
    char text[32];
    snprintf(text, sizeof(text), "%u\nok\n", console->ends[console_vm(console, name)]);
    answer(control, console, text);
}

/* How the line begins that answers `verb`; control->lines: how many follow it. */
static const char *expected(struct control *control, const struct console *console,
                            const char *verb, const char *name)
{
    control->lines = strcmp(verb, "list") == 0 ? console->job->plan.vms : 0;
    if (control->lines)
        return "# name";
    bool ends = strcmp(verb, "stop") == 0 || strcmp(verb, "restart") == 0;
    return ends ? host_text("vm name=%s state=off ", name) : "ok";
}

const char *control_accept(struct control *control, struct console *console, bool deaf,
                           uint64_t now)
{
    char line[REQUEST_MAX] = {0}, verb[16] = "", name[40] = "";
    struct timeval patience = {.tv_sec = 1};
    control->client = accept4(control->door, NULL, NULL, SOCK_CLOEXEC);
    if (control->client < 0)
        return NULL;
    setsockopt(control->client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (recv(control->client, line, sizeof(line) - 1, 0) <= 0 ||
        sscanf(line, "%15s %39s", verb, name) < 1)
        answer(control, console, "error no request\n");
    else if (*name && console_vm(console, name) == PLAN_VMS)
        answer(control, console, host_text("error no VM is called `%s`\n", name));
    else if (strcmp(verb, "find") == 0)
        answer(control, console, "ok\n");
    else if (strcmp(verb, "ends") == 0 && *name)
        answer_ends(control, console, name);
    else if (deaf)
        answer(control, console, "error that run takes no commands: it was started with --batch\n");
    else {
        control->awaits = expected(control, console, verb, name);
        control->deadline = now + ANSWER_MS;
        control->heard = 0;
        console_listen(console, true);
        return host_text("%s%s%s", verb, *name ? " " : "", name);
    }
    return NULL;
}

/* Pass one line of root's on to the client, if it is part of the answer. */
static void hear(struct control *control, struct console *console, const char *line, size_t size)
{
    bool counting = !control->awaits && control->lines,
         begins = control->awaits && strncmp(line, control->awaits, strlen(control->awaits)) == 0;
    bool refused = strncmp(line, "error ", 6) == 0;
    if (!counting && !begins && !refused)
        return;
    control_say(control, line, size);
    if (refused) {
        hang_up(control, console);
        return;
    }
    control->lines -= counting;
    control->awaits = NULL;
    if (!control->lines)
        answer(control, console, "ok\n");
}

void control_turn(struct control *control, struct console *console, uint64_t now)
{
    while (control->client >= 0) {
        const char *text = console_heard(console) + control->heard, *end = strchr(text, '\n');
        if (!end)
            break;
        control->heard += (uint64_t)(end + 1 - text);
        hear(control, console, text, (size_t)(end + 1 - text));
    }
    if (control->client >= 0 && now >= control->deadline)
        answer(control, console, "error the machine does not answer; is the VM off?\n");
}

/* ---- the other terminal's side ------------------------------------------------ */

/* Send `request` to the run at socket `path`; its answer. NULL: that run has ended. */
static const char *ask(const char *path, const char *request)
{
    struct sockaddr_un address;
    const char *all = "";
    int fd = make_socket(path, &address);
    bool there = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    if (there && send(fd, request, strlen(request), MSG_NOSIGNAL) > 0) {
        char bytes[4096];
        for (;;) {
            ssize_t size = recv(fd, bytes, sizeof(bytes), 0);
            if (size <= 0)
                break;
            all = host_text("%s%.*s", all, (int)size, bytes);
        }
    }
    if (fd >= 0)
        close(fd);
    if (!there && errno == ECONNREFUSED)
        unlink(path);
    return there ? all : NULL;
}

/* Socket of the one run that has the VM `name` (any run, if NULL); NULL after one line on stderr:
 * none has it, or several. */
static const char *find_run(const char *name)
{
    const char *folder = doors(), *found = NULL;
    uint32_t runs = 0, with = 0;
    DIR *dir = folder ? opendir(folder) : NULL;
    struct dirent *entry = dir ? readdir(dir) : NULL;
    for (; entry; entry = readdir(dir)) {
        if (entry->d_name[0] == '.')
            continue;
        const char *path = host_text("%s/%s", folder, entry->d_name);
        const char *said = ask(path, host_text("find %s\n", name ? name : ""));
        if (!said)
            continue;
        runs++;
        if (strcmp(said, "ok\n") == 0) {
            found = path;
            with++;
        }
    }
    if (dir)
        closedir(dir);
    if (folder && runs == 0)
        host_fail("nothing is running: start it with `hairline run PLAN`");
    else if (folder && with == 0)
        host_fail("no VM is called `%s` in what is running", name);
    else if (with > 1)
        host_fail("%u runs%s%s: say it in the terminal of the one you mean", with,
                  name ? " have a VM " : " are there", name ? name : "");
    return with == 1 ? found : NULL;
}

/* Go through an answer up to its last line; print it, if `print`. True: that is `ok`. */
static bool take_answer(const char *answer, bool print)
{
    const char *line = answer;
    for (;;) {
        const char *end = strchr(line, '\n');
        if (!end)
            return false;
        if (strncmp(line, "error ", 6) == 0)
            host_fail("%.*s", (int)(end - line) - 6, line + 6);
        else if (strncmp(line, "ok\n", 3) == 0)
            return true;
        else if (print)
            printf("%.*s\n", (int)(end - line), line);
        line = end + 1;
    }
}

/* The run in another terminal. */
struct run_way {
    const char *path; /* of its socket */
    int64_t ends;     /* how often the VM had ended before it was asked to */
};

/* What that run answers to a request; NULL after one line on stderr: nothing. */
static const char *request(const struct run_way *run, const char *verb, const char *name)
{
    const char *said = ask(run->path, host_text("%s %s\n", verb, name));
    if (said && *said)
        return said;
    host_fail("the run ended before it answered");
    return NULL;
}

static bool control_tell(void *run, const char *verb, const char *name)
{
    const char *said = request(run, verb, name);
    return said && take_answer(said, strcmp(verb, "ask") != 0);
}

static int64_t ends(const struct run_way *run, const char *name)
{
    const char *said = request(run, "ends", name);
    return said && take_answer(said, false) ? strtoll(said, NULL, 10) : -1;
}

static enum stop_state look(void *way, const char *name)
{
    const struct run_way *run = way;
    usleep(STOP_LOOK_MS * 1000);
    int64_t now = ends(run, name);
    if (now < 0)
        return STOP_LOST;
    return now == run->ends ? STOP_RUNS : STOP_OFF;
}

const char control_help[] =
    "hairline stop VM [--timeout S], hairline kill VM, hairline start VM, hairline restart VM\n"
    "hairline list [--json FILE]\n"
    "hairline top [--json FILE] [--html FILE] [--timeout S], hairline events [--json FILE] "
    "[--timeout S]\n"
    "hairline logs VM, hairline console VM [--timeout S]\n"
    "\n"
    "On the host: command what `hairline run` runs in another terminal of the same user, as if it "
    "were\n"
    "typed there. Not for runs with --batch.\n"
    "In a VM whose plan says `control: own` or `control: all`: command this VM, or all, by its "
    "control line.\n"
    "As root of an installed system (`mode: host`) with `control: all`: as in a VM, all VMs "
    "beside it.\n"
    "`stop`, `kill` and `restart` return when the VM has ended.\n"
    "\n"
    "  stop          press the VM's power button, which asks its guest to end; kill it if it has "
    "not\n"
    "                ended in S seconds (default: 60). A sealed VM, and one whose VMM has left, "
    "have none\n"
    "  kill          end it now, like a power cut\n"
    "  top           in a VM: each second what each VM has used since the last\n"
    "  logs          in a VM: the last 16 KiB that a VM said on its console, if its plan has "
    "`console:\n"
    "                shown` or `open`\n"
    "  console       in a VM: the same, and what it says from then on; with `open` what is typed "
    "goes to\n"
    "                it, and Ctrl-] ends it\n"
    "  --html FILE   top: a page with a picture of the machine, written anew with each look\n"
    "  events        in a VM: a line for each VM, then one when a VM starts or ends\n"
    "  --json FILE   in a VM: the same as JSON; `-` is standard output, and top's and events' only "
    "place\n"
    "  --timeout S   top, events, console: end after S seconds\n";

static bool is_inside_only(const char *verb)
{
    static const char *const verbs[] = {"top", "events", "logs", "console", "create", "destroy"};
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (strcmp(verbs[i], verb) == 0)
            return true;
    return false;
}

int control(const struct options *options)
{
    const char *verb = options->verb, *name = options->plan ? options->plan : "";
    bool names_vm = options->plan && strcmp(verb, "create") != 0;
    if (names_vm && !check_is_name(name)) {
        host_fail("%s: no VM can be called `%s`: `hairline list` shows their names", verb, name);
        return EXIT_USAGE;
    }
    if (line_is_inside())
        return inside(options);
    if (is_inside_only(verb) || options->json) {
        host_fail("%s: only in a VM whose plan has `control: own` or `all`%s", verb,
                  options->json ? ", with --json" : "");
        return EXIT_USAGE;
    }
    struct run_way run = {.path = find_run(options->plan)};
    if (!run.path)
        return EXIT_USAGE;
    if (strcmp(verb, "stop") == 0) {
        run.ends = ends(&run, name);
        const struct stop_way by = {&run, control_tell, look};
        return run.ends < 0 ? EXIT_DIED : stop_vm(&by, name, options->timeout);
    }
    if (strcmp(verb, "kill") == 0)
        verb = "stop";
    return control_tell(&run, verb, name) ? 0 : EXIT_DIED;
}
