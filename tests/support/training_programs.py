"""Iterations of the trainings that benchmarks measure, as programs for the device."""

import numpy as np

import tinyflux as flux
from benchmarks.peers import _tinyflux
from tinyflux.training.cuda_engine import CudaIterations


def training_program(cell):
    """An iteration of a cell, as it is recorded for a loader of such batches, or for all of the data."""
    model, opt = flux.gpu(*_tinyflux(cell))
    loss = getattr(flux, cell.loss)
    samples = max(cell.batchsize, 200)
    data = flux.gpu(np.zeros((samples, 784), np.float32), np.zeros((samples, 10), np.float32))
    size = None if samples == cell.batchsize else cell.batchsize
    return CudaIterations().iteration(lambda m, x, y: loss(m(x), y), model, opt, data, size, None)
