"""What the experiments share: nothing here belongs to one of them alone.

* A command: `command.py` reads its line and ends it with a word; `files.py` writes files in one move.
* Runs: `folder.py` keeps what one has come to, `workers.py` and `process.py` train each in a process, `progress.py`
  shows how far they are; `lock.py` keeps two processes apart, `signals.py` asks one to stop.
* A training: `datasets.py`, `models.py`, `iterations.py`, and in `machine.py` what it was made with.
* A report: `pictures.py`, `markdown.py`, `spread.py` for several seeds, `checks.py` for statements with verdicts, and
  `page.py` for HTML.
"""
