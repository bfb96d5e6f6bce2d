"""The further processes of a trial: started beside it, told what to do, and watched.

They are plain processes on the trial's machine: they hear orders on their standard input, so that
they end when the trial's process does, however that dies, and they answer on their standard output.
They meet in a file of a private folder and talk over the loopback interface, so no other machine
can reach them.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import distributed
from torch.distributed import distributed_c10d

from .core.errors import SettingError
from .core.parallel import ProcessLost, Team
from .core.quantities import whole
from .core.training import Training

# Importing torch from a slow disk, by many processes at once.
START_S = 600.0
# How long a process may wait for the others within an epoch.
ANSWER_S = 600.0
# What is left to say after something broke is said within this time.
LAST_WORDS_S = 5.0
BACKENDS = ("gloo", "nccl")


class Ranks:
    """The further processes 1, 2, ... of a trial whose first one is the caller's.

    `processes` (at least 2) are all of them. `cpus` and `gpus` are what the trial has: threads are
    dealt out evenly, and every process gets a GPU of its own where there are enough (connected by
    NCCL) or shares one (by Gloo, through the host). Use as a context or call `close`. Raises
    `SettingError` for settings out of range and `ProcessLost` if a process does not start.
    """

    def __init__(
        self,
        processes: int,
        *,
        cpus: float = 1,
        gpus: float = 0,
        start_s: float = START_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        size = whole("processes", processes, low=2)
        self.devices, backend = places(size, gpus)
        self.threads = max(1, int(cpus) // size)
        self.folder = Path(tempfile.mkdtemp(prefix="trial-"))
        self.closing = False
        common = {
            "size": size,
            "backend": backend,
            "meeting": (self.folder / "meeting").as_uri(),
            "threads": self.threads,
            "answer_s": answer_s,
        }
        self.others = [
            _Other({"rank": rank, "device": device} | common, self._on_exit)
            for rank, device in enumerate(self.devices)
            if rank > 0
        ]
        try:
            for one in self.others:
                one.wait_for_start(start_s)
            torch.set_num_threads(self.threads)
            self.team = _join({"rank": 0, "device": self.devices[0]} | common)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def begin(self, recipe: Mapping[str, Any], root: str = "") -> ParallelTraining:
        """A training of the recipe by all processes; another one may follow it."""
        self._tell({"do": "begin", "recipe": dict(recipe), "root": root})
        return ParallelTraining(self, recipe, root)

    @contextmanager
    def together(self, order: Mapping[str, Any]) -> Iterator[None]:
        """The others carry out `order` while the caller does the same.

        If that fails because of one of them, all are ended and the error says which and why:
        `ProcessLost` for one that died or does not answer, `torch.OutOfMemoryError` or
        `RuntimeError` for one that reported an error.
        """
        self._tell(order)
        try:
            yield
            self._all_there()
        except Exception as error:
            cause = self._cause(error)
            self.close()
            if cause is None:
                raise
            raise cause from error

    def close(self) -> None:
        """End the processes; what they hold is lost."""
        if self.closing:
            return
        self.closing = True
        for one in self.others:
            one.dismiss()
        for one in self.others:
            one.end(LAST_WORDS_S)
        if hasattr(self, "team") and distributed.is_initialized():
            distributed.destroy_process_group()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _tell(self, order: Mapping[str, Any]) -> None:
        if self.closing:
            raise ProcessLost("the trial's other processes have been ended")
        for one in self.others:
            one.tell(order)

    def _all_there(self) -> None:
        if any(one.gone for one in self.others):
            raise ProcessLost("a process of the trial has ended")

    def _cause(self, error: Exception) -> Exception | None:
        """What one of the others said or did that explains the error; None if it is our own."""
        lost = isinstance(error, ProcessLost)
        until = monotonic() + LAST_WORDS_S
        # A process that broke off hears of it a moment before the others do.
        while lost and monotonic() < until and not any(one.gone for one in self.others):
            threading.Event().wait(0.02)
        for one in self.others:
            if one.gone and one.error is None:
                return ProcessLost(f"process {one.rank} of the trial {one.ending}")
        for one in self.others:
            if one.error is not None and one.error["type"] != ProcessLost.__name__:
                return _raised(one.rank, one.error) if lost else None
        return None

    def _on_exit(self) -> None:
        # NCCL would wait for a dead process until its time is over; Gloo notices by itself.
        if self.closing or not distributed.is_initialized():
            return
        if distributed.get_backend() == "nccl":
            with suppress(Exception):
                distributed_c10d._abort_process_group()


class ParallelTraining(Training):
    """A training whose epochs all processes of a trial run together; made by `Ranks.begin`.

    Evaluation and checkpoints are the first process's alone; the others then wait for orders.
    """

    def __init__(self, ranks: Ranks, recipe: Mapping[str, Any], root: str) -> None:
        super().__init__(recipe, root=root, device=ranks.devices[0], team=ranks.team)
        self.ranks = ranks
        self._told = False

    def train_epoch(self) -> dict[str, list[float]]:
        """As of one process; raises as `Ranks.together` does."""
        with self.ranks.together({"do": "epoch", "share": not self._told}):
            if not self._told:
                self.share()
                self._told = True
            return super().train_epoch()

    def load(self, path: Path) -> None:
        """As of one process; the others hear of it before the next epoch."""
        self._told = False
        super().load(path)

    def close(self) -> None:
        """End the other processes."""
        self.ranks.close()


def begin(
    recipe: Mapping[str, Any], *, root: str, processes: int, cpus: float, gpus: float
) -> Training:
    """A training of the recipe by so many processes; `close` it when it is over."""
    if processes == 1:
        (device,), _ = places(1, gpus)
        return Training(recipe, root=root, device=device)
    ranks = Ranks(processes, cpus=cpus, gpus=gpus)
    try:
        return ranks.begin(recipe, root)
    except BaseException:
        ranks.close()
        raise


def places(processes: int, gpus: float) -> tuple[list[str], str]:
    """The device of each process, and what connects them; raises `SettingError` without a GPU."""
    if gpus <= 0:
        return ["cpu"] * processes, "gloo"
    count = torch.cuda.device_count()
    if count == 0:
        raise SettingError(
            f"resources.gpu must be 0 where torch finds no GPU, found {gpus:g} for this trial; "
            "`python -m study check` says what torch sees on each node"
        )
    devices = [f"cuda:{rank % count}" for rank in range(processes)]
    # NCCL refuses two processes on one GPU.
    return devices, "nccl" if count >= processes else "gloo"


class _Other:
    """One further process, and what it said last."""

    def __init__(self, told: Mapping[str, Any], on_exit: Any) -> None:
        self.rank = int(told["rank"])
        self.error: dict[str, str] | None = None
        self.gone = False
        self._started = threading.Event()
        self._on_exit = on_exit
        environment = (
            os.environ
            | _loopback()
            | {
                # Where this process finds its modules, which may be a folder that Ray unpacked.
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "OMP_NUM_THREADS": str(told["threads"]),
            }
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self.tell(told)

    def tell(self, order: Mapping[str, Any]) -> None:
        """An order, which it takes when the one before is done."""
        assert self.process.stdin is not None
        # One that is gone is noticed by whoever waits for it.
        with suppress(OSError):
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()

    def wait_for_start(self, within_s: float) -> None:
        """Raises `ProcessLost` unless it is there in time."""
        self._started.wait(within_s)
        if self.gone or not self._started.is_set():
            ending = self.ending if self.gone else f"did not start within {within_s:g} s"
            said = f": {self.error['type']}: {self.error['text']}" if self.error else ""
            raise ProcessLost(f"process {self.rank} of the trial {ending}{said}")

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self.process.returncode
        return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def dismiss(self) -> None:
        """Let it go: without an input it ends."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()

    def end(self, within_s: float) -> None:
        """See that it is gone."""
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._thread.join()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as said:
            for line in said:
                found = json.loads(line)
                if "type" in found:
                    self.error = found
                self._started.set()
        self.process.wait()
        self.gone = True
        self._started.set()
        self._on_exit()


