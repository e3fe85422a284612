/* tools/blas_core.h - makes OpenBLAS use the processor it runs on. */
#ifndef SP_BLAS_CORE_H
#define SP_BLAS_CORE_H

/* OpenBLAS picks its kernels by the processor's model number when it is loaded, and one
 * older than the processor falls back to those of 2004 (SSE3): a fifth of the speed or less
 * on an Emerald Rapids with Debian 12's 0.3.21. Where that has happened, this starts the
 * program anew with OPENBLAS_CORETYPE set to kernels that the processor can run. Call it
 * first in main(); it returns when there is nothing to do. A set OPENBLAS_CORETYPE is left
 * alone. */
void blas_core_fit(char **argv);

#endif
