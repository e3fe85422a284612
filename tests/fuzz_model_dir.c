/* tests/fuzz_model_dir.c - any bytes as a model directory: what opens must encode a text.
 *
 * The input is config.json, the header of model.safetensors, tokenizer.json, idf.json (empty:
 * none) and the text, parted by the byte 0xff. The weights are the same few values again and again, as many as
 * the file has room for. The files lie in memory, as in fuzz_model_modules.c. */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "encoder/encoder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { WEIGHTS = 1, IDF = 3, N_FILES = 4, N_WEIGHT_BYTES = 4096 };
static const char *const NAMES[N_FILES] = {"config.json", "model.safetensors",
                                           "tokenizer.json", "table.json"};
static char root[200];
static int files[N_FILES];
static uint8_t weights[N_WEIGHT_BYTES];

static const char *path_of(const char *name) {
  static char path[300];
  snprintf(path, sizeof path, "%s/%s", root, name);
  return path;
}

static void leave(void) {
  for (int i = 0; i < N_FILES; i++) unlink(path_of(NAMES[i]));
  rmdir(root);
}

static void enter(void) {
  const char *tmp = getenv("TMPDIR");
  if (access("/dev/shm", W_OK) == 0) tmp = "/dev/shm";
  snprintf(root, sizeof root, "%s/fuzz_model_dir.XXXXXX", tmp ? tmp : "/tmp");
  if (!mkdtemp(root)) abort();
  for (int i = 0; i < N_FILES; i++)
    if ((files[i] = open(path_of(NAMES[i]), O_WRONLY | O_CREAT, 0600)) < 0) abort();
  atexit(leave);
  /* Small numbers, whichever the dtype: halves of 1, -1 and 0.5, floats near 0.01. */
  static const uint8_t HIGH[] = {0x3c, 0xbc, 0x38, 0x3c, 0xb8};
  for (size_t i = 1; i < sizeof weights; i += 2) weights[i] = HIGH[i / 2 % sizeof HIGH];
}

static void write_at(int file, const void *data, size_t n, size_t *at) {
  if (pwrite(file, data, n, (off_t)*at) != (ssize_t)n) abort();
  *at += n;
}

static void plant(int i, const uint8_t *data, size_t n) {
  size_t at = 0;
  uint64_t length = n; /* little-endian, as the machines that Spindle runs on */
  if (i == WEIGHTS) write_at(files[i], &length, sizeof length, &at);
  write_at(files[i], data, n, &at);
  if (i == WEIGHTS) write_at(files[i], weights, sizeof weights, &at);
  if (ftruncate(files[i], (off_t)at)) abort();
}

static void encode(sp_encoder *e, sp_side side, const char *text, size_t n) {
  sp_text t = {text, n};
  sp_vec v = {0};
  if (!sp_encoder_encode(e, side, &t, 1, &v))
    for (uint32_t i = 0; i < v.n; i++)
      if (v.terms[i] >= sp_encoder_n_terms(e)) abort();
  sp_vec_free(&v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (!*root) enter();
  bool has_idf = false;
  for (int i = 0; i < N_FILES; i++) {
    const uint8_t *end = n ? memchr(data, 0xff, n) : NULL;
    size_t part = end ? (size_t)(end - data) : n;
    plant(i, data, part);
    if (i == IDF) has_idf = part > 0;
    data += end ? part + 1 : part;
    n -= end ? part + 1 : part;
  }
  sp_encoder_options options = sp_encoder_defaults();
  options.device = "cpu";
  options.precision = n & 1 ? "int8" : "f32";
  options.n_threads = 1;
  options.max_length = 16;
  options.idf = has_idf ? path_of(NAMES[IDF]) : NULL;
  sp_encoder *e;
  if (sp_encoder_open(root, &options, &e)) return 0;
  encode(e, SP_DOCUMENT, (const char *)data, n);
  encode(e, SP_QUERY, (const char *)data, n);
  sp_encoder_free(e);
  return 0;
}
