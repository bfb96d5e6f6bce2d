"""Named arms: what a method of the field adds to plain training, with ranges and paper defaults.

A method is a mapping with `views` and `losses` of a recipe; any leaf may be a range. No torch.
Presets are looked up by name with "-" and "_" alike; the spelling of the auxiliary-loss experiments
("gaussian-kl_0.1", "adversarial-attack") is accepted, too.
"""

from __future__ import annotations

import copy
import difflib
from typing import Any

Tree = dict[str, Any]

COEFFICIENT = {"low": 0.01, "high": 10.0, "log": True, "default": 1.0}
SIGMA = {"low": 0.01, "high": 0.5, "log": True, "default": 0.1}

METHODS: dict[str, Tree] = {
    # The task's main loss on the clean view and nothing else.
    "plain": {},
    # Kullback-Leibler divergence between the clean and a noisy prediction, gradient through both.
    "gaussian_kl": {
        "views": {
            "noisy": {
                "name": "GaussianNoise",
                "sigma": SIGMA,
            }
        },
        "losses": {
            "kl": {
                "name": "Consistency",
                "target": "clean",
                "view": "noisy",
                "stop_gradient": False,
                "coefficient": COEFFICIENT,
            }
        },
    },
    # Unsupervised data augmentation (arXiv 1904.12848) with noise as the augmentation.
    "uda": {
        "views": {
            "noisy": {
                "name": "GaussianNoise",
                "sigma": SIGMA,
            }
        },
        "losses": {
            "kl": {
                "name": "Consistency",
                "target": "clean",
                "view": "noisy",
                "stop_gradient": True,
                "temperature": {"low": 0.4, "high": 1.0, "default": 0.4},
                "coefficient": COEFFICIENT,
            }
        },
    },
    # Training on noisy inputs with their labels, beside the clean ones.
    "gaussian": {
        "views": {
            "noisy": {
                "name": "GaussianNoise",
                "sigma": SIGMA,
            }
        },
        "losses": {"noisy": {"name": "CrossEntropy", "view": "noisy", "coefficient": COEFFICIENT}},
    },
    # Cross-entropy on attacked inputs beside the clean one (10 steps as arXiv 1706.06083 trains).
    "adversarial": {
        "views": {"adv": {"name": "PGD", "norm": "linf", "eps": "8/255", "steps": 10}},
        "losses": {"adv": {"name": "CrossEntropy", "view": "adv", "coefficient": COEFFICIENT}},
    },
    # Adversarial training proper (arXiv 1706.06083): attacked inputs only.
    "adversarial_training": {
        "views": {"adv": {"name": "PGD", "norm": "linf", "eps": "8/255", "steps": 10}},
        "losses": {"main": {"name": "CrossEntropy", "view": "adv"}},
    },
    # UDA with few labels (set data.labels): consistency on examples whose labels are hidden.
    "uda_few_labels": {
        "views": {
            "unlabelled": {"name": "Unlabelled", "ratio": {"low": 1, "high": 7, "default": 1}},
            "noisy": {"name": "GaussianNoise", "of": "unlabelled", "sigma": SIGMA},
        },
        "losses": {
            "kl": {
                "name": "Consistency",
                "target": "unlabelled",
                "view": "noisy",
                "temperature": {"low": 0.4, "high": 1.0, "default": 0.4},
                "confidence": {"low": 0.0, "high": 0.95, "default": 0.8},
                "coefficient": COEFFICIENT,
            }
        },
    },
    # TRADES (arXiv 1901.08573): the view climbs the divergence that the loss names; beta is 6,
    # searched from 1 to 10 there.
    "trades": {
        "views": {
            "adv": {
                "name": "PGD",
                "norm": "linf",
                "eps": 0.031,
                "steps": 10,
                "step_size": 0.007,
                "climbs": "kl",
                "start_sigma": 0.001,
            }
        },
        "losses": {
            "robust": {
                "name": "TRADES",
                "view": "adv",
                "coefficient": {"low": 1.0, "high": 10.0, "log": True, "default": 6.0},
            }
        },
    },
    # Misclassification-aware adversarial training (Wang et al., ICLR 2020), lambda 5.
    "mart": {
        "views": {
            "adv": {"name": "PGD", "norm": "linf", "eps": 0.031, "steps": 10, "step_size": 0.007}
        },
        "losses": {
            "main": {"name": "MART", "view": "adv", "term": "boosted"},
            "robust": {
                "name": "MART",
                "view": "adv",
                "term": "weighted-kl",
                "coefficient": {"low": 1.0, "high": 10.0, "log": True, "default": 5.0},
            },
        },
    },
    # Adversarial logit pairing (arXiv 1803.06373): both views have their labels.
    "logit_pairing": {
        "views": {"adv": {"name": "PGD", "norm": "linf", "eps": "8/255", "steps": 10}},
        "losses": {
            "adv": {"name": "CrossEntropy", "view": "adv", "coefficient": COEFFICIENT},
            "pairing": {
                "name": "LogitPairing",
                "view": "adv",
                "coefficient": {"low": 0.01, "high": 10.0, "log": True, "default": 0.5},
            },
        },
    },
    # Double backpropagation (arXiv 1711.09404); the coefficient depends on the input's units.
    "input_gradient_penalty": {
        "losses": {
            "penalty": {
                "name": "InputGradientPenalty",
                "coefficient": {"low": 0.001, "high": 100.0, "log": True, "default": 1.0},
            }
        },
    },
    # AugMix with its consistency term, 12 times (arXiv 1912.02781).
    "augmix": {
        "views": {
            "mixed1": {"name": "AugMix", "severity": {"low": 1, "high": 10, "default": 3}},
            "mixed2": {"name": "AugMix", "severity": {"low": 1, "high": 10, "default": 3}},
        },
        "losses": {
            "divergence": {
                "name": "JensenShannon",
                "views": ["clean", "mixed1", "mixed2"],
                "coefficient": {"low": 1.0, "high": 24.0, "log": True, "default": 12.0},
            }
        },
    },
    # The same with noise as the augmentation.
    "jensen_shannon": {
        "views": {
            "augmented1": {"name": "GaussianNoise", "sigma": SIGMA},
            "augmented2": {"name": "GaussianNoise", "sigma": SIGMA},
        },
        "losses": {
            "divergence": {
                "name": "JensenShannon",
                "views": ["clean", "augmented1", "augmented2"],
                "coefficient": {"low": 1.0, "high": 24.0, "log": True, "default": 12.0},
            }
        },
    },
    # Contrast between two crops of each image beside the labels (SimCLR, arXiv 2002.05709); its
    # further augmentations can be put in the place of these.
    "nt_xent": {
        "views": {"augmented1": {"name": "Compose"}, "augmented2": {"name": "Compose"}},
        "losses": {
            "contrast": {
                "name": "NTXent",
                "temperature": {"low": 0.05, "high": 1.0, "log": True, "default": 0.5},
                "coefficient": COEFFICIENT,
            }
        },
    },
    # The same with all examples of a class as positives (arXiv 2004.11362).
    "supervised_contrastive": {
        "views": {"augmented1": {"name": "Compose"}, "augmented2": {"name": "Compose"}},
        "losses": {
            "contrast": {
                "name": "SupervisedContrastive",
                "temperature": {"low": 0.05, "high": 1.0, "log": True, "default": 0.1},
                "coefficient": COEFFICIENT,
            }
        },
    },
    # Say how an image was turned (RotNet, arXiv 1803.07728), beside its class.
    "rotation": {
        "views": {"rotated": {"name": "Rotate90"}},
        "losses": {
            "rotation": {
                "name": "RotationPrediction",
                "view": "rotated",
                "coefficient": COEFFICIENT,
            }
        },
    },
    # Fill in what was hidden of a series (arXiv 2010.02803), beside its class.
    "masked_reconstruction": {
        "views": {
            "masked": {"name": "MaskValues", "share": {"low": 0.05, "high": 0.75, "default": 0.15}}
        },
        "losses": {
            "reconstruction": {
                "name": "MaskedReconstruction",
                "view": "masked",
                "coefficient": COEFFICIENT,
            }
        },
    },
    # Training on augmented images alone, by fixed policies: arXiv 1805.09501, 1909.13719 and
    # 2103.10158.
    "auto_augment": {
        "views": {"augmented": {"name": "AutoAugment", "policy": "cifar10"}},
        "losses": {"main": {"name": "CrossEntropy", "view": "augmented"}},
    },
    "rand_augment": {
        "views": {
            "augmented": {
                "name": "RandAugment",
                "count": {"low": 1, "high": 3, "default": 2},
                "magnitude": {"low": 3, "high": 15, "default": 9},
            }
        },
        "losses": {"main": {"name": "CrossEntropy", "view": "augmented"}},
    },
    "trivial_augment": {
        "views": {"augmented": {"name": "TrivialAugmentWide"}},
        "losses": {"main": {"name": "CrossEntropy", "view": "augmented"}},
    },
    # Adversarial AutoAugment (arXiv 1912.11188): M copies by policies that learn to raise the loss.
    # Its entropy weight of 1e-5 lets policies collapse, so the search goes up to 0.5.
    "adversarial_autoaugment": {
        "views": {
            "policy": {
                "name": "AdversarialAutoAugment",
                "entropy": {"low": 1e-5, "high": 0.5, "log": True, "default": 1e-5},
                "lr": {"low": 1e-4, "high": 1e-2, "log": True, "default": 3.5e-4},
            }
        },
        "losses": {"main": {"name": "CrossEntropy", "view": "policy"}},
    },
    # Its control: as many copies by policies that are drawn and learn nothing.
    "uniform_policies": {
        "views": {"policy": {"name": "UniformPolicies"}},
        "losses": {"main": {"name": "CrossEntropy", "view": "policy"}},
    },
    # Other main losses than cross-entropy: focal (arXiv 1708.02002), Crammer and Singer's hinge,
    # squares (arXiv 2006.07322).
    "focal": {
        "losses": {"main": {"name": "Focal", "gamma": {"low": 0.0, "high": 5.0, "default": 2.0}}}
    },
    "hinge": {
        "losses": {
            "main": {
                "name": "Hinge",
                "margin": {"low": 0.1, "high": 10.0, "log": True, "default": 1.0},
            }
        }
    },
    "mse": {"losses": {"main": {"name": "MSE"}}},
    # Training on mixed examples only: arXiv 1710.09412 and 1905.04899.
    "mixup": {
        "views": {
            "mixed": {
                "name": "Mixup",
                "alpha": {"low": 0.1, "high": 4.0, "log": True, "default": 1.0},
            }
        },
        "losses": {"main": {"name": "CrossEntropy", "view": "mixed"}},
    },
    "cutmix": {
        "views": {
            "mixed": {
                "name": "CutMix",
                "alpha": {"low": 0.1, "high": 4.0, "log": True, "default": 1.0},
                "p": {"low": 0.1, "high": 1.0, "default": 1.0},
            }
        },
        "losses": {"main": {"name": "CrossEntropy", "view": "mixed"}},
    },
}
# Old spelling -> method, and where its one value goes.
OLD = {
    "gaussian-kl": ("gaussian_kl", ("views", "noisy", "sigma")),
    "adversarial-attack": ("adversarial", ("views", "adv", "eps")),
}
OLD_ATTACKS = {"FGSM": "FGSM", "PGD": "PGD"}


