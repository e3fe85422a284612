/* tests/fuzz_safetensors.c - any bytes as a .safetensors file: what opens lies within it.
 * Run by hand: fuzz_safetensors FOLDER -max_total_time=300 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "encoder/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  sp_tensors *t;
  if (sp_tensors_parse(data, n, "fuzz", &t)) return 0;
  volatile unsigned sum = 0;
  for (size_t i = 0; i < sp_tensors_count(t); i++) {
    const sp_tensor *x = sp_tensors_at(t, i);
    const uint8_t *bytes = x->data;
    if (x->n_bytes && (bytes < data || bytes + x->n_bytes > data + n)) abort();
    if (sp_tensors_find(t, x->name) != x) abort();
    if (x->n_dims > SP_TENSOR_MAX_DIMS) abort();
    for (size_t b = 0; b < x->n_bytes; b++) sum += bytes[b]; /* readable, all of it */
  }
  sp_tensors_close(t);
  return 0;
}
