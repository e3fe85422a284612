/* tools/plot.c - lays the chart out on a fixed canvas and writes it element by element. */
#include "tools/plot.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/file.h"

enum { WIDTH = 860, HEIGHT = 520, LEFT = 78, RIGHT = 24, TOP = 48, BOTTOM = 60 };

/* Told apart also by those who do not see red and green as different (Okabe and Ito). */
static const char *const COLOURS[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                      "#e69f00", "#56b4e9", "#000000", "#7f7f7f"};
enum { N_COLOURS = sizeof COLOURS / sizeof *COLOURS };

typedef struct frame {
  FILE *f;
  double x_low, x_high, y_low, y_high; /* y as log10 */
} frame;

static double place_x(const frame *c, double x) {
  return LEFT + (x - c->x_low) / (c->x_high - c->x_low) * (WIDTH - LEFT - RIGHT);
}

static double place_y(const frame *c, double y) {
  double share = (log10(y) - c->y_low) / (c->y_high - c->y_low);
  return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
}

static void put_text(FILE *f, const char *s) {
  for (; *s; s++) {
    if (*s == '<')
      fputs("&lt;", f);
    else if (*s == '&')
      fputs("&amp;", f);
    else
      fputc(*s, f);
  }
}

static void put_label(FILE *f, double x, double y, const char *anchor, const char *text) {
  fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
  put_text(f, text);
  fputs("</text>\n", f);
}

/* The largest of 1, 2, 5 times a power of ten that gives at least `n` steps. */
static double tick_step(double range, int n) {
  double power = pow(10, floor(log10(range / n)));
  double rest = range / n / power;
  return power * (rest >= 5 ? 5 : rest >= 2 ? 2 : 1);
}

static void draw_x_axis(const frame *c, const char *label) {
  double step = tick_step(c->x_high - c->x_low, 5);
  for (double x = ceil(c->x_low / step - 1e-9) * step; x <= c->x_high + step * 1e-9;
       x += step) {
    char text[32];
    snprintf(text, sizeof text, "%.6g", x);
    fprintf(c->f, "<path class=\"grid\" d=\"M%.1f %dV%d\"/>\n", place_x(c, x), TOP,
            HEIGHT - BOTTOM);
    put_label(c->f, place_x(c, x), HEIGHT - BOTTOM + 20, "middle", text);
  }
  put_label(c->f, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 16, "middle", label);
}

static void draw_y_axis(const frame *c, const char *label) {
  bool few = c->y_high - c->y_low < 1.7; /* then 2 and 5 have room for a number too */
  for (double decade = floor(c->y_low); decade <= c->y_high; decade++)
    for (int digit = 1; digit < 10; digit++) {
      double y = digit * pow(10, decade);
      if (log10(y) < c->y_low - 1e-9 || log10(y) > c->y_high + 1e-9) continue;
      fprintf(c->f, "<path class=\"grid\" d=\"M%d %.1fH%d\"/>\n", LEFT, place_y(c, y),
              WIDTH - RIGHT);
      if (digit != 1 && !(few && (digit == 2 || digit == 5))) continue;
      char text[32];
      snprintf(text, sizeof text, "%.6g", y);
      put_label(c->f, LEFT - 8, place_y(c, y) + 4, "end", text);
    }
  fprintf(c->f, "<g transform=\"translate(20 %d) rotate(-90)\">",
          (TOP + HEIGHT - BOTTOM) / 2);
  put_label(c->f, 0, 0, "middle", label);
  fputs("</g>\n", c->f);
}

static void draw_series(const frame *c, const plot_series *s, uint32_t number) {
  const char *colour = COLOURS[number % N_COLOURS];
  if (s->n > 1) {
    fprintf(c->f, "<polyline class=\"line\" stroke=\"%s\" points=\"", colour);
    for (uint32_t i = 0; i < s->n; i++)
      fprintf(c->f, "%s%.1f,%.1f", i ? " " : "", place_x(c, s->points[i].x),
              place_y(c, s->points[i].y));
    fputs("\"/>\n", c->f);
  }
  for (uint32_t i = 0; i < s->n; i++)
    fprintf(c->f,
            "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"><title>%.5g, "
            "%.5g</title></circle>\n",
            place_x(c, s->points[i].x), place_y(c, s->points[i].y), colour,
            s->points[i].x, s->points[i].y);
  double y = TOP + 18 + 20.0 * number;
  fprintf(c->f, "<circle cx=\"%d\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n", LEFT + 16, y - 4,
          colour);
  put_label(c->f, LEFT + 26, y, "start", s->name);
}

/* Sets the axes to the points with a little room around them; false without points. */
static bool span(const plot *p, frame *c) {
  bool any = false;
  for (uint32_t s = 0; s < p->n_series; s++)
    for (uint32_t i = 0; i < p->series[s].n; i++) {
      double x = p->series[s].points[i].x, y = log10(p->series[s].points[i].y);
      if (!any || x < c->x_low) c->x_low = x;
      if (!any || x > c->x_high) c->x_high = x;
      if (!any || y < c->y_low) c->y_low = y;
      if (!any || y > c->y_high) c->y_high = y;
      any = true;
    }
  double dx = (c->x_high - c->x_low) * 0.03, dy = (c->y_high - c->y_low) * 0.08;
  c->x_low -= dx > 0 ? dx : 0.01;
  c->x_high += dx > 0 ? dx : 0.01;
  c->y_low -= dy > 0 ? dy : 0.2;
  c->y_high += dy > 0 ? dy : 0.2;
  return any;
}

sp_err plot_write(const plot *p, const char *path) {
  frame c = {0};
  if (!span(p, &c)) return sp_fail(SP_EINVAL, "%s: there is no point to draw", path);
  sp_out out;
  sp_err err = sp_out_open(path, &out);
  if (err) return err;
  c.f = out.f;
  fprintf(c.f,
          "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
          "font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n"
          "<style>.grid{stroke:#ddd;fill:none}.line{fill:none;stroke-width:2}</style>\n"
          "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
          WIDTH, HEIGHT, WIDTH, HEIGHT);
  fputs("<g font-size=\"16\">", c.f);
  put_label(c.f, (LEFT + WIDTH - RIGHT) / 2.0, 28, "middle", p->title);
  fputs("</g>\n", c.f);
  draw_x_axis(&c, p->x_label);
  draw_y_axis(&c, p->y_label);
  fprintf(c.f, "<path d=\"M%d %dV%dH%d\" stroke=\"#222\" fill=\"none\"/>\n", LEFT, TOP,
          HEIGHT - BOTTOM, WIDTH - RIGHT);
  for (uint32_t s = 0; s < p->n_series; s++) draw_series(&c, &p->series[s], s);
  fputs("</svg>\n", c.f);
  return sp_out_commit(&out);
}
