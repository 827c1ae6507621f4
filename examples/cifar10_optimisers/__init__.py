"""Optimisers on CIFAR-10: a tutorial's seven on a ResNet, and the reproduction of Padam."""
