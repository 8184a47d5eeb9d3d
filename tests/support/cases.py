"""Runs the unittest cases of a script: run() in place of unittest.main(). Where the environment has DAK_CASES=FILE,
FILE gets what each case came to, for scripts/check: [{"name", "outcome": "passed"|"failed"|"skipped", "seconds"}]."""

import json
import os
import pathlib
import sys
import time
import unittest


class Recorder(unittest.TextTestResult):
    """What unittest prints, and a row for each case."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.rows = {}  # by case, in the order in which they ran

    def row(self, case):
        return self.rows.setdefault(case.id().removeprefix("__main__."), {"outcome": "passed", "seconds": 0.0})

    def startTest(self, test):
        super().startTest(test)
        self.row(test)["begin"] = time.monotonic()

    def stopTest(self, test):
        super().stopTest(test)
        row = self.row(test)
        row["seconds"] = round(time.monotonic() - row.pop("begin"), 2)

    def addError(self, test, err):  # a whole class that could not be set up is a case too
        super().addError(test, err)
        self.row(test)["outcome"] = "failed"

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.row(test)["outcome"] = "failed"

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.row(test)["outcome"] = "failed"

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.row(test)["outcome"] = "failed"

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.row(test)["outcome"] = "skipped"


def run():
    """All cases of the script that calls it; ends the program with 0 where none failed."""
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    result = unittest.TextTestRunner(resultclass=Recorder, verbosity=2).run(suite)
    if os.environ.get("DAK_CASES"):
        rows = [{"name": name, **row} for name, row in result.rows.items()]
        pathlib.Path(os.environ["DAK_CASES"]).write_text(json.dumps(rows))
    sys.exit(0 if result.wasSuccessful() and result.testsRun else 1)
