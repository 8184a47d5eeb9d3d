#!/usr/bin/env python3
"""The page of `dak serve` in a headless Chromium: page_test.py DAK MODEL.gguf TINY_MODEL"""

import decimal
import json
import pathlib
import re
import signal
import subprocess
import sys
import time
import unittest
import urllib.request

from devtools import CONTROL, SHIFT, Browser, Page

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
sys.dont_write_bytecode = True
import cases  # pylint: disable=wrong-import-position

DAK, MODEL, TINY = sys.argv[1:4]
HOSTILE = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>&lt;b&gt;"
STORY = "Write a long story about a dragon and a lighthouse keeper."


class Server:
    def __init__(self, model, *flags, port=0):
        self.process = subprocess.Popen(
            [DAK, "serve", model, "--device", "cpu", "--port", str(port), *flags],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.keys = [flags[i + 1] for i, flag in enumerate(flags) if flag == "--api-key"]

    def ready(self):
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert found, line + self.process.stderr.read()
        self.url, self.port = found[0], int(found[1])
        return self

    def ask(self, path, body=None):
        headers = {"Content-Type": "application/json"}
        if self.keys:
            headers["Authorization"] = "Bearer " + self.keys[0]
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


def fixed(value, digits):
    """As JavaScript's toFixed rounds."""
    exact = decimal.Decimal(value)
    return str(exact.quantize(decimal.Decimal(1).scaleb(-digits), decimal.ROUND_HALF_UP))


def size(value):
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    unit = 0
    while value >= 1024 and unit < 4:
        value /= 1024
        unit += 1
    return fixed(value, 1 if unit and value < 100 else 0) + " " + units[unit]


def shown_of(state):
    """What the page must say of a state, by element."""
    predicted = state["predicted_tokens_per_s"]
    pages = state["kv_pages"]
    reached = fixed(100 * state["tokens_per_s"] / predicted, 0) if predicted else ""
    none = "not known" if state["running"] else "nothing runs"
    shown = {
        "speed": fixed(state["tokens_per_s"], 1),
        "predicted": f"{fixed(predicted, 1)} ({reached} % reached)" if predicted else none,
        "prompts": fixed(state["prompt_tokens_per_s"], 0),
        "pass": fixed(1000 * state["pass_seconds"], 1) + " ms" if state["pass_seconds"] else "none",
        "running": str(state["running"]),
        "queued": str(state["queued"]),
        "preempted": str(state["preempted"]),
        "batch": fixed(state["sequences_per_pass"], 1),
        "done": str(state["requests"]["finished"]),
        "failed": str(state["requests"]["failed"]),
        "pagetext": f"{pages['total'] - pages['free'] - pages['cached']}, {pages['cached']}, {pages['free']}",
    }
    lines = []
    for tier in state["tiers"]:
        used = tier["weight_bytes"] + tier["kv_bytes"] + tier["other_bytes"]
        rates = [fixed(rate / 1e9, 2 if rate < 1e10 else 0) + " GB/s"
                 for rate in (tier["read_bytes_per_s"], tier["limit_bytes_per_s"])]
        lines += [tier["name"], f"weights {size(tier['weight_bytes'])}, KV {size(tier['kv_bytes'])}",
                  f"{size(used)} of {size(max(used, tier['capacity_bytes']))}",
                  "read", f"{rates[0]} of {rates[1]}"]
        if tier["window_bytes"]:
            lines += ["window, round trip",
                      f"{size(tier['window_bytes'])}, {fixed(tier['delay_us'], 1)} \u00b5s"]
    shown["tiers"] = lines
    return shown


READ_SHOWN = """(() => {
  const shown = {};
  for (const id of %s) shown[id] = document.getElementById(id).textContent;
  shown.tiers = [...document.querySelectorAll('#tiers strong, #tiers span')].map((e) => e.textContent);
  return {shown, state: states[states.length - 1]};
})()""" % json.dumps(["speed", "predicted", "prompts", "pass", "running", "queued", "preempted",
                      "batch", "done", "failed", "pagetext"])

# The least contrast of any text with what lies behind it (WCAG 2: relative luminance), and whose.
CONTRAST = """(() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
      if (colour[3] !== 0) throw Error('a background that is half transparent');
    }
    throw Error('no background');
  };
  const found = [];
  const add = (element, what) => {
    const style = getComputedStyle(element);
    const [a, b] = [luminance(parse(style.color)), luminance(behind(element))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), what]);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility() || element.disabled) continue;
    if (element.tagName !== 'SCRIPT') add(element, texts.currentNode.data.trim());
  }
  for (const one of document.querySelectorAll('input, textarea')) add(one, one.id);
  return {texts: found.length, least: found.sort((a, b) => a[0] - b[0])[0],
          page: luminance(behind(document.body))};
})()"""

# Controls that are too small, out of sight to the side, or under something else.
UNREACHABLE = """(() => {
  document.getElementById('settings').open = true;
  const bad = [];
  for (const one of document.querySelectorAll('button, input, textarea, summary')) {
    one.scrollIntoView({block: 'center', behavior: 'instant'});
    const box = one.getBoundingClientRect();
    const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    const name = one.id || one.tagName;
    if (box.left < 0 || box.right > innerWidth) bad.push(name + ' is cut off');
    if (box.width < 24 || box.height < 24) bad.push(name + ' is ' + box.width + ' x ' + box.height);
    if (!top || !(top === one || one.contains(top))) bad.push(name + ' is covered');
  }
  return bad;
})()"""


class PageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.browser = Browser()
        cls.server = Server(MODEL, "--context", "1024", "--offload-ratio", "0.5", "--kv-ratio",
                            "0.5", "--model-name", HOSTILE)
        cls.keyed = Server(TINY, "--context", "256", "--api-key", "first", "--api-key", "second")
        cls.server.ready()
        cls.keyed.ready()

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.server.kill()
        cls.keyed.kill()

    def open(self, server):
        self.page = Page(self.browser, server.url)
        self.addCleanup(self.page.close)
        return self.page

    def check(self, page, errors=0):
        """Nothing was reported but so many failed requests, and no one else was asked."""
        self.assertEqual(len([e for e in page.errors if "Failed to load" in e]), errors, page.errors)
        self.assertEqual([e for e in page.errors if "Failed to load" not in e], [])
        self.assertEqual(page.evaluate("violations"), [])
        self.assertEqual([url for url in page.requests if not url.startswith(page.url + "/")], [])

    def finish(self, page):
        """Waits for the answer's end; what the page says of it."""
        page.wait("document.getElementById('stop').disabled && document.querySelector("
                  "'#messages .message:last-child small').textContent")
        return page.evaluate("document.querySelector('#messages .message:last-child small').textContent")

    def answer(self, page):
        return page.evaluate("document.querySelector('#messages .message:last-child p').textContent")

    def cancelled(self):
        state = self.server.ask("/state")
        return None if state["running"] else state["requests"]["cancelled"]

    def wait_for_cancelled(self, wanted):
        until = time.monotonic() + 10
        while self.cancelled() != wanted and time.monotonic() < until:
            time.sleep(0.05)
        self.assertEqual(self.cancelled(), wanted)

    def test_loads_alone(self):
        page = self.open(self.server)
        page.wait("document.getElementById('status').textContent === 'ready'")
        self.assertEqual(page.text("model"), HOSTILE)
        self.assertIn(HOSTILE, page.evaluate("document.title"))
        self.assertIsNone(page.evaluate("window.hacked"))
        paths = {url[len(page.url):] for url in page.requests}
        self.assertLessEqual({"/", "/state"}, paths)
        self.assertLessEqual(paths, {"/", "/state", "/favicon.ico"})
        self.check(page)

    def test_a_chat_by_keyboard(self):
        page = self.open(self.server)
        self.assertEqual(page.focused(), "question")
        # The settings: greedy, so that the answer is the API's.
        page.go_to("SUMMARY")
        page.press("Enter")
        for name, value in [("temperature", "0"), ("tokens", "60")]:
            page.go_to(name)
            page.press("a", CONTROL)
            page.write(value)
        page.go_to("question", SHIFT)
        page.write("Count from one to ten.")
        page.press("Enter")
        note = self.finish(page)
        asked = {"messages": [{"role": "user", "content": "Count from one to ten."}],
                 "temperature": 0, "max_tokens": 60}
        wanted = self.server.ask("/v1/chat/completions", asked)
        self.assertEqual(self.answer(page), wanted["choices"][0]["message"]["content"])
        usage = wanted["usage"]
        self.assertIn(f"{usage['completion_tokens']} tokens", note)
        self.assertIn(f"prompt {usage['prompt_tokens']} (", note)
        lengths = sorted(set(page.evaluate("lengths")))
        self.assertGreaterEqual(len(lengths), 8, "it did not grow as it came")
        self.assertEqual(lengths[-1], len(self.answer(page)))
        self.assertEqual(page.focused(), "question")
        # Every control by Tab, each with a mark around it.
        reached = set()
        for _ in range(12):
            reached.add(page.focused())
            if page.focused() != "BODY":
                style = page.evaluate("(() => { const s = getComputedStyle(document.activeElement);"
                                      "return [s.outlineStyle, parseFloat(s.outlineWidth)]; })()")
                self.assertTrue(style[0] != "none" and style[1] >= 2, (page.focused(), style))
            page.press("Tab")
        self.assertLessEqual({"messages", "question", "send", "fresh", "SUMMARY", "temperature",
                              "tokens", "system", "apikey"}, reached)
        self.check(page)

    def test_stop_and_new_chat_cancel(self):
        page = self.open(self.server)
        before = self.cancelled()
        grown = "lengths.length && lengths[lengths.length - 1] > 20"

        def ask():
            page.evaluate("lengths.length = 0")
            page.go_to("question", SHIFT)
            page.write(STORY)
            page.press("Enter")
            page.wait(grown)

        ask()
        page.press("Escape")
        self.assertIn("stopped", self.finish(page))
        self.wait_for_cancelled(before + 1)
        ask()
        page.go_to("stop")
        page.press("Enter")
        self.assertIn("stopped", self.finish(page))
        self.wait_for_cancelled(before + 2)
        ask()
        page.go_to("fresh")
        page.press("Enter")
        self.wait_for_cancelled(before + 3)
        self.assertEqual(page.evaluate("document.getElementById('messages').children.length"), 0)
        self.assertEqual(page.focused(), "question")
        # Nothing of the old conversation is in the new one.
        page.evaluate("document.getElementById('tokens').value = 4")
        page.write("Hi")
        page.press("Enter")
        self.finish(page)
        self.assertEqual(page.posts[-1]["messages"], [{"role": "user", "content": "Hi"}])
        self.check(page)

    def test_the_live_state_is_the_servers(self):
        page = self.open(self.server)
        page.wait("states.length")
        page.write(STORY)
        page.press("Enter")
        live = "states.length && (({running: r, tokens_per_s: t, predicted_tokens_per_s: p}) => r && t && p)"
        page.wait(live + "(states[states.length - 1])")
        page.press("Escape")
        self.finish(page)
        seen = set()
        until = time.monotonic() + 10
        while len(seen) < 2 and time.monotonic() < until:
            found = page.evaluate(READ_SHOWN)
            # A state that has come and is not shown yet: the next look finds it.
            if found["shown"] == shown_of(found["state"]):
                seen.add(found["shown"]["speed"])
            time.sleep(0.1)
        self.assertEqual(found["shown"], shown_of(found["state"]))
        self.assertGreaterEqual(len(seen), 2, "the figures do not change")
        state = self.server.ask("/state")
        for tier, shown in zip(state["tiers"], found["state"]["tiers"]):
            for fact in ["name", "capacity_bytes", "weight_bytes", "kv_bytes", "limit_bytes_per_s"]:
                self.assertEqual(tier[fact], shown[fact])
        self.assertGreater(state["tiers"][1]["weight_bytes"], 0)
        self.assertGreaterEqual(page.evaluate("document.getElementById('history').points.length"), 2)
        # What this machine has none of: links with windows, a measured above a predicted speed.
        for tier in state["tiers"]:
            tier |= {"window_bytes": 262144, "delay_us": 5.25, "read_bytes_per_s": 51.4e9}
        state |= {"tokens_per_s": 30.5, "predicted_tokens_per_s": 20, "running": 3, "queued": 1234,
                  "preempted": 2, "tiers": state["tiers"] + [state["tiers"][1] | {"name": "peer"}]}
        shown = page.evaluate(f"(() => {{ show({json.dumps(state)}); states.push({json.dumps(state)});"
                              f"return {READ_SHOWN}; }})()")["shown"]
        self.assertEqual(shown, shown_of(state))
        self.assertIn("153 % reached", shown["predicted"])
        self.check(page)

    def test_light_and_dark_are_readable(self):
        page = self.open(self.server)
        page.wait("document.getElementById('status').textContent === 'ready'")
        page.evaluate("(() => { document.getElementById('settings').open = true;"
                      "addMessage('user', 'question');"
                      "const answer = addMessage('assistant', 'answer');"
                      "answer.note.textContent = 'a problem'; answer.note.className = 'error';"
                      "addMessage('assistant', 'more').note.textContent = 'a note'; })()")
        for scheme in ["light", "dark"]:
            self.page.call("Emulation.setEmulatedMedia",
                           features=[{"name": "prefers-color-scheme", "value": scheme}])
            for status in ["good", "bad"]:
                page.evaluate(f"document.getElementById('status').className = '{status}';"
                              "document.getElementById('live').classList.toggle("
                              f"'stale', {json.dumps(status == 'bad')})")
                found = page.evaluate(CONTRAST)
                self.assertGreater(found["texts"], 40)
                self.assertGreaterEqual(found["least"][0], 4.5, (scheme, found["least"]))
                self.assertTrue(found["page"] > 0.8 if scheme == "light" else found["page"] < 0.05)
        self.check(page)

    def test_on_a_phone(self):
        page = self.open(self.server)
        page.wait("document.getElementById('status').textContent === 'ready'")
        page.evaluate("addMessage('assistant', 'x'.repeat(400) + ' ' + 'word '.repeat(400))")
        for width, height in [(390, 844), (320, 568), (844, 390)]:
            page.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                      deviceScaleFactor=3, mobile=True)
            self.assertEqual(page.evaluate("innerWidth"), width)
            self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), width)
            self.assertEqual(page.evaluate(UNREACHABLE), [], (width, height))
        self.check(page)

    def test_text_is_never_markup(self):
        page = self.open(self.server)
        chunk = json.dumps({"choices": [{"index": 0, "delta": {"content": HOSTILE}}]})
        page.answer_chat_with = (200, "text/event-stream", f"data: {chunk}\n\ndata: [DONE]\n\n")
        page.write(HOSTILE)
        page.press("Enter")
        self.finish(page)
        self.assertEqual(page.evaluate("[...document.querySelectorAll('#messages p')].map((e) => e.textContent)"),
                         [HOSTILE, HOSTILE])
        page.answer_chat_with = (200, "text/event-stream", f"data: {chunk}\n\n")
        page.write("And?")
        page.press("Enter")
        self.assertIn("broke off", self.finish(page))
        error = json.dumps({"error": {"message": HOSTILE}})
        for status, body, wanted in [(400, error, HOSTILE), (502, "<html>", "HTTP status 502")]:
            page.answer_chat_with = (status, "text/html", body)
            page.write("And?")
            page.press("Enter")
            self.assertEqual(self.finish(page), wanted)
        self.assertEqual(page.evaluate("document.querySelectorAll('#messages :is(img, script)').length"), 0)
        self.assertIsNone(page.evaluate("window.hacked"))
        self.check(page, errors=2)

    def test_a_key_is_asked_for_and_prefixes_are_its_own(self):
        page = self.open(self.keyed)
        page.wait("document.getElementById('status').textContent === 'needs an API key'")
        self.assertTrue(page.evaluate("document.getElementById('settings').open"))
        self.assertEqual(page.focused(), "apikey")
        page.write("wrong")
        page.wait("document.getElementById('status').textContent === 'the API key is wrong'")
        page.evaluate("document.getElementById('tokens').value = 4")
        question = "a question that is long enough to fill more than one page of the cache, which has 64 tokens"
        cached = []
        for key in ["first", "first", "second"]:
            page.go_to("apikey")
            page.press("a", CONTROL)
            page.write(key)
            page.wait("document.getElementById('status').textContent === 'ready'")
            page.go_to("fresh", SHIFT)
            page.press("Enter")
            page.write(question)
            page.press("Enter")
            cached.append(int(re.search(r"\((\d+) from the cache\)", self.finish(page))[1]))
            page.go_to("SUMMARY")
        self.assertEqual(cached[0], 0)
        self.assertGreaterEqual(cached[1], 64)
        self.assertEqual(cached[2], 0, "another key's prefix was found")
        self.assertNotIn("first", page.evaluate("JSON.stringify(localStorage)"))
        refused = len([e for e in page.errors if "401" in e])
        self.assertGreaterEqual(refused, 2)
        self.check(page, errors=refused)

    def test_a_server_that_goes_and_comes_back(self):
        server = Server(TINY, "--context", "256").ready()
        page = self.open(server)
        page.wait("document.getElementById('status').textContent === 'ready'")
        server.kill()
        page.wait("document.getElementById('status').textContent.startsWith('unreachable')")
        self.assertTrue(page.evaluate("document.getElementById('live').classList.contains('stale')"))
        page.write("Hello?")
        page.press("Enter")
        self.assertIn("cannot be reached", self.finish(page))
        server = Server(TINY, "--context", "256", port=server.port).ready()
        self.addCleanup(server.kill)
        page.wait("document.getElementById('status').textContent === 'ready'")
        self.assertFalse(page.evaluate("document.getElementById('live').classList.contains('stale')"))
        page.write("Hello?")
        page.press("Enter")
        self.assertIn("prompt", self.finish(page))


if __name__ == "__main__":
    cases.run()
