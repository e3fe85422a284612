/* base/half.h - the two 16-bit floats: IEEE half (f16) and bfloat16, as bit patterns. */
#ifndef SP_HALF_H
#define SP_HALF_H

#include <stddef.h>
#include <stdint.h>

/* Widening is exact. Narrowing rounds to nearest, ties to even; too large becomes
 * infinity, NaN stays NaN. Non-negative f16 patterns order as their values do. */
float sp_f16_to_f32(uint16_t bits);
uint16_t sp_f32_to_f16(float value);
float sp_bf16_to_f32(uint16_t bits);
uint16_t sp_f32_to_bf16(float value);

void sp_f16_to_f32_array(const uint16_t *in, float *out, size_t n);
void sp_bf16_to_f32_array(const uint16_t *in, float *out, size_t n);

#endif
