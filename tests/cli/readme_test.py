"""What README.md says to run or to look at is there: files, tests, targets, parts of the benchmark scripts."""

import importlib.machinery
import importlib.util
import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
sys.dont_write_bytecode = True
README = (ROOT / "README.md").read_text()
CODE = re.findall(r"`([^`\n]+)`", README) + re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


def parts_of(name):
    """All parts that scripts/NAME knows."""
    loader = importlib.machinery.SourceFileLoader(name, str(ROOT / "scripts" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    if name == "paper_check":
        return {experiment[0] for experiment in module.experiments("peer:1")}
    return {"tests", "split_matmul", "token_draw", "probe", *(entry[0] for entry in module.KERNELS + module.BENCHES)}


class Readme(unittest.TestCase):
    def test_files_are_there(self):
        paths = set(re.findall(r"\]\(([^)#]+)\)", README))
        for code in CODE:
            paths |= set(re.findall(r"\b(?:tests|scripts|docs|configs|bench|reference)/[\w./-]*\w", code))
        paths = {path for path in paths if not path.startswith("http")}
        self.assertGreater(len(paths), 20)
        self.assertEqual([path for path in sorted(paths) if not (ROOT / path).exists()], [])

    def test_links_of_the_documents_lead_somewhere(self):
        for page in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]:
            links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()) if "://" not in link]
            self.assertEqual([link for link in links if not (page.parent / link).exists()], [], page.name)

    def test_tests_are_there(self):
        sources = {path.name: path.read_text() for path in (ROOT / "tests").rglob("*_test.cc")}
        named = {name for code in CODE for name in re.findall(r"\b\w+_test\.cc", code)}
        self.assertGreater(len(named), 10)
        self.assertEqual(named - set(sources), set())
        cases = {case for code in CODE for case in re.findall(r"^[A-Z]\w+\.[A-Z]\w+$", code)}
        self.assertGreater(len(cases), 2)
        for case in cases:
            suite, name = case.split(".")
            declared = re.compile(rf"TEST(_P|_F)?\({suite}, {name}\)")
            self.assertTrue(any(declared.search(text) for text in sources.values()), case)

    def test_targets_are_there(self):
        makefile = (ROOT / "Makefile").read_text()
        for target in {target for code in CODE for target in re.findall(r"\bmake ([a-z-]+)", code)}:
            self.assertRegex(makefile, rf"(?m)^(\.PHONY:.*\b{target}\b|{target}\b.*:)")

    def test_parts_are_there(self):
        for script in ("gpu_check", "paper_check"):
            known = parts_of(script)
            lists = [parts for code in CODE for parts in re.findall(rf"scripts/{script} B O \d+ (\S+)", code)]
            self.assertEqual({part for parts in lists for part in parts.split(",")} - known, set())


if __name__ == "__main__":
    unittest.main()
