/* base/half.c - 16-bit floats without hardware support. */
#include "base/half.h"

#include <string.h>

static uint32_t bits_of(float f) {
  uint32_t u;
  memcpy(&u, &f, sizeof u);
  return u;
}

static float float_of(uint32_t u) {
  float f;
  memcpy(&f, &u, sizeof f);
  return f;
}

float sp_f16_to_f32(uint16_t bits) {
  uint32_t sign = (uint32_t)(bits & 0x8000) << 16;
  uint32_t exponent = bits >> 10 & 31, mantissa = bits & 1023;
  if (exponent == 31) return float_of(sign | 0x7f800000 | mantissa << 13);
  if (exponent) return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
  float tiny = (float)mantissa * 0x1p-24f; /* zero or denormal: exact in float */
  return sign ? -tiny : tiny;
}

uint16_t sp_f32_to_f16(float value) {
  uint32_t u = bits_of(value), magnitude = u & 0x7fffffff;
  uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
  if (magnitude > 0x7f800000) return sign | 0x7e00; /* NaN */
  if (magnitude >= 0x477ff000)
    return sign | 0x7c00; /* 65520 and above round to infinity */
  if (magnitude < 0x38800000) {
    /* Below 2^-14 the result is a multiple of 2^-24. Adding 0.5 puts that unit at the end
     * of float's mantissa, so the addition itself rounds to nearest even. */
    float shifted = float_of(magnitude) + 0.5f;
    return sign | (uint16_t)(bits_of(shifted) - 0x3f000000);
  }
  uint32_t odd = magnitude >> 13 & 1;
  return sign | (uint16_t)((magnitude - 0x38000000 + 0xfff + odd) >> 13);
}

float sp_bf16_to_f32(uint16_t bits) {
  return float_of((uint32_t)bits << 16);
}

uint16_t sp_f32_to_bf16(float value) {
  uint32_t u = bits_of(value);
  if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40); /* NaN */
  return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

void sp_f16_to_f32_array(const uint16_t *in, float *out, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = sp_f16_to_f32(in[i]);
}

void sp_bf16_to_f32_array(const uint16_t *in, float *out, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = sp_bf16_to_f32(in[i]);
}
