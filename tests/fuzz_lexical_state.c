/* tests/fuzz_lexical_state.c - libFuzzer: any bytes as the stored state of a lexical
 * encoder. Its payload is compressed and its checksum put right here, as no fuzzer would. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#include "encoder/encoder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Input: 56 bytes of a head, then the payload as it is before compression. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  if (n < 56) return 0;
  size_t bound = ZSTD_compressBound(n - 56);
  uint8_t *state = malloc(57 + bound);
  if (!state) abort();
  state[0] = 'l';
  memcpy(state + 1, data, 56);
  memcpy(state + 1, "LEX1", 4);
  uint32_t payload = (uint32_t)(n - 56);
  memcpy(state + 1 + 44, &payload, 4);
  size_t packed = ZSTD_compress(state + 57, bound, data + 56, n - 56, 1);
  if (ZSTD_isError(packed)) abort();
  XXH3_state_t *x = XXH3_createState();
  if (!x) abort();
  XXH3_64bits_reset(x);
  XXH3_64bits_update(x, state + 1, 48);
  XXH3_64bits_update(x, state + 57, packed);
  uint64_t sum = XXH3_64bits_digest(x);
  XXH3_freeState(x);
  memcpy(state + 1 + 48, &sum, 8);
  sp_encoder *e;
  if (!sp_encoder_restore(state, 57 + packed, NULL, NULL, &e)) {
    const sp_text text = {"a word or two", 13};
    sp_vec v = {0};
    if (sp_encoder_encode(e, SP_QUERY, &text, 1, &v)) abort();
    if (sp_vec_check(v.terms, v.weights, v.n, 0, NULL)) abort();
    sp_vec_free(&v);
    sp_encoder_free(e);
  }
  free(state);
  return 0;
}
