"""What evaluating robustness costs against the libraries that a user would take instead.

    python -m benchmarks.robustness [--part pgd] [--peers DIR] [--interpreter PYTHON] [--rounds N]

Parts: "pgd" (projected gradient descent against a loop by hand and torchattacks, in bfloat16, and
with fooled points leaving the batch), "autoattack" (model rows against pyautoattack),
"corruptions" (every type against imagecorruptions), "cache" (an evaluation that is known against
the first one) and "policies" (augmentation policies against torchvision, image by image).

The libraries are no dependencies of this project. `--peers DIR` is a folder of attack libraries:

    pip install --no-deps --target DIR torchattacks==3.5.1 pyautoattack==0.2.0

`--interpreter PYTHON` is the interpreter of an environment that imagecorruptions still works in:

    python3.11 -m venv ENV
    ENV/bin/pip install numpy==1.26.4 scipy numba pillow setuptools==65.5.0 \\
        scikit-image==0.22.0 opencv-python-headless==4.11.0.86
    ENV/bin/pip install --no-deps imagecorruptions==1.1.2

Without them, what needs them is left out or measured alone. Runs of the two sides alternate, and
the gain is the median over rounds of the ratio within a round. The clock is processor time of one
thread (a GPU's, with `--device cuda` for "pgd": wall time between two synchronisations); the attack
ensemble is counted in rows that went through the model, forward and backward. Before anything is
timed, the outcome of both sides is compared.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import v2

from benchmarks.step import CLASSES, EPS, STEP_SIZE, Case, clock, compare
from trainables.core import catalog
from trainables.core.augmentations.corruption import labels
from trainables.core.batch import Batch
from trainables.core.benchmarks.common_corruptions import ALEXNET
from trainables.core.benchmarks.on_view import OnView
from trainables.core.corruptions._pixels import SEVERITIES
from trainables.core.data._source import Examples
from trainables.core.evaluation import Context, Found, Sample, evaluate, some
from trainables.core.facts import Facts
from trainables.core.randomness import ExampleStreams, Stream, seeded
from trainables.core.store import Store
from trainables.core.tasks import Classification
from trainables.core.views import guard, make

BOX = (0.0, 1.0)
TASK = Classification()
SEVERITY = 3
ATTACKED = 0.1  # the radius of the attack ensemble, of images of 8 x 8 pixels
LONGER = 4  # the long attack has so many times the steps of the short one
INSTALL = "pip install --no-deps --target DIR torchattacks==3.5.1 pyautoattack==0.2.0"
MISSING = {
    "peers": f"without --peers DIR torchattacks and pyautoattack are left out; make DIR: {INSTALL}",
    "interpreter": "without --interpreter PYTHON imagecorruptions is left out; --help says how to "
    "make its environment",
}


@dataclass(frozen=True)
class Size:
    """How much is measured.

    `cases` are the networks for PGD with their training steps, `epochs` those of the networks that
    the ensemble attacks at `points` with `budget` of its steps, `images` what is corrupted and
    augmented, `digits` what is evaluated, with corruptions of these `severities`.
    """

    cases: tuple[Case, ...]
    epochs: int
    points: int
    budget: float
    images: int
    digits: int
    severities: tuple[int, ...]
    rounds: int


SIZES = {
    "full": Size(
        (
            Case("ConvNet", (1, 28, 28), 128, 60, 9, 10),
            Case("WideResNet", (3, 32, 32), 64, 60, 9, 10, {"depth": 10, "widen": 1}),
            Case("PreActResNet18", (3, 32, 32), 32, 60, 9, 10, {"channels": 16}),
        ),
        epochs=15,
        points=200,
        budget=1.0,
        images=256,
        digits=500,
        severities=SEVERITIES,
        rounds=9,
    ),
    "tiny": Size(
        (Case("ConvNet", (1, 8, 8), 16, 20, 2, 2, {"channels": (4, 4), "hidden": 8}),),
        epochs=1,
        points=6,
        budget=0.02,
        images=8,
        digits=10,
        severities=(SEVERITY,),
        rounds=2,
    ),
}


@dataclass(frozen=True)
class Asked:
    """What the command was asked for."""

    size: Size
    rounds: int
    device: str
    peers: str
    interpreter: str
    images: int
    side: int
    only: str

    def wants(self, name: str) -> bool:
        """Whether this is to be measured."""
        return self.only in name


@dataclass(frozen=True)
class Figure:
    """Ours and theirs in `unit`, how many times ours is the better, and quartiles over rounds.

    Theirs and what follows is None where ours was measured alone, the quartiles are None where
    things were counted. `outcome` says how the outcome of the two sides compares.
    """

    part: str
    subject: str
    against: str
    unit: str
    ours: float
    theirs: float | None
    gain: float | None
    low: float | None
    high: float | None
    outcome: str


Seconds = Callable[[], float]


def timed(
    part: str, subject: str, against: str, pair: tuple[Seconds, Seconds], rounds: int, outcome: str
) -> Figure:
    """Images per second of two sides, ours first, whose calls give seconds per image."""
    ours, theirs = pair
    slow, fast, gain, low, high = compare(theirs, ours, rounds)
    return Figure(part, subject, against, "images/s", 1 / fast, 1 / slow, gain, low, high, outcome)


def per_image(call: Callable[[], Any], images: int, now: Seconds) -> Seconds:
    """Seconds per image of a call."""

    def seconds() -> float:
        began = now()
        call()
        return (now() - began) / images

    return seconds


def peer(name: str, folder: str) -> Any:
    """A library of the folder `--peers`, None where none was named.

    The folder comes last, so that nothing else in it stands before what is installed.
    """
    if not folder:
        return None
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SystemExit(f"{name} is not in {folder!r} ({error}); make it: {INSTALL}") from None


# --- networks ---------------------------------------------------------------------------------


def digits(shape: tuple[int, ...]) -> tuple[Examples, Examples]:
    """Training and test part of the digits, enlarged and repeated to images of this shape."""
    source = catalog.build("data", {"name": "Digits"}).load(Path())
    found = []
    for part in (source.train, source.test):
        x = part.x
        if shape[1:] != (8, 8):
            x = F.interpolate(x, shape[1:], mode="bilinear").clamp(*BOX)
        found.append(Examples(x.expand(-1, shape[0], -1, -1).contiguous(), part.y))
    return found[0], found[1]


def trained(
    case: Case, part: Examples, *, device: str, adversarial: str | dict[str, Any] = "Clean"
) -> nn.Module:
    """The network after the case's training steps on a view of these examples."""
    assert isinstance(part.x, Tensor)
    config = {"name": case.architecture, **case.settings}
    view = make(adversarial, Facts(box=BOX))
    channels = part.x.shape[1]
    with seeded(0, torch.device(device)):
        model: nn.Module = catalog.build(
            "architectures",
            config,
            shape=case.shape,
            outputs=CLASSES,
            mean=[part.x.mean().item()] * channels,
            deviation=[part.x.std().item()] * channels,
        ).to(device)
        x, y = part.x.to(device), part.y.to(device)
        view.to(device)
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        generator, draws = torch.Generator().manual_seed(0), Stream(0, device)
        for _ in range(case.steps):
            rows = torch.randint(len(x), (64,), generator=generator).to(device)
            batch = view(model, Batch(x[rows], y[rows]), TASK, draws)
            optimizer.zero_grad()
            F.cross_entropy(model(batch.x), batch.y).backward()
            optimizer.step()
    return model.eval()


