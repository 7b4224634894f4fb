/*
 * Disks and network, for who counts instructions from outside: before and after each piece of work
 * stands a mark, an instruction that does nothing (tests/count/count.c).
 *   bench-io disk DEVICE    pieces of PIECE bytes at random places, and a sequential MiB
 *   bench-io net ADDRESS    datagrams that are echoed, and a stream, to the other machine
 *   bench-io out ADDRESS    the datagrams alone, to one outside of the LAN
 *   bench-io peer           that other machine: for ever
 *   bench-io start          the first mark, with which counting begins
 *   bench-io run NAME COUNT PROGRAM ARGUMENT...   behind it, another program, as a piece of work
 * Lines: bench name=NAME count=N, in the order of the marks: two of each.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIECE   4096u
#define AREA    (4u << 20) /* bytes of the disk that are used */
#define SINGLE  64u        /* requests one after another */
#define DEPTH   16u
#define MANY    256u /* requests, DEPTH at a time */
#define MIB     (1u << 20)
#define STREAM  4u /* MiB */
#define ECHOES  256u
#define MESSAGE 64u
#define PORT    7

static uint8_t *buffer; /* MIB bytes, aligned */

static void mark(void)
{
    __asm__ volatile(".byte 0x0f, 0x1f, 0x80, 'H', 'a', 'i', 'r'" : : : "memory");
}

static void begin(const char *name, unsigned count)
{
    printf("bench name=%s count=%u\n", name, count);
    fflush(stdout);
    usleep(300000); /* what was begun before is over */
    mark();
}

static void must(int good, const char *what)
{
    if (good)
        return;
    perror(what);
    exit(1);
}

static uint64_t place(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % (AREA / PIECE) * PIECE;
}

static void submit(aio_context_t context, int disk, int opcode, unsigned slot)
{
    static struct iocb blocks[DEPTH];
    struct iocb *block = &blocks[slot];
    *block = (struct iocb){.aio_data = slot,
                           .aio_lio_opcode = (uint16_t)opcode,
                           .aio_fildes = (uint32_t)disk,
                           .aio_buf = (uintptr_t)buffer + slot * PIECE,
                           .aio_nbytes = PIECE,
                           .aio_offset = (int64_t)place()};
    must(syscall(SYS_io_submit, context, 1L, &block) == 1, "io_submit");
}

/* `count` requests at random places, `depth` of them on their way. */
static void many(int disk, int opcode, unsigned depth, unsigned count)
{
    aio_context_t context = 0;
    struct io_event events[DEPTH];
    unsigned begun = 0;
    must(syscall(SYS_io_setup, DEPTH, &context) == 0, "io_setup");
    for (; begun < depth; begun++)
        submit(context, disk, opcode, begun);
    for (unsigned done = 0; done < count;) {
        long n = syscall(SYS_io_getevents, context, 1L, (long)DEPTH, events, NULL);
        must(n > 0, "io_getevents");
        for (long i = 0; i < n; i++, done++) {
            must(events[i].res == (int64_t)PIECE, "a request failed");
            if (begun < count)
                submit(context, disk, opcode, (unsigned)events[i].data), begun++;
        }
    }
    syscall(SYS_io_destroy, context);
}

static void write_and_flush(int disk, unsigned depth, unsigned count)
{
    for (unsigned done = 0; done < count; done += depth) {
        many(disk, IOCB_CMD_PWRITE, depth, depth);
        must(fdatasync(disk) == 0, "fdatasync");
    }
}

static void disk_figures(const char *device)
{
    int disk = open(device, O_RDWR | O_DIRECT);
    must(disk >= 0, device);
    for (unsigned at = 0; at < AREA; at += MIB)
        must(pwrite(disk, buffer, MIB, at) == (ssize_t)MIB, "pwrite");
    mark(); /* counting begins */
    many(disk, IOCB_CMD_PREAD, 1, SINGLE);
    begin("disk-read-1", SINGLE);
    many(disk, IOCB_CMD_PREAD, 1, SINGLE);
    mark();
    begin("disk-read-16", MANY);
    many(disk, IOCB_CMD_PREAD, DEPTH, MANY);
    mark();
    begin("disk-write-1", SINGLE);
    write_and_flush(disk, 1, SINGLE);
    mark();
    begin("disk-write-16", MANY);
    write_and_flush(disk, DEPTH, MANY);
    mark();
    begin("disk-mib", STREAM);
    for (unsigned i = 0; i < STREAM; i++)
        must(pread(disk, buffer, MIB, i * MIB) == (ssize_t)MIB, "pread");
    mark();
}

