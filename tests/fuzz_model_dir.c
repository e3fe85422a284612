/* tests/fuzz_model_dir.c - any bytes as a model directory: what opens must encode a text.
 *
 * The input is files, each begun by the byte 0xff, a letter for its folder and one for its
 * name. Behind a header of weights come the same few values again and again. The files lie in
 * memory (/dev/shm, or TMPDIR where that is missing). */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "encoder/encoder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct {
  char letter;
  const char *name;
} FOLDERS[] = {{'.', ""}, {'m', "/module"}, {'b', "/base"}},
  FILES[] = {{'c', "config.json"},
             {'w', "model.safetensors"},
             {'x', "model.safetensors.index.json"},
             {'1', "one.safetensors"},
             {'2', "two.safetensors"},
             {'j', "tokenizer.json"},
             {'v', "vocab.txt"},
             {'k', "tokenizer_config.json"},
             {'t', "added_tokens.json"},
             {'s', "sentence_bert_config.json"},
             {'p', "config_sentence_transformers.json"},
             {'m', "modules.json"},
             {'r', "router_config.json"},
             {'i', "idf.json"},
             {'q', "query_token_weights.txt"},
             {'a', "adapter_config.json"},
             {'l', "adapter_model.safetensors"},
             {'d', "spindle.json"}};

enum {
  N_FOLDERS = sizeof FOLDERS / sizeof *FOLDERS,
  N_FILES = sizeof FILES / sizeof *FILES,
  N_WEIGHT_BYTES = 4096
};
static char root[200];
static bool there[N_FOLDERS][N_FILES];
static uint8_t weights[N_WEIGHT_BYTES];

static const char *path_of(size_t folder, const char *slash, const char *name) {
  static char path[300];
  snprintf(path, sizeof path, "%s%s%s%s", root, FOLDERS[folder].name, slash, name);
  return path;
}

static void clear(void) {
  for (size_t d = 0; d < N_FOLDERS; d++)
    for (size_t f = 0; f < N_FILES; f++) {
      if (there[d][f] && unlink(path_of(d, "/", FILES[f].name))) abort();
      there[d][f] = false;
    }
}

static void leave(void) {
  clear();
  for (size_t d = N_FOLDERS; d > 0; d--) rmdir(path_of(d - 1, "", ""));
}

static void enter(void) {
  const char *tmp = getenv("TMPDIR");
  if (access("/dev/shm", W_OK) == 0) tmp = "/dev/shm";
  snprintf(root, sizeof root, "%s/fuzz_model_dir.XXXXXX", tmp ? tmp : "/tmp");
  if (!mkdtemp(root)) abort();
  for (size_t d = 1; d < N_FOLDERS; d++)
    if (mkdir(path_of(d, "", ""), 0700)) abort();
  atexit(leave);
  /* Small numbers, whichever the dtype: halves of 1, -1 and 0.5, floats near 0.01. */
  static const uint8_t HIGH[] = {0x3c, 0xbc, 0x38, 0x3c, 0xb8};
  for (size_t i = 1; i < sizeof weights; i += 2) weights[i] = HIGH[i / 2 % sizeof HIGH];
}

static void put(int fd, const void *data, size_t n) {
  if (write(fd, data, n) != (ssize_t)n) abort();
}

static void plant(size_t d, size_t f, const uint8_t *data, size_t n) {
  const char *name = FILES[f].name;
  size_t length = strlen(name);
  bool header = length > 12 && strcmp(name + length - 12, ".safetensors") == 0;
  uint64_t n_header = n; /* little-endian, as the machines that Spindle runs on */
  int fd = open(path_of(d, "/", name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (fd < 0) abort();
  if (header) put(fd, &n_header, sizeof n_header);
  put(fd, data, n);
  if (header) put(fd, weights, sizeof weights);
  close(fd);
  there[d][f] = true;
}

/* Plants the files; what belongs to none is the text. */
static void unpack(const uint8_t *data, size_t n, sp_text *text) {
  while (n) {
    const uint8_t *end = memchr(data + 1, 0xff, n - 1);
    size_t part = end ? (size_t)(end - data) : n;
    size_t d = 0, f = 0;
    while (part >= 3 && d < N_FOLDERS && FOLDERS[d].letter != (char)data[1]) d++;
    while (part >= 3 && f < N_FILES && FILES[f].letter != (char)data[2]) f++;
    if (part >= 3 && *data == 0xff && d < N_FOLDERS && f < N_FILES)
      plant(d, f, data + 3, part - 3);
    else
      *text = (sp_text){(const char *)data, part};
    data += part;
    n -= part;
  }
}

static void check(const sp_encoder *e, sp_vec *v) {
  for (uint32_t i = 0; i < v->n; i++)
    if (v->terms[i] >= sp_encoder_n_terms(e)) abort();
  sp_vec_free(v);
}

static void encode(sp_encoder *e, const sp_text *text) {
  for (int side = SP_DOCUMENT; side <= SP_QUERY; side++) {
    sp_vec v = {0};
    sp_token_rows rows = {0};
    if (!sp_encoder_encode(e, (sp_side)side, text, 1, &v)) check(e, &v);
    v = (sp_vec){0};
    if (sp_encoder_token_dim(e) &&
        !sp_encoder_encode_tokens(e, (sp_side)side, text, 1, &v, &rows))
      check(e, &v);
    sp_token_rows_free(&rows);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (!*root) enter();
  clear();
  sp_text text = {"", 0};
  unpack(data, n, &text);
  sp_encoder_options options = sp_encoder_defaults();
  options.device = "cpu";
  options.precision = text.n & 1 ? "int8" : "f32";
  options.neural_queries = text.n & 2;
  options.n_threads = 1;
  options.max_length = 16;
  sp_encoder *e;
  if (sp_encoder_open(root, &options, &e)) return 0;
  encode(e, &text);
  sp_encoder_free(e);
  return 0;
}
