/* base/cpu.h - which vector instructions this processor has. */
#ifndef SP_CPU_H
#define SP_CPU_H

/* Each level includes those before it. */
typedef enum sp_cpu_level {
  SP_CPU_PORTABLE, /* plain C */
  SP_CPU_AVX2,     /* AVX2, FMA, F16C: 2013 and newer */
  SP_CPU_AVX512    /* AVX-512 F, BW, DQ, VL, VBMI2: Ice Lake, Zen 4 and newer */
} sp_cpu_level;

/* The best level of this processor, lowered to what the environment variable SPINDLE_CPU
 * names ("portable", "avx2"); any other value of it counts for nothing. Ask once and pass
 * the answer on: it reads the environment. */
sp_cpu_level sp_cpu_detect(void);

#endif
