"""Trials: `core` is the plain PyTorch that trains and evaluates, `trial` is what Ray sees of it."""
