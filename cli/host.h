/*
 * The host: where the tool's files are, and running other programs.
 */
#ifndef CLI_HOST_H
#define CLI_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit codes of the tool. */
enum { EXIT_DIED = 1, EXIT_USAGE = 2, EXIT_TIMEOUT = 124 };

/* The folder of the built images (the tool's own), `name` in it, or in the source tree
   ($HAIRLINE_HOME, by default the folder around that). */
const char *host_images(void);
const char *host_image(const char *name);
const char *host_source(const char *name);

/* Can a new file take the place of what is at `path`? Only of nothing and of a file; else false
   after one line on stderr. */
bool host_may_write(const char *path);

/* All of that to stdout, at once; what cannot be written is lost. */
void host_show(const char *bytes, size_t size);

/* One line on stderr, starting "hairline: ". */
void host_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, for a failure. Always false, which is what the caller returns. */
bool host_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Run a program and wait; its exit code, 127 when it could not be started. */
int host_run(const char *const argv[]);

/* The same, with its output at the end of the file `log`. */
int host_run_into(const char *log, const char *const argv[]);

/* From now on a signal that would end the tool is noted, and ends the program that host_run waits
   for; host_run then fails, as what the caller returns does. */
void host_catch_signals(void);
int host_caught(void); /* the last one, 0: none came */

/* False, with errno, once one came: what takes long looks at it. */
bool host_goes_on(void);

/* Let none come from now on. */
void host_hold_signals(void);

/* host_run's argv for functions that take it unqualified, as exec does; they do not write to it. */
char *const *host_argv(const char *const argv[]);

/* Milliseconds of a clock that nobody sets. */
uint64_t host_now_ms(void);

/* Formatted text that lives as long as the tool. Without memory for it the tool ends. */
const char *host_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
