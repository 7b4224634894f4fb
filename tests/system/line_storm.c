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

static void storm(struct vm_control *c)
{
    static const char *const words[] = {"machine",       "vm #1",     "list",  "stop ",
                                        "log canary ",   "events on", "type ", "create",
                                        "destroy hello", "\n"};
    const char *word = words[line_random() % (sizeof(words) / sizeof(words[0]))];
    volatile uint8_t *bytes = (volatile uint8_t *)c->ask;
    switch (line_random() % 6) {
    case 0: c->ask_head = line_random(); break;
    case 1: c->answer_tail = line_random(); break;
    case 2: c->answer_head = line_random(); break;
    case 3: c->ask_tail = line_random(); break;
    case 4: bytes[line_random() % CONTROL_ASK] = (uint8_t)line_random(); break;
    default:
        for (; *word; word++)
            bytes[c->ask_head++ % CONTROL_ASK] = (uint8_t)*word;
    }
    c->state = c->reason = c->out_head = c->in_tail = c->leave = line_random() % 4;
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
    for (time_t end = time(NULL) + SECONDS; time(NULL) < end;)
        for (int i = 0; i < 1000; i++)
            storm(c);
    c->ask_head = c->ask_tail;
    c->answer_tail = c->answer_head;
    return 0;
}
