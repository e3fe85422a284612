/* base/progress.c - a one-line progress report. */
#include "base/progress.h"

#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void write_time(char *text, size_t n, double s) {
  unsigned long whole = (unsigned long)(s + 0.5);
  if (whole < 3600)
    snprintf(text, n, "%lu:%02lu", whole / 60, whole % 60);
  else
    snprintf(text, n, "%lu:%02lu:%02lu", whole / 3600, whole / 60 % 60, whole % 60);
}

static double rate_of(const sp_progress *p, double now) {
  double s = now - p->began_s;
  return s > 0 ? (double)(p->done - p->base) / s : 0;
}

static void show(sp_progress *p, double now) {
  double rate = rate_of(p, now);
  char eta[32] = "", bar[32] = "";
  if (p->total && rate > 0 && p->done <= p->total) {
    char t[24];
    write_time(t, sizeof t, (double)(p->total - p->done) / rate);
    snprintf(eta, sizeof eta, ", %s left", t);
  }
  if (p->terminal && p->total) {
    enum { WIDTH = 24 };
    size_t full = (size_t)(fmin(1, (double)p->done / (double)p->total) * WIDTH);
    memset(bar, '#', full);
    memset(bar + full, '.', WIDTH - full);
    bar[WIDTH] = ' ';
    bar[WIDTH + 1] = '\0';
  }
  const char *end = p->terminal ? "\033[K" : "\n";
  if (p->terminal) fputc('\r', p->out);
  if (p->total)
    fprintf(p->out, "%s%llu of %llu %s, %.0f/s%s%s", bar, (unsigned long long)p->done,
            (unsigned long long)p->total, p->what, rate, eta, end);
  else
    fprintf(p->out, "%llu %s, %.0f/s%s", (unsigned long long)p->done, p->what, rate, end);
  fflush(p->out);
  p->shown_s = now;
}

void sp_progress_begin(sp_progress *p, FILE *out, const char *what, uint64_t done,
                       uint64_t total) {
  double now = out ? now_s() : 0;
  *p = (sp_progress){.out = out,
                     .what = what,
                     .total = total,
                     .done = done,
                     .base = done,
                     .terminal = out && isatty(fileno(out)),
                     .began_s = now,
                     .shown_s = now};
}

void sp_progress_set(sp_progress *p, uint64_t done) {
  p->done = done;
  if (!p->out) return;
  double now = now_s();
  if (now - p->shown_s >= (p->terminal ? 0.1 : 10)) show(p, now);
}

void sp_progress_end(sp_progress *p) {
  if (!p->out) return;
  double now = now_s();
  char t[24];
  write_time(t, sizeof t, now - p->began_s);
  fprintf(p->out, "%s%llu %s in %s (%.0f/s)\n", p->terminal ? "\r\033[K" : "",
          (unsigned long long)p->done, p->what, t, rate_of(p, now));
  fflush(p->out);
}
