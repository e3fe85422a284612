#!/usr/bin/env python3
"""Writes encoder/unicode_classes.c and encoder/unicode_mappings.c from lists of what
each code point is.

usage: scripts/make-unicode-tables.py FOLDER

FOLDER holds the lists as tab-separated values with a header line, code points in
hexadecimal: bert-classes, gpt2-classes and grapheme-classes (class, first, last),
combining-class (first, last, class), compose (first, second, composed), decompose
(code, nfd) and lower (code, lower). With the test data that SPINDLE_SHARED names, they
are in golden/tokenizers/unicode.
"""
import os
import sys

OUT = sys.stdout


def rows(folder, name):
    with open(os.path.join(folder, name + ".tsv"), encoding="ascii") as f:
        next(f)
        for line in f:
            yield line.rstrip("\n").split("\t")


def put(name, type_, items):
    print(f"\nconst {type_} {name}[] = {{", file=OUT)
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > 118:
            print(line, file=OUT)
            line = "   "
        line += f" {item},"
    print(line + "};", file=OUT)
    print(f"const size_t {name}_N = sizeof {name} / sizeof *{name};", file=OUT)


def classes(folder):
    ranges = {}
    for name in ("bert-classes", "gpt2-classes", "grapheme-classes"):
        for class_, first, last in rows(folder, name):
            ranges.setdefault(class_, []).append((int(first, 16), int(last, 16)))
    if ranges["split_space"] != ranges["space"]:
        sys.exit("the two kinds of white space differ: the flags must be told apart")
    for class_, table in (
        ("clean_removed", "CLEAN_REMOVED"),
        ("clean_space", "CLEAN_SPACE"),
        ("chinese", "CHINESE"),
        ("nonspacing_mark", "NONSPACING"),
        ("punctuation", "PUNCTUATION"),
        ("split_space", "SPACE"),
        ("letter", "LETTER"),
        ("number", "NUMBER"),
        ("control", "CONTROL"),
        ("extend_or_spacing", "EXTENDS"),
        ("prepend", "PREPENDS"),
    ):
        items = [f"{{0x{a:x},0x{b:x}}}" for a, b in sorted(ranges[class_])]
        put("SP_UNICODE_" + table, "sp_unicode_range", items)


def combining(folder):
    items = [
        f"{{0x{int(a, 16):x},0x{int(b, 16):x},{c}}}"
        for a, b, c in rows(folder, "combining-class")
    ]
    put("SP_UNICODE_COMBINING", "sp_unicode_combining", items)


def decompositions(folder):
    items = []
    for code, nfd in rows(folder, "decompose"):
        parts = [int(x, 16) for x in nfd.split()]
        body = ",".join(f"0x{p:x}" for p in parts)
        items.append(f"{{0x{int(code, 16):x},{{{body}}}}}")
    put("SP_UNICODE_DECOMPOSITIONS", "sp_unicode_decomposition", items)
    pairs = sorted(
        (int(a, 16), int(b, 16), int(c, 16)) for a, b, c in rows(folder, "compose")
    )
    items = [f"{{0x{a:x},0x{b:x},0x{c:x}}}" for a, b, c in pairs]
    put("SP_UNICODE_COMPOSITIONS", "sp_unicode_composition", items)


def lower(folder):
    """Runs of capitals that lie `step` apart and move by the same distance."""
    runs = []
    for code, low in rows(folder, "lower"):
        code, low = int(code, 16), [int(x, 16) for x in low.split()]
        if len(low) > 1:
            if (code, low) != (0x130, [0x69, 0x307]):
                sys.exit(f"{code:x}: only U+0130 is known to become two")
            continue
        delta = low[0] - code
        if runs:
            run = runs[-1]
            step = code - run["last"]
            if delta == run["delta"] and step <= 2 and run["step"] in (0, step):
                run["last"], run["step"] = code, step
                continue
        runs.append({"first": code, "last": code, "step": 0, "delta": delta})
    items = [
        f"{{0x{r['first']:x},0x{r['last']:x},{r['step'] or 1},{r['delta']}}}"
        for r in runs
    ]
    put("SP_UNICODE_LOWER", "sp_unicode_lower_run", items)


def begin(name, what):
    global OUT
    path = f"encoder/{name}.c"
    OUT = open(path, "w", encoding="ascii")
    print(f"/* {path} - {what}", file=OUT)
    print(" * Written by scripts/make-unicode-tables.py: change that, not this. */", file=OUT)
    print("/* clang-format off */", file=OUT)
    print('#include "encoder/unicode_tables.h"', file=OUT)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = sys.argv[1]
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    begin("unicode_classes", "what kind of character each code point is, as ranges.")
    classes(folder)
    combining(folder)
    begin("unicode_mappings", "what code points decompose into, compose to, lower to.")
    decompositions(folder)
    lower(folder)
    OUT.close()


main()
