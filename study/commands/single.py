"""Commands for one training without a search, and for looking at views."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from study.commands import shell
from study.commands.options import Benchmarks, DataRoot, Device, Json, Set


def train(
    data: Annotated[
        str, typer.Option("--data", "--dataset", help="Digits, MNIST, UCR_ECG200 …")
    ] = "Digits",
    architecture: Annotated[
        str, typer.Option("--architecture", "--model", help="MLP, ConvNet, ResNet18 …")
    ] = "ConvNet",
    losses: Annotated[
        list[str] | None,
        typer.Option(
            "--loss", "--custom-loss", help="gaussian-kl_0.1, uda, adversarial-attack … (repeat)"
        ),
    ] = None,
    attack_file: Annotated[
        Path | None, typer.Option("--loss-config", "--loss-config-file", help="Attack file (JSON).")
    ] = None,
    weighter: Annotated[str, typer.Option(help="Fixed, CoV, GradientSimilarity …")] = "Fixed",
    epochs: Annotated[int, typer.Option("--epochs", "--max-epochs")] = 10,
    seed: Annotated[int, typer.Option()] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; named after it by default.")
    ] = None,
    device: Device = "auto",
    data_root: DataRoot = "",
    changes: Set = None,
    again: Annotated[bool, typer.Option("--resume", help="Go on with this run.")] = False,
    as_json: Json = False,
) -> None:
    """Train once, without a search.

    Examples:

      python -m study train --data MNIST --architecture ConvNet --loss gaussian-kl_0.1

      python -m study train --data UCR_ECG200 --architecture MLP --loss gaussian-kl_0.1

      python -m study train --data MNIST --loss adversarial-attack --loss-config pgd_2_0.5.json
    """
    with shell.clear_errors():
        from study import single

        recipe = single.recipe_of(
            data=data,
            architecture=architecture,
            methods=tuple(losses or ()),
            attack_file=attack_file,
            weighter=weighter,
            epochs=epochs,
            seed=seed,
            changes=tuple(changes or ()),
        )
        parts = [data, architecture, *(losses or ["plain"]), weighter, f"seed{seed}"]
        folder = out or Path("runs") / "_".join(parts).replace("/", "-")
        training = single.train(
            recipe, folder, data_root=data_root, device=device, resume=again, say=shell.say
        )
        last = training.reports[-1]["metrics"]
        shell.say(f"Next: python -m study evaluate {folder} --benchmark gaussian_0.1")
        shell.out({"folder": str(folder)} | last if as_json else str(folder), as_json)


def evaluate(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run's or trial's folder, or a .pt file.")
    ],
    benchmarks: Benchmarks,
    part: Annotated[str, typer.Option(help="test or validation")] = "test",
    limit: Annotated[int, typer.Option(help="At most so many examples; 0: all.")] = 0,
    seed: Annotated[int, typer.Option(help="Of noise and of random starts.")] = 0,
    best: Annotated[bool, typer.Option("--best/--last", help="Which checkpoint.")] = False,
    device: Device = "auto",
    data_root: DataRoot = "",
    as_json: Json = False,
) -> None:
    """Benchmarks on a trained model; rows are added to RUN/evaluations.jsonl.

    RUN/evaluated-<n>.npz says of every example how it fared. What is known of the same model, data
    and benchmark is read from RUN/cache, and an interrupted attack goes on where it was.

    Example: python -m study evaluate runs/X --benchmark clean --benchmark gaussian_0.1
    """
    with shell.clear_errors():
        from study import life, single, standing
        from study.provenance import data_of, line_of
        from trainables.core import records
        from trainables.core.quantities import one_of

        one_of("--part", part, ("test", "validation"))
        life.bring(folder)
        training = single.restore(folder, best=best, data_root=data_root, device=device)
        home = folder if folder.is_dir() else folder.parent
        found = training.evaluate(
            list(benchmarks),
            part=part,
            limit=limit,
            seed=seed,
            checks=True,
            store=home / "cache",
        )
        rows = found.rows
        if folder.is_dir():
            with (folder / "evaluations.jsonl").open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            # Not `examples.npz`: that is the study's own evaluation of its trial.
            known = len(list(folder.glob("evaluated-*.npz")))
            records.write_examples(folder / f"evaluated-{known + 1}.npz", found.judged)
        if as_json:
            shell.out(rows, True)
        else:
            typer.echo(line_of(data_of(training, data_root)))
            standing.show_rows(rows)


def look(
    names: Annotated[
        list[str], typer.Argument(metavar="VIEW...", help="AugMix, fog_3, fog, corruptions, ...")
    ],
    data: Annotated[str, typer.Option(help="Name of a data set.")] = "Digits",
    out: Annotated[Path, typer.Option(help="Picture to write: .png, .pdf or .svg.")] = Path(
        "sheet.png"
    ),
    examples: Annotated[int, typer.Option(min=1, help="Test examples in a row.")] = 5,
    first: Annotated[int, typer.Option(min=0, help="Number of the first one.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the views' random numbers.")] = 0,
    data_root: DataRoot = "",
) -> None:
    """Draw a contact sheet: what views make of real examples.

    The name of a corruption without a severity shows all five, and "corruptions" all types.

    Example: python -m study look corruptions --data CIFAR10 --out sheet.png
    """
    with shell.clear_errors():
        from study import look as looking

        path = looking.sheet(
            names, data, out, examples=examples, first=first, seed=seed, data_root=data_root
        )
        typer.echo(str(path))
