"""The functions people test optimisers on, the paths of rules over them, and a tutorial whose gradient is none.

python -m examples.landscapes
"""
