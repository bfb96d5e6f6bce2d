"""Architectures: `features(x) -> [b, width]`, `head`, and forward = head(features(x)).

The first layer normalises, so inputs stay in natural units. `stages()` lists the trunk's parts in
order. The input shape, the number of outputs and the training data's mean and deviation per channel
are facts that the recipe supplies.
"""
