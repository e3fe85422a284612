/* tests/program.h - runs the spindle program as a user would, for end-to-end tests.
 *
 * SP_PROGRAM is its path, defined by the build. */
#ifndef SP_TESTS_PROGRAM_H
#define SP_TESTS_PROGRAM_H

#include <stdio.h>
#include <sys/types.h>

typedef struct program {
  pid_t pid;
  FILE *in;  /* its standard input; NULL once closed */
  FILE *out; /* its standard output */
} program;

/* Starts `spindle argv[0] argv[1] ...`; argv ends with NULL. Standard error stays the
 * test's. Fails the test when it cannot. */
program program_start(const char *const *argv);

/* Closes what is open and waits; the exit status, or 128 + the signal that ended it. */
int program_wait(program *p);

/* Starts, gives it no input, throws its output away, waits. */
int program_run(const char *const *argv);

/* A new folder below /tmp; `path` holds at least 64 bytes. And its end, with all in it. */
void temp_folder_make(char *path);
void temp_folder_remove(const char *path);

#endif
