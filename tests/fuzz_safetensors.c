/* tests/fuzz_safetensors.c - any bytes as a .safetensors file: what opens lies within it.
 *
 * The input is the header, then, behind the first byte 0xff, the data: the header's length
 * is put before it here, as a fuzzer would have to mend it with every change. An input that
 * begins with 0xff is the file as it is. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "encoder/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(const sp_tensors *t, const uint8_t *data, size_t n) {
  unsigned sum = 0;
  for (size_t i = 0; i < sp_tensors_count(t); i++) {
    const sp_tensor *x = sp_tensors_at(t, i);
    const uint8_t *bytes = x->data;
    if (x->n_bytes && (bytes < data || bytes + x->n_bytes > data + n)) abort();
    if (sp_tensors_find(t, x->name) != x) abort();
    if (x->n_dims > SP_TENSOR_MAX_DIMS) abort();
    for (size_t b = 0; b < x->n_bytes; b++) sum += bytes[b]; /* readable, all of it */
  }
  static volatile unsigned keep; /* or the reading would be left out */
  keep = sum;
  (void)keep;
}

static void open_and_check(const uint8_t *data, size_t n) {
  sp_tensors *t;
  if (sp_tensors_parse(data, n, "fuzz", &t)) return;
  check(t, data, n);
  sp_tensors_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (n && data[0] == 0xff) {
    open_and_check(data + 1, n - 1);
    return 0;
  }
  const uint8_t *end = n ? memchr(data, 0xff, n) : NULL;
  size_t n_header = end ? (size_t)(end - data) : n;
  size_t n_payload = end ? n - n_header - 1 : 0;
  uint8_t *file = malloc(8 + n_header + n_payload);
  if (!file) abort();
  for (int i = 0; i < 8; i++) file[i] = (uint8_t)((uint64_t)n_header >> (8 * i));
  if (n_header) memcpy(file + 8, data, n_header);
  if (n_payload) memcpy(file + 8 + n_header, end + 1, n_payload);
  open_and_check(file, 8 + n_header + n_payload);
  free(file);
  return 0;
}
