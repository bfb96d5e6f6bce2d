"""Study folders for the tests of the analysis: a tiny one to compute by hand, and a realistic one.

They are written event by event as a driver would, with json.dumps and nothing of the package.
"""

from __future__ import annotations

import json
import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

Pair = tuple[str, str]

PGD = {"family": "adversarial", "norm": "linf", "eps": 8 / 255, "eps_text": "8/255"}
NOISE: dict[str, Any] = {"family": "noise"}
CLEAN: dict[str, Any] = {"family": "clean"}


def row(name: str, value: float, n: int = 200, split: str = "validation", **more: Any) -> Any:
    """One evaluation row as the ledger has it."""
    empty = dict.fromkeys(("severity", "norm", "eps", "eps_text", "steps", "restarts"))
    return {
        "split": split,
        "name": name,
        **empty,
        "metric": "accuracy",
        "value": value,
        "n_examples": n,
        "n_correct": round(value * n),
        "seed": 0,
        "duration_s": 0.5,
        "unreliable": False,
        **more,
    }


def three(clean: float, noise: float, pgd: float, **more: Any) -> list[Any]:
    """Rows of the three benchmarks of the fake studies, in their order."""
    return [
        row("clean", clean, **CLEAN, **more),
        row("gaussian_0.1", noise, **NOISE, **more),
        row("pgd_linf_8/255_20", pgd, **PGD, steps=20, restarts=1, **more),
    ]


