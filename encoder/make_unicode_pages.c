/* encoder/make_unicode_pages.c - a program of the build: spreads the ranges of
 * unicode_tables.h out into the pages of unicode.h.
 *
 *   make_unicode_pages FILE.c
 *
 * Spindle would otherwise do it at every start, which takes longer than to open a small
 * tokenizer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "encoder/unicode.h"
#include "encoder/unicode_tables.h"

enum { N_CODES = 0x110000, N_PAGES = N_CODES >> 8, PAGE = 256 };

static void mark(const sp_unicode_range *ranges, size_t n, unsigned flag,
                 uint16_t *flags) {
  for (size_t i = 0; i < n; i++)
    for (uint32_t c = ranges[i].first; c <= ranges[i].last; c++)
      flags[c] |= (uint16_t)flag;
}

#define MARK(table, flag) mark(table, table##_N, flag, flags)

static void mark_classes(uint16_t *flags) {
  MARK(SP_UNICODE_CLEAN_REMOVED, SP_CHAR_CLEAN_REMOVED);
  MARK(SP_UNICODE_CLEAN_SPACE, SP_CHAR_CLEAN_SPACE);
  MARK(SP_UNICODE_CHINESE, SP_CHAR_CHINESE);
  MARK(SP_UNICODE_NONSPACING, SP_CHAR_NONSPACING);
  MARK(SP_UNICODE_PUNCTUATION, SP_CHAR_PUNCTUATION);
  MARK(SP_UNICODE_SPACE, SP_CHAR_SPACE);
  MARK(SP_UNICODE_LETTER, SP_CHAR_LETTER);
  MARK(SP_UNICODE_NUMBER, SP_CHAR_NUMBER);
  MARK(SP_UNICODE_CONTROL, SP_CHAR_CONTROL);
  MARK(SP_UNICODE_EXTENDS, SP_CHAR_EXTENDS);
  MARK(SP_UNICODE_PREPENDS, SP_CHAR_PREPENDS);
}

/* What is a rule and so in no table: Hangul (Unicode, section 3.12), and the one capital
 * whose lower case is two characters. */
static void mark_rules(uint16_t *flags) {
  static const sp_unicode_range SYLLABLES = {0xac00, 0xd7a3};
  static const sp_unicode_range VOWELS = {0x1161, 0x1175}, FINALS = {0x11a8, 0x11c2};
  enum { CAPITAL_I_DOT = 0x130 };
  mark(&SYLLABLES, 1, SP_CHAR_DECOMPOSES, flags);
  mark(&VOWELS, 1, SP_CHAR_COMPOSES, flags);
  mark(&FINALS, 1, SP_CHAR_COMPOSES, flags);
  flags[CAPITAL_I_DOT] |= SP_CHAR_LOWERS;
}

static void mark_mappings(uint16_t *flags) {
  for (size_t i = 0; i < SP_UNICODE_COMBINING_N; i++) {
    const sp_unicode_combining *r = &SP_UNICODE_COMBINING[i];
    for (uint32_t c = r->first; c <= r->last; c++) flags[c] |= SP_CHAR_COMBINES;
  }
  for (size_t i = 0; i < SP_UNICODE_DECOMPOSITIONS_N; i++)
    flags[SP_UNICODE_DECOMPOSITIONS[i].code] |= SP_CHAR_DECOMPOSES;
  for (size_t i = 0; i < SP_UNICODE_COMPOSITIONS_N; i++)
    flags[SP_UNICODE_COMPOSITIONS[i].second] |= SP_CHAR_COMPOSES;
  for (size_t i = 0; i < SP_UNICODE_LOWER_N; i++) {
    const sp_unicode_lower_run *r = &SP_UNICODE_LOWER[i];
    for (uint32_t c = r->first; c <= r->last; c += (uint32_t)r->step)
      flags[c] |= SP_CHAR_LOWERS;
  }
}

static void put_page(FILE *f, const uint16_t *page) {
  fputs("    {", f);
  for (int i = 0; i < PAGE; i++) fprintf(f, "%s%u", i ? "," : "", page[i]);
  fputs("},\n", f);
}

/* A page that repeats an earlier one is kept only once: whole planes do. */
static void put_pages(FILE *f, const uint16_t *flags) {
  static uint16_t page_of[N_PAGES], first[N_PAGES]; /* first: where a kept page is */
  unsigned n = 0;
  fputs("#include \"encoder/unicode.h\"\n\nconst uint16_t SP_UNICODE_PAGES[][256] = {\n",
        f);
  for (unsigned page = 0; page < N_PAGES; page++) {
    const uint16_t *at = flags + page * PAGE;
    unsigned same = 0;
    while (same < n && memcmp(at, flags + first[same] * PAGE, PAGE * sizeof *at)) same++;
    if (same == n) {
      first[n++] = (uint16_t)page;
      put_page(f, at);
    }
    page_of[page] = (uint16_t)same;
  }
  fputs("};\n\nconst uint16_t SP_UNICODE_PAGE_OF[0x1100] = {\n", f);
  for (unsigned page = 0; page < N_PAGES; page++)
    fprintf(f, "%u,%s", page_of[page], page % 32 == 31 ? "\n" : "");
  fputs("};\n", f);
}

int main(int argc, char **argv) {
  static uint16_t flags[N_CODES];
  FILE *f = argc == 2 ? fopen(argv[1], "w") : NULL;
  if (!f) {
    fputs("make_unicode_pages: needs a file that it can write\n", stderr);
    return 1;
  }
  mark_classes(flags);
  mark_mappings(flags);
  mark_rules(flags);
  put_pages(f, flags);
  int failed = ferror(f);
  return fclose(f) || failed;
}
