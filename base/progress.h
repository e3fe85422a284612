/* base/progress.h - how far a long job is: a bar on a terminal, plain lines elsewhere.
 *
 * The one place outside tools/ that writes to a stream, and only to the one it was given.
 */
#ifndef SP_PROGRESS_H
#define SP_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct sp_progress {
  FILE *out;        /* NULL: silent */
  const char *what; /* "documents"; borrowed */
  uint64_t total;   /* 0: not known */
  uint64_t done;
  bool terminal;
  double began_s, shown_s; /* monotonic clock */
  uint64_t base; /* where `done` stood at the start: a resumed job's rate is its own */
} sp_progress;

/* Begins at `done` of `total` (0: unknown). out NULL: nothing is ever written. */
void sp_progress_begin(sp_progress *p, FILE *out, const char *what, uint64_t done,
                       uint64_t total);

/* Tells the new count; writes at most ten times a second on a terminal, else every ten
 * seconds. Cheap enough for every document. */
void sp_progress_set(sp_progress *p, uint64_t done);

/* Writes the last line with the count, the time and the rate. */
void sp_progress_end(sp_progress *p);

#endif
