"""The documents: every link and anchor leads somewhere, and what scripts make is what they would make now."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
# Pages of the project; build/ and tests/data have others'.
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "reference").glob("*.md")),
         *sorted((ROOT / "bench").rglob("*.md"))]


def prose(text):
    """Without code: links in it are examples."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]+`", lambda code: "`" + "x" * (len(code.group()) - 2) + "`", text)


def links(text):
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose(text)) if "://" not in link and
            not link.startswith("mailto:")]


def anchors(text):
    """Of its headings, as GitHub makes them: a repeated one gets -1, -2 ..."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    found, seen = set(), {}
    for heading in re.findall(r"^#{1,6} (.+)$", text, flags=re.MULTILINE):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.strip())
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        count = seen.get(name, 0)
        seen[name] = count + 1
        found.add(f"{name}-{count}" if count else name)
    return found


def broken(page, text):
    """Links of `text`, which lies at `page`, that lead nowhere."""
    wrong = []
    for link in links(text):
        path, _, anchor = link.partition("#")
        target = page.parent / path
        if path and not target.exists():
            wrong.append(link)
        elif anchor and (not path or target.suffix == ".md"):
            if anchor not in anchors(target.read_text() if path else text):
                wrong.append(link)
    return wrong


class Links(unittest.TestCase):
    def test_every_link_and_anchor_leads_somewhere(self):
        self.assertGreater(sum(len(links(page.read_text())) for page in PAGES), 100)
        for page in PAGES:
            self.assertEqual(broken(page, page.read_text()), [], page.relative_to(ROOT))

    def test_what_leads_nowhere_is_found(self):
        page = ROOT / "docs/page.md"
        text = "# A b\n\n## A `c`, d\n\n## A b\n"
        for link, right in (("../README.md", True), ("gone.md", False), ("#a-b", True), ("#a-b-1", True), ("#a-b-2", False),
                            ("#a-c-d", True), ("../README.md#no-such-heading", False), ("https://a.example/b", True),
                            ("../scripts/test", True)):
            self.assertEqual(broken(page, f"{text}\n[x]({link})"), [] if right else [link])
        self.assertEqual(broken(page, "`[x](gone.md)`\n```\n[x](gone.md)\n```\n"), [])

    def test_every_page_is_reached(self):
        """From README.md, by links alone."""
        reached, waiting = set(), [ROOT / "README.md"]
        while waiting:
            page = waiting.pop()
            if page in reached:
                continue
            reached.add(page)
            waiting += [target for link in links(page.read_text()) if link.partition("#")[0].endswith(".md")
                        for target in [pathlib.Path(os.path.normpath(page.parent / link.partition("#")[0]))]]
        self.assertEqual([str(page.relative_to(ROOT)) for page in PAGES if page not in reached], [])

    def test_files_named_in_the_sources_are_there(self):
        """Pages of docs that a comment, a message or a script names."""
        missing = []
        for folder in ("src", "scripts", "tests", "bench", "cmake"):
            for path in sorted((ROOT / folder).rglob("*")):
                if not path.is_file() or path.suffix in (".json", ".gguf", ".svg", ".bin", ".safetensors", ".txt"):
                    continue
                if "data" in path.parts or path == pathlib.Path(__file__):
                    continue
                text = path.read_text(errors="replace")
                for name in re.findall(r"(?<![\w/])(?:docs/[\w./-]+\.md|STATUS\.md|CHANGELOG\.md)\b", text):
                    if "*" not in name and not (ROOT / name).exists():
                        missing.append(f"{path.relative_to(ROOT)}: {name}")
        self.assertEqual(missing, [])


def examples(text):
    """[(pattern, paths, files of the table's first column)] of docs/adding.md."""
    found = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        for pattern, paths in re.findall(r"^<!-- example: (.+) in ([\w/ .-]+) -->$", section, flags=re.MULTILINE):
            rows = re.findall(r"^\| (`[^|]*) \|", section, flags=re.MULTILINE)
            found.append((pattern, paths.split(), sorted(name for row in rows for name in re.findall(r"`([^`]+)`", row))))
    return found


def files_with(pattern, paths):
    """Sources below `paths` that match, or whose name does."""
    searched = re.compile(pattern, flags=re.MULTILINE)
    files = [path for top in paths for path in sorted((ROOT / top).rglob("*"))
             if path.is_file() and path.suffix in (".h", ".cc", ".cu", ".cuh", ".py", ".json", ".cmake", ".txt", "")
             and not {"data", "corpus", "__pycache__"} & set(path.relative_to(ROOT).parts)]
    return sorted(str(path.relative_to(ROOT)) for path in files
                  if searched.search(path.read_text(errors="replace")))


class Adding(unittest.TestCase):
    TEXT = (ROOT / "docs/adding.md").read_text()

    def test_each_table_is_what_a_search_for_its_example_finds(self):
        found = examples(self.TEXT)
        self.assertGreaterEqual(len(found), 5)
        for pattern, paths, listed in found:
            self.assertEqual(listed, files_with(pattern, paths),
                             f"docs/adding.md lists the first; a search for '{pattern}' finds the second")

    def test_files_that_it_names_are_there(self):
        names = set(re.findall(r"`((?:src|tests|reference|scripts|configs|bench|docs)/[\w./-]*\w)`", self.TEXT))
        self.assertGreater(len(names), 30)
        self.assertEqual([name for name in sorted(names) if "NAME" not in name and not (ROOT / name).exists()], [])

    def test_a_file_too_many_or_too_few_is_found(self):
        section = "## A\n\n<!-- example: fuzz_gguf in tests/fuzz -->\n\n| file | what |\n|---|---|\n| `a.cc`, `b/c.h` | `d.cc` |\n"
        self.assertEqual(examples(section), [("fuzz_gguf", ["tests/fuzz"], ["a.cc", "b/c.h"])])
        self.assertEqual(files_with("fuzz_gguf", ["tests/fuzz"]), ["tests/fuzz/CMakeLists.txt"])


class Words(unittest.TestCase):
    """What the documents say of the program is in docs/reference, which is the program's own."""

    def test_flags_of_commands_are_the_programs(self):
        reference = {path.stem: path.read_text() for path in (ROOT / "docs/reference").glob("dak*.md")}
        checked = 0
        for page in PAGES:
            if {"reference", "measurements", "decisions"} & set(page.parts):  # of the program now, and of that of then
                continue
            text = page.read_text().replace("\\\n", " ")
            for command, rest in re.findall(r"\bdak (run|plan|serve|bench|probe|inspect)\b([^\n`]*)", text):
                pages = "".join(found for name, found in reference.items() if name.startswith(f"dak-{command}"))
                for flag in re.findall(r"(?<![\w-])(--[a-z][a-z-]*|-[a-z])(?![\w-])", rest.partition("#")[0]):
                    checked += 1
                    self.assertRegex(pages, rf"(?<![\w-]){flag}(?![\w-])", f"{page.relative_to(ROOT)}: dak {command}{rest}")
        self.assertGreater(checked, 40)

    def test_columns_of_bench_decode_are_explained(self):
        table = (ROOT / "docs/guide/bench.md").read_text()
        table = table[table.index("## Columns"):table.index("## JSON")]
        known = set(re.findall(r"`([\w]+)`", table))
        for path in sorted((ROOT / "bench/results").glob("*_decode_*.json")):
            document = json.loads(path.read_text())
            tiers = [re.sub(r"\W", "_", tier["name"]) for tier in document["machine"]["tiers"]]
            for row in document["rows"]:
                fields = {re.sub(rf"_({'|'.join(tiers)})$", "_TIER", name) for name in row}
                self.assertEqual(fields - known, set(), path.name)


class Sample(unittest.TestCase):
    def test_the_numbers_of_the_readmes_demo_agree_with_each_other(self):
        readme = (ROOT / "README.md").read_text()
        sample = re.search(r"^```\n(\$ dak probe.*?)^```$", readme, flags=re.DOTALL | re.MULTILINE)[1]
        planned = re.search(r"^decode:.* ([\d.]+) tokens/s", sample, flags=re.MULTILINE)[1]
        tokens, milliseconds, measured = re.search(r"^decode +(\d+) tokens +([\d.]+) ms +([\d.]+) tokens/s", sample,
                                                   flags=re.MULTILINE).groups()
        self.assertAlmostEqual(1e3 * float(tokens) / float(milliseconds), float(measured), delta=0.1)
        said = re.search(r"^decode: ([\d.]+) tokens/s predicted before loading, ([\d.]+) measured: ([-+][\d.]+) %$", sample,
                         flags=re.MULTILINE).groups()
        self.assertEqual(said[:2], (planned, measured))
        self.assertAlmostEqual(100 * (float(planned) / float(measured) - 1), float(said[2]), delta=0.05)
        self.assertLess(abs(float(said[2])), 10)
        self.assertIn("the machine was quiet, and the prediction is within 10 %", sample)


class Decisions(unittest.TestCase):
    FOLDER = ROOT / "docs/design/decisions"

    def test_numbers_have_no_gap_and_the_index_has_each_with_title_and_outcome(self):
        files = sorted(path for path in self.FOLDER.glob("*.md") if path.name != "README.md")
        self.assertEqual([path.name[:3] for path in files], [f"{i + 1:03d}" for i in range(len(files))])
        rows = []
        for path in files:
            text = path.read_text()
            title = re.match(r"# (\d{3}): (.+)\n", text)
            outcome = re.search(r"^Outcome: (.+)\.$", text, flags=re.MULTILINE)
            self.assertIsNotNone(title, path.name)
            self.assertIsNotNone(outcome, path.name)
            for part in ("Tried", "So"):  # and what was measured, where something was
                self.assertIn(f"**{part}.**", text, path.name)
            rows.append(f"| {title[1]} | [{title[2]}]({path.name}) | {outcome[1]} |")
        index = (self.FOLDER / "README.md").read_text()
        self.assertEqual(rows, re.findall(r"^\| \d{3} \|.*$", index, flags=re.MULTILINE))


class Sources(unittest.TestCase):
    def test_sources_that_pages_name_are_there(self):
        """`src/kernels/gemm.h`, `kernels/gemm.h` or `gemm.h`."""
        files = [path for top in ("src", "tests", "bench", "scripts", "reference", "cmake") for path in (ROOT / top).rglob("*")]
        names = {path.name for path in files}
        checked = 0
        for page in PAGES:
            if "measurements" in page.parts:
                continue
            for name in re.findall(r"`([\w./-]+\.(?:h|cc|cu|cuh|py))`", page.read_text()):
                if "NAME" in name or name.startswith("_"):
                    continue
                checked += 1
                there = (ROOT / name).exists() or (ROOT / "src" / name).exists() if "/" in name else name in names
                self.assertTrue(there, f"{page.relative_to(ROOT)}: {name}")
        self.assertGreater(checked, 150)


class Behaviours(unittest.TestCase):
    PAGE = ROOT / "docs/design/server_behaviours.md"

    def test_the_tests_that_show_them_are_there(self):
        """`Suite.Name`, or `Suite` for all of it."""
        sources = [path.read_text() for path in (ROOT / "tests").rglob("*_test.cc")]
        tests = {match for text in sources for match in re.findall(r"^TEST\w*\((\w+),\s*(\w+)\)", text, flags=re.MULTILINE)}
        suites = {suite for suite, _ in tests}
        rows = re.findall(r"^\| (.+) \| (.+) \|$", self.PAGE.read_text().split("## Otherwise")[0], flags=re.MULTILINE)
        named = [name for _, column in rows[2:] for name in re.findall(r"`([^`]+)`", column)]
        self.assertGreater(len(named), 40)
        for name in named:
            if "/" in name:
                self.assertTrue((ROOT / name).exists(), name)
            elif "." in name:
                self.assertIn(tuple(name.split(".")), tests)
            else:
                self.assertIn(name, suites)


class Measurements(unittest.TestCase):
    def run_script(self, root, *arguments):
        return subprocess.run([sys.executable, root / "scripts/measurements", *arguments], capture_output=True, text=True,
                              check=False)

    def copy(self):
        """What scripts/measurements reads and writes, in a folder of its own."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        root = pathlib.Path(folder.name)
        for name in ("bench/results", "docs/measurements", "scripts", "configs"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("README.md", "STATUS.md", "docs/design/kernels/link_control.md"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
        return root

    def test_pages_are_what_the_results_give(self):
        result = self.run_script(ROOT, "--check")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_a_changed_result_makes_its_tables_stale(self):
        root = self.copy()
        path = max((root / "bench/results").glob("*h200-host_decode_opt-30b_direct.json"))
        document = json.loads(path.read_text())
        for row in document["rows"]:
            row["tokens_per_s"] *= 0.9
        path.write_text(json.dumps(document))
        result = self.run_script(root, "--check")
        self.assertEqual(result.returncode, 1)
        self.assertIn("docs/measurements/decode.md", result.stderr)
        self.assertIn("README.md", result.stderr)
        self.assertEqual(self.run_script(root).returncode, 0)
        self.assertEqual(self.run_script(root, "--check").returncode, 0)

    def test_a_page_edited_by_hand_and_one_too_many_are_stale(self):
        root = self.copy()
        page = root / "docs/measurements/kernels.md"
        page.write_text(page.read_text().replace("1.00", "0.99", 1))
        (root / "docs/measurements/old.md").write_text("# Old\n")
        result = self.run_script(root, "--check")
        self.assertEqual(result.returncode, 1)
        self.assertIn("docs/measurements/kernels.md, docs/measurements/old.md: not what", result.stderr)

    def test_a_newer_result_of_the_same_name_takes_the_place(self):
        root = self.copy()
        old = max((root / "bench/results").glob("*h200-host_prefill_llama-8b.json"))
        document = json.loads(old.read_text())
        for row in document["rows"]:
            row["ttft_s"] = 7.77
        new = old.with_name("2099-01-01_h200-host_prefill_llama-8b.json")
        new.write_text(json.dumps(document))
        self.assertEqual(self.run_script(root).returncode, 0)
        page = (root / "docs/measurements/prompts.md").read_text()
        self.assertEqual(page.count("## h200-host: prefill_llama-8b "), 1)
        self.assertIn(f"older: [{old.name[:10]}](../../bench/results/{old.name})", page)
        self.assertIn("7,770", page)

    def test_what_is_of_no_known_name_or_form_is_one_line(self):
        for name, text, words in (("notes.json", "{}", "DATE_MACHINE_NAME.json"),
                                  ("2099-01-01_h200-host_new.json", "{}", "no form that scripts/measurements knows")):
            root = self.copy()
            (root / "bench/results" / name).write_text(text)
            result = self.run_script(root)
            self.assertEqual(result.returncode, 1)
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
            self.assertIn(name, result.stderr)
            self.assertIn(words, result.stderr)


if __name__ == "__main__":
    unittest.main()
