"""The code of a Markdown page, performed from top to bottom as a reader would."""

import doctest
import re
import sys
from pathlib import Path

BLOCK = re.compile(r"^(<!-- not run: [^\n]+ -->\n)?```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(text):
    """The Python blocks that are to be run, each with the number of its line."""
    for match in BLOCK.finditer(text):
        if match[2] == "python" and not match[1]:
            yield text.count("\n", 0, match.start(3)), match[3]


def perform(path: Path):
    """Run the blocks of a page in one namespace; those at a prompt must print what the page says."""
    names = {"__name__": "__main__"}
    text = path.read_text(encoding="utf-8")
    for line, code in blocks(text):
        if code.lstrip().startswith(">>>"):
            _converse(path, line, code, names)
        else:
            exec(compile("\n" * line + code, str(path), "exec"), names)


def _converse(path, line, code, names):
    examples = doctest.DocTestParser().get_examples(code)
    test = doctest.DocTest(examples, names, path.name, str(path), line, code)
    test.globs = names  # not its copy: functions of earlier blocks are to see what is changed here
    said = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=OPTIONS)
    failures, _ = runner.run(test, out=said.append, clear_globs=False)
    assert not failures, "".join(said)


if __name__ == "__main__":
    perform(Path(sys.argv[1]))
