"""Two processes leave what one process leaves: gradients, losses, weights and statistics."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainables.core.augmentations import _policies
from trainables.core.parallel import Team, convert

from .pair import second, steps

DIGITS = {"name": "Digits", "limit": 200}
MLP = {"name": "MLP", "hidden": [12]}
WIDE = {"name": "WideResNet", "depth": 10, "widen": 1, "dropout": 0.2}
KL = {
    "views": {"noisy": "gaussian_0.1"},
    "losses": {"kl": {"name": "Consistency", "stop_gradient": False, "coefficient": 2}},
}
PGD = {"name": "PGD", "norm": "linf", "eps": 0.1, "steps": 3}
ADVERSARIAL = {
    "views": {"adv": PGD},
    "losses": {"adv": {"name": "CrossEntropy", "view": "adv"}},
}
TWO = {"augmented1": {"name": "RandomCrop", "padding": 1}, "augmented2": "gaussian_0.2"}
AUGMIX = {
    "views": {"mixed1": "AugMix", "mixed2": "AugMix"},
    "losses": {"jsd": {"name": "JensenShannon", "views": ["clean", "mixed1", "mixed2"]}},
}
POLICIES = {
    "views": {
        "policies": {
            "name": "AdversarialAutoAugment",
            "policies": 3,
            "subpolicies": 2,
            "operations": 16,
            "update_every": 2,
        }
    },
    "losses": {"main": {"name": "CrossEntropy", "view": "policies"}},
}
OTHER = {
    "views": {
        "auxiliary": {"name": "OtherData", "data": {"name": "Digits", "limit": 60}, "batch_size": 1}
    },
    "losses": {"second": {"name": "AuxiliaryTask", "hidden": 4}},
}

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "gaussian-kl": KL,
    "adversarial": ADVERSARIAL,
    "attack of a view": {
        "views": {"turned": "Rotate90", "noisy": "gaussian_0.1", "adv": PGD | {"of": "noisy"}},
        "losses": {
            "adv": {"name": "TRADES", "view": "adv"},
            "rotation": {"name": "RotationPrediction", "view": "turned"},
        },
    },
    "view of an attack": {
        "views": {"adv": PGD, "cut": {"name": "CutMix", "of": "adv"}},
        "losses": {"cut": {"name": "CrossEntropy", "view": "cut"}},
    },
    "contrastive": {
        "views": TWO,
        "losses": {"nt-xent": {"name": "NTXent", "projection": 5}},
        "weighter": "PCGrad",
    },
    "supervised contrastive": {
        "views": TWO,
        "losses": {"contrast": {"name": "SupervisedContrastive", "projection": 5}},
    },
    "masked": {
        "views": {"masked": "Cutout"},
        "losses": {"rebuilt": {"name": "MaskedReconstruction", "hidden": 4}},
    },
    "input gradient": {"losses": {"penalty": {"name": "InputGradientPenalty"}}},
    "input gradient through statistics": {
        "architecture": WIDE,
        "losses": {"penalty": {"name": "InputGradientPenalty"}},
        "weighter": "MGDA",
    },
    "similarity": KL | {"weighter": "GradientSimilarity"},
    "similarity on the last layer": KL
    | {"weighter": {"name": "GradientSimilarity", "scope": "last-layer"}},
    "surgery": ADVERSARIAL | {"weighter": "PCGrad"},
    "cov": KL | {"weighter": "CoV"},
    "uncertainty": KL | {"weighter": "Uncertainty"},
    "looks back": KL | {"weighter": "FAMO", "architecture": WIDE},
    "augmix": AUGMIX | {"architecture": WIDE},
    "policies": POLICIES,
    "mixup": {"training": {"augment": ["Mixup"]}},
    "policies that are attacked": {
        "architecture": WIDE,
        "views": {
            "policies": {"name": "UniformPolicies", "policies": 2, "update_every": 2},
            "adv": PGD | {"norm": "l2", "of": "policies"},
        },
        "losses": {
            "main": {"name": "CrossEntropy", "view": "policies"},
            "adv": {"name": "TRADES", "target": "policies", "view": "adv"},
        },
        "weighter": "GradientSimilarity",
    },
    "statistics": KL | {"architecture": WIDE},
    "statistics view by view": KL | {"architecture": WIDE, "training": {"forward": "separate"}},
    "one row of a second task": OTHER,
    "one row of a second task by itself": OTHER | {"training": {"forward": "separate"}},
    "a vision transformer": {
        "architecture": {
            "name": "ViT",
            "width": 8,
            "depth": 1,
            "heads": 2,
            "patch": 4,
            "dropout": 0.1,
        }
    },
    "shaken": {"architecture": {"name": "ShakeShake", "depth": 8, "width": 4}},
    "dropped": {"architecture": {"name": "PyramidNet", "depth": 8, "alpha": 6}},
    "regression": {
        "data": {"name": "TSER", "dataset": "Slopes"},
        "views": {"adv": PGD | {"norm": "l2"}},
        "losses": {"adv": {"name": "MSE", "view": "adv"}},
        "weighter": "GradNorm",
    },
    # Each process reads its own images. Other detectors divide by the boxes of a batch.
    "detection": {
        "data": {"name": "COCO", "size": 64, "in_memory": False, "workers": 0},
        "architecture": {"name": "RetinaNetResNet50", "size": 64, "longest": 64},
        "views": {"noisy": "gaussian_0.1"},
        "losses": {"noisy": {"name": "DetectionLoss", "view": "noisy", "term": "box"}},
        "weighter": {"name": "GradientSimilarity", "scope": "last-layer"},
    },
    "series": {
        "data": {"name": "UCR", "dataset": "Waves"},
        "architecture": {"name": "FCN", "filters": [4, 6, 4]},
        "views": {"masked": "MaskValues"},
        "losses": {"rebuilt": {"name": "MaskedReconstruction"}},
    },
}


SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """The second process, started once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        with second(tmp_path_factory.mktemp("pair")) as process:
            yield process