@torch.no_grad()
def right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Which of these the model is right on, [b]."""
    return ~TASK.fooled(model(x), y)


def verdicts(ours: Tensor, theirs: Tensor) -> str:
    """Accuracy by both sides, and on how many examples they differ."""
    first, second = (f"{100 * one.double().mean().item():.1f}" for one in (ours, theirs))
    return f"accuracy {first} / {second} %, {int((ours != theirs).sum())} of {len(ours)} differ"


# --- projected gradient descent ---------------------------------------------------------------


def climbed(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> Tensor:
    """PGD by hand from x itself (arXiv 1706.06083)."""
    x_adv = x
    with guard(model):
        for _ in range(steps):
            x_adv = x_adv.detach().requires_grad_()
            loss = F.cross_entropy(model(x_adv), y, reduction="sum")
            (slope,) = torch.autograd.grad(loss, x_adv)
            moved = x_adv.detach() + STEP_SIZE * slope.sign()
            x_adv = (x + (moved - x).clamp(-EPS, EPS)).clamp(0, 1)
    return x_adv


def attack(steps: int, counts: str = "last") -> dict[str, Any]:
    """The config of PGD from x itself."""
    same = {"name": "PGD", "eps": EPS, "step_size": STEP_SIZE, "random_start": False}
    return same | {"steps": steps, "counts": counts}


def pgd_of(asked: Asked) -> Iterator[Figure]:
    """PGD of ours against that by hand and of torchattacks, in bfloat16, and without the fooled."""
    library = peer("torchattacks", asked.peers)
    now = clock(asked.device)
    for case in asked.size.cases:
        if not asked.wants(case.architecture):
            continue
        train, test = digits(case.shape)
        # Plainly trained, some of these networks would be wrong on every attacked point.
        climb = {"name": "PGD", "eps": EPS, "step_size": EPS, "steps": 1}
        model = trained(case, train, device=asked.device, adversarial=climb)
        part = test.take(some(len(test), case.batch_size)).to(asked.device)
        x, y = part.x, part.y
        assert isinstance(x, Tensor)
        short, long = case.attack_steps, LONGER * case.attack_steps
        name = f"PGD-{short}, {case.architecture}"
        ours = on_batch(model, attack(short), x, y)
        sides = [(name, "by hand", ours, partial(climbed, model, x, y, short))]
        if library is not None:
            again = on_batch(model, attack(long, "any"), x, y)
            leaving = f"PGD-{long}, {case.architecture}, fooled points leave"
            for subject, mine, steps in ((name, ours, short), (leaving, again, long)):
                theirs = library.PGD(model, EPS, STEP_SIZE, steps, random_start=False)
                sides.append((subject, "torchattacks", mine, partial(theirs, x, y)))
        for subject, against, one, other in sides:
            outcome = verdicts(right(model, one(), y), right(model, other(), y))
            pair = per_image(one, len(x), now), per_image(other, len(x), now)
            yield timed("pgd", subject, against, pair, asked.rounds, outcome)
        low, full = (evaluated(model, part, short, precision) for precision in PRECISIONS)
        pair = per_image(low, len(x), now), per_image(full, len(x), now)
        outcome = verdicts(low(), full())
        yield timed("pgd", f"{name}, bfloat16", "ours in float32", pair, asked.rounds, outcome)


PRECISIONS = "bfloat16", "float32"


def on_batch(
    model: nn.Module, config: dict[str, Any], x: Tensor, y: Tensor
) -> Callable[[], Tensor]:
    """The attacked batch, made as an evaluation makes it."""
    view = make(config, Facts(box=BOX)).to(x.device)
    numbers = torch.arange(len(x))

    def call() -> Tensor:
        found: Batch = view(model, Batch(x, y), TASK, ExampleStreams(0, numbers))
        return found.x

    return call


def evaluated(model: nn.Module, part: Examples, steps: int, precision: str) -> Callable[[], Tensor]:
    """The verdicts of the whole benchmark in one precision."""
    benchmark = OnView(
        view=attack(steps),
        precision=precision,
        box=BOX,
        shape=part.shape,
        outputs=CLASSES,
        checks=False,
    ).to(part.y.device)
    sample = Sample(part, torch.arange(len(part)), len(part), 0)

    def call() -> Tensor:
        with guard(model):
            found: Found = benchmark(model, sample, TASK)
        return found.judged[found.rows[0]["name"]]["correct"]

    return call


# --- the ensemble -----------------------------------------------------------------------------


class Counted(nn.Module):
    """A model that counts the rows that go through it, forward and backward."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.rows = 0

    def forward(self, x: Tensor) -> Tensor:
        """The model's logits [b, c]."""
        logits: Tensor = self.model(x)
        self.rows += len(x)
        if logits.requires_grad:
            logits.register_hook(self._back)
        return logits

    def _back(self, gradient: Tensor) -> None:
        self.rows += len(gradient)