class Ledger:
    """Writes a study folder; the clock goes on by one second per event."""

    def __init__(
        self,
        folder: Path,
        pairs: list[Pair],
        *,
        described: Any = None,
        version: int = 1,
        **resolved: Any,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.resolved: dict[str, Any] = {
            "schema_version": version,
            "study": folder.name,
            "study_id": f"{sum(folder.name.encode()):012x}",
            "question": "Does Gaussian consistency help a small convnet on digits?",
            "seed": 0,
            "baseline": pairs[0][0],
            "arms": [{"arm": arm, "weighter": one, "recipe": {}} for arm, one in pairs],
            "search": {
                "sampler": "TPE",
                "trials_per_arm": 2,
                "metric": "validation/accuracy",
                "mode": "max",
            },
            "schedule": {
                "name": "ASHA",
                "max_epochs": 12,
                "grace_epochs": 2,
                "reduction_factor": 3,
            },
            "confirm": {"top": 1, "seeds": 2},
            "benchmarks": [{"name": "Clean"}, {"name": "GaussianNoise"}, {"name": "PGD"}],
            "probe_limit": 512,
            "resources": {"cpu": 1, "gpu": 0, "max_concurrent": 0},
            "data": {"name": "Digits", "validation": 0.2},
            "task": "classification",
            **resolved,
        }
        (folder / "resolved.json").write_text(json.dumps(self.resolved))
        self.clock = datetime(2026, 11, 21, 19, 0, tzinfo=UTC)
        self.trials = 0
        self.event(
            "study",
            schema_version=version,
            study=folder.name,
            study_id=self.resolved["study_id"],
            versions={"python": "3.11.7", "torch": "2.14.1"},
            git={"sha": None, "dirty": None},
            hardware={"cpus": 2, "gpus": 0},
            # Ledgers of the first releases do not have it.
            **({} if described is None else {"data": described}),
        )
        self.event("segment", segment=0, command="run")

    def event(self, kind: str, **more: Any) -> None:
        time = self.clock.isoformat(timespec="microseconds")
        self.clock += timedelta(seconds=1)
        line = json.dumps({"event": kind, "time": time, **_spelled(more)}, allow_nan=False)
        with (self.folder / "ledger.jsonl").open("a", encoding="utf-8") as ledger:
            ledger.write(line + "\n")

    def plan(
        self, pair: Pair, phase: str = "search", seed: int = 0, group: str = "", **more: Any
    ) -> int:
        number, self.trials = self.trials, self.trials + 1
        coefficient = 0.1 * (number + 1)
        losses: dict[str, Any] = {"main": {"name": "CrossEntropy", "coefficient": 1.0}}
        views: dict[str, Any] = {}
        params, ranges = {}, {}
        if pair[0] != self.resolved["baseline"]:
            losses["aux"] = {"name": "Consistency", "coefficient": coefficient}
            views["adv"] = {"name": "PGD", "norm": "linf", "eps": 0.03}
            params = {"losses/aux/coefficient": coefficient}
            ranges = {"losses/aux/coefficient": {"low": 0.1, "high": 10, "log": True}}
        self.event(
            "planned",
            trial=number,
            phase=phase,
            arm=pair[0],
            weighter=pair[1],
            seed=seed,
            group=group or f"group{number:07d}",
            recipe={
                "seed": seed,
                "data": {"name": "Digits"},
                "architecture": {"name": "ConvNet", "widths": [8, 16]},
                "views": views,
                "losses": losses,
                "weighter": {"name": pair[1]},
            },
            params=params,
            distributions=ranges,
            **more,
        )
        return number

    def start(self, trial: int) -> None:
        self.event("started", trial=trial, node=None)

    def report(
        self,
        trial: int,
        epoch: int,
        accuracy: float,
        evaluations: list[Any] | None = None,
        *,
        decision: str = "continue",
        rung: int | None = None,
        train_s: float = 2.0,
        weights: dict[str, float] | None = None,
        metrics: dict[str, float] | None = None,
    ) -> None:
        loss = 2.3 * (1 - accuracy)
        terms = {
            label: {"raw_loss": loss, "weight": weight, "weighted_loss": weight * loss}
            | dict.fromkeys(("grad_norm", "grad_cos"))
            for label, weight in (weights or {"main": 1.0}).items()
        }
        self.event(
            "report",
            trial=trial,
            epoch=epoch,
            metrics={
                "train/loss": loss,
                "validation/accuracy": accuracy,
                "validation/loss": loss,
                **(metrics or {}),
            },
            weights=terms,
            evaluations=evaluations or [],
            rung=rung,
            decision=decision,
            train_s=train_s,
            eval_s=0.5,
        )

    def stop(
        self, trial: int, rung: int, cutoff: float | None = None, rank: int = 2, of: int = 2
    ) -> None:
        """What version 2 says of a trial that its schedule stops, and the trial's end."""
        reason = {"epoch": rung, "rung": rung, "cutoff": cutoff, "rank": rank, "of": of}
        self.event("stopped", trial=trial, **reason)
        self.end(trial, "PRUNED", "rung")

    def end(self, trial: int, state: str = "COMPLETE", reason: str = "budget") -> None:
        error = (
            {"type": "RuntimeError", "text": "<b>no & luck</b>"}
            if reason in ("error", "oom", "lost")
            else None
        )
        summary = {"num_params": 1000, "peak_mem_bytes": None}
        self.event("ended", trial=trial, state=state, reason=reason, error=error, summary=summary)


def _spelled(value: Any) -> Any:
    """Non-finite floats as the ledger spells them."""
    if isinstance(value, dict):
        return {key: _spelled(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_spelled(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


BASELINE = ("plain", "Fixed")
KL = ("gaussian-kl", "CoV")


def tiny(folder: Path, *, finished: bool = True) -> Ledger:
    """Two rows, two seeds, round numbers.

    Test accuracies by seed 100 and 101: baseline clean .90 .92, noise .80 .80, PGD .10 .20;
    gaussian-kl clean .91 .91, noise .84 .86, PGD .30 .50.
    """
    ledger = Ledger(folder, [BASELINE, KL])
    for pair, scores, seconds in ((BASELINE, (0.80, 0.85), 2.0), (KL, (0.88, 0.86), 3.0)):
        for score in scores:
            trial = ledger.plan(pair)
            ledger.start(trial)
            ledger.report(trial, 1, score - 0.1, three(0.5, 0.4, 0.0), rung=1)
            best = score == max(scores)
            decision = "complete" if best else "stop"
            values = three(score, score - 0.1, 0.25)
            ledger.report(trial, 2, score, values, decision=decision, train_s=seconds)
            ledger.end(trial, *(("COMPLETE", "budget") if best else ("PRUNED", "rung")))
    if not finished:
        trial = ledger.plan(KL)
        ledger.start(trial)
        ledger.report(trial, 1, 0.5)
        ledger.plan(KL)
        return ledger
    test = {
        (BASELINE, 100): (0.90, 0.80, 0.10),
        (BASELINE, 101): (0.92, 0.80, 0.20),
        (KL, 100): (0.91, 0.84, 0.30),
        (KL, 101): (0.91, 0.86, 0.50),
    }
    for (pair, seed), values in test.items():
        trial = ledger.plan(
            pair, "confirm", seed, "group0000001" if pair == BASELINE else "group0000002"
        )
        ledger.start(trial)
        seconds = 2.0 if pair == BASELINE else 3.0
        rows = three(*values, split="test", n=100)
        ledger.report(trial, 1, 0.9, rows, decision="complete", train_s=seconds)
        ledger.end(trial)
    ledger.event("finished", failed=0)
    return ledger


TECATOR = {
    "title": "TSER Tecator subset",
    "provenance": "TSER archive Tecator from .ts, published split",
    "units": "as in the file",
    "shape": [1, 100],
    "classes": 0,
    "train": 1380,
    "validation": 34,
    "test": 43,
}


def errors(clean: float, noise: float, pgd: float, metric: str = "rmse", **more: Any) -> list[Any]:
    """Rows of the three benchmarks for a metric that counts no examples."""
    return [one | {"metric": metric, "n_correct": None} for one in three(clean, noise, pgd, **more)]


def regression(folder: Path) -> Ledger:
    """Two rows, two seeds, root mean squared errors: less is better.

    Test errors by seed 100 and 101: baseline clean 10.0 10.2, noise 12.0 12.0, PGD 20.0 21.0;
    gaussian-kl clean 10.5 10.5, noise 11.0 11.2, PGD 15.0 15.5. Search trials have 12.0 and 60.0,
    11.0 and 13.0. The mean absolute errors are half of all that.
    """
    ledger = Ledger(
        folder,
        [BASELINE, KL],
        described=TECATOR,
        task="regression",
        search={
            "sampler": "TPE",
            "trials_per_arm": 2,
            "metric": "validation/rmse",
            "mode": "min",
        },
    )

    def rows(*values: float, **more: Any) -> list[Any]:
        halves = [one / 2 for one in values]
        return [*errors(*values, **more), *errors(*halves, metric="mae", **more)]

    def run(pair: Pair, score: float, evaluations: list[Any], **plan: Any) -> None:
        trial = ledger.plan(pair, **plan)
        ledger.start(trial)
        passes = {"train/extra_forwards": 0.0, "train/extra_backwards": float(pair == KL)}
        metrics = {"validation/rmse": score, **passes}
        ledger.report(trial, 1, 0.0, evaluations, decision="complete", metrics=metrics)
        ledger.end(trial)

    for pair, scores in ((BASELINE, (12.0, 60.0)), (KL, (13.0, 11.0))):
        for score in scores:
            run(pair, score, rows(score, score + 1, score + 2))
    test = {
        (BASELINE, 100): (10.0, 12.0, 20.0),
        (BASELINE, 101): (10.2, 12.0, 21.0),
        (KL, 100): (10.5, 11.0, 15.0),
        (KL, 101): (10.5, 11.2, 15.5),
    }
    for (pair, seed), values in test.items():
        group = "group0000000" if pair == BASELINE else "group0000003"
        run(pair, 11.0, rows(*values, split="test", n=43), phase="confirm", seed=seed, group=group)
    ledger.event("finished", failed=0)
    return ledger


TWO = {"validation/accuracy": "max", "validation/pgd_linf_8/255_20/accuracy": "max"}


def several(folder: Path, objectives: dict[str, str] | None = None) -> Ledger:
    """A search with two objectives, clean and attacked accuracy, in schema version 2.

    plain: (.9, .1) whole, (.8, .2) stopped at epoch 2; gaussian-kl: (.7, .5) whole, (.6, .4)
    stopped at epoch 2, and one that diverged. They end in the order plain, kl, plain, kl, kl.
    """
    objectives = objectives or TWO
    first, mode = next(iter(objectives.items()))
    search = {"sampler": "NSGA-II", "trials_per_arm": 3, "metric": first, "mode": mode}
    ledger = Ledger(folder, [BASELINE, KL], version=2, search=search | {"objectives": objectives})
    robust = list(TWO)[1]
    values = (
        (BASELINE, 0.9, 0.1, None),
        (KL, 0.7, 0.5, None),
        (BASELINE, 0.8, 0.2, 0.875),
        (KL, 0.6, 0.4, 0.65),
        (KL, math.nan, 0.9, None),
    )
    for pair, clean, attacked, cutoff in values:
        trial = ledger.plan(pair)
        ledger.start(trial)
        ledger.report(trial, 1, 0.3, metrics={robust: 0.05})
        rows = three(clean, 0.5, attacked) if math.isfinite(clean) else []
        lost = {"validation/accuracy": clean, robust: attacked}
        if not math.isfinite(clean):
            ledger.report(trial, 2, 0.5, decision="diverged", rung=2, metrics=lost)
            ledger.end(trial, "FAIL", "diverged")
        elif cutoff is None:
            ledger.report(trial, 2, clean, rows, rung=2, metrics={robust: attacked})
            ledger.report(trial, 3, clean, rows, decision="complete", metrics={robust: attacked})
            ledger.end(trial)
        else:
            ledger.report(
                trial, 2, clean, rows, decision="stop", rung=2, metrics={robust: attacked}
            )
            ledger.stop(trial, 2, cutoff)
    return ledger


def realistic(folder: Path, *, arms: int = 3, per_arm: int = 12, seeds: int = 5) -> Ledger:
    """ASHA stops at epochs 2 and 6, one diverged and one failed trial, confirmation on 5 seeds."""
    random_ = random.Random(7)
    names = ["gaussian-kl", "adversarial", "trades", "mart", "uda", "augmix"][: arms - 1]
    pairs = [("baseline", "Fixed"), *((arm, one) for arm in names for one in ("Fixed", "CoV"))]
    ledger = Ledger(
        folder,
        pairs,
        confirm={"top": 1, "seeds": seeds},
        search={
            "sampler": "TPE",
            "trials_per_arm": per_arm,
            "metric": "validation/accuracy",
            "mode": "max",
        },
    )
    robust = {pair: 0.05 + 0.3 * place / len(pairs) for place, pair in enumerate(pairs)}
    best: dict[Pair, tuple[float, int]] = {}
    for place, pair in enumerate(pairs):
        for index in range(per_arm):
            quality = random_.uniform(0.6, 0.97)
            trial = ledger.plan(pair, seed=place)
            ledger.start(trial)
            if place == 1 and index == 3:
                ledger.end(trial, "FAIL", "error")
                continue
            last = 12 if quality > 0.88 else 6 if quality > 0.78 else 2
            for epoch in range(1, last + 1):
                score = quality * (1 - math.exp(-epoch / 2.5)) + random_.gauss(0, 0.006)
                rung = epoch if epoch in (2, 6) else None
                drift = random_.gauss(0, 0.02)
                rows = three(score, score - 0.15, max(0.0, robust[pair] + drift))
                if place == 2 and index == 4 and epoch == 2:
                    ledger.report(trial, epoch, math.nan, decision="diverged")
                    break
                stop = epoch == last
                decision = ("complete" if last == 12 else "stop") if stop else "continue"
                ledger.report(
                    trial, epoch, score, rows if rung or stop else [], decision=decision, rung=rung
                )
                best[pair] = max(best.get(pair, (0.0, 0)), (score, trial))
            if place == 2 and index == 4:
                ledger.end(trial, "FAIL", "diverged")
            elif last == 12:
                ledger.end(trial)
            else:
                ledger.end(trial, "PRUNED", "rung")
    for pair in pairs:
        for seed in range(1000, 1000 + seeds):
            trial = ledger.plan(pair, "confirm", seed, f"group{best[pair][1]:07d}")
            ledger.start(trial)
            clean = best[pair][0] + random_.gauss(0, 0.01)
            values = (clean, clean - 0.12, robust[pair] + random_.gauss(0, 0.02))
            rows = three(*values, split="test", n=360)
            ledger.report(trial, 12, clean, rows, decision="complete", train_s=2 + robust[pair])
            ledger.end(trial)
    ledger.event("finished", failed=1)
    return ledger
