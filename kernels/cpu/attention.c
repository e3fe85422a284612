/* kernels/cpu/attention.c - picks the kernels. */
#include "kernels/cpu/attention.h"

#include "kernels/cpu/attention_room.h"

size_t sp_attention_scratch(uint32_t head_dim) {
  return attention_room_at(NULL, head_dim).n_floats;
}

extern const sp_attention_ops sp_attention_float32_portable, sp_attention_int16_portable;
#if defined(__x86_64__)
extern const sp_attention_ops sp_attention_float32_avx2, sp_attention_int16_avx2,
    sp_attention_float32_avx512, sp_attention_int16_avx512vnni;
#endif

const sp_attention_ops *sp_attention_float32_at(sp_cpu_level level) {
#if defined(__x86_64__)
  if (level == SP_CPU_AVX512) return &sp_attention_float32_avx512;
  if (level == SP_CPU_AVX2) return &sp_attention_float32_avx2;
#endif
  (void)level;
  return &sp_attention_float32_portable;
}

const sp_attention_ops *sp_attention_int16_get(sp_cpu_level level) {
#if defined(__x86_64__)
  if (level >= SP_CPU_AVX512 && __builtin_cpu_supports("avx512vnni"))
    return &sp_attention_int16_avx512vnni;
  if (level >= SP_CPU_AVX2) return &sp_attention_int16_avx2;
#endif
  (void)level;
  return &sp_attention_int16_portable;
}

const sp_attention_ops *sp_attention_ops_at(int i) {
  sp_cpu_level level = (sp_cpu_level)(i / 2);
  if (level > sp_cpu_detect()) return NULL;
  return i % 2 ? sp_attention_int16_get(level) : sp_attention_float32_at(level);
}
