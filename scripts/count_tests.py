"""count_tests.py STATUS LOG…: prints `N passed, N failed` for meson's logs (JSON); exits non-zero unless all passed.

A doctest program counts as its test cases, any other as one. A program that crashed, timed out or printed no count is at
least one failure, whatever its cases said. No test at all is a failure too: nothing was seen to work.
"""

import json
import re
import sys

CASES = re.compile(r"test cases:\s*(\d+)\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed(?:\s*\|\s*(\d+) skipped)?")


def count(test):
    """(passed, failed) of one of meson's tests."""
    if test["result"] == "SKIP":
        return 0, 0
    good = test["result"] in ("OK", "EXPECTEDFAIL")
    summaries = CASES.findall(re.sub(r"\x1b\[[0-9;]*m", "", test.get("stdout", "")))
    if not summaries:
        return (1, 0) if good else (0, 1)
    passed = sum(int(s[1]) for s in summaries)
    failed = sum(int(s[2]) for s in summaries)
    return (passed, failed) if good else (passed, max(failed, 1))


def main():
    status, paths = int(sys.argv[1]), sys.argv[2:]
    passed = failed = 0
    for path in paths:
        try:
            with open(path, encoding="utf-8") as log:
                for line in log:
                    test = json.loads(line)
                    p, f = count(test)
                    passed, failed = passed + p, failed + f
                    if test["result"] not in ("OK", "EXPECTEDFAIL"):
                        print(f"{test['result']}: {test['name']}")
        except FileNotFoundError:
            print(f"{path} was not written: its tests did not run")
            failed += 1
    if status != 0 and failed == 0 or passed + failed == 0:
        failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
