/* tests/fuzz_hook.c - gives libFuzzer our mutations beside its own. */
#include "tests/fuzz_mutate.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t max); /* libFuzzer's */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t max, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t max, unsigned seed) {
  uint64_t random = seed;
  if (n > max) n = max;
  if (sp_fuzz_random(&random, 2)) return LLVMFuzzerMutate(data, n, max);
  for (uint32_t i = sp_fuzz_random(&random, 3) + 1; i > 0; i--)
    n = sp_fuzz_mutate(data, n, max, &random);
  return n;
}
