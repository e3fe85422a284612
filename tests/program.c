/* tests/program.c - starting the program with pipes to it, and folders for its files. */
#include "tests/program.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"

enum { MAX_WORDS = 32 };

static void become(const char *const *argv, int in, int out) {
  char *words[MAX_WORDS + 2] = {SP_PROGRAM};
  for (int i = 0; i < MAX_WORDS && argv[i]; i++) words[i + 1] = (char *)argv[i];
  if (dup2(in, 0) >= 0 && dup2(out, 1) >= 0) execv(SP_PROGRAM, words);
  _exit(127);
}

program program_start(const char *const *argv) {
  int to[2], from[2];
  assert_int_equal(pipe2(to, O_CLOEXEC), 0);
  assert_int_equal(pipe2(from, O_CLOEXEC), 0);
  fflush(NULL);
  program p = {.pid = fork()};
  assert_true(p.pid >= 0);
  if (p.pid == 0) become(argv, to[0], from[1]);
  close(to[0]);
  close(from[1]);
  p.in = fdopen(to[1], "w");
  p.out = fdopen(from[0], "r");
  assert_non_null(p.in);
  assert_non_null(p.out);
  return p;
}

int program_wait(program *p) {
  if (p->in) fclose(p->in);
  if (p->out) fclose(p->out);
  int status;
  assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
  *p = (program){0};
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int program_run(const char *const *argv) {
  program p = program_start(argv);
  fclose(p.in);
  p.in = NULL;
  char dropped[4096];
  while (fread(dropped, 1, sizeof dropped, p.out) > 0) continue;
  return program_wait(&p);
}

void temp_folder_make(char *path) {
  strcpy(path, "/tmp/spindle-test-XXXXXX");
  assert_non_null(mkdtemp(path));
}

static int remove_one(const char *path, const struct stat *info, int kind,
                      struct FTW *where) {
  (void)info;
  (void)kind;
  (void)where;
  return remove(path);
}

void temp_folder_remove(const char *path) {
  nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
