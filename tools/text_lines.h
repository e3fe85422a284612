/* tools/text_lines.h - JSON lines of texts: {"id" or "_id", "title", "text"}. */
#ifndef SP_TEXT_LINES_H
#define SP_TEXT_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/lines.h"

typedef struct text_lines {
  sp_lines in;
  sp_buf key, id, title, text; /* scratch of the current line */
} text_lines;

/* Borrowed until the next line. */
typedef struct text_line {
  const char *id_json; /* as it stands in the line: a string with quotes, or a number */
  size_t n_id_json;
  const char *id; /* the string's bytes, or the number's digits */
  size_t n_id;
  const char *title; /* NULL: none */
  size_t n_title;
  const char *text;
  size_t n_text;
} text_line;

/* "-" is standard input. Errors: ENOTFOUND, EIO. */
sp_err text_lines_open(const char *path, text_lines *out);

/* The next line that is not blank; *more is false at the end. Other members are passed
 * over. Errors: EFORMAT (file, line, fault), EIO, ENOMEM. */
sp_err text_lines_next(text_lines *t, text_line *out, bool *more);
void text_lines_close(text_lines *t);

/* Appends what a document is encoded as: its text, or, where there is a title, title,
 * blank and text without white space around. Errors: ENOMEM. */
sp_err text_line_document(const text_line *l, sp_buf *out);

#endif
