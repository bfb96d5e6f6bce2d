"""Mirrors: a study's trials in the stores of other tools, from its ledger alone.

The ledger stays the truth. A mirror may be thrown away and made again at any time, and one that is
brought up to date again gets only what it lacks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from analysis.events import Event
from study.follow import Follower
from study.quiet import quiet
from study.standing import OVER, Standing, resolved
from study.tally import ENDED
from trainables.core.errors import SettingError

if TYPE_CHECKING:
    import optuna

Params = Mapping[str, Any]


@dataclass
class Record:
    """What the ledger says of one trial; reports are in order of their epochs."""

    planned: Event
    started: Event | None = None
    ended: Event | None = None
    reports: list[Event] = field(default_factory=list)
    retries: int = 0
    ranges: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """The trial's number in its study."""
        return int(self.planned["trial"])

    @property
    def title(self) -> str:
        """The trial as folders and runs of other tools are called."""
        arm, weighter = self.planned["arm"], self.planned["weighter"]
        return f"{self.number:04d} {arm} {weighter} seed {self.planned['seed']}"

    @property
    def state(self) -> str:
        """WAITING, RUNNING (also while it is paused at a rung), COMPLETE, PRUNED or FAIL."""
        if self.ended is not None:
            return str(self.ended["state"])
        return "WAITING" if self.started is None else "RUNNING"

    @property
    def settings(self) -> dict[str, Any]:
        """Arm, weighter and what was drawn, by path."""
        arm = {"arm": self.planned["arm"], "weighter": self.planned["weighter"]}
        return arm | dict(self.planned["params"])

    def figures(self, report: Event) -> dict[str, float]:
        """Metrics and weights of a report that are finite."""
        found = dict(report["metrics"])
        for loss, row in (report.get("weights") or {}).items():
            found |= {f"weights/{loss}/{key}": value for key, value in row.items()}
        found |= {f"time/{key}": report[key] for key in ("train_s", "eval_s")}
        for row in report.get("evaluations") or ():
            if row["split"] == "test":
                found[f"test/{row['name']}/{row['metric']}"] = row["value"]
        return {
            key: float(value)
            for key, value in found.items()
            if isinstance(value, int | float) and math.isfinite(value)
        }

    def last(self, metric: str) -> float:
        """The metric at the last report that has it; NaN where none has."""
        values = (
            one["metrics"][metric] for one in reversed(self.reports) if metric in one["metrics"]
        )
        return float(next(values, math.nan))


class Source:
    """A study's ledger as records of trials, read further with every `new`."""

    def __init__(self, folder: Path) -> None:
        self.resolved = resolved(folder)
        self.study = str(self.resolved["study"])
        self.study_id = str(self.resolved["study_id"])
        self.records: dict[int, Record] = {}
        self._follower = Follower(folder)

    @property
    def objectives(self) -> dict[str, str]:
        """Every objective with its mode, in order."""
        search = self.resolved["search"]
        return dict(search.get("objectives") or {search["metric"]: search["mode"]})

    def new(self) -> list[Record]:
        """The trials that something has happened to since the last call, by number."""
        changed: set[int] = set()
        for event in self._follower.new():
            if event["event"] == "extended":
                self.resolved = event["study"]
            elif event["event"] == "planned":
                # A confirmation has the ranges of what it confirms.
                ranges = event["distributions"]
                if event["phase"] == "confirm" and event["place"] in self.records:
                    ranges = self.records[event["place"]].ranges
                self.records[event["trial"]] = Record(event, ranges=ranges)
            elif event.get("trial") in self.records:
                _add(self.records[event["trial"]], event)
            else:
                continue
            if "trial" in event:
                changed.add(event["trial"])
        return [self.records[number] for number in sorted(changed)]


class Mirror(Protocol):
    """A store of another tool."""

    def update(self, source: Source, changed: Sequence[Record]) -> None:
        """Bring these trials up to date; called with all of them first."""

    def close(self) -> None:
        """Write what is pending."""


def follow(
    folder: Path,
    mirrors: Sequence[Mirror],
    *,
    watch: bool = False,
    every_s: float = 2.0,
    say: Callable[[str], None] = lambda _: None,
) -> int:
    """Bring mirrors up to date, with `watch` until nobody works on the study any more.

    Returns how many trials there are. Raises what reading the ledger and the mirrors raise.
    """
    source, standing = Source(folder), Standing(folder)
    try:
        while True:
            # Asked first: what is written up to the end of the study is mirrored, too.
            over = standing.read()["status"] in OVER
            changed = source.new()
            for mirror in mirrors:
                mirror.update(source, changed)
            if changed:
                say(f"{len(changed)} of {len(source.records)} trials brought up to date")
            if over or not watch:
                return len(source.records)
            time.sleep(every_s)
    finally:
        for mirror in mirrors:
            mirror.close()


def to_optuna(folder: str | Path, url: str) -> int:
    """The study in `folder` as an Optuna study of its name in the database at `url`.

    `url` is that of a database, such as "sqlite:///optuna.db". Arm and weighter are categorical
    parameters, the objectives are the study's. Called again it adds what is new. Returns how many
    trials there are. Raises `SettingError` where another study of this name is there.
    """
    return follow(Path(folder), [OptunaMirror(url)])


