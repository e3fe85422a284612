/* kernels/cpu/largest.h - what the scale of quantized numbers is taken from; for sources that
 * are compiled with the options of loops. */
#ifndef SP_CPU_LARGEST_H
#define SP_CPU_LARGEST_H

#include <math.h>
#include <stdint.h>

/* The largest |x[i]|, 0 of none. */
static inline float sp_largest(const float *x, uint32_t n) {
  float most = 0;
#pragma omp simd reduction(max : most)
  for (uint32_t i = 0; i < n; i++) {
    float a = fabsf(x[i]);
    most = a > most ? a : most;
  }
  return most;
}

#endif