def reference(library: Any, model: nn.Module, part: Examples, budget: float) -> Tensor:
    """Adversarial examples of pyautoattack's standard version."""
    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    with seeded(0, torch.device("cpu")):
        one = library.AutoAttack(model, eps=ATTACKED, norm="Linf", seed=0, version="standard")
        one.verbose = False
        for member in (one.apgd, one.apgd_targeted, one.fab):
            member.n_iter = max(round(budget * member.n_iter), 1)
        one.square.n_queries = max(round(budget * one.square.n_queries), 1)
        found: Tensor = one.run_standard_evaluation(part.x, part.y, batch_size=len(part))[0]
    return found


def autoattack_of(asked: Asked) -> Iterator[Figure]:
    """Rows through the model for each point, of two versions of ours and of pyautoattack."""
    library = peer("pyautoattack", asked.peers)
    settings = {"channels": (16, 32), "hidden": 64, "dropout": (0.0, 0.0), "padding": "same"}
    train, test = digits((1, 8, 8))
    part = test.take(some(len(test), asked.size.points))
    assert isinstance(part.x, Tensor)
    climb = {"name": "PGD", "eps": ATTACKED, "steps": 7}
    size = asked.size
    for name, view in (("adversarially trained", climb), ("plainly trained", "Clean")):
        if not asked.wants(name):
            continue
        case = Case("ConvNet", (1, 8, 8), 64, size.epochs * len(train) // 64, 1, 1, settings)
        model = trained(case, train, device="cpu", adversarial=view)
        for one in model.parameters():
            one.requires_grad_(False)
        cost, stands = None, None
        if library is not None:
            theirs = Counted(model).eval()
            stands = right(model, reference(library, theirs, part, size.budget), part.y)
            cost = theirs.rows / len(part)
        for version in ("standard", "fast"):
            config = {"name": "AutoAttack", "eps": ATTACKED, "version": version}
            ours = Counted(model).eval()
            x = on_batch(ours, config | {"budget": size.budget}, part.x, part.y)()
            mine = right(model, x, part.y)
            gain = None if cost is None else cost * len(part) / ours.rows
            alone = f"accuracy {100 * mine.double().mean().item():.1f} %"
            yield Figure(
                "autoattack",
                f"AutoAttack {version}, {name}",
                "" if cost is None else "pyautoattack standard",
                "rows/point",
                ours.rows / len(part),
                cost,
                gain,
                None,
                None,
                alone if stands is None else verdicts(mine, stands),
            )


# --- corruptions ------------------------------------------------------------------------------


def pictures(n: int, side: int = 32) -> Tensor:
    """Smooth colour fields with some detail, as photographs have, bytes [n, 3, side, side]."""
    generator = torch.Generator().manual_seed(0)
    found = torch.full((n, 3, side, side), 0.5)
    for cells, share in ((2, 0.25), (4, 0.15), (8, 0.08), (16, 0.05)):
        coarse = torch.randn(n, 3, cells, cells, generator=generator)
        # Mostly grey, since the channels of a photograph go together.
        coarse = 0.7 * coarse.mean(1, keepdim=True) * 3**0.5 + 0.3 * coarse
        found += share * F.interpolate(coarse, (side, side), mode="bicubic")
    return (found.clamp(0, 1) * 255).round().byte()


@contextmanager
def child_of(python: str, images: Tensor) -> Iterator[Library]:
    """imagecorruptions in a process of another environment, which lives as long as the block."""
    script = Path(__file__).with_name("_library.py")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, images.permute(0, 2, 3, 1).contiguous().numpy())
        with subprocess.Popen(
            [python, str(script), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        ) as process:
            found = Library(process, len(images))
            found.answer()  # that it is ready
            yield found


@dataclass(frozen=True)
class Library:
    """imagecorruptions, as a process that answers questions on some images."""

    process: subprocess.Popen[str]
    images: int

    def ask(self, label: str) -> tuple[float, float]:
        """Processor seconds per image, and the mean change of a pixel of 0 to 255."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{label} {SEVERITY} {self.images}\n")
        self.process.stdin.flush()
        seconds, change = self.answer().split()
        return float(seconds) / self.images, float(change)

    def seconds(self, label: str) -> float:
        """Processor seconds per image."""
        return self.ask(label)[0]

    def answer(self) -> str:
        """The next line of its words."""
        assert self.process.stdout is not None
        found = self.process.stdout.readline()
        if not found:
            raise SystemExit("the process with imagecorruptions ended; its own words are above")
        return found


def corruptions_of(asked: Asked) -> Iterator[Figure]:
    """Every type of corruption, and what the suites of 15 and of 19 cost together."""
    images = pictures(asked.images, asked.side)
    if not asked.interpreter:
        yield from _corrupted(asked, images, None)
        return
    # One by one it needs no more for the same precision.
    with child_of(asked.interpreter, images[: max(1, asked.images // 4)]) as library:
        yield from _corrupted(asked, images, library)


def _corrupted(asked: Asked, images: Tensor, library: Library | None) -> Iterator[Figure]:
    now = clock("cpu")
    x, numbers = images.float() / 255, torch.arange(len(images))
    extra = sorted(one for one, kind in labels().items() if kind.group == "extra")
    against = "" if library is None else "imagecorruptions"
    found = []
    for label in (*ALEXNET, *extra):
        if not asked.wants(label):
            continue
        corrupt = catalog.build(
            "augmentations", {"name": "Corruption", "corruption": label, "severity": SEVERITY}
        )

        def made(corrupt: nn.Module = corrupt) -> Tensor:
            found: Tensor = corrupt(x, numbers, ExampleStreams(0, numbers))[0]
            return found

        ours = per_image(made, len(x), now)
        both = len(x) if library is None else library.images
        change = (made() - x)[:both].abs().mean().item() * 255
        if library is None:
            figure = _alone("corruptions", label, ours, asked.rounds, f"change {change:.1f}")
        else:
            outcome = f"change {change:.1f} / {library.ask(label)[1]:.1f}"
            pair = ours, partial(library.seconds, label)
            figure = timed("corruptions", label, against, pair, asked.rounds, outcome)
        found.append(figure)
        yield figure
    if asked.only:
        return
    for count in (len(ALEXNET), len(found)):
        # Seconds for an image of each type, one after another.
        mine, other = (
            sum(1 / one for one in side if one)
            for side in zip(*((one.ours, one.theirs) for one in found[:count]), strict=True)
        )
        yield Figure(
            "corruptions",
            f"all {count} types",
            against,
            "images/s",
            count / mine,
            count / other if other else None,
            other / mine if other else None,
            None,
            None,
            "",
        )


def _alone(part: str, subject: str, ours: Seconds, rounds: int, outcome: str) -> Figure:
    ours()
    seconds = statistics.median(ours() for _ in range(rounds))
    return Figure(part, subject, "", "images/s", 1 / seconds, None, None, None, None, outcome)


# --- the store --------------------------------------------------------------------------------


def cache_of(asked: Asked) -> Iterator[Figure]:
    """The first evaluation of a model and one that the store knows."""
    settings = {"channels": (8, 16), "hidden": 32}
    case = Case("ConvNet", (1, 28, 28), 64, asked.size.cases[0].steps, 1, 1, settings)
    train, test = digits(case.shape)
    model = trained(case, train, device="cpu")
    assert isinstance(train.x, Tensor) and isinstance(test.x, Tensor)
    whole = Examples(torch.cat([test.x, train.x]), torch.cat([test.y, train.y]))
    corrupted = {"name": "CommonCorruptions", "severities": asked.size.severities}
    benchmarks: list[dict[str, Any] | str] = ["Clean", "PGD", corrupted]
    n = asked.size.digits

    def call(folder: Path) -> Found:
        context = Context(
            box=BOX,
            shape=case.shape,
            outputs=CLASSES,
            data={"name": "Digits"},
            store=Store(folder),
        )
        return evaluate(model, benchmarks, whole, TASK, context, split="test", seed=0, limit=n)

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        places = (root / str(i) for i in range(asked.rounds + 1))
        kept = root / "kept"
        first, second = call(kept).rows, call(kept).rows
        differ = sum(one != other for one, other in zip(first, second, strict=True))
        now = clock("cpu")
        pair = (
            per_image(lambda: call(kept), n, now),
            per_image(lambda: call(next(places)), n, now),
        )
        outcome = f"{differ} of {len(first)} rows differ"
        yield timed("cache", "second evaluation", "first", pair, asked.rounds, outcome)


# --- policies ---------------------------------------------------------------------------------


def policies() -> dict[str, tuple[dict[str, Any], nn.Module]]:
    """The config of each policy of ours, and torchvision's."""
    return {
        "AutoAugment": ({}, v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)),
        "RandAugment": ({}, v2.RandAugment()),
        "TrivialAugmentWide": ({}, v2.TrivialAugmentWide()),
        "AugMix": ({}, v2.AugMix(all_ops=False)),
    }


