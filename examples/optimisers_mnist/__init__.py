"""All optimisers on MNIST under one protocol, Padam's powers, and what each of Adam's numbers does.

    python -m examples.optimisers_mnist quick     # minutes on two cores: trains, draws, reports
    python -m examples.optimisers_mnist full      # more iterations and seeds
    python -m examples.optimisers_mnist --help

`contest.py` says which rules are tried with which values, `training.py` trains one of them once, `job.py` is a process
that trains a rule with all its values; `table.py` reads what they left, `figures.py` draws it, `report.py` writes it
down.
"""
