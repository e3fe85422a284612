/* tests/fuzz_main.c - a fuzz target without a fuzzer, for every build and every compiler:
 * runs the seeds of a folder as they are, then mutations of them, always the same ones.
 *
 *   fuzz_NAME FOLDER ROUNDS
 *
 * The input under way is kept in fuzz_NAME.input in the working directory: what is there
 * after a crash made it. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/fuzz_mutate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { MAX_BYTES = 8192, MAX_STEPS = 5 };

typedef struct seed {
  char *data;
  size_t n;
} seed;

static void die(const char *what) {
  fprintf(stderr, "fuzz_main: %s: %s\n", what, sp_err_message());
  exit(1);
}

/* The caller never frees: the process ends with it. */
static size_t read_seeds(const char *folder, seed **out) {
  struct dirent **files;
  int n_files = scandir(folder, &files, NULL, alphasort); /* the same order everywhere */
  static seed seeds[256];
  size_t n = 0;
  if (n_files < 0) die(folder);
  for (int i = 0; i < n_files; i++) {
    char *path = sp_path_join(folder, files[i]->d_name);
    if (!path) die(folder);
    if (!sp_path_is_dir(path) && n < 256) {
      if (sp_file_read(path, MAX_BYTES, &seeds[n].data, &seeds[n].n)) die(path);
      n++;
    }
    free(path);
    free(files[i]);
  }
  free(files);
  *out = seeds;
  return n;
}

/* The target gets a block of the input's size, so that reading past its end is seen. */
static void run(int fd, const void *data, size_t n) {
  uint8_t *block = malloc(n ? n : 1);
  if (!block || pwrite(fd, data, n, 0) != (ssize_t)n || ftruncate(fd, (off_t)n))
    die("cannot keep the input");
  memcpy(block, data, n);
  LLVMFuzzerTestOneInput(block, n);
  free(block);
}

static void run_mutation(int fd, const seed *s, uint64_t *random) {
  static uint8_t data[MAX_BYTES];
  size_t n = s->n;
  memcpy(data, s->data, n);
  for (uint32_t i = sp_fuzz_random(random, MAX_STEPS) + 1; i > 0; i--)
    n = sp_fuzz_mutate(data, n, sizeof data, random);
  run(fd, data, n);
}

int main(int argc, char **argv) {
  if (argc != 3) die("needs FOLDER and ROUNDS");
  const char *slash = strrchr(argv[0], '/');
  char path[256];
  snprintf(path, sizeof path, "%s.input", slash ? slash + 1 : argv[0]);
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (fd < 0) die(path);
  seed *seeds;
  size_t n_seeds = read_seeds(argv[1], &seeds);
  if (!n_seeds) die("no seeds");
  for (size_t i = 0; i < n_seeds; i++) run(fd, seeds[i].data, seeds[i].n);
  uint64_t random = 1;
  for (int left = atoi(argv[2]); left > 0; left--)
    run_mutation(fd, &seeds[sp_fuzz_random(&random, (uint32_t)n_seeds)], &random);
  for (size_t i = 0; i < n_seeds; i++) free(seeds[i].data);
  close(fd);
  unlink(path);
  return 0;
}
