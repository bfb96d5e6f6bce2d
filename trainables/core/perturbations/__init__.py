"""Perturbation sequences: `perturbation(x, draws) -> frames`, [b, f, c, h, w], as in ImageNet-P.

x [b, c, h, w] are images in [0, 1]; frames follow each other in small steps (arXiv 1903.12261).
Each class says under which `label` the official files and all tables know it, and with `against`
whether a prediction is compared with that of the "previous" frame or, for noise, of the "first".
"""
