#!/usr/bin/env python3
"""The folders of src/ include each other as docs/design/architecture.md says, and in no cycle.

Run without arguments; needs only Python. The list is the fenced block `includes` of the page: a
folder, a colon, the folders whose headers it includes. A wrong list and a wrong tree both fail.
"""

import pathlib
import re
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/design/architecture.md"
SUFFIXES = {".h", ".cc", ".cu", ".cuh", ".inc", ".in"}
BLOCK = re.compile(r"^```includes\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*["<]([^">]+)[">]', re.MULTILINE)


def listed_arrows(text):
    """{folder: folders that it includes} of the page's block, in the page's order."""
    blocks = BLOCK.findall(text)
    if len(blocks) != 1:
        raise ValueError(f"{PAGE.name}: {len(blocks)} blocks ```includes, and one must be there")
    arrows = {}
    for line in blocks[0].splitlines():
        folder, colon, included = line.partition(":")
        if not colon or folder in arrows:
            raise ValueError(f"{PAGE.name}: '{line}' is not 'folder: folders', or stands twice")
        arrows[folder] = included.split()
    return arrows


def tree_arrows(source):
    """{folder: {included folder: one place that does}} of the sources below `source`."""
    folders = {p.name for p in source.iterdir() if p.is_dir()}
    arrows = {folder: {} for folder in folders}
    for folder in folders:
        for path in sorted((source / folder).rglob("*")):
            if path.suffix not in SUFFIXES or not path.is_file():
                continue
            text = path.read_text(errors="replace")
            for match in INCLUDE.finditer(text):
                included = match.group(1).split("/")[0]
                if "/" in match.group(1) and included in folders - {folder}:
                    line = text.count("\n", 0, match.start(1)) + 1
                    arrows[folder].setdefault(included, f"{path.relative_to(source)}:{line}")
    return arrows


def cycle(arrows):
    """Folders that include each other in a ring, the first once more at the end; empty: none."""
    done, way = set(), []

    def visit(folder):
        if folder in way:
            return way[way.index(folder):] + [folder]
        if folder in done:
            return []
        way.append(folder)
        for included in sorted(arrows.get(folder, ())):
            if ring := visit(included):
                return ring
        way.pop()
        done.add(folder)
        return []

    for folder in sorted(arrows):
        if ring := visit(folder):
            return ring
    return []


def problems(listed, tree):
    """What differs between the page's list and the tree, a sentence each."""
    found = []
    for folder in sorted(listed.keys() - tree.keys()):
        found.append(f"{folder}: is listed, and src has no such folder")
    for folder in sorted(tree.keys() - listed.keys()):
        found.append(f"{folder}: is a folder of src, and the list has no line for it")
    for folder in sorted(listed.keys() & tree.keys()):
        for included in sorted(tree[folder].keys() - set(listed[folder])):
            found.append(f"{folder} -> {included}: is not listed; {tree[folder][included]}")
        for included in sorted(set(listed[folder]) - tree[folder].keys()):
            found.append(f"{folder} -> {included}: is listed, and no file includes it")
    if ring := cycle(tree):
        found.append("cycle: " + " -> ".join(ring))
    return found


def out_of_order(listed, parts):
    """Folders that CMake adds before one that they include: what it asks of a target is not there."""
    place = {part: i for i, part in enumerate(parts)}
    return [f"{folder} before {included}" for folder, folders in listed.items() if folder in place
            for included in folders if included in place and place[included] > place[folder]]


class TheTree(unittest.TestCase):
    def test_folders_include_each_other_as_listed(self):
        self.assertEqual(problems(listed_arrows(PAGE.read_text()), tree_arrows(ROOT / "src")), [])

    def test_cmake_adds_folders_in_this_order(self):
        listed = listed_arrows(PAGE.read_text())
        parts = re.search(r"set\(DAK_PARTS ([^)]*)\)", (ROOT / "CMakeLists.txt").read_text())
        self.assertEqual(sorted(parts.group(1).split()), sorted(listed))
        self.assertEqual(out_of_order(listed, parts.group(1).split()), [])


class TheComparison(unittest.TestCase):
    """It must fail when it should."""

    def tree(self, files):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        source = pathlib.Path(folder.name)
        for name, text in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(text)
        return tree_arrows(source)

    def small(self):
        return self.tree({"base/a.h": '#include "base/c.h"\n#include <vector>\n',
                          "top/b.cc": '#include <vector>\n\n  #  include "base/a.h"\n',
                          "top/deep/k.cuh": '#include <base/a.h>\n#include "cuda/missing.h"\n',
                          "top/notes.md": '#include "other/x.h"\n',
                          "other/x.h": "// #include \"base/a.h\"\n"})

    def test_a_true_list_passes(self):
        self.assertEqual(problems({"base": [], "top": ["base"], "other": []}, self.small()), [])

    def test_an_arrow_that_is_not_listed(self):
        self.assertEqual(problems({"base": [], "top": [], "other": []}, self.small()),
                         ["top -> base: is not listed; top/b.cc:3"])

    def test_a_listed_arrow_that_does_not_exist(self):
        listed = {"base": [], "top": ["base", "other"], "other": ["base"]}
        self.assertEqual(problems(listed, self.small()),
                         ["other -> base: is listed, and no file includes it",
                          "top -> other: is listed, and no file includes it"])

    def test_folders_that_only_one_side_has(self):
        self.assertEqual(problems({"base": [], "top": ["base"], "attic": []}, self.small()),
                         ["attic: is listed, and src has no such folder",
                          "other: is a folder of src, and the list has no line for it"])

    def test_a_cycle_fails_even_if_it_is_listed(self):
        tree = self.tree({"a/a.h": '#include "b/b.h"', "b/b.h": '#include "c/c.h"',
                          "c/c.h": '#include "b/again.h"'})
        self.assertEqual(problems({"a": ["b"], "b": ["c"], "c": ["b"]}, tree),
                         ["cycle: b -> c -> b"])

    def test_an_order_that_adds_a_folder_too_early(self):
        listed = {"base": [], "top": ["base"]}
        self.assertEqual(out_of_order(listed, ["base", "top"]), [])
        self.assertEqual(out_of_order(listed, ["top", "base"]), ["top before base"])

    def test_a_page_without_one_block_or_with_a_torn_line(self):
        for page in ("", "```includes\na:\n```\n```includes\nb:\n```\n",
                     "```includes\na b\n```\n", "```includes\na:\na:\n```\n"):
            with self.subTest(page), self.assertRaises(ValueError):
                listed_arrows(page)
        self.assertEqual(listed_arrows("x\n```includes\na: b c\nb:\n```\n"),
                         {"a": ["b", "c"], "b": []})


if __name__ == "__main__":
    unittest.main()
