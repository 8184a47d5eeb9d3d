"""What is linked and compiled into `dak` has its notice in `dak --licenses` and in THIRD_PARTY.txt.

    licences_test.py DAK BUILD_FOLDER NINJA
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIST = ROOT / "cmake/third_party.list"
DAK, BUILD, NINJA = (pathlib.Path(argument) for argument in sys.argv[1:4])
IMPLICIT = ["stdc++", "gcc", "c", "m"]  # what g++ adds to every link line


def entries(text):
    """(name, {library}, {package}) of each line."""
    found = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, libraries, packages, _, _ = line.split(" | ")
            found.append((name, set(libraries.split()) - {"-"}, set(packages.split()) - {"-"}))
    return found


def libraries_of(link_line):
    """Names of the libraries that a link line takes, without those of the project."""
    names = []
    for word in link_line.split():
        path = pathlib.PurePath(word)
        if word.startswith("-l"):
            names.append(word[2:])
        elif re.match(r"lib.*\.(a|so)", path.name) and not path.name.startswith("libdak_"):
            names.append(re.match(r"lib(.*?)\.(a|so)", path.name)[1])
    return sorted(set(names))


def without_entry(libraries, text):
    known = set().union(*(names for _, names, _ in entries(text)))
    return [name for name in libraries if name not in known]


def system_headers(deps):
    """Headers outside the project and the compiler in what `ninja -t deps` says of the program's own objects."""
    headers, own = set(), False
    for line in deps.splitlines():
        if not line.startswith(" "):
            own = line.startswith("src/")
        elif own and line.strip().startswith(("/usr/include/", "/usr/lib/gcc/")):
            headers.add(os.path.normpath(line.strip()))
    return sorted(headers)


def packages_of(headers):
    """{package: a header of it}, by dpkg."""
    result = subprocess.run(["dpkg-query", "-S", *headers], capture_output=True, text=True, check=False)
    packages = {}
    for line in result.stdout.splitlines():
        package, path = line.split(": ", 1)
        packages.setdefault(package.split(":")[0], path)
    return packages


def notices(*defines):
    """(exit status, errors, THIRD_PARTY.txt) of cmake/ThirdParty.cmake."""
    with tempfile.TemporaryDirectory() as folder:
        text = pathlib.Path(folder) / "text"
        result = subprocess.run(["cmake", f"-DOUTPUT={folder}/a.cc", f"-DTEXT={text}", f"-DSOURCE={ROOT}", *defines, "-P",
                                 ROOT / "cmake/ThirdParty.cmake"], capture_output=True, text=True, check=False)
        return result.returncode, result.stderr, text.read_text() if text.exists() else ""


class Licences(unittest.TestCase):
    def test_every_linked_library_has_an_entry(self):
        commands = subprocess.run([NINJA, "-C", BUILD, "-t", "commands", "dak"], capture_output=True, text=True, check=True)
        line = [line for line in commands.stdout.splitlines() if " -o src/cli/dak " in line][-1]
        libraries = libraries_of(line)
        self.assertIn("pcre2-8", libraries)
        self.assertEqual(without_entry(libraries + IMPLICIT, LIST.read_text()), [], "add a line to cmake/third_party.list")

    def test_a_library_without_one_is_found(self):
        line = "c++ main.o -o dak src/libdak_base.a /usr/lib/libfoo-2.so.1.4 /x/libbar.a -lfmt -lz -Wl,--as-needed"
        self.assertEqual(libraries_of(line), ["bar", "fmt", "foo-2", "z"])
        self.assertEqual(without_entry(libraries_of(line), LIST.read_text()), ["bar", "foo-2", "z"])

    @unittest.skipUnless(shutil.which("dpkg-query"), "needs dpkg")
    def test_every_header_is_of_a_package_with_an_entry(self):
        deps = subprocess.run([NINJA, "-C", BUILD, "-t", "deps"], capture_output=True, text=True, check=True).stdout
        headers = system_headers(deps)
        self.assertTrue(headers)
        known = set().union(*(packages for _, _, packages in entries(LIST.read_text())))
        found = packages_of(headers)
        self.assertIn("nlohmann-json3-dev", found)
        self.assertEqual({package: path for package, path in found.items() if package not in known}, {})

    def test_the_program_says_all_of_it(self):
        result = subprocess.run([DAK, "--licenses"], capture_output=True, text=True, check=False)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        third_party = (BUILD / "THIRD_PARTY.txt").read_text()
        self.assertEqual(result.stdout, f"{(ROOT / 'NOTICE').read_text()}\n{(ROOT / 'LICENSE').read_text()}\n{third_party}")
        titles = re.findall(r"^======== (.*) ========$", third_party, re.M)
        cuda = "CUDA run-time" in titles  # a build without has none
        self.assertEqual(titles, [name for name, _, _ in entries(LIST.read_text()) if cuda or "CUDA" not in name])
        for words in ("Victor Zverovich", "Niels Lohmann", "Philip Hazel", "Boost Software License",
                      "GCC RUNTIME LIBRARY EXCEPTION", "Unicode, Inc."):
            self.assertIn(words.lower(), third_party.lower(), words)

    def test_a_notice_that_is_not_there_is_said_and_stops_a_portable_build(self):
        with tempfile.TemporaryDirectory() as folder:
            listed = pathlib.Path(folder) / "list"
            listed.write_text("# text\nfoo | foo | - | /nowhere/*/foo;/nowhere/bar | -\nother | o | - | /nowhere | DAK_O\n")
            status, error, _ = notices(f"-DLIST={listed}", "-DSTRICT=ON")
            self.assertNotEqual(status, 0)
            self.assertIn("the notice of foo is in none of", error)
            status, _, text = notices(f"-DLIST={listed}", "-DSTRICT=OFF")
            self.assertEqual(status, 0)
            self.assertIn("had no notice in /nowhere/*/foo", text)
            self.assertNotIn("== other", text)

    def test_the_part_of_one_licence(self):
        with tempfile.TemporaryDirectory() as folder:
            notice = pathlib.Path(folder) / "copyright"
            notice.write_text("Files: a\nLicense: X\n\nLicense: X\n One; [two]\n\nLicense: Y\n Three\n")
            listed = pathlib.Path(folder) / "list"
            listed.write_text(f"foo | foo | - | {notice}#X | -\n")
            self.assertIn("License: X\n One; [two]", notices(f"-DLIST={listed}")[2])
            self.assertNotIn("Three", notices(f"-DLIST={listed}")[2])
            listed.write_text(f"foo | foo | - | {notice}#Z | -\n")
            status, error, _ = notices(f"-DLIST={listed}")
            self.assertNotEqual(status, 0)
            self.assertIn("has no paragraph 'License: Z'", error)

    def test_ours(self):
        licence = (ROOT / "LICENSE").read_text()
        self.assertIn("Version 2.0, January 2004", licence)
        self.assertIn("END OF TERMS AND CONDITIONS", licence)
        self.assertIn("Apache License, Version 2.0", (ROOT / "NOTICE").read_text())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
