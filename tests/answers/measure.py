#!/usr/bin/env python3
"""How many of the recorded answers Kedge gives word for word: the rows of rules/*.jsonl without those that departures lists.

tests/unit/api/answers fails for a row that is answered otherwise and isn't listed, and for one that is listed and isn't.
"""

import collections
import pathlib

HERE = pathlib.Path(__file__).resolve().parent


def departures():
    """How many rows depart, by table and by reason (the comment above them)."""
    by_table, by_reason, reason = collections.Counter(), collections.Counter(), ""
    for line in (HERE / "departures").read_text().splitlines():
        if line.startswith("#"):
            reason = line[1:].strip()
        elif line:
            by_table[line.split()[0]] += 1
            by_reason[reason] += 1
    return by_table, by_reason


def main():
    by_table, by_reason = departures()
    total = 0
    for file in sorted((HERE / "rules").glob("*.jsonl")):
        rows = sum(1 for _ in file.open()) - 1
        total += rows
        print(f"{file.stem:36}{rows:6}{by_table[file.stem] or '':>6}")
    other = sum(by_table.values())
    print(f"\n{total} answers, {total - other} word for word ({100 * (total - other) / total:.1f} %)")
    for reason, count in by_reason.items():
        if count:
            print(f"{count:6}  {reason}")


if __name__ == "__main__":
    main()
