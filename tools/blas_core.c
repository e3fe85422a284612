/* tools/blas_core.c - one restart instead of a fifth of the speed. */
#include "tools/blas_core.h"

#include <cblas.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "base/cpu.h"

void blas_core_fit(char **argv) {
  static const char *const MODERN[] = {"Haswell",  "Zen",        "Excavator",
                                       "SkylakeX", "Cooperlake", "SapphireRapids"};
  sp_cpu_level level = sp_cpu_detect();
  if (level == SP_CPU_PORTABLE || getenv("OPENBLAS_CORETYPE")) return;
  const char *core = openblas_get_corename();
  for (size_t i = 0; i < sizeof MODERN / sizeof *MODERN; i++)
    if (strcasecmp(core, MODERN[i]) == 0) return;
  setenv("OPENBLAS_CORETYPE", level == SP_CPU_AVX512 ? "SkylakeX" : "Haswell", 1);
  execv("/proc/self/exe", argv); /* returns where it cannot: slower, but right */
}
