"""The functions people test optimisers on, the paths of rules over them, and a tutorial's path that is right by chance.

python -m examples.landscapes
python -m examples.landscapes --interactive
"""
