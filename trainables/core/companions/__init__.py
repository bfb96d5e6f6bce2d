"""Views that bring examples of their own: `companion(count, draws) -> Batch`, drawn at random.

`classes` is the number of classes of their targets, 0 where these are no classes; `targets` says
whose they are: those of "other" data, or "hidden".
"""
