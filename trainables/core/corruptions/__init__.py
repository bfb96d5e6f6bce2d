"""Corruptions: `corruption(x, severity, draws) -> x`, batched and on the device of x.

x [b, c, h, w] are images in [0, 1] (for the family of series, [b, c, t] without a box); severity is
1 to 5 as in ImageNet-C and CIFAR-10-C (arXiv 1903.12261). Each class says under which `label` the
official files and all tables know it and to which `group` it belongs, and `moves` where what is in
an image does not stay in its place. As a view a corruption is `augmentations.Corruption`.
"""
