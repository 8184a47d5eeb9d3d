"""scripts/check: what STATUS.md says of the checks outside `make test` is what their committed results say, each of them
passed; and what is due."""

import importlib.machinery
import importlib.util
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from contextlib import redirect_stderr

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
LOADER = importlib.machinery.SourceFileLoader("check", str(ROOT / "scripts/check"))
check = importlib.util.module_from_spec(importlib.util.spec_from_loader("check", LOADER))
sys.modules["check"] = check
LOADER.exec_module(check)


def faults(status, root):
    """What is wrong with the results that a STATUS.md names."""
    found = []
    for name in re.findall(rf"{check.RESULTS}/[^\s)`]*", status):
        file = root / name
        if not file.exists():
            found.append(f"{name} is not there")
            continue
        result = json.loads(file.read_text())
        if not result["pass"]:
            found.append(f"{name} is a fail")
        if file.name != f"{result['date']}_{result['check']}.json" or result["check"] not in check.CHECKS:
            found.append(f"{name} is not of its name: {result['date']}, {result['check']}")
        if not re.fullmatch(r"[0-9a-f]{40}", result["commit"]):
            found.append(f"{name} has no commit")
    return found


class Status(unittest.TestCase):
    def test_names_results_that_are_there_and_passed(self):
        self.assertEqual(faults((ROOT / "STATUS.md").read_text(), ROOT), [])

    def test_says_what_the_newest_results_say(self):
        status = (ROOT / "STATUS.md").read_text() + "\n"
        self.assertTrue(check.status_section() in status, "its section is another; run: scripts/check status")

    def test_each_check_has_a_target(self):
        makefile = (ROOT / "Makefile").read_text()
        for name, one in check.CHECKS.items():
            self.assertIn(f"\ncheck-{name}: ## ", makefile)
            self.assertIn(f"\t@scripts/check run {name}\n", makefile)
            for folder in one.folders:
                self.assertTrue((ROOT / folder).is_dir(), folder)


