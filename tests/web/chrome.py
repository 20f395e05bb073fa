"""A headless Chromium, driven over two pipes by the DevTools protocol (JSON, each message ends with a NUL). No package needed.

    with Chrome(folder) as chrome:
        page = chrome.page()
        page.open("http://127.0.0.1:8420/")
        page.wait("document.title.includes('Overview')", "the first page")
Fails with a sentence; keeps console messages, requests and exceptions of the page.
"""
import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time


class Failure(Exception):
    """A sentence about what is wrong."""


def program():
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Chrome:
    def __init__(self, folder):
        to_read, self.output = os.pipe()
        self.input, to_write = os.pipe()
        self.buffer, self.number, self.answers, self.pages = b"", 0, {}, {}
        command = [program(), "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions",
                   "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps", "--hide-scrollbars",
                   "--disable-dev-shm-usage", "--disable-features=Translate,OptimizationHints,MediaRouter", f"--user-data-dir={folder}", "about:blank"]

        def pipes():
            os.setsid()
            kept = [os.dup(to_read), os.dup(to_write)]
            os.dup2(kept[0], 3)
            os.dup2(kept[1], 4)

        self.errors = open(os.path.join(folder, "chromium.log"), "wb")
        self.process = subprocess.Popen(command, preexec_fn=pipes, pass_fds=(3, 4), stdin=subprocess.DEVNULL, stdout=self.errors, stderr=self.errors)
        os.close(to_read)
        os.close(to_write)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close", wait=2)
            self.process.wait(3)
        except (Failure, OSError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(5)
        for descriptor in (self.input, self.output):
            os.close(descriptor)
        self.errors.close()

    def pump(self, seconds):
        """Takes what comes within so many seconds; returns after the first piece."""
        if not select.select([self.input], [], [], max(0, seconds))[0]:
            return
        piece = os.read(self.input, 1 << 20)
        if not piece:
            raise Failure("Chromium ended; see chromium.log")
        *messages, self.buffer = (self.buffer + piece).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self.answers[message["id"]] = message
            elif message.get("sessionId") in self.pages:
                self.pages[message["sessionId"]].event(message["method"], message["params"])

    def call(self, method, params=None, session=None, wait=20):
        self.number += 1
        number = self.number
        message = {"id": number, "method": method, "params": params or {}, **({"sessionId": session} if session else {})}
        os.write(self.output, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + wait
        while number not in self.answers:
            if time.monotonic() > end:
                raise Failure(f"Chromium gave no answer to {method} within {wait} s")
            self.pump(end - time.monotonic())
        answer = self.answers.pop(number)
        if "error" in answer:
            raise Failure(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def page(self):
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        return Page(self, session, target)


class Page:
    def __init__(self, chrome, session, target):
        self.chrome, self.session, self.target = chrome, session, target
        self.console, self.requests, self.failed = [], [], []
        chrome.pages[session] = self
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, params=None, **more):
        return self.chrome.call(method, params, self.session, **more)

    def event(self, method, params):
        if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.console.append(" ".join(str(one.get("value", one.get("description"))) for one in params["args"]))
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.console.append(f"exception: {details.get('exception', {}).get('description', details['text'])}")
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            if "willReadFrequently" not in params["entry"]["text"]:  # that is about our own look at the pixels
                self.console.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Network.responseReceived" and params["response"]["status"] >= 400:
            self.failed.append(f"{params['response']['status']} {params['response']['url']}")

    def open(self, url):
        self.call("Page.navigate", {"url": url})

    def run(self, script):
        """Value of a JavaScript expression; a promise is waited for."""
        answer = self.call("Runtime.evaluate", {"expression": script, "returnByValue": True, "awaitPromise": True})
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise Failure(f"{script[:120]}: {details.get('exception', {}).get('description', details['text'])}")
        return answer["result"].get("value")

    def wait(self, script, what, seconds=10.0):
        """Until the expression is true; how long that took in seconds."""
        begin = time.monotonic()
        while True:
            value = self.run(f"(async () => Boolean(await ({script})))()")
            if value:
                return time.monotonic() - begin
            if time.monotonic() - begin > seconds:
                raise Failure(f"{what}: not within {seconds:g} s ({script[:160]} is false)")
            time.sleep(0.03)

    def size(self, width, height, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone})

    def scheme(self, name):
        self.call("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": name}]})

    def key(self, key, text=None, shift=False):
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40}
        event = {"key": key, "windowsVirtualKeyCode": codes.get(key, ord(key[0].upper()) if len(key) == 1 else 0), "modifiers": 8 if shift else 0}
        text = text or ("\r" if key == "Enter" else key if len(key) == 1 else None)
        self.call("Input.dispatchKeyEvent", {"type": "keyDown", **event, **({"text": text} if text else {})})
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", **event})

    def mouse(self, kind, x, y, clicks=0, held=False):
        self.call("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, "button": "left" if clicks or held else "none", "buttons": int(held), "clickCount": clicks})

    def click(self, selector):
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def shot(self, path):
        data = self.call("Page.captureScreenshot", {"format": "png"})["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))
