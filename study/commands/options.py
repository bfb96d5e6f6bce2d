"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one key: search.trials_per_arm=4 (may be repeated)."),
]
DataRoot = Annotated[
    str, typer.Option(help="Folder of all data sets; else $STUDY_DATA, else ~/.cache/study-data.")
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON value to stdout.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder.")]
Address = Annotated[
    str, typer.Option(help="Ray cluster to join; else $RAY_ADDRESS, else a local one of its own.")
]
Cpus = Annotated[int | None, typer.Option(help="CPUs of the local cluster; all by default.")]
Dashboard = Annotated[bool, typer.Option(help="Ray's dashboard, on this machine only.")]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Join a cluster of another machine without a token.")
]
Storage = Annotated[
    str,
    typer.Option(help="Where checkpoints go: s3://…, gs://…; by default the study's folder."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
Benchmarks = Annotated[
    list[str],
    typer.Option(
        "--benchmark", "--eval-benchmark", help="clean, gaussian_0.1, pgd_linf_8/255_20, … (repeat)"
    ),
]