def _raised(rank: int, error: Mapping[str, str]) -> Exception:
    """What another process reported, as an error of this one."""
    kind = torch.OutOfMemoryError if error["type"] == "OutOfMemoryError" else RuntimeError
    found: Exception = kind(
        f"process {rank} of the trial: {error['type']}: {error['text']}\n{error['traceback']}"
    )
    return found


def _loopback() -> dict[str, str]:
    """Environment that lets Gloo and NCCL use the loopback interface, unless a user says which."""
    names = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    wanted = {f"{one}_SOCKET_IFNAME": names[0] for one in ("GLOO", "NCCL") if names}
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def _join(told: Mapping[str, Any]) -> Team:
    """Meet the other processes; blocks until all are there."""
    device = torch.device(told["device"])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    before = {name: os.environ.get(name) for name in _loopback()}
    os.environ.update(_loopback())
    try:
        distributed.init_process_group(
            told["backend"],
            init_method=told["meeting"],
            rank=told["rank"],
            world_size=told["size"],
            timeout=timedelta(seconds=told["answer_s"]),
            device_id=device if told["backend"] == "nccl" else None,
        )
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
    through_host = told["backend"] == "gloo" and device.type == "cuda"
    return Team(told["rank"], told["size"], through_host=through_host)


# --- what a further process does ----------------------------------------------------------------


def serve(orders: queue.Queue[dict[str, Any]]) -> None:
    """Carry out orders, the first of which says who this process is, for as long as they come."""
    told = orders.get()
    torch.set_num_threads(told["threads"])
    team = _join(told)
    training: Training | None = None
    while True:
        order = orders.get()
        if order["do"] == "begin":
            training = None
            training = Training(
                order["recipe"], root=order["root"], device=told["device"], team=team
            )
            continue
        assert training is not None
        if order["share"]:
            training.share()
        training.train_epoch()


def main() -> None:
    """Serve the process that started this one, and end with it."""
    # Ctrl-C in a terminal reaches all processes; the first one decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What anybody prints must not be taken for an answer.
    os.dup2(2, 1)
    orders: queue.Queue[dict[str, Any]] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            orders.put(json.loads(line))
        # Dismissed, or the trial's process died; the main thread may wait for it in vain.
        os._exit(0)

    def answer(found: Mapping[str, Any]) -> None:
        with suppress(OSError):
            answers.write(json.dumps(found) + "\n")
            answers.flush()

    threading.Thread(target=listen, daemon=True).start()
    answer({"here": os.getpid()})
    try:
        serve(orders)
    except BaseException as error:
        text = "".join(traceback.format_exception(error))
        answer({"type": type(error).__name__, "text": str(error), "traceback": text})
        # Destructors of a broken group may wait for others.
        os._exit(1)


if __name__ == "__main__":
    main()
