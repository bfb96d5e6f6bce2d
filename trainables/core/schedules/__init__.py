"""Schedules of the learning rate: `schedule(progress) -> factor`, progress in [0, 1) of training.

A schedule runs over the full budget, whatever a scheduler grants a trial. Warm-up is common to all.
"""
