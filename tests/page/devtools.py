"""A headless Chromium, driven by its DevTools protocol over a pipe: no port, no client library."""

import base64
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time

PROGRAMS = ["chromium-headless-shell", "chromium", "google-chrome"]
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), "Backspace": (8, "")}
SHIFT, CONTROL = 8, 2


def find_browser():
    for name in [os.environ.get("DAK_BROWSER", ""), *PROGRAMS]:
        found = name and shutil.which(name)
        if found:
            return found
    raise SystemExit("no headless Chromium here: install Debian's package chromium-headless-shell "
                     "(scripts/install_packages page does), or name another one in DAK_BROWSER")


class Browser:
    """Starts with `start`, so that others may start meanwhile."""

    def __init__(self):
        self.profile = tempfile.TemporaryDirectory(prefix="dak-page-")
        commands_out, self.commands = os.pipe()
        self.answers, answers_in = os.pipe()
        # The browser reads file 3 and writes file 4.
        redirect = f'exec "$0" "$@" 3<&{commands_out} 4>&{answers_in}'
        flags = ["--remote-debugging-pipe", "--headless", "--no-sandbox", "--disable-gpu",
                 "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
                 "--disable-component-update", "--user-data-dir=" + self.profile.name]
        self.process = subprocess.Popen(
            ["bash", "-c", redirect, find_browser(), *flags, "about:blank"],
            pass_fds=(commands_out, answers_in), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(commands_out)
        os.close(answers_in)
        self.lock = threading.Lock()
        self.last_id = 0
        self.waiting = {}
        self.sessions = {}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        rest = b""
        while True:
            got = os.read(self.answers, 1 << 16)
            if not got:
                break
            *messages, rest = (rest + got).split(b"\0")
            for text in messages:
                message = json.loads(text)
                if "id" in message:
                    self.waiting[message["id"]].put(message)
                elif message.get("sessionId") in self.sessions:
                    self.sessions[message["sessionId"]](message["method"], message["params"])
        for one in self.waiting.values():
            one.put({"error": {"message": "the browser has ended"}})

    def call(self, method, session=None, wait=True, **params):
        with self.lock:
            self.last_id += 1
            number = self.last_id
            self.waiting[number] = queue.Queue()
            message = {"id": number, "method": method, "params": params}
            if session:
                message["sessionId"] = session
            os.write(self.commands, json.dumps(message).encode() + b"\0")
        if not wait:
            return None
        try:
            answer = self.waiting[number].get(timeout=20)
        except queue.Empty:
            raise AssertionError(f"the browser does not answer {method}") from None
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def close(self):
        self.call("Browser.close", wait=False)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.profile.cleanup()


class Page:
    """A tab with a session storage of its own."""

    # Runs before the page's own script: notes what the page fetches of its state, what the
    # policy forbids, and how long the conversation's text has been.
    WATCH = """
      window.states = []; window.violations = []; window.lengths = [];
      document.addEventListener('securitypolicyviolation', (e) => violations.push(e.blockedURI));
      const fetched = window.fetch;
      window.fetch = async (...all) => {
        const answer = await fetched(...all);
        if (all[0] === 'state' && answer.ok) {
          const text = await answer.clone().text();
          states.push(JSON.parse(text));
        }
        return answer;
      };
      document.addEventListener('DOMContentLoaded', () => new MutationObserver(() => {
        const last = document.querySelector('#messages .message:last-child p');
        if (last) lengths.push(last.textContent.length);
      }).observe(document.getElementById('messages'), {childList: true, subtree: true}));"""

    def __init__(self, browser, url):
        self.browser = browser
        self.url = url
        self.requests, self.posts, self.errors = [], [], []
        self.answer_chat_with = None  # (status, type, body) instead of the server's
        context = browser.call("Target.createBrowserContext")["browserContextId"]
        self.target = browser.call("Target.createTarget", url="about:blank",
                                   browserContextId=context)["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=self.target,
                                    flatten=True)["sessionId"]
        browser.sessions[self.session] = self._event
        for domain in ["Page", "Runtime", "Network", "Log"]:
            self.call(domain + ".enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        self.call("Fetch.enable", patterns=[{"urlPattern": "*/v1/chat/completions"}])
        self.call("Page.addScriptToEvaluateOnNewDocument", source=self.WATCH)
        self.call("Page.navigate", url=url + "/")
        self.wait("location.protocol === 'http:' && document.readyState === 'complete' && "
                  "document.activeElement !== document.body")  # the page focuses its text field

    def call(self, method, **params):
        return self.browser.call(method, session=self.session, **params)

    def _event(self, method, params):
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])
        elif method == "Fetch.requestPaused":
            self._chat(params)

    def _chat(self, paused):
        self.posts.append(json.loads(paused["request"].get("postData", "{}")))
        if self.answer_chat_with is None:
            self.browser.call("Fetch.continueRequest", session=self.session, wait=False,
                              requestId=paused["requestId"])
            return
        status, kind, body = self.answer_chat_with
        self.browser.call("Fetch.fulfillRequest", session=self.session, wait=False,
                          requestId=paused["requestId"], responseCode=status,
                          responseHeaders=[{"name": "Content-Type", "value": kind}],
                          body=base64.b64encode(body.encode()).decode())

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True,
                           returnByValue=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, expression, seconds=15):
        """Until it is true; what it is."""
        until = time.monotonic() + seconds
        while True:
            value = self.evaluate(expression)
            if value:
                return value
            if time.monotonic() > until:
                shown = self.evaluate("document.body.innerText")
                raise AssertionError(f"never true: {expression}\nthe page says: {shown}")
            time.sleep(0.03)

    def text(self, name):
        return self.evaluate(f"document.getElementById('{name}').textContent")

    def focused(self):
        return self.evaluate("document.activeElement.id || document.activeElement.tagName")

    def press(self, key, modifiers=0):
        # The codes of other signs are those of arrows and the like.
        code = ord(key.upper()) if len(key) == 1 and key.isalnum() else 0
        code, text = KEYS.get(key, (code, "" if modifiers & CONTROL else key))
        event = {"key": key, "code": key if key in KEYS else "", "modifiers": modifiers,
                 "windowsVirtualKeyCode": code}
        commands = {"commands": ["selectAll"]} if (key, modifiers) == ("a", CONTROL) else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **event, **commands)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def write(self, text):
        for letter in text:
            self.press(letter)

    def go_to(self, name, modifiers=0):
        """By the Tab key."""
        for _ in range(15):
            if self.focused() == name:
                return
            self.press("Tab", modifiers)
        raise AssertionError(f"Tab does not reach {name}")

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)
