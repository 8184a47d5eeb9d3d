"""scripts/fetch_templates on an index and an archive made for the purpose: what it takes, and what it refuses."""

import contextlib
import functools
import hashlib
import http.server
import importlib.machinery
import importlib.util
import io
import os
import pathlib
import re
import sys
import tarfile
import tempfile
import threading
import unittest
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
LOADER = importlib.machinery.SourceFileLoader("fetch_templates", str(ROOT / "scripts/fetch_templates"))
fetch = importlib.util.module_from_spec(importlib.util.spec_from_loader("fetch_templates", LOADER))
LOADER.exec_module(fetch)

FOLDER = "llama_cpp_python-0.3.36/vendor/llama.cpp/models/templates"
TEXTS = {"a.jinja": b"{{ a }}", "b.jinja": b"{{ b }}"}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):  # pylint: disable=arguments-differ
        pass


def archive_of(members):
    """A .tar.gz of {name: bytes}; None for bytes makes a link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            if data is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(member)
            else:
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


class FetchTemplates(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        (self.root / "index/llama-cpp-python").mkdir(parents=True)
        (self.root / "index/files").mkdir()
        self.put({**{f"{FOLDER}/{name}": text for name, text in TEXTS.items()}, f"{FOLDER}/c.jinja": None,
                  "llama_cpp_python-0.3.36/setup.py": b"raise SystemExit('built')", f"{FOLDER}/../x.jinja": b"x"})
        self.page(f'<a href="../files/{fetch.ARCHIVE}#sha256=0">{fetch.ARCHIVE}</a>')
        handler = functools.partial(Quiet, directory=str(self.root / "index"))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        with tempfile.TemporaryDirectory() as plain:
            for name, text in TEXTS.items():
                (pathlib.Path(plain) / name).write_bytes(text)
            pinned = fetch.digest(pathlib.Path(plain))
        environment = {"DAK_CACHE": str(self.root / "cache"), "no_proxy": "127.0.0.1",
                       "PIP_INDEX_URL": f"http://127.0.0.1:{self.server.server_port}"}
        for patch in (mock.patch.dict(os.environ, environment), mock.patch.object(fetch, "FILES", len(TEXTS)),
                      mock.patch.object(fetch, "FILES_SHA256", pinned), mock.patch.object(fetch, "TRIES", 1)):
            patch.start()
            self.addCleanup(patch.stop)

    def page(self, text):
        (self.root / "index/llama-cpp-python/index.html").write_text(text)

    def put(self, members):
        data = archive_of(members)
        (self.root / "index/files" / fetch.ARCHIVE).write_bytes(data)
        self.sha256 = hashlib.sha256(data).hexdigest()

    def fetched(self, *arguments):
        """The files that are there then."""
        said = io.StringIO()
        with mock.patch.object(fetch, "ARCHIVE_SHA256", self.sha256), mock.patch.object(sys, "argv", ["x", *arguments]), \
                contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
            fetch.main()
        folder = pathlib.Path(said.getvalue().strip())
        self.assertEqual(sorted(path.name for path in folder.parent.iterdir()), [folder.name])  # nothing else is left
        return {path.name: path.read_bytes() for path in folder.glob("*.jinja")}

    def refused(self, words, *arguments):
        with self.assertRaisesRegex(SystemExit, re.escape(words)):
            self.fetched(*arguments)

    def test_takes_the_templates_alone(self):
        self.assertEqual(self.fetched(), TEXTS)

    def test_needs_no_network_when_they_are_there(self):
        self.fetched()
        self.page("")
        self.assertEqual(self.fetched(), TEXTS)
        self.assertEqual(self.fetched("--verify"), TEXTS)

    def test_what_is_damaged_is_fetched_again(self):
        self.fetched()
        folder = self.root / "cache/chat_templates"
        (folder / "a.jinja").write_bytes(b"changed")
        self.assertEqual(self.fetched("--verify"), TEXTS)
        (folder / "a.jinja").unlink()
        self.assertEqual(self.fetched(), TEXTS)
        (folder / "sha256").unlink()
        self.assertEqual(self.fetched(), TEXTS)

    def test_another_archive_is_refused(self):
        self.sha256 = "0" * 64
        self.refused("not the pinned one; not used")
        self.assertFalse((self.root / "cache/chat_templates").exists())

    def test_other_templates_are_refused(self):
        self.put({f"{FOLDER}/a.jinja": b"{{ a }}"})
        self.refused("are not the pinned ones")

    def test_an_index_without_it_is_named(self):
        self.page('<a href="other.tar.gz">other</a>')
        self.refused("lists no llama_cpp_python-0.3.36.tar.gz; check PIP_INDEX_URL")

    def test_no_network_is_a_failure(self):
        os.environ["PIP_INDEX_URL"] = "http://127.0.0.1:9"
        self.refused("check the network, a proxy or PIP_INDEX_URL")

    def test_an_unknown_argument_is_refused(self):
        self.refused("unknown argument '--all'", "--all")


if __name__ == "__main__":
    unittest.main()
