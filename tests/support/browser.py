"""A page in a real browser: what it looks like, what its console says, and what a script finds on it."""

import contextlib
import http.server
import json
import shutil
import subprocess
import threading

CHROMIUM = shutil.which("chromium")

# Runs before the page's own scripts: notes what goes wrong.
LISTEN = """
<script>
  window.wrong = [];
  addEventListener("error", (event) => wrong.push(String(event.message)));
  addEventListener("unhandledrejection", (event) => wrong.push(String(event.reason)));
  console.error = (...words) => wrong.push(words.join(" "));
</script>
"""

# Runs once the page says that it is ready. `until` waits for something to become true.
LOOK = """
<script>
  (async () => {
    const seen = {}, sleep = (ms) => new Promise((go) => setTimeout(go, ms));
    const until = async (what) => {
      for (let i = 0; i < 600; i++) { if (what()) return; await sleep(50); }
      throw Error(`never came true: ${what}`);
    };
    try {
      await until(() => READY);
      await (async () => { SCRIPT })();
    } catch (error) { wrong.push(`${error.stack}`); }
    seen.wrong = wrong;
    seen.requests = performance.getEntriesByType("resource").map((x) => x.name).filter((x) => !/^(data|blob):/.test(x));
    await fetch("ADDRESS", { method: "POST", mode: "no-cors", body: JSON.stringify(seen) });
  })();
</script>
"""


def look(text, ready, script, folder, width=1280, height=800, dark=False):
    """What a script leaves in `seen` on a page; with the errors, as `wrong`, and the files it asked for, as `requests`.

    The page stands in a frame of the size that is wanted, as a browser's window can't be as narrow as a phone.

    Arguments:
        text: the page's HTML.
        ready: a condition in JavaScript, which comes true when the page has been drawn.
        script: JavaScript, in which one can await, and that sets fields of `seen`.
        folder: for temporary files.
        dark: whether the reader prefers dark pages.
    """
    with answers() as (address, answer):
        added = LOOK.replace("READY", ready).replace("SCRIPT", script).replace("ADDRESS", address)
        page = folder / "page.html"
        page.write_text(text.replace("<head>", "<head>" + LISTEN, 1).replace("</body>", added + "</body>"))
        frame = folder / "frame.html"
        frame.write_text(f'<iframe src="page.html" width="{width}" height="{height}"></iframe>')
        quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
        drawing = ["--headless", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
        options = [*drawing, *quiet, scheme, "--window-size=1400,1000", f"--user-data-dir={folder / 'profile'}"]
        browser = subprocess.Popen(  # the port keeps it from ending by itself
            [
                CHROMIUM,
                *options,
                "--remote-debugging-port=0",
                frame.as_uri(),
            ],  # the port keeps it from ending by itself
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            return answer(timeout=120)
        finally:
            browser.terminate()
            browser.wait(timeout=20)


@contextlib.contextmanager
def answers():
    """A server for one answer: its address, and a function that waits for the answer."""
    found, come = [], threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            found.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            come.set()

        def log_message(self, *words):
            pass

    def answer(timeout):
        assert come.wait(timeout), "the page never answered"
        return found[0]

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", answer
        finally:
            server.shutdown()
            thread.join()
