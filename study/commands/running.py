"""Commands that make, run, grow and stop a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from study.commands import shell
from study.commands.answering import tell
from study.commands.options import (
    Address,
    Cpus,
    Dashboard,
    DataRoot,
    Folder,
    Insecure,
    Json,
    Set,
    Storage,
)


def run(
    study: Annotated[str, typer.Argument(metavar="FILE_OR_PRESET", help="A study file or preset.")],
    changes: Set = None,
    root: Annotated[Path, typer.Option(help="Where studies live.")] = Path("studies"),
    data_root: DataRoot = "",
    address: Address = "",
    cpus: Cpus = None,
    dashboard: Dashboard = True,
    insecure: Insecure = False,
    storage: Storage = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and say what would run.")
    ] = False,
    smoke_test: Annotated[
        bool, typer.Option("--smoke-test", help="The same study at toy size, as NAME-smoke.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a study: search, confirm on fresh seeds, benchmarks, tables, report.

    Examples:

      python -m study run quickstart

      python -m study run my.yaml --set data=MNIST --set search.trials_per_arm=16

      python -m study run my.yaml --dry-run
    """
    with shell.clear_errors():
        from study import life, spec
        from study.provenance import line_of

        path = spec.find(study)
        text = path.read_text(encoding="utf-8")
        asked = [*(changes or ()), *(toy_size(text) if smoke_test else ())]
        found = spec.load(path, tuple(asked))
        given = text + "".join(f"\n# --set {one}" for one in asked)
        life.storage_of(storage, found)
        if not dry_run:
            life.vacant(found, root)
        data = life.rehearse(found, data_root, address=address, cpus=cpus)
        shell.say(line_of(data))
        shell.say(_plan(found))
        if dry_run:
            shell.out(found.resolved() if as_json else "Dry run: nothing was started.", as_json)
            return
        folder = life.create(found, given, root, data)
        shell.say(f"Study folder: {folder}")
        _go(
            folder,
            "run",
            as_json,
            address=address,
            insecure=insecure,
            data_root=data_root,
            storage=storage,
            cpus=cpus,
            dashboard=dashboard,
            data=data,
        )


def resume(
    folder: Folder,
    data_root: DataRoot = "",
    address: Address = "",
    cpus: Cpus = None,
    dashboard: Dashboard = True,
    insecure: Insecure = False,
    storage: Storage = "",
    as_json: Json = False,
) -> None:
    """Go on with a study that was interrupted or killed; at most the epochs in flight are redone.

    Example: python -m study resume studies/quickstart
    """
    with shell.clear_errors():
        from study import life

        # Data that is not there must end the command, not every trial that it would have gone on.
        data = life.rehearse(life.load(folder), data_root, address=address, cpus=cpus)
        _go(
            folder,
            "resume",
            as_json,
            address=address,
            insecure=insecure,
            data_root=data_root,
            storage=storage,
            cpus=cpus,
            dashboard=dashboard,
            data=data,
        )


