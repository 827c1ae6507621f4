"""The three articles "Flux.jl on MNIST", to repeat: 18 trainings, their figures, and a report.

    python -m examples.flux_mnist quick      # minutes on two cores: trains, draws, reports, and says where to look
    python -m examples.flux_mnist article    # the articles' own numbers of iterations
    python -m examples.flux_mnist --help

`grid.py` says which runs there are, `training.py` trains one, `state.py` saves it and knows it again, `job.py` is a
process that trains one, here or, by `cluster.py`, elsewhere; `table.py` reads what they left, `figures.py` draws it,
`claims.py` holds it against the articles, `report.py` writes it down.
"""
