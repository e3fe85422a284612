/* kernels/cpu/attention_plain.h - the two products of attention_body.h in plain C, with
 * add_product(word, panel, sums): the products of a token's word with a panel's row, added to
 * SP_PANEL sums of type ATTENTION_SUM; both are defined before. */

enum { ATTENTION_TOKENS = 4 };

/* `step` words from group to group of a token, `words` from token to token. */
static void multiply(const float *panel, const float *tokens, size_t m, uint32_t groups,
                     size_t words, size_t step, float *sums, size_t ld) {
  ATTENTION_SUM exact[ATTENTION_TOKENS][SP_PANEL];
  memset(exact, 0, sizeof exact);
  for (uint32_t g = 0; g < groups; g++, panel += SP_PANEL, tokens += step)
    for (size_t t = 0; t < m; t++) add_product(tokens + t * words, panel, exact[t]);
  for (size_t t = 0; t < m; t++)
    for (int j = 0; j < SP_PANEL; j++) sums[t * ld + j] = (float)exact[t][j];
}

static void multiply_rows(const float *panel, const float *tokens, size_t m,
                          uint32_t groups, size_t words, float *sums, size_t ld) {
  multiply(panel, tokens, m, groups, words, 1, sums, ld);
}

static void multiply_columns(const float *panel, const float *tokens, size_t m,
                             uint32_t groups, float *sums, size_t ld) {
  multiply(panel, tokens, m, groups, 1, SP_PANEL, sums, ld);
}

#include "kernels/cpu/attention_body.h"
