"""Attacks: `attack(model, x, y) -> x_adv` for any callable model that returns predictions.

The caller guards mode, flags, buffers, `.grad` and random state, and enforces ball and box
(`views.Attacked`); an attack only climbs. What it climbs is a `Goal`: cross-entropy unless told.
"""
