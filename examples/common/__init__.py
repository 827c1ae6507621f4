"""What the experiments share: nothing here belongs to one of them alone.

* A command: `command.py` reads its line and ends it with a word, `files.py` writes files in one move, `lock.py` and
  `signals.py` let processes share a folder and stop.
* A training: `datasets.py`, `models.py`, and in `machine.py` what it was made with.
* A report: `markdown.py`, `checks.py` for statements with verdicts, `pictures.py`, and `page.py` for HTML.
"""
