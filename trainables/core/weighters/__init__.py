"""Weighters: `weighter(losses, gradients) -> weights`, all [k], the main loss first.

`losses` are the k losses times their coefficients, detached. `gradients.gramian` [k, k] holds the
products of their gradients; it is computed only if it is read, at the cost of k backward passes
instead of one. State lives in buffers. `scope` and `normalise` are common to all (`weighing.py`).
"""