def compare(other: subprocess.Popen[str], case: dict[str, Any]) -> None:
    """The last step of two processes is that of one."""
    assert other.stdin is not None
    other.stdin.write(json.dumps(case) + "\n")
    other.stdin.flush()
    two, step = steps(case, Team(0, 2))
    with pytest.MonkeyPatch.context() as patch:
        # What stands for one process must not ask the other.
        patch.setattr(_policies, "_parallel", lambda: False)
        one, expected = steps(case, Team())
    assert_same(step.losses, expected.losses)
    assert_same(step.weights, expected.weights)
    largest = max(float(p.grad.abs().max()) for p in one.parameters if p.grad is not None)
    assert largest > 1e-6
    for mine, theirs in zip(two.stepped, one.stepped, strict=True):
        assert (mine.grad is None) == (theirs.grad is None)
        if mine.grad is not None and theirs.grad is not None:
            assert float((mine.grad - theirs.grad).abs().max()) < 1e-12 * max(1.0, largest)
    for got, wanted in ((two.model, one.model), (two.objective, one.objective)):
        assert_same(got.state_dict(), wanted.state_dict())


def assert_same(got: Any, wanted: Any) -> None:
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-12)


def case_of(recipe: dict[str, Any], root: Path, rows: int, count: int = 2) -> dict[str, Any]:
    full = {"data": DIGITS, "architecture": MLP} | copy.deepcopy(recipe)
    return {"recipe": full, "root": str(root), "rows": rows, "steps": count}


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=SLOW if one == "detection" else ()) for one in CASES]
)
def test_two_processes_leave_what_one_does(
    name: str, other: subprocess.Popen[str], small_root: Path
) -> None:
    # An odd number of rows: the processes' parts differ.
    rows, count = (3, 1) if name == "detection" else (9, 3 if "policies" in name else 2)
    compare(other, case_of(CASES[name], small_root, rows, count))


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_last_batch_may_be_smaller_than_the_team(
    rows: int, other: subprocess.Popen[str], small_root: Path
) -> None:
    compare(other, case_of(KL | {"weighter": "GradientSimilarity"}, small_root, rows))


# --- without a second process -------------------------------------------------------------------


@pytest.mark.parametrize(("count", "size"), [(9, 2), (8, 3), (3, 3), (100, 7)])
def test_rows_are_dealt_in_order_and_evenly(count: int, size: int) -> None:
    parts = [Team(rank, size).part(count) for rank in range(size)]
    assert [row for part in parts for row in range(count)[part]] == list(range(count))
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) - min(lengths) <= 1


def test_of_too_few_rows_all_take_all() -> None:
    assert not Team(1, 3).splits(2)
    assert Team(1, 3).part(2) == slice(0, 2)


def test_alone_nothing_is_replaced() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    before = list(model.modules())
    convert(model, Team())
    assert [id(one) for one in model.modules()] == [id(one) for one in before]


def test_what_is_replaced_keeps_names_and_parameters() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).eval()
    twin = copy.deepcopy(model)
    parameters = [id(one) for one in model.parameters()]
    convert(model, Team(0, 2))
    assert [id(one) for one in model.parameters()] == parameters
    assert model.state_dict().keys() == twin.state_dict().keys()
    assert not any(one.training for one in model.modules())
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(x), twin(x))
