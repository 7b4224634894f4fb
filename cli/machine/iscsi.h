/*
 * The iSCSI target beside the emulated machine: tgtd of its own, with one disk,
 * on a port of 127.0.0.1 that guests reach through QEMU's user network.
 */
#ifndef CLI_ISCSI_H
#define CLI_ISCSI_H

#include <cli/job.h>

#include <sys/types.h>

/* A TCP port of 127.0.0.1 that nobody has just now; 0: there is none. */
uint16_t iscsi_port(void);

/* Serve `folder`/iscsi on `port`, with a control socket in `folder`: the process, 0 after one line
   on stderr. It ends when the tool does, however that ends. */
pid_t iscsi_start(const char *folder, uint16_t port);
void iscsi_stop(pid_t pid);

#endif