static int bound(int type, struct sockaddr_in *to)
{
    int s = socket(AF_INET, type, 0);
    must(s >= 0, "socket");
    must(to->sin_addr.s_addr == INADDR_ANY ? !bind(s, (struct sockaddr *)to, sizeof *to)
                                           : !connect(s, (struct sockaddr *)to, sizeof *to),
         "bind or connect");
    return s;
}

static void echo(int s, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        must(send(s, buffer, MESSAGE, 0) == MESSAGE, "send");
        must(recv(s, buffer, MESSAGE, 0) == MESSAGE, "recv");
    }
}

/* A stream's MiB are there when the other side says so. */
static void stream(int s, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        for (unsigned sent = 0; sent < MIB;) {
            ssize_t n = send(s, buffer + sent, MIB - sent, 0);
            must(n > 0, "send");
            sent += (unsigned)n;
        }
    must(recv(s, buffer, 1, 0) == 1, "recv");
}

static void net_figures(const char *address, bool out)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    must(inet_aton(address, &to.sin_addr), address);
    int udp = bound(SOCK_DGRAM, &to);
    mark(); /* counting begins */
    echo(udp, 16);
    begin(out ? "out-echo" : "udp-echo", ECHOES);
    echo(udp, ECHOES);
    mark();
    if (out)
        return;
    int tcp = bound(SOCK_STREAM, &to);
    stream(tcp, STREAM);
    begin("tcp-mib", STREAM);
    stream(tcp, STREAM);
    mark();
}

static void take_streams(int listener)
{
    int s = accept(listener, NULL, NULL);
    for (uint64_t taken = 0;;) {
        ssize_t n = recv(s, buffer, MIB, 0);
        must(n > 0, "recv");
        taken += (uint64_t)n;
        if (taken % (STREAM * MIB) == 0)
            must(send(s, buffer, 1, 0) == 1, "send");
    }
}

static void peer(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(PORT)}, from;
    int udp = bound(SOCK_DGRAM, &at), tcp = bound(SOCK_STREAM, &at);
    must(listen(tcp, 1) == 0, "listen");
    printf("bench: the peer is there\n");
    fflush(stdout);
    if (fork() == 0)
        take_streams(tcp);
    for (;;) {
        socklen_t size = sizeof from;
        ssize_t n = recvfrom(udp, buffer, MESSAGE, 0, (struct sockaddr *)&from, &size);
        must(n >= 0 && sendto(udp, buffer, (size_t)n, 0, (struct sockaddr *)&from, size) == n,
             "echo");
    }
}

static int run(char **arguments)
{
    begin(arguments[0], (unsigned)atoi(arguments[1]));
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        execvp(arguments[2], arguments + 2);
        _exit(127);
    }
    int status;
    must(waitpid(child, &status, 0) == child, "waitpid");
    mark();
    return status == 0 ? 0 : 1;
}

int main(int count, char **arguments)
{
    must(posix_memalign((void **)&buffer, PIECE, MIB) == 0, "memory");
    memset(buffer, 'h', MIB);
    if (count > 4 && strcmp(arguments[1], "run") == 0)
        return run(arguments + 2);
    if (count == 2 && strcmp(arguments[1], "start") == 0) {
        mark();
        return 0;
    }
    if (count == 2 && strcmp(arguments[1], "peer") == 0)
        peer();
    if (count != 3)
        return 2;
    if (strcmp(arguments[1], "disk") == 0)
        disk_figures(arguments[2]);
    else
        net_figures(arguments[2], strcmp(arguments[1], "out") == 0);
    return 0;
}