def policies_of(asked: Asked) -> Iterator[Figure]:
    """Policies on batches against torchvision's on PIL images, both from bytes to floats."""
    pixels = pictures(asked.images)
    arrays = pixels.permute(0, 2, 3, 1).contiguous().numpy()
    x, y, draws = pixels.float() / 255, torch.arange(len(pixels)), Stream(0)
    to_tensor = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    now = clock("cpu")
    for name, (settings, transform) in policies().items():
        if not asked.wants(name):
            continue
        policy = catalog.build("augmentations", {"name": name, **settings})

        def ours(policy: nn.Module = policy) -> Tensor:
            found: Tensor = policy(pixels.float() / 255, y, draws)[0]
            return found

        def theirs(transform: nn.Module = transform) -> Tensor:
            return torch.stack([to_tensor(transform(Image.fromarray(one))) for one in arrays])

        with seeded(0, torch.device("cpu")):  # torchvision draws from the global generator
            first, second = (
                255 * statistics.fmean((call() - x).abs().mean().item() for _ in range(5))
                for call in (ours, theirs)
            )
            pair = per_image(ours, len(x), now), per_image(theirs, len(x), now)
            outcome = f"change {first:.1f} / {second:.1f}"
            yield timed("policies", name, "torchvision v2", pair, asked.rounds, outcome)


