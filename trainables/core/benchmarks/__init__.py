"""Benchmarks: `benchmark(model, examples, task, seed=…, batch_size=…) -> rows` of a table.

Every view is a benchmark, too: `OnView` evaluates on what it shows, so an attack, a corruption or a
noise needs no file here.
"""
