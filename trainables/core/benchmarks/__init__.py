"""Benchmarks: `benchmark(model, sample, task) -> Found`, rows of a table and every example's part.

Every view is a benchmark, too: `OnView` evaluates on what it shows, so an attack, a corruption or a
noise needs no file here. Constructor keywords that `evaluation.Context` has (box, data, store, ...)
are supplied by the caller; all others are settings.
"""
