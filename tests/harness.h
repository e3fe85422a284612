/* tests/harness.h - CMocka with the headers that it wants before it, in its order. */
#ifndef SP_TESTS_HARNESS_H
#define SP_TESTS_HARNESS_H

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#endif
