/*
 * The root user of a system beneath which Hairline is, at the pages that it shares with Hairline's
 * root (line_storm FILE): for five seconds it writes there what comes: indices that cannot be,
 * requests, cut and without end. It leaves out only the word by which the tool knows them
 * (`message`). Then the rings are as they were, empty.
 */
#include <abi/vm.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define SECONDS 5

static uint64_t seed = 1;
static uint32_t line_random(void)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(seed >> 33);
}

/* Whatever comes to mind, indices too. */
static void line_write_wild(struct vm_control *c)
{
    switch (line_random() % 5) {
    case 0: c->ask_head = line_random(); break;
    case 1: c->answer_tail = line_random(); break;
    case 2: c->answer_head = line_random(); break;
    case 3: c->ask_tail = line_random(); break;
    default: c->ask[line_random() % CONTROL_ASK] = (char)line_random();
    }
    c->state = c->reason = c->out_head = c->in_tail = c->leave = line_random() % 4;
}

/* Requests that root carries out or refuses, as fast as it takes them; none of them ends a VM. */
static void line_ask_on(struct vm_control *c)
{
    static const char *const words[] = {
        "machine",   "vm #1",  "log canary 0",  "events on", "type canary 41",
        "type zz 0", "create", "destroy hello", "sync",      "no such thing"};
    const char *word = words[line_random() % (sizeof(words) / sizeof(words[0]))];
    c->answer_tail = c->answer_head;
    if (c->ask_head - c->ask_tail > CONTROL_ASK / 2)
        return;
    for (; *word; word++)
        c->ask[c->ask_head++ % CONTROL_ASK] = *word;
    c->ask[c->ask_head++ % CONTROL_ASK] = '\n';
}

int main(int count, char **word)
{
    int fd = count > 1 ? open(word[1], O_RDWR) : -1;
    struct vm_control *c =
        fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (c == MAP_FAILED) {
        perror("line_storm");
        return 1;
    }
    for (time_t end = time(NULL) + SECONDS; time(NULL) < end;) {
        for (int i = 0; i < 100000; i++)
            line_ask_on(c);
        for (int i = 0; i < 1000; i++)
            line_write_wild(c);
        c->ask_head = c->ask_tail;
    }
    c->ask_head = c->ask_tail;
    c->answer_tail = c->answer_head;
    return 0;
}
