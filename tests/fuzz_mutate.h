/* tests/fuzz_mutate.h - small random changes of an input that mostly leave JSON JSON.
 *
 * A parser refuses most of what a blind mutation makes at the first bracket. Here whole
 * members and values are copied, swapped, dropped or replaced, beside changes of bytes. */
#ifndef SP_TESTS_FUZZ_MUTATE_H
#define SP_TESTS_FUZZ_MUTATE_H

#include <stddef.h>
#include <stdint.h>

/* Changes data[0..n), which has room for max >= n bytes, by one step. Returns the new
 * length, at most max. *random is the generator's state; the same state gives the same
 * step. */
size_t sp_fuzz_mutate(uint8_t *data, size_t n, size_t max, uint64_t *random);

/* A number below `below` > 0. */
uint32_t sp_fuzz_random(uint64_t *random, uint32_t below);

#endif
