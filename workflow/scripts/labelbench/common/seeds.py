"""Every random draw has an address: (study seed, trial, round, stage)."""

import zlib

import numpy as np


def sequence(seed, trial, round_, stage):
    """The `numpy.random.SeedSequence` of one address; `stage` is a word such as "train" or "select"."""
    return np.random.SeedSequence([seed, trial, round_, zlib.crc32(stage.encode())])


def generator(seed, trial, round_, stage):
    """A numpy Generator for one address."""
    return np.random.default_rng(sequence(seed, trial, round_, stage))


def integer(seed, trial, round_, stage):
    """One 63-bit seed for one address, for libraries that take an integer."""
    return int(sequence(seed, trial, round_, stage).generate_state(1, np.uint64)[0] >> np.uint64(1))
