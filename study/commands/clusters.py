"""Commands for clusters: what their nodes can do, jobs, and files that start one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from study.commands import shell
from study.commands.options import Address, DataRoot, Insecure, Json, Set, Storage
from study.commands.running import toy_size


def check(
    study: Annotated[str, typer.Argument(metavar="FILE_OR_PRESET", help="A study file or preset.")],
    changes: Set = None,
    root: Annotated[Path, typer.Option(help="Where studies live.")] = Path("studies"),
    data_root: DataRoot = "",
    address: Address = "",
    insecure: Insecure = False,
    storage: Storage = "",
    nodes: Annotated[int, typer.Option(min=1, help="So many nodes must have joined.")] = 1,
    wait_s: Annotated[float, typer.Option(min=0, help="Seconds to wait for them.")] = 0,
    hosts: Annotated[bool, typer.Option("--hosts", help="Show the nodes' host names.")] = False,
    as_json: Json = False,
) -> None:
    """Look at every node of a cluster: versions, code, storage, data, GPUs; nothing is run.

    Example: python -m study check my.yaml --address 10.0.0.1:6379 --root /shared/studies
    """
    with shell.clear_errors():
        from study import cluster, spec
        from study import nodes as looking

        found = spec.load(spec.find(study), tuple(changes or ()))
        joined = looking.gather(address, nodes, wait_s=wait_s, insecure=insecure, say=shell.say)
        try:
            needs = found.resources
            fits = joined.slots(needs.cpu, needs.gpu)
            data = found.arms[0].tree["data"]
            rows = looking.check(root, data_root, storage, data=data, hosts=hosts)
        finally:
            cluster.disconnect()
        shell.out(rows if as_json else looking.shown(rows), as_json)
        shell.say(f"{fits} trials fit at once.")
        looking.demand(rows)


def submit(
    study: Annotated[str, typer.Argument(metavar="FILE_OR_PRESET", help="A study file or preset.")],
    address: Annotated[str, typer.Option(help="The cluster's dashboard: http://127.0.0.1:8265")],
    root: Annotated[str, typer.Option(help="Where studies live, on the cluster; all nodes share.")],
    changes: Set = None,
    data_root: DataRoot = "",
    storage: Storage = "",
    insecure: Insecure = False,
    again: Annotated[
        bool, typer.Option("--resume", help="Go on with the study if it was begun there.")
    ] = False,
    python: Annotated[
        str, typer.Option(help="The cluster's Python that has this package.")
    ] = sys.executable,
    code: Annotated[bool, typer.Option("--code", help="Send the sources from here, too.")] = False,
    wait: Annotated[bool, typer.Option(help="Show the log and end as the study does.")] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and say what would be sent.")
    ] = False,
    smoke_test: Annotated[
        bool, typer.Option("--smoke-test", help="The same study at toy size, as NAME-smoke.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a study as a job of a Ray cluster: its driver runs there, and this machine may leave.

    Example: python -m study submit my.yaml --address http://127.0.0.1:8265 --root /shared/studies
    """
    with shell.clear_errors():
        from study import spec
        from study import submit as sending

        path = spec.find(study)
        toy = toy_size(path.read_text(encoding="utf-8")) if smoke_test else ()
        asked = [*(changes or ()), *toy]
        found = spec.load(path, tuple(asked))
        given = {"--data-root": data_root, "--storage": storage}
        command = sending.entrypoint(
            path.name,
            found.study,
            python=python,
            root=root,
            resume=again,
            options=[
                *(word for pair in given.items() if pair[1] for word in pair),
                *(["--insecure"] if insecure else []),
            ],
            changes=[word for one in asked for word in ("--set", one)],
        )
        if dry_run:
            sent = sending.would_send(path, code=code)
            plain = {"entrypoint": command, "sent": sent.shipped, "not_sent": sent.excluded}
            shell.out(plain if as_json else f"{command}\n{sent.summary()}", as_json)
            return
        client, job = sending.submit(
            address, path, command, name=found.study, code=code, insecure=insecure, say=shell.say
        )
        shell.out({"job": job, "entrypoint": command} if as_json else job, as_json)
        ray = Path(sys.executable).with_name("ray")
        shell.say(f"Its log: {ray} job logs --address {address} --follow {job}")
        shell.say(f"To end it: {ray} job stop --address {address} {job}")
        if wait and (
            ended := sending.follow(client, job, lambda text: shell.say(text.rstrip("\n")))
        ):
            raise typer.Exit(ended)


def launch(
    kind: Annotated[str, typer.Argument(help="slurm, kuberay or ray-up")],
    study: Annotated[str, typer.Option(help="A study file or preset.")] = "quickstart",
    storage: Annotated[
        str, typer.Option(help="Where studies live on the cluster; all nodes share it.")
    ] = "/shared/studies",
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path(),
    nodes: Annotated[int, typer.Option()] = 1,
    cpus_per_node: Annotated[int, typer.Option()] = 1,
    gpus_per_node: Annotated[int, typer.Option()] = 0,
    python: Annotated[
        str, typer.Option(help="The nodes' Python that has this package.")
    ] = sys.executable,
    data_root: DataRoot = "",
    time: Annotated[str, typer.Option(help="slurm: the limit, hours:minutes:seconds.")] = (
        "24:00:00"
    ),
    image: Annotated[str, typer.Option(help="kuberay: a container image with this package.")] = "",
    claim: Annotated[str, typer.Option(help="kuberay: the shared volume's claim.")] = (
        "study-storage"
    ),
    provider: Annotated[str, typer.Option(help="ray-up: local or aws.")] = "local",
    install: Annotated[str, typer.Option(help="ray-up: what pip installs on new nodes.")] = "",
    head_ip: Annotated[str, typer.Option(help="ray-up local: the head's address.")] = "",
    worker_ip: Annotated[
        list[str] | None, typer.Option(help="ray-up local: another node's (repeat).")
    ] = None,
    ssh_user: Annotated[str, typer.Option(help="ray-up: who logs in.")] = "ubuntu",
    region: Annotated[str, typer.Option(help="ray-up aws.")] = "us-west-2",
    instance: Annotated[str, typer.Option(help="ray-up aws: type of machine.")] = "m5.2xlarge",
) -> None:
    """Write the files that start a cluster and run a study on it; nothing is overwritten.

    Example: python -m study launch slurm --nodes 4 --gpus-per-node 2 --study my.yaml
    """
    with shell.clear_errors():
        from study import launch as launching

        asked = launching.Asked(
            storage=storage,
            nodes=nodes,
            cpus=cpus_per_node,
            gpus=gpus_per_node,
            python=python,
            data_root=data_root,
            time=time,
            image=image,
            claim=claim,
            provider=provider,
            install=install,
            head_ip=head_ip,
            worker_ips=tuple(worker_ip or ()),
            ssh_user=ssh_user,
            region=region,
            instance=instance,
        )
        written = launching.write(kind, study, asked, out)
        typer.echo("\n".join(map(str, written)))
        shell.say(f"Next: read it; then {launching.NEXT[kind].format(file=written[0])}")