class OptunaMirror:
    """An Optuna study, so that optuna-dashboard and Optuna's plots can show ours."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._study: optuna.Study | None = None
        self._ids: dict[int, int] = {}
        self._reported: dict[int, int] = {}
        self._names = _Names()

    def update(self, source: Source, changed: Sequence[Record]) -> None:
        """Add the trials and the reports that the database lacks, and end what has ended."""
        import optuna

        if not changed and self._study is not None:
            return
        with quiet():
            if self._study is None:
                self._open(source)
            try:
                for record in changed:
                    self._bring(source, record)
            except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
                # The study was extended: an ended trial goes on, or there is another arm.
                self._remake(source)

    def close(self) -> None:
        """Let the database go."""
        if self._study is not None:
            self._study._storage.remove_session()

    def _open(self, source: Source) -> None:
        import optuna

        try:
            storage = optuna.storages.RDBStorage(self.url)
        except Exception as error:  # SQLAlchemy's many, and missing drivers
            text = str(error).splitlines()[0]
            raise SettingError(f"{self.url} cannot be opened as a database: {text}") from None
        modes = source.objectives
        self._study = optuna.create_study(
            storage=storage,
            study_name=source.study,
            directions=["maximize" if one == "max" else "minimize" for one in modes.values()],
            load_if_exists=True,
        )
        found = self._study.user_attrs.get("study_id", source.study_id)
        if found != source.study_id:
            raise SettingError(
                f"{self.url} holds another study called {source.study!r}; give another --optuna."
            )
        self._study.set_user_attr("study_id", source.study_id)
        self._study.set_user_attr("question", source.resolved.get("question") or "")
        self._study.set_user_attr("baseline", source.resolved.get("baseline") or "")
        self._study.set_metric_names(list(modes))
        for trial in self._study.get_trials(deepcopy=False):
            self._ids[int(trial.user_attrs["trial"])] = trial._trial_id
            self._reported[int(trial.user_attrs["trial"])] = int(
                trial.user_attrs.get("epochs", max(trial.intermediate_values, default=0))
            )

    def _remake(self, source: Source) -> None:
        import optuna

        assert self._study is not None
        optuna.delete_study(study_name=source.study, storage=self._study._storage)
        self._study, self._names = None, _Names()
        self._ids.clear()
        self._reported.clear()
        self._open(source)
        for number in sorted(source.records):
            self._bring(source, source.records[number])

    def _bring(self, source: Source, record: Record) -> None:
        params, ranges = self._params(source, record)
        if record.number not in self._ids:
            self._add(source, record, params, ranges)
            return
        assert self._study is not None
        storage, trial_id = self._study._storage, self._ids[record.number]
        known = storage.get_trial(trial_id)
        if known.distributions != ranges:
            raise ValueError("the search space has changed")
        same = known.state == self._state(source, record)
        if known.state.is_finished() and same and known.user_attrs["epochs"] == len(record.reports):
            return
        metric = next(iter(source.objectives))
        for report in record.reports[self._reported[record.number] :]:
            value = report["metrics"].get(metric, math.nan)
            if math.isfinite(value):
                storage.set_trial_intermediate_value(trial_id, int(report["epoch"]), float(value))
        for key, value in self._attributes(record).items():
            if known.user_attrs.get(key) != value:
                storage.set_trial_user_attr(trial_id, key, value)
        state = self._state(source, record)
        if state != known.state:
            storage.set_trial_state_values(trial_id, state, self._values(source, record, state))
        self._reported[record.number] = len(record.reports)

    def _add(
        self, source: Source, record: Record, params: Params, ranges: Mapping[str, Any]
    ) -> None:
        import optuna

        assert self._study is not None
        state = self._state(source, record)
        metric = next(iter(source.objectives))
        steps = {
            int(one["epoch"]): float(one["metrics"][metric])
            for one in record.reports
            if math.isfinite(one["metrics"].get(metric, math.nan))
        }
        began = record.started or record.planned
        frozen = optuna.trial.FrozenTrial(
            number=-1,
            trial_id=-1,
            state=state,
            value=None,
            values=self._values(source, record, state),
            datetime_start=None if state.name == "WAITING" else _local(began),
            datetime_complete=_local(record.ended) if record.ended else None,
            params=dict(params),
            distributions=dict(ranges),
            user_attrs=self._attributes(record),
            system_attrs={},
            intermediate_values=steps,
        )
        # Not `add_trial`, which gives no id back: looking it up reads all trials every time.
        self._ids[record.number] = self._study._storage.create_new_trial(
            self._study._study_id, template_trial=frozen
        )
        self._reported[record.number] = len(record.reports)

    def _params(
        self, source: Source, record: Record
    ) -> tuple[dict[str, Any], dict[str, optuna.distributions.BaseDistribution]]:
        import optuna

        params: dict[str, Any] = {}
        ranges: dict[str, optuna.distributions.BaseDistribution] = {}
        for key in ("arm", "weighter"):
            every = dict.fromkeys(one[key] for one in source.resolved["arms"])
            params[key] = record.planned[key]
            ranges[key] = optuna.distributions.CategoricalDistribution(tuple(every))
        for path, value in record.planned["params"].items():
            if path not in record.ranges:
                continue
            found, value = _distribution(record.ranges[path], value)
            name = self._names.of(path, found)
            params[name], ranges[name] = value, found
        return params, ranges

    def _state(self, source: Source, record: Record) -> optuna.trial.TrialState:
        """A complete trial without all of its objectives has failed, as Optuna sees it."""
        import optuna

        states = optuna.trial.TrialState
        if record.state == "COMPLETE" and not all(
            math.isfinite(record.last(one)) for one in source.objectives
        ):
            return states.FAIL
        return states[record.state]

    def _values(
        self, source: Source, record: Record, state: optuna.trial.TrialState
    ) -> list[float] | None:
        return [record.last(one) for one in source.objectives] if state.name == "COMPLETE" else None

    def _attributes(self, record: Record) -> dict[str, Any]:
        planned, ended = record.planned, record.ended or {}
        found = {
            "trial": record.number,
            "phase": planned["phase"],
            "seed": planned["seed"],
            "group": planned["group"],
            "epochs": len(record.reports),
            "retries": record.retries,
        }
        if planned["phase"] == "confirm":
            found["confirms"] = planned["place"]
        elif planned["phase"] == "control":
            found |= {"controls": planned["place"], "control": planned["control"]}
        if ended:
            found["reason"] = ended["reason"]
            found["error"] = (ended.get("error") or {}).get("type")
            found |= record.figures(record.reports[-1]) if record.reports else {}
        return {key: value for key, value in found.items() if value is not None}


class _Names:
    """Names of parameters: the path, with a number where one path has ranges of several kinds.

    Optuna allows a parameter one kind of range; arms may give a path different ones.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, list[Any]] = {}

    def of(self, path: str, found: optuna.distributions.BaseDistribution) -> str:
        kind = (
            type(found).__name__,
            getattr(found, "log", None),
            repr(getattr(found, "choices", None)),
        )
        known = self._kinds.setdefault(path, [])
        if kind not in known:
            known.append(kind)
        place = known.index(kind)
        return path if place == 0 else f"{path} ({place + 1})"


