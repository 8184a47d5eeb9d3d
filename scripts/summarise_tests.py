#!/usr/bin/env python3
"""Counts what scripts/test ran; the last line is 'N passed, N failed, N skipped'.

A case is one GoogleTest case, one ctest test that is no GoogleTest binary, or one stage of
scripts/test that is no test run (format, lint, fuzz, ...). Skipped cases are named by their suites:
they are checks that did not happen.
"""

import collections
import pathlib
import sys
import xml.etree.ElementTree as xml

TEST_STAGES = {"test": "release", "asan_test": "asan"}


def read_ctest(report, gtest_folder):
    passed, failed, skipped = 0, 0, []
    gtest_files = list(gtest_folder.glob("*.xml"))
    for file in gtest_files:
        for case in xml.parse(file).getroot().iter("testcase"):
            name = f"{case.get('classname')}.{case.get('name')}"
            if case.find("failure") is not None:
                failed += 1
            elif case.get("result") == "skipped":
                skipped.append(name)
            elif case.get("status") == "run":
                passed += 1
    # The programs that are no GoogleTest binaries count as one case each.
    suite = xml.parse(report).getroot()
    programs = int(suite.get("tests"))
    broken = int(suite.get("failures"))
    passed += max(0, programs - len(gtest_files) - broken)
    failed = max(failed, broken)
    return programs, passed, failed, skipped


def main():
    results = pathlib.Path(sys.argv[1])
    passed, failed, skipped = 0, 0, 0
    for stage_file in results.glob("*.stage"):
        stage = stage_file.stem
        ok = stage_file.read_text().strip() == "pass"
        preset = TEST_STAGES.get(stage)
        report = results / f"{preset}.xml"
        if preset and report.exists():
            programs, good, bad, skips = read_ctest(report, results / preset)
            if not ok:
                bad = max(bad, 1)
            suites = collections.Counter(name.split(".")[0] for name in skips)
            print(f"{preset}: {programs} test programs, {good} cases passed, {bad} failed, "
                  f"{len(skips)} skipped{': ' if skips else ''}"
                  + ", ".join(f"{suite} ({count})" for suite, count in sorted(suites.items())))
            passed, failed, skipped = passed + good, failed + bad, skipped + len(skips)
        elif ok:
            passed += 1
        else:
            failed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")


main()
