"""Losses: `loss(outputs) -> scalar`, pure functions of what the model made of the named views.

`reads` lists the labels of the views that a loss needs; the objective makes just those. The
coefficient in front of a loss belongs to the objective, not to the loss.

`tasks` are those that a loss can be used for. `targets`, if it reads any, says whose they may be:
the main "task"'s, those of "other" data, or those that a "view" put in their place; what it names
is checked before training. With `pairs` all of its views must show the same examples.
"""
