/* Of the attack program (attack.c). */
#ifndef GUEST_DISK_ATTACK_H
#define GUEST_DISK_ATTACK_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096ul

/* A line about the way `name`. */
void say(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Write to a file of sysfs; the number in one, 0 if it cannot be read. */
bool put(const char *path, const char *text);
unsigned long get(const char *path);
/* Physical memory, which is none of the system's own; NULL: it is refused. */
volatile void *physical(uint64_t base, uint64_t size);

/* The ways; each says what it saw. */
void attack_memory(const char *name);
void attack_dma(const char *name);
void attack_peek(const char *name);
void attack_iommu(const char *name);
void attack_msrs(const char *name);
void attack_interrupts(const char *name);
void attack_chipset(const char *name);
void attack_sleep(const char *name);

#endif
