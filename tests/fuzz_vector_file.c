/* tests/fuzz_vector_file.c - libFuzzer: any bytes as a vector file of every format.
 *
 * The first byte picks the format, so that the fuzzer need not find the magic of each. The
 * checksums of a compact file are mended first, as no fuzzer guesses them: what lies behind
 * them must be checked too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "index/vector_file.h"
#include "index/vector_io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static uint64_t min_u64(uint64_t a, uint64_t b) {
  return a < b ? a : b;
}

static uint64_t padded(uint64_t n) {
  return (n + 7) & ~(uint64_t)7;
}

/* Writes the right checksum into every head that can be followed. */
static void mend(uint8_t *at, size_t n) {
  if (n < 32) return;
  memcpy(at, "SPVECTOR\1\0\0\0", 12);
  uint64_t sum = XXH3_64bits(at, 24);
  memcpy(at + 24, &sum, 8);
  for (size_t i = 32; i + 40 <= n;) {
    uint32_t flags, counts[3];
    memcpy(&flags, at + i + 4, 4);
    memcpy(counts, at + i + 16, 12);
    uint64_t body = 2 * padded(4 * (uint64_t)counts[0]) +
                    padded((uint64_t)counts[1] * (flags & 1 ? 4 : 2)) +
                    padded((uint64_t)counts[1] * (flags & 2 ? 4 : 2)) + padded(counts[2]);
    if (memcmp(at + i, "ENDS", 4) == 0) body = 0;
    body = min_u64(body, n - i - 40);
    XXH3_state_t *state = XXH3_createState();
    if (!state) return;
    XXH3_64bits_reset(state);
    XXH3_64bits_update(state, at + i, 32);
    XXH3_64bits_update(state, at + i + 40, (size_t)body);
    sum = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    memcpy(at + i + 32, &sum, 8);
    i += 40 + (size_t)body;
  }
}

static void read_all(const char *path, const sp_vector_read_options *o) {
  sp_vector_reader *r;
  if (sp_vector_reader_open(path, o, &r)) return;
  sp_vector_record rec;
  for (bool more = true; more;) {
    if (sp_vector_reader_next(r, &rec, &more)) break;
    if (!more) break;
    if (rec.id[rec.id_n] != '\0') abort();
    if (sp_vec_check(rec.vec->terms, rec.vec->weights, rec.vec->n, 0, NULL)) abort();
  }
  sp_vector_reader_close(r);
}

static void read_blocks(const char *path) {
  sp_vector_file *f;
  if (sp_vector_file_open(path, &f)) return;
  sp_vector_block b = {0};
  sp_vec v = {0};
  for (uint64_t k = 0; k < sp_vector_file_get_info(f)->n_blocks; k++) {
    if (sp_vector_file_read(f, k, &b)) break;
    for (uint32_t i = 0; i < b.n_vectors; i++)
      if (sp_vector_block_get(&b, i, &v) ||
          sp_vec_check(v.terms, v.weights, v.n, 0, NULL))
        abort();
  }
  sp_vec_free(&v);
  sp_vector_block_free(&b);
  sp_vector_file_close(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (n < 1) return 0;
  const sp_vector_format formats[] = {SP_VECTORS_AUTO, SP_VECTORS_COMPACT,
                                      SP_VECTORS_JSONL, SP_VECTORS_CSR};
  sp_vector_read_options o = {.format = formats[data[0] & 3],
                              .skip_refused = data[0] & 4,
                              .accept_prefix = data[0] & 8,
                              .numeric_tokens = data[0] & 16,
                              .n_terms = data[0] & 32 ? 1000 : 0};
  uint8_t *copy = malloc(n);
  int fd = memfd_create("fuzz", 0);
  if (!copy || fd < 0) abort();
  memcpy(copy, data + 1, n - 1);
  if (o.format == SP_VECTORS_COMPACT && !(data[0] & 64)) mend(copy, n - 1);
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  if (write(fd, copy, n - 1) != (ssize_t)(n - 1)) abort();
  read_all(path, &o);
  if (o.format == SP_VECTORS_COMPACT) read_blocks(path);
  close(fd);
  free(copy);
  return 0;
}
