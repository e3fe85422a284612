/* tests/fuzz_model_modules.c - any bytes as modules.json, router_config.json and the
 * config.json of the module "m", parted by the byte 0xff, which no UTF-8 holds.
 *
 * The files lie in memory (/dev/shm, or TMPDIR where that is missing) and stay open:
 * writing them anew costs two calls each. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "encoder/model_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { N_FILES = 3 };
static const char *const NAMES[N_FILES] = {"modules.json", "router_config.json",
                                           "m/config.json"};
static char root[200];
static int files[N_FILES];

static const char *path_of(const char *name) {
  static char path[300];
  snprintf(path, sizeof path, "%s/%s", root, name);
  return path;
}

static void leave(void) {
  for (int i = 0; i < N_FILES; i++) unlink(path_of(NAMES[i]));
  rmdir(path_of("m"));
  rmdir(root);
}

static void enter(void) {
  const char *tmp = getenv("TMPDIR");
  if (access("/dev/shm", W_OK) == 0) tmp = "/dev/shm";
  snprintf(root, sizeof root, "%s/fuzz_model_modules.XXXXXX", tmp ? tmp : "/tmp");
  if (!mkdtemp(root) || mkdir(path_of("m"), 0700)) abort();
  for (int i = 0; i < N_FILES; i++)
    if ((files[i] = open(path_of(NAMES[i]), O_WRONLY | O_CREAT, 0600)) < 0) abort();
  atexit(leave);
}

static void plant(const uint8_t *data, size_t n) {
  for (int i = 0; i < N_FILES; i++) {
    const uint8_t *end = n ? memchr(data, 0xff, n) : NULL;
    size_t part = end ? (size_t)(end - data) : n;
    if (pwrite(files[i], data, part, 0) != (ssize_t)part ||
        ftruncate(files[i], (off_t)part))
      abort();
    data += end ? part + 1 : part;
    n -= end ? part + 1 : part;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (!*root) enter();
  plant(data, n);
  sp_model *m = calloc(1, sizeof *m);
  if (!m || !(m->dir = strdup(root))) abort();
  sp_layout layout;
  if (!sp_layout_read(m, m->dir, &layout)) {
    if (!layout.transformer_dir || strstr(layout.transformer_dir, "..")) abort();
    if (layout.query_table_dir && strstr(layout.query_table_dir, "..")) abort();
    if (layout.dense_dir && strstr(layout.dense_dir, "..")) abort();
    if (m->log1p_times != 1 && m->log1p_times != 2) abort();
    sp_layout_free(&layout);
  }
  sp_model_close(m);
  return 0;
}