def _distribution(
    plain: Mapping[str, Any], value: Any
) -> tuple[optuna.distributions.BaseDistribution, Any]:
    """The range as Optuna writes it, and the value in it."""
    import optuna

    if "values" in plain:
        # Optuna compares with ==, to which 0, 0.0, False and their like are one.
        labels = plain["values"]
        if len({str(type(one)) for one in labels}) > 1:
            return optuna.distributions.CategoricalDistribution(
                tuple(repr(one) for one in labels)
            ), repr(value)
        return optuna.distributions.CategoricalDistribution(tuple(labels)), value
    low, high, log = plain["low"], plain["high"], bool(plain.get("log"))
    # A point given by hand may lie outside of the range.
    low, high = min(low, value), max(high, value)
    if all(isinstance(one, int) for one in (low, high)):
        return optuna.distributions.IntDistribution(low, high, log=log), int(value)
    return optuna.distributions.FloatDistribution(low, high, log=log), float(value)


def _add(record: Record, event: Event) -> None:
    kind = event["event"]
    if kind == "started":
        record.started = record.started or event
    elif kind == "report":
        if not record.reports or event["epoch"] > record.reports[-1]["epoch"]:
            record.reports.append(event)
    elif kind == "retried":
        record.retries += 1
    elif kind == "ended" and event["state"] in ENDED:
        record.ended = event
    elif kind == "reopened":
        record.ended = None


def _local(event: Event) -> datetime:
    """Optuna's times have no zone and are those of this machine's clock."""
    return datetime.fromisoformat(event["time"]).astimezone().replace(tzinfo=None)


def opened(
    folder: Path, *, optuna: str = "", tensorboard: str = "", wandb: str = "", mlflow: str = ""
) -> list[tuple[str, Mirror]]:
    """The mirrors that are asked for, each with how to look at it; Optuna's without any.

    `optuna` is a file or a database's URL ("": `optuna.db` in the study's folder), `tensorboard` a
    folder, `wandb` a project, `mlflow` a tracking URI. Raises `MissingDataError` for a package
    that is not installed.
    """
    found: list[tuple[str, Mirror]] = []
    if optuna or not (tensorboard or wandb or mlflow):
        url = optuna or str(folder / "optuna.db")
        url = url if "://" in url else f"sqlite:///{url}"
        found.append((f"optuna-dashboard {url}", OptunaMirror(url)))
    if tensorboard:
        from study.callbacks.tensorboard import TensorBoard

        found.append((f"tensorboard --logdir {tensorboard}", TensorBoard(Path(tensorboard))))
    if wandb:
        from study.callbacks.wandb import WandB

        found.append((f"W&B project {wandb}", WandB(wandb)))
    if mlflow:
        from study.callbacks.mlflow import MLflow

        found.append((f"mlflow ui --backend-store-uri {mlflow}", MLflow(mlflow)))
    return found
