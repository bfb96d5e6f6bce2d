"""Losses: `loss(outputs) -> scalar`, pure functions of what the model made of the named views.

`reads` lists the labels of the views that a loss needs; the objective makes just those. The
coefficient in front of a loss belongs to the objective, not to the loss.
"""
