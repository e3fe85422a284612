/* tools/plot.h - a line chart as an SVG file: x linear, y logarithmic. */
#ifndef SP_PLOT_H
#define SP_PLOT_H

#include <stdint.h>

#include "base/err.h"

typedef struct plot_point {
  double x, y; /* finite; y > 0 */
} plot_point;

typedef struct plot_series {
  const char *name; /* UTF-8, for the legend; borrowed */
  const plot_point *points;
  uint32_t n;
} plot_series;

typedef struct plot {
  const char *title, *x_label, *y_label;
  const plot_series *series; /* drawn in order, each a line with its points marked */
  uint32_t n_series;         /* at most 8 are told apart by colour */
} plot;

/* Writes the chart to `path` ("-": standard output). The axes span the points. Errors:
 * EINVAL (no points), EIO, ENOTFOUND, ENOMEM. */
sp_err plot_write(const plot *p, const char *path);

#endif
