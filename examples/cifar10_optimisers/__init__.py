"""The optimisers of two texts on CIFAR-10: trained, compared, and held against what the texts conclude.

python -m examples.cifar10_optimisers quick
"""
