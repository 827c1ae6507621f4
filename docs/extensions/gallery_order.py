"""The order of the pictures: from a first gradient to the insides; what isn't named here comes last."""

TOPICS = ("gradients", "activations", "losses", "initialisers", "start", "digits", "network")
TOPICS += ("convolution", "sequences", "optimisers", "schedules", "scan", "lbfgs", "nan", "tape", "compiler", "speed")


class ByTopic:
    """What Sphinx-Gallery sorts files by."""

    def __init__(self, folder: str) -> None:
        pass

    def __call__(self, file: str) -> tuple[int, str]:
        topic = file.removeprefix("plot_").removesuffix(".py").partition("_")[0]
        return (TOPICS.index(topic) if topic in TOPICS else len(TOPICS), file)
