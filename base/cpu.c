/* base/cpu.c - asks the processor, then the environment. */
#include "base/cpu.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* Leaf 1, ECX, bit 29: clang 14 has no name for it in __builtin_cpu_supports(). */
static int has_f16c(void) {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
}
#endif

static sp_cpu_level ask_processor(void) {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c())
    return SP_CPU_PORTABLE;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl") ||
      !__builtin_cpu_supports("avx512vbmi2"))
    return SP_CPU_AVX2;
  return SP_CPU_AVX512;
#else
  return SP_CPU_PORTABLE;
#endif
}

static const char *name_of(sp_cpu_level level) {
  switch (level) {
    case SP_CPU_AVX2:
      return "avx2";
    case SP_CPU_AVX512:
      return "avx512";
    case SP_CPU_PORTABLE:
      break;
  }
  return "portable";
}

sp_cpu_level sp_cpu_detect(void) {
  sp_cpu_level level = ask_processor();
  const char *wanted = getenv("SPINDLE_CPU");
  if (!wanted) return level;
  for (int i = SP_CPU_PORTABLE; i < (int)level; i++)
    if (strcmp(wanted, name_of((sp_cpu_level)i)) == 0) return (sp_cpu_level)i;
  return level;
}