class MethodError(ValueError):
    """A method or an attack file that we do not know; the message names the nearest."""


def names() -> list[str]:
    """All methods' names."""
    return sorted(METHODS)


def method(name: str) -> Tree:
    """A copy of the method `name`; "gaussian-kl_0.1" fixes sigma at 0.1.

    Raises `MethodError` naming the nearest method.
    """
    plain = name.replace("-", "_")
    if plain in METHODS:
        return copy.deepcopy(METHODS[plain])
    word, _, value = name.rpartition("_")
    for old, (new, path) in OLD.items():
        if name == old:
            return copy.deepcopy(METHODS[new])
        if word == old:
            tree = copy.deepcopy(METHODS[new])
            inner: Any = tree
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value
            return tree
    known = [*METHODS, *OLD]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise MethodError(f"Unknown method {name!r}.{hint} Known: {', '.join(sorted(known))}.")


def attack(old: dict[str, Any]) -> Tree:
    """The view that an attack file of the auxiliary-loss experiments stands for.

    Keys: attack_name (FGSM, PGD), constraint ("2", "inf"), epsilon (number or "4/255") and
    attack_args (steps, abs_stepsize or rel_stepsize times epsilon, random_start). eps is in the
    units of the input, as it was meant there. Raises `MethodError` for anything else: MIM, for one,
    was run there without its momentum.
    """
    if not isinstance(old, dict):
        raise MethodError(f"An attack file is a mapping, found {old!r}.")
    unknown = set(old) - {"attack_name", "constraint", "epsilon", "attack_args"}
    for key in ("attack_name", "constraint", "epsilon"):
        if key not in old:
            raise MethodError(f"An attack file needs {key!r}; found {', '.join(sorted(old))}.")
    if unknown:
        raise MethodError(f"Unknown key {min(unknown)!r} in the attack file.")
    name = str(old["attack_name"]).upper()
    if name not in OLD_ATTACKS:
        raise MethodError(f"Unknown attack_name {name!r}. Known: {', '.join(OLD_ATTACKS)}.")
    view: Tree = {"name": name, "norm": str(old["constraint"]), "eps": old["epsilon"]}
    arguments = old.get("attack_args") or {}
    if not isinstance(arguments, dict):
        raise MethodError(f"attack_args must be a mapping, found {arguments!r}.")
    arguments = dict(arguments)
    if name == "PGD":
        # The defaults of the library that those experiments called.
        view["steps"] = arguments.pop("steps", 50 if view["norm"] == "2" else 40)
        relative = arguments.pop("rel_stepsize", 0.025 if view["norm"] == "2" else 0.01 / 0.3)
        scaled = _number("rel_stepsize", relative) * _number("epsilon", view["eps"])
        view["step_size"] = arguments.pop("abs_stepsize", scaled)
        view["random_start"] = arguments.pop("random_start", True)
    if arguments:
        raise MethodError(f"Unknown attack_args of {name}: {', '.join(sorted(arguments))}.")
    return view


def _number(key: str, value: Any) -> float:
    """A number, or a quotient such as "4/255"."""
    over, _, under = str(value).partition("/")
    try:
        return float(over) / float(under or 1)
    except (ValueError, ZeroDivisionError):
        raise MethodError(
            f"{key} of an attack file must be a number or a quotient, found {value!r}."
        ) from None
