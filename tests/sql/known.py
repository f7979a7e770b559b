#!/usr/bin/env python3
"""Marks records that do not answer as PostgreSQL does yet, and takes the marks away again.

    tests/sql/known.py --clear                                        # forget the marks: everything is asked again
    cargo test --test sql 2>&1 | tests/sql/known.py                   # mark what fails; repeat until nothing is marked

A mark is `skipif tidemill` under a comment that says what Tidemill answers. It is a list of what is to be done, not of what is
meant to differ: differences on purpose are written by hand, with the reason.
"""
import collections
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
MARK = "# Not yet: "


def clear():
    for path in HERE.rglob("*.slt"):
        lines, out, skip = path.read_text().split("\n"), [], 0
        for number, line in enumerate(lines):
            if line.startswith(MARK):
                skip = 1
            elif skip and line == "skipif tidemill":
                skip = 0
            else:
                skip = 0
                out.append(line)
        path.write_text("\n".join(out))


def answer(lines):
    """What Tidemill said, on one line, from a failure's text."""
    text = "\n".join(lines)
    got = re.search(r"db error: (.*)|\[SQL\].*\n.*(?:failed|error): (.*)", text)
    actual = [line[2:].strip() for line in lines if line.startswith("+ ") or line.startswith("+   ")]
    if "[Diff]" in text and actual:
        return "got " + " / ".join(actual)[:120]
    first = next((line for line in lines if re.search(r"\b[0-9A-Z]{5}: ", line)), "")
    code = re.search(r"\b[0-9A-Z]{5}: .*", first)
    if code:
        return code[0][:140]
    return (got[0] if got else lines[0])[:120] if lines else "fails"


def mark(output):
    # "at /path/file.slt:12" ends each failure.
    failures, block = collections.defaultdict(dict), []
    for line in output.split("\n"):
        place = re.match(r"at (.*\.slt):(\d+)\s*$", line.strip())
        if place:
            failures[pathlib.Path(place[1])].setdefault(int(place[2]), answer(block))
            block = []
        else:
            block = [] if not line.strip() and not block else [*block, line][-60:]
    marked = 0
    for path, found in failures.items():
        lines = path.read_text().split("\n")
        for number in sorted(found, reverse=True):
            at = number - 1
            while at > 0 and not lines[at].startswith(("query", "statement")):
                at -= 1
            # Before a `connection` or condition line that belongs to the record.
            while at > 0 and lines[at - 1].startswith(("connection ", "onlyif ", "skipif ")):
                at -= 1
            if lines[at - 1].startswith(MARK):
                continue
            lines[at:at] = [MARK + " ".join(found[number].split()), "skipif tidemill"]
            marked += 1
        path.write_text("\n".join(lines))
    print(f"{marked} records marked in {len(failures)} files")


if __name__ == "__main__":
    if sys.argv[1:] == ["--clear"]:
        clear()
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        mark(sys.stdin.read())
