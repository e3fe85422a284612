/* kernels/cpu/panel.h - how weights lie for the products of float32.h, int16.h and int8.h. */
#ifndef SP_CPU_PANEL_H
#define SP_CPU_PANEL_H

#include <stddef.h>
#include <stdint.h>

/* A panel is PANEL rows of weights, PANEL * 4 bytes for each float, each two numbers of 16
 * bits or four of 8: what one step of a kernel reads lies side by side. The last panel of a
 * matrix is filled up with zeros. */
enum { SP_PANEL = 32 };

/* Rows of a matrix of n that lie in the panel. */
static inline uint32_t sp_panel_rows(uint32_t n, uint32_t panel) {
  uint32_t left = n - panel * SP_PANEL;
  return left < SP_PANEL ? left : SP_PANEL;
}

/* A step of a kernel takes at most `most` tokens, and few are dearer each than many: `left`
 * tokens go in equal shares. */
static inline size_t sp_panel_share(size_t left, size_t most) {
  size_t shares = (left + most - 1) / most;
  return shares ? (left + shares - 1) / shares : 0;
}

/* For the inner loops of steps: where the address sanitizer would look at every load, they
 * would take most of the tests' time. Their callers read the last bytes instead. */
#if defined(__SANITIZE_ADDRESS__)
#define SP_UNCHECKED __attribute__((no_sanitize_address))
#else
#define SP_UNCHECKED
#endif

#endif
