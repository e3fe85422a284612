/* tests/fuzz_model_modules.c - any bytes as modules.json, router_config.json and a module's
 * config.json, parted by the byte 0xff, which no UTF-8 holds.
 * Run by hand, best with TMPDIR in memory: fuzz_model_modules FOLDER -max_total_time=300 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "encoder/model_parts.h"

static char root[200];

static void leave(void) {
  char path[300];
  static const char *const NAMES[] = {"modules.json", "router_config.json",
                                      "m/config.json", "m", "."};
  for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
    snprintf(path, sizeof path, "%s/%s", root, NAMES[i]);
    if (i < 3)
      unlink(path);
    else
      rmdir(i == 3 ? path : root);
  }
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  const char *tmp = getenv("TMPDIR");
  snprintf(root, sizeof root, "%s/fuzz_model_modules.XXXXXX", tmp ? tmp : "/tmp");
  if (!mkdtemp(root)) abort();
  char path[300];
  snprintf(path, sizeof path, "%s/m", root);
  if (mkdir(path, 0700)) abort();
  atexit(leave);
  return 0;
}

static void plant(const char *name, const uint8_t *data, size_t n) {
  char path[300];
  snprintf(path, sizeof path, "%s/%s", root, name);
  FILE *f = fopen(path, "wb");
  if (!f || fwrite(data, 1, n, f) != n || fclose(f)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  static const char *const NAMES[] = {"modules.json", "router_config.json",
                                      "m/config.json"};
  for (int i = 0; i < 3; i++) {
    const uint8_t *end = n ? memchr(data, 0xff, n) : NULL;
    size_t part = end ? (size_t)(end - data) : n;
    plant(NAMES[i], data, part);
    data += end ? part + 1 : part;
    n -= end ? part + 1 : part;
  }
  sp_model *m = calloc(1, sizeof *m);
  if (!m || !(m->dir = strdup(root))) abort();
  sp_layout layout;
  if (!sp_layout_read(m, &layout)) {
    if (!layout.transformer_dir || strstr(layout.transformer_dir, "..")) abort();
    if (m->log1p_times != 1 && m->log1p_times != 2) abort();
    sp_layout_free(&layout);
  }
  sp_model_close(m);
  return 0;
}
