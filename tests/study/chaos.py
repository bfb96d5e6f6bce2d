"""A study under random disturbances: killed drivers, trials and nodes, torn lines, broken files.

`python -m tests.study.chaos --disturbances 24` counts them and compares with an undisturbed run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .drivers import Driver
from .two_nodes import TwoNodes

DRIVER, TRIAL, LINE, CHECKPOINT, NODE = "driver", "trial", "line", "checkpoint", "node"
KINDS = (DRIVER, TRIAL, LINE, CHECKPOINT)


@dataclass
class Chaos:
    """Runs the study in `file` to its end, disturbed so many times; `done` counts by kind.

    On `cluster` if there is one, whose second node is then lost and replaced, too. A torn line and
    a broken checkpoint are found by the next driver, so the driver is killed first.
    """

    driver: Driver
    file: Path
    root: Path
    cpus: int
    draws: random.Random
    cluster: TwoNodes | None = None
    done: Counter[str] = field(default_factory=Counter)
    lost: int = 1  # the node that goes next

    @property
    def folder(self) -> Path:
        """The study's folder."""
        name = json.loads(self.file.read_text(encoding="utf-8"))["study"]
        return self.root / str(name)

    def run(self, disturbances: int, lines: int) -> None:
        """To the end; `lines` is about how many lines the undisturbed ledger has."""
        command: tuple[Any, ...] = ("run", self.file, "--root", self.root)
        kinds = KINDS if self.cluster is None else (NODE, *KINDS)
        planned = [self.draws.choice(kinds) for _ in range(disturbances)]
        # Every kind at least once where there are enough.
        planned[: len(kinds)] = kinds[:disturbances]
        self.draws.shuffle(planned)
        at = sorted(self.draws.sample(range(2, lines - 3), disturbances))
        process = self._start(command)
        for kind, line in zip(planned, at, strict=True):
            if not self._wait_for(process, line):
                break
            time.sleep(self.draws.uniform(0, 0.1))
            if kind == TRIAL:
                self._kill_a_trial()
                continue
            if kind == NODE:
                self._lose_a_node()
                continue
            process.kill()
            process.wait()
            if kind == LINE:
                self._tear()
            elif kind == CHECKPOINT:
                self._break()
            else:
                self.done[DRIVER] += 1
            process = self._start(("resume", self.folder))
        if process.wait() != 0:
            raise AssertionError(self.driver.said())

    def _start(self, command: tuple[Any, ...]) -> subprocess.Popen[bytes]:
        if self.cluster is None:
            return self.driver.start(*command, "--cpus", self.cpus, "--no-dashboard")
        return self.driver.start(
            *(*command, "--address", self.cluster.address), **self.cluster.environment
        )

    def _wait_for(self, process: subprocess.Popen[bytes], lines: int) -> bool:
        """Whether the ledger got so many lines before the study ended."""
        ledger = self.folder / "ledger.jsonl"
        while process.poll() is None:
            with suppress(FileNotFoundError):
                if ledger.read_bytes().count(b"\n") >= lines:
                    return True
            time.sleep(0.005)
        if process.returncode != 0:
            raise AssertionError(self.driver.said())
        return False

    def _kill_a_trial(self) -> None:
        """One of the processes in which trials run; none may be there at this moment."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            for pid in self.driver.trials(*self._nodes()):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.done[TRIAL] += 1
                    return
            time.sleep(0.02)

    def _nodes(self) -> list[int]:
        return [] if self.cluster is None else self.cluster.sessions

    def _lose_a_node(self) -> None:
        """The second node goes as in a power cut, and after a while another one comes."""
        assert self.cluster is not None
        self.cluster.kill_node(self.lost)
        self.lost = self.cluster.add_node(replacing=True)
        self.done[NODE] += 1

    def _tear(self) -> None:
        """What a driver leaves that dies while it writes."""
        ledger = self.folder / "ledger.jsonl"
        last = ledger.read_bytes().splitlines()[-1]
        with ledger.open("ab") as file:
            file.write(last[: self.draws.randrange(1, len(last))])
        self.done[LINE] += 1

    def _break(self) -> None:
        """A checkpoint of a trial: cut off, or with bytes that are others."""
        found = sorted(self.folder.glob("trials/*/last.pt"))
        if not found:
            self.done[DRIVER] += 1
            return
        # The youngest ones belong to trials that have not ended.
        path = max(found, key=lambda one: one.stat().st_mtime_ns)
        whole = bytearray(path.read_bytes())
        if self.draws.random() < 0.5:
            whole = whole[: self.draws.randrange(len(whole))]
        else:
            for _ in range(20):
                whole[self.draws.randrange(len(whole))] ^= 0xFF
        # A new file: best.pt may be the same one under another name.
        other = path.with_name("other")
        other.write_bytes(whole)
        other.replace(path)
        self.done[CHECKPOINT] += 1


def main() -> None:
    """Run one study undisturbed and one disturbed, and say whether they are equal."""
    from study.spec import parse

    from .in_process import Runner, assert_equal_as_far_as_both_went, begin, comparable, curves
    from .test_chaos import FILE

    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--disturbances", type=int, default=24)
    words.add_argument("--trials", type=int, default=8)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--asha", action="store_true", help="stop trials at rungs")
    words.add_argument("--nodes", action="store_true", help="on a cluster of two nodes")
    asked = words.parse_args()
    file = FILE | {"search": FILE["search"] | {"trials_per_arm": asked.trials}}
    if asked.asha:
        file |= {"schedule": {"grace_epochs": 1, "reduction_factor": 2}}
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        place = Path(name)
        reference = begin(place / "reference", parse(file))
        Runner().run(reference)
        lines = (reference / "ledger.jsonl").read_bytes().count(b"\n")
        path = place / "tiny.yaml"
        path.write_text(json.dumps(file), encoding="utf-8")
        driver = Driver(place / "home")
        with ExitStack() as stack:
            cluster = stack.enter_context(TwoNodes(place)) if asked.nodes else None
            stack.callback(driver.end)
            draws = random.Random(asked.seed)
            chaos = Chaos(driver, path, place / "studies", 2, draws, cluster)
            began = time.monotonic()
            chaos.run(asked.disturbances, lines)
        print(f"{sum(chaos.done.values())} disturbances in {time.monotonic() - began:.0f} s:")
        print(", ".join(f"{count} x {kind}" for kind, count in sorted(chaos.done.items())))
        if asked.asha:
            assert_equal_as_far_as_both_went(chaos.folder, reference)
            print("every curve is bit-equal as far as both went")
        else:
            assert curves(chaos.folder) == curves(reference)
            mine, others = comparable(chaos.folder), comparable(reference)
            print(f"all {len(curves(reference))} curves are bit-equal")
            print(f"tables: {', '.join(f'{len(rows)} {one}' for one, rows in mine.items())}")
            assert {k: len(v) for k, v in mine.items()} == {k: len(v) for k, v in others.items()}


if __name__ == "__main__":
    sys.exit(main())
