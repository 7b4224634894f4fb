#include <cli/help.h>
#include <cli/host.h>
#include <cli/job.h>
#include <cli/options.h>
#include <cli/promise.h>
#include <cli/value.h>

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define VERSION "0.1"

struct command {
    const char *name;
    const char *letters; /* of the options it takes */
    const char *help;
    int (*start)(const struct options *);
};

static const struct command commands[] = {
    {"run", "btljh", help_run, run},         {"check", "h", help_check, check},    {"build", "boih", help_build, build},
    {"probe", "jtph", help_probe, probe},    {"stop", "h", help_control, control}, {"start", "h", help_control, control},
    {"restart", "h", help_control, control}, {"list", "h", help_control, control},
};

static const struct option long_options[] = {
    {"batch", no_argument, NULL, 'b'},      {"timeout", required_argument, NULL, 't'}, {"logs", required_argument, NULL, 'l'},
    {"json", required_argument, NULL, 'j'}, {"output", required_argument, NULL, 'o'},  {"iso", no_argument, NULL, 'i'},
    {"plan", required_argument, NULL, 'p'}, {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
};

int check(const struct options *options)
{
    static struct job job;
    if (!job_compile(&job, options->plan, false))
        return EXIT_USAGE;
    printf("%s: %u VM%s, %u file%s: good\n", options->plan, job.plan.vms, job.plan.vms == 1 ? "" : "s", job.plan.files,
           job.plan.files == 1 ? "" : "s");
    promise_print(&job);
    return 0;
}

int build(const struct options *options)
{
    static struct job job;
    if (!options->output) {
        host_fail("build: -o DIR is missing");
        return EXIT_USAGE;
    }
    if (!job_compile(&job, options->plan, options->batch))
        return EXIT_USAGE;
    if (mkdir(options->output, 0777) != 0 && errno != EEXIST) {
        host_fail("cannot make the folder %s: %s", options->output, strerror(errno));
        return EXIT_USAGE;
    }
    if (!job_stage(&job, options->output, true))
        return EXIT_USAGE;
    const char *mkiso[] = {host_source("scripts/mkiso"), options->output, host_text("%s/hairline.iso", options->output), NULL};
    return options->iso && host_run(mkiso) != 0 ? EXIT_USAGE : 0;
}

static bool set_option(struct options *options, int letter)
{
    switch (letter) {
    case 'b': options->batch = true; return true;
    case 'l': options->logs = optarg; return true;
    case 'j': options->json = optarg; return true;
    case 'p':
    case 'o': options->output = optarg; return true;
    case 'i': options->iso = true; return true;
    case 'h': options->help = true; return true;
    case 't':
        return (value_parse(optarg, unit_none, &options->timeout) && options->timeout > 0 && options->timeout < 1000000) ||
               host_fail("`%s` is not a number of seconds from 1 to 999999", optarg);
    default: return false;
    }
}

static bool parse(struct options *options, const struct command *command, int argc, char *argv[])
{
    for (int letter; (letter = getopt_long(argc, argv, "o:h", long_options, NULL)) != -1;) {
        if (letter != '?' && !strchr(command->letters, letter))
            return host_fail("%s does not take this option; `hairline %s --help` shows those it takes", command->name, command->name);
        if (!set_option(options, letter))
            return false;
    }
    if (optind < argc)
        options->plan = argv[optind++];
    return optind >= argc || host_fail("%s takes one name, and `%s` is too much", command->name, argv[optind]);
}

/* The arguments up to `--`; those behind it are left for QEMU. */
static int own_arguments(int argc, char *argv[], char *const **rest)
{
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], "--") == 0) {
            *rest = argv + i + 1;
            argv[i] = NULL;
            return i;
        }
    *rest = argv + argc;
    return argc;
}

static int start(const struct command *command, int argc, char *argv[])
{
    struct options options = {.verb = command->name};
    bool lists = strcmp(command->name, "list") == 0;
    argc = own_arguments(argc, argv, &options.args);
    if (!parse(&options, command, argc, argv))
        return EXIT_USAGE;
    if (options.help) {
        fputs(command->help, stdout);
        return 0;
    }
    if (!options.plan && command->start == run)
        options.plan = host_source("examples/pair.yaml");
    if (!options.plan && command->start != probe && !lists) {
        host_fail("%s: which %s?", command->name, command->start == control ? "VM" : "plan");
        return EXIT_USAGE;
    }
    return command->start(&options);
}

int main(int argc, char *argv[])
{
    const char *name = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(commands[i].name, name) == 0)
            return start(&commands[i], argc - 1, argv + 1);
    if (strcmp(name, "--version") == 0) {
        puts("hairline " VERSION);
        return 0;
    }
    if (argc == 1 || strcmp(name, "help") == 0 || strcmp(name, "--help") == 0) {
        fputs(help_all, stdout);
        return 0;
    }
    host_fail("`%s` is not a command; `hairline help` lists them", name);
    return EXIT_USAGE;
}