# --- the command ------------------------------------------------------------------------------

PARTS = {
    "pgd": pgd_of,
    "autoattack": autoattack_of,
    "corruptions": corruptions_of,
    "cache": cache_of,
    "policies": policies_of,
}
# What the option is needed for.
NEEDED = {"peers": ("pgd", "autoattack"), "interpreter": ("corruptions",)}


def left_out(parts: Sequence[str], asked: Asked) -> list[str]:
    """What cannot be compared, and what would help."""
    return [
        MISSING[option]
        for option, needed in NEEDED.items()
        if not getattr(asked, option) and set(needed) & set(parts)
    ]


def table(found: Sequence[Figure]) -> str:
    """The figures as text."""
    head = "what", "against", "unit", "ours", "theirs", "gain", "quartiles", "outcome"
    rows = [
        (
            one.subject,
            one.against,
            one.unit,
            f"{one.ours:,.0f}",
            "" if one.theirs is None else f"{one.theirs:,.0f}",
            "" if one.gain is None else f"{one.gain:.2f}",
            "" if one.low is None else f"{one.low:.2f} to {one.high:.2f}",
            one.outcome,
        )
        for one in found
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("--peers", default="", help="folder with torchattacks and pyautoattack")
    parser.add_argument(
        "--interpreter", default="", help="interpreter that imports imagecorruptions"
    )
    parser.add_argument("--rounds", type=int, default=0, help="rounds of both sides (0: by size)")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help='of part "pgd"')
    parser.add_argument("--size", choices=tuple(SIZES), default="full")
    parser.add_argument("--images", type=int, default=0, help="to corrupt or augment (0: by size)")
    parser.add_argument("--side", type=int, default=32, help="of corrupted images, in pixels")
    parser.add_argument("--only", default="", help="only networks and types whose name holds this")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    given = parser.parse_args(arguments)
    size = SIZES[given.size]
    asked = Asked(
        size,
        given.rounds or size.rounds,
        given.device,
        given.peers,
        given.interpreter,
        given.images or size.images,
        given.side,
        given.only,
    )
    notes = left_out(given.part, asked)
    for note in notes:
        print(note, file=sys.stderr)
    before = torch.get_num_threads()
    torch.set_num_threads(given.threads)
    try:
        found: list[Figure] = []
        for part in given.part:
            for one in PARTS[part](asked):
                # The whole takes minutes: each as soon as it is known.
                print(table([one]).splitlines()[-1], file=sys.stderr, flush=True)
                found.append(one)
    finally:
        torch.set_num_threads(before)
    report = {"figures": [asdict(one) for one in found], "left_out": notes}
    print(json.dumps(report) if given.json else table(found))


if __name__ == "__main__":
    main()