class OfResults(unittest.TestCase):
    """On a repository made for the purpose."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = pathlib.Path(self.folder.name)
        (self.root / check.RESULTS).mkdir(parents=True)
        (self.root / "STATUS.md").write_text(f"# Status\n\n{check.SECTION}\n\nstale words\n\n## After\n\nkept\n")
        self.git("init", "-q")
        self.write("tests/page/page_test.py", "1\n")
        self.commit = self.save()

    def git(self, *command):
        identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        return subprocess.run(["git", *identity, *command], cwd=self.root, check=True, capture_output=True, text=True,
                              env=environment).stdout.strip()

    def write(self, name, text):
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def save(self):
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "x")
        return self.git("rev-parse", "HEAD")

    def result(self, date="2030-01-02", **more):
        said = {"check": "page", "pass": True, "date": date, "commit": self.commit, "passed": 3, "failed": 0,
                "skipped": 0, "seconds": 12.3, **more}
        self.write(f"{check.RESULTS}/{date}_page.json", json.dumps(said))

    def faults(self):
        check.write_status(self.root)
        return faults((self.root / "STATUS.md").read_text(), self.root)

    def test_the_section_alone_is_rewritten(self):
        self.result()
        self.assertEqual(self.faults(), [])
        text = (self.root / "STATUS.md").read_text()
        self.assertIn("2030-01-02_page.json) at " + self.commit[:7] + " | 3 passed, 0 failed, 0 skipped in 12 s", text)
        self.assertTrue(text.startswith("# Status\n\n") and text.endswith("\n\n## After\n\nkept\n"))
        self.assertNotIn("stale words", text)
        self.assertIn("| `make check-fuzz` | " + check.CHECKS["fuzz"].what + " | never run |", text)
        check.write_status(self.root)
        self.assertEqual((self.root / "STATUS.md").read_text(), text)

    def test_a_fail_or_a_missing_file_is_found(self):
        self.result()
        self.result("2030-01-03", **{"pass": False})
        self.assertEqual(self.faults(), [f"{check.RESULTS}/2030-01-03_page.json is a fail"])
        status = (self.root / "STATUS.md").read_text()
        (self.root / check.RESULTS / "2030-01-03_page.json").unlink()
        self.assertEqual(faults(status, self.root), [f"{check.RESULTS}/2030-01-03_page.json is not there"])
        shutil.copy(self.root / check.RESULTS / "2030-01-02_page.json", self.root / check.RESULTS / "2030-01-04_page.json")
        self.assertIn("is not of its name", " ".join(self.faults()))

    def test_due(self):
        self.assertEqual(check.why_due("page", self.root), "never run")
        self.result()
        self.assertEqual(check.why_due("page", self.root), "")
        self.write("src/model/other.cc", "2\n")
        self.save()
        self.assertEqual(check.why_due("page", self.root), "")
        self.write("tests/page/page_test.py", "2\n")  # not committed yet
        self.assertEqual(check.why_due("page", self.root), f"changed since {self.commit[:7]}: tests/page/page_test.py")
        self.write("src/server/page.html", "2\n")
        self.save()
        self.assertIn("src/server/page.html and 1 more", check.why_due("page", self.root))
        self.commit = "0" * 40
        self.result()
        self.assertEqual(check.why_due("page", self.root), "commit 0000000 is not in this clone")
        self.result(**{"pass": False})
        self.assertEqual(check.why_due("page", self.root), "failed on 2030-01-02")

    def test_what_an_earlier_check_left_is_no_change(self):
        self.result()
        self.save()
        self.assertTrue(check.is_committed(self.root))
        self.result(seconds=2.0)
        check.write_status(self.root)
        self.assertTrue(check.is_committed(self.root))
        self.write("tests/page/page_test.py", "2\n")
        self.assertFalse(check.is_committed(self.root))

    def test_a_status_without_the_section_is_refused(self):
        self.write("STATUS.md", "# Status\n")
        with self.assertRaisesRegex(SystemExit, "no section '## Checks outside make test'"), redirect_stderr(io.StringIO()):
            check.write_status(self.root)


SCRIPT = """import sys, unittest
sys.path.insert(0, {support!r})
import cases
class Some(unittest.TestCase):
{body}
cases.run()
"""


class OneRun(unittest.TestCase):
    """What becomes of the cases of a part."""

    def cases(self, body):
        with tempfile.TemporaryDirectory() as folder:
            script = pathlib.Path(folder) / "some_test.py"
            text = SCRIPT.format(support=str(ROOT / "tests/support"), body=body)
            script.write_text(text)
            command = f"{sys.executable} -B {script} 2>{folder}/said"
            return {case["name"]: case["outcome"] for case in check.run_part("part", ["bash", "-c", command])}

    def test_each_case_has_its_outcome(self):
        self.assertEqual(self.cases("  def test_a(self): pass\n"
                                    "  def test_b(self): self.fail('x')\n"
                                    "  def test_c(self): self.skipTest('x')\n"
                                    "  def test_d(self): raise ValueError\n"
                                    "  def test_e(self):\n"
                                    "    with self.subTest('x'): self.fail('y')\n"),
                         {"part/Some.test_a": "passed", "part/Some.test_b": "failed", "part/Some.test_c": "skipped",
                          "part/Some.test_d": "failed", "part/Some.test_e": "failed"})

    def test_a_class_that_cannot_start_is_a_failure(self):
        cases = self.cases("  @classmethod\n  def setUpClass(cls): raise ValueError\n  def test_a(self): pass\n")
        self.assertEqual(list(cases.values()), ["failed"])

    def test_a_part_without_cases_is_one(self):
        self.assertEqual(check.run_part("wheel", ["true"])[0]["outcome"], "passed")
        self.assertEqual(check.run_part("wheel", ["false"])[0]["outcome"], "failed")

    def test_a_part_that_dies_is_a_failure_whatever_its_cases_say(self):
        command = "echo '[{\"name\": \"a\", \"outcome\": \"passed\", \"seconds\": 1}]' > $DAK_CASES; exit 3"
        outcomes = [case["outcome"] for case in check.run_part("x", ["bash", "-c", command])]
        self.assertEqual(outcomes, ["passed", "failed"])

    def test_a_skipped_case_is_no_pass(self):
        def case(outcome):
            return {"name": "a", "outcome": outcome, "seconds": 1}
        self.assertTrue(check.result_of("page", "0" * 40, [case("passed")], 1, {})["pass"])
        for outcome in ("failed", "skipped"):
            self.assertFalse(check.result_of("page", "0" * 40, [case("passed"), case(outcome)], 1, {})["pass"], outcome)
        self.assertFalse(check.result_of("page", "0" * 40, [], 1, {})["pass"])


if __name__ == "__main__":
    unittest.main()
