"""Selection on the pretended GPU: the CPU's picks, and how often the host waits for each."""

import functools

import numpy as np
import pytest
import torch
from gpu import DEVICE

import pools
from fakegpu import GPU
from labelbench.common import registry
from labelbench.data.oracle import Oracle
from labelbench.selection import clustering, greedy, linkage, temporaries
from labelbench.selection.pool import Head, Pool

LESS = {"oracle": {"candidates": 13}, "refine": {"depth": 1, "proposals": 9}}


@torch.no_grad()
def select(name, device, arguments, known, budget, seed=0, chunk_size=512, **settings):
    """Picks of a strategy from a pool whose probabilities come from its head."""
    features, _, labelled = arguments
    head, truth = Head(*(torch.as_tensor(part).to(device) for part in known["head"])), known["truth"]
    module = registry.load("strategies", name)
    pool = Pool.from_head(features, head, labelled, truth[labelled], device=device, chunk_size=chunk_size)
    extra = {"oracle": Oracle(truth, budget)} if name in pools.SEQUENTIAL else {}
    extra |= {"true_labels": truth} if name in pools.UPPER_BOUNDS else {}
    config = module.Config(**LESS.get(name, {}) | settings)
    return module.select(pool, budget, config, np.random.default_rng(seed), **extra)


def picked(name, budget):
    """Picks of a strategy on the device, and how often the host waited."""
    with GPU.counted() as found:
        picks = select(name, DEVICE, *pools.classes(n=1200, labelled=40), budget)
    return picks, sum(found.syncs.values())


remembered = functools.cache(picked)


@pytest.mark.parametrize("name", pools.NAMES)
def test_picks_are_the_cpus(name):
    mine, _ = remembered(name, 60)
    assert np.array_equal(mine, select(name, "cpu", *pools.classes(n=1200, labelled=40), 60))


# Each way that a pool can be cut up where it is large.
CUTS = {
    "parts of coverage": ("maxherding", {"largest_part": 100}, []),
    "weighted parts": ("uherding", {"largest_part": 100}, []),
    "tiles of coverage": ("maxherding", {}, [(temporaries, "_ELEMENTS", {"cpu": 1 << 14, "cuda": 1 << 14})]),
    "two levels of clusters": ("typiclust", {}, [(clustering, "ONE_LEVEL", 100)]),
    "clusters in float32": ("kmeans", {}, [(clustering, "_EXACT", 100)]),
    "parts of a dynamic coverage": ("dcom", {"largest_part": 100}, []),
    "cells of a linkage": ("cluster_margin", {}, [(linkage, "LARGEST_CELL", 100)]),
    "blocks of k-centre": ("coreset", {}, [(greedy, "LARGEST_BLOCK", 32)]),
    "principal components": ("bait_topc", {"pca_dim": 3}, []),
}


@pytest.mark.parametrize("how", CUTS)
def test_picks_are_the_cpus_where_the_pool_is_cut_up(how, monkeypatch):
    name, settings, changes = CUTS[how]
    for module, constant, value in changes:
        monkeypatch.setattr(module, constant, value)
    pool = pools.classes(n=400, labelled=0 if "parts" in how else 30)
    mine, theirs = (select(name, device, *pool, 50, chunk_size=64, **settings) for device in (DEVICE, "cpu"))
    assert np.array_equal(mine, theirs)


# Waits of the host for each pick, at most: those of a batch of 60 less those of one of 30, by the difference.
# docs/gpu.md says where they are.
WAITS_PER_PICK = dict.fromkeys(pools.NAMES, 0.0) | {
    "bait": 5.4,
    "bait_binary": 3.0,
    "bait_topc": 9.0,
    "dcom": 1.9,
    "dropquery_class": 1.0,
    "falcun": 4.0,
    "kmeans": 0.2,  # one for each iteration, of which more clusters take more
    "maxherding": 3.8,
    "oracle": 9.6,
    "probcover": 2.6,
    "refine": 16.4,
    "tcm": 2.7,
    "typiclass": 1.0,
    "typiclust": 2.7,
    "uherding": 2.2,
}


def waits_per_pick(name, picked=picked):
    (_, few), (_, many) = (picked(name, budget) for budget in (30, 60))
    return (many - few) / 30


@pytest.mark.parametrize("name", pools.NAMES)
def test_the_host_waits_no_more_often_than_stated(name):
    assert waits_per_pick(name, remembered) <= WAITS_PER_PICK[name]