def extend(
    folder: Folder,
    trials: Annotated[int, typer.Option(min=0, help="More trials for every arm.")] = 0,
    seeds: Annotated[int, typer.Option(min=0, help="More seeds for the confirmation.")] = 0,
    epochs: Annotated[int, typer.Option(min=0, help="More epochs for every trial.")] = 0,
    changes: Set = None,
    data_root: DataRoot = "",
    address: Address = "",
    cpus: Cpus = None,
    dashboard: Dashboard = True,
    insecure: Insecure = False,
    plan_only: Annotated[
        bool, typer.Option("--no-run", help="Record it; `resume` runs it later.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Let a study grow: more trials, seeds, epochs, arms, another budget; what there is stays.

    Every trial that was trained counts on. Winners are chosen again; a confirmation of a
    configuration that is no longer one stays in the tables as superseded.

    Examples:

      python -m study extend studies/quickstart --trials 8

      python -m study extend studies/quickstart --seeds 5 --set arms.trades=trades
    """
    with shell.clear_errors():
        from study import life

        asked = [*life.growth(folder, trials=trials, seeds=seeds, epochs=epochs), *(changes or ())]
        found = life.extend(folder, asked)
        shell.say(_plan(found))
        if plan_only:
            shell.say(f"Recorded. Run it with:\n  {shell.me()} resume {folder}")
            return
        data = life.rehearse(found, data_root, address=address, cpus=cpus)
        _go(
            folder,
            "extend",
            as_json,
            address=address,
            insecure=insecure,
            data_root=data_root,
            storage="",
            cpus=cpus,
            dashboard=dashboard,
            data=data,
        )


def fetch(
    storage: Annotated[str, typer.Argument(metavar="ADDRESS", help="s3://bucket/studies/NAME, …")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
) -> None:
    """Bring a study from its storage to this machine, to look at it or to resume it here.

    Example: python -m study fetch s3://bucket/studies/quickstart studies/quickstart
    """
    with shell.clear_errors():
        from study import remote

        remote.fetch(storage, folder)
        shell.say(f"Go on with it:\n  {shell.me()} resume {folder}")
        typer.echo(str(folder))


def stop(
    folder: Folder,
    now: Annotated[
        bool, typer.Option("--now", help="At once; the epochs in flight are lost.")
    ] = False,
    wait_s: Annotated[float, typer.Option("--wait", help="Seconds to wait for its end.")] = 600.0,
) -> None:
    """Stop a running study from outside, also from another machine that sees its folder.

    By default every running trial ends its epoch first, so that nothing is lost.

    Example: python -m study stop studies/quickstart
    """
    with shell.clear_errors():
        import time

        from analysis import events
        from study import ledger, watch

        watch.ask_to_stop(folder, now=now)
        shell.say("Asked. Waiting for the driver to end …")
        until = time.monotonic() + wait_s
        while ledger.locked(folder):
            if time.monotonic() > until:
                shell.say(f"It has not ended after {wait_s:g} s; it will when its epochs have.")
                raise typer.Exit(1)
            time.sleep(0.2)
        if events.latest(events.read(folder)) == "finished":
            shell.say("The study had just finished.")
        else:
            shell.say(f"Stopped. Go on with:\n  {shell.me()} resume {folder}")


def plan(
    study: Annotated[str, typer.Argument(metavar="FILE_OR_PRESET", help="A study file or preset.")],
    changes: Set = None,
    data_root: DataRoot = "",
    cpus: Annotated[int | None, typer.Option(help="CPUs to plan for; all here by default.")] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs to plan for; all here by default.")] = None,
    address: Annotated[str, typer.Option(help="Ray cluster to plan for; else this machine.")] = "",
    insecure: Insecure = False,
    as_json: Json = False,
) -> None:
    """What a study will take: trials, epochs, device hours, disk, and how long it lasts.

    Every arm is timed for a moment here; nothing is started and nothing written.

    Example: python -m study plan quickstart --cpus 8
    """
    with shell.clear_errors():
        from study import plan as planning
        from study import spec

        found = spec.load(spec.find(study), tuple(changes or ()))
        slots = planning.slots(found, address=address, cpus=cpus, gpus=gpus, insecure=insecure)
        made = planning.plan(found, data_root=data_root, slots=slots, say=shell.say)
        if as_json:
            shell.out(made.plain(), True)
        else:
            planning.show(made)


def _go(folder: Path, command: str, as_json: bool, **settings: Any) -> None:
    from study import life

    try:
        done, failed = life.conduct(folder, command, say=shell.say, **settings)
    except life.TooManyFailuresError as error:
        tell(folder, as_json)
        shell.say(str(error))
        raise typer.Exit(1) from None
    if not done:
        shell.say(life.interrupted(folder))
        raise typer.Exit(130)
    tell(folder, as_json)
    if failed:
        shell.say(f"{failed} trials failed; see the report.")
        raise typer.Exit(1)


def _plan(found: Any) -> str:
    arms, asked = len(found.arms), found.search.trials_per_arm
    again = found.confirm.top * found.confirm.seeds
    epochs = arms * (asked + again) * found.epochs
    return (
        f"{found.study}: {arms} arms ({', '.join(one.name for one in found.arms)}); "
        f"{asked} trial{'' if asked == 1 else 's'} each, then {again} on fresh seeds each"
        f"{_with(found.confirm.controls)}; "
        f"{arms * (asked + again)} trials of at most {found.epochs} epochs ({epochs} in all)"
    )


def _with(controls: Sequence[str]) -> str:
    return f" and as many for each control ({', '.join(controls)})" if controls else ""


def toy_size(text: str) -> tuple[str, ...]:
    """Changes that make any study a toy: few examples, two epochs, one trial, one seed."""
    from study.yaml_text import read_yaml

    name = read_yaml(text)["study"]
    return (
        f"study={name}-smoke",
        "data.limit=200",
        "training.epochs=2",
        "schedule.max_epochs=2",
        "schedule.grace_epochs=1",
        "search.trials_per_arm=1",
        "confirm.seeds=1",
        "probe.limit=32",
        "test.limit=32",
    )
