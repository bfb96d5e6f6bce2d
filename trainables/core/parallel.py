"""The processes of one trial, which share every batch and leave what one process would leave.

Each process runs the model on rows of its own and gathers the outputs of all rows, so that it can
compute every loss of the whole batch, whatever couples the examples in it; the graph leads to its
own rows alone. The sum of the processes' gradients is then the gradient that one process has.
torch's DistributedDataParallel does not fit: it sees only what adds up in `.grad`, where a weighter
needs a gradient for every loss, and its mean over processes is right only for losses that are means
over examples.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from .batch import Batch, Outputs
from .data._source import Examples
from .randomness import Draws, Stream, derive
from .tasks import Task

# Gradients travel in pieces of so many numbers: large enough for the links, small enough to copy.
PIECE = 2**22


class ProcessLost(RuntimeError):
    """Another process of the trial is gone, or no longer answers."""


class Seen(NamedTuple):
    """What the model made of every view.

    `whole` are the outputs for all rows, `own` those for the rows of this process, and `share` says
    which part of all rows these are. Alone all three say the same.
    """

    whole: dict[str, Outputs]
    own: dict[str, Outputs]
    share: dict[str, float]


class Team:
    """One process among the `size` that train one model; by itself a process that is alone.

    `rank` is its number, 0 for the process that is asked for results. Where there are several,
    torch's default process group connects them; `through_host` is for a group that cannot send
    what lies on the device. Rows are dealt in order and as evenly as can be. Of fewer rows than
    processes every process takes all, and counts for one part in `size`.
    """

    def __init__(self, rank: int = 0, size: int = 1, *, through_host: bool = False) -> None:
        self.rank = rank
        self.size = size
        self.through_host = through_host
        # Of the pass through the model that is under way: where this process's rows lie among how
        # many. No rows: every process sees all.
        self.slices: tuple[slice, ...] = ()
        self.count = 0
        self._seed = self._forks = 0

    def splits(self, count: int) -> bool:
        """Whether so many rows are dealt out."""
        return count >= self.size > 1

    def part(self, count: int) -> slice:
        """The rows of this process among `count`."""
        if not self.splits(count):
            return slice(0, count)
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def begin(self, seed: int) -> None:
        """An epoch begins; from its seed comes what processes must draw by themselves."""
        self._seed, self._forks = seed, 0

    # --- what goes into the model ---------------------------------------------------------------

    def batches(
        self, examples: Examples, order: Sequence[Tensor], *, device: torch.device, seed: int
    ) -> Iterator[Batch]:
        """The whole batches of `order`; pictures are read by the process whose rows they are."""
        if self.size == 1 or isinstance(examples.x, Tensor):
            yield from examples.batches(order, device=device, seed=seed)
            return
        own = [index[self.part(len(index))] for index in order]
        read = examples.batches(own, device=device, seed=seed)
        for index, batch in zip(order, read, strict=True):
            y = examples.y.index_select(0, index.to(examples.y.device)).to(device)
            split = self.splits(len(index))
            yield Batch(self.gather([batch.x], [len(index)])[0] if split else batch.x, y)

    def make(self, view: Any, model: nn.Module, batch: Batch, goal: Task, draws: Draws) -> Batch:
        """The view of the whole batch; a process attacks its own rows alone.

        What needs no model is made of the whole batch by every process: partners, policies and
        random numbers are the batch's.
        """
        count = len(batch.x)
        if not (view.needs_model and self.splits(count)):
            made: Batch = view(model, batch, goal, draws)
            return made
        rows = self.part(count)
        mine = Batch(batch.x[rows], batch.y[rows])
        found = view(model, mine, goal, _Rows(self, draws, rows, count))
        return Batch(self.gather([found.x], [count])[0], batch.y)

    def apart(self, device: torch.device) -> Stream:
        """A stream of this process alone."""
        self._forks += 1
        return Stream(derive(self._seed, "process", self.rank, self._forks), device)

    # --- what comes out of the model ------------------------------------------------------------

    def outputs(self, task: Task, model: Any, views: Mapping[str, Batch], forward: str) -> Seen:
        """What the model makes of every view, each process running it on its own rows."""
        if self.size == 1:
            alone = task.outputs(model, views, forward)
            return Seen(alone, alone, dict.fromkeys(alone, 1.0))
        joint = forward == "joint" and not task.boxed
        passes = [views] if joint else [{label: batch} for label, batch in views.items()]
        seen = Seen({}, {}, {})
        for one in passes:
            found = self._passed(task, model, one, forward)
            seen.whole.update(found.whole)
            seen.own.update(found.own)
            seen.share.update(found.share)
        return seen

    def _passed(self, task: Task, model: Any, views: Mapping[str, Batch], forward: str) -> Seen:
        counts = {label: len(batch.x) for label, batch in views.items()}
        split = self.splits(min(counts.values()))
        parts = {label: self.part(n) if split else slice(0, n) for label, n in counts.items()}
        mine = {
            label: Batch(one.x[parts[label]], one.y[parts[label]]) for label, one in views.items()
        }
        with self._passing(parts, counts, split):
            own = task.outputs(model, mine, forward)
        if split:
            share = {
                label: (rows.stop - rows.start) / counts[label] for label, rows in parts.items()
            }
        else:
            share = dict.fromkeys(views, 1 / self.size)
        if task.boxed:  # no outputs of examples: losses come out of the model
            return Seen(own, own, share)
        made = [one.logits for one in own.values()] + [one.features for one in own.values()]
        if split:
            made = self.gather(made, [*counts.values(), *counts.values()])
        else:
            made = [self._counted_once(one) for one in made]
        logits, features = made[: len(own)], made[len(own) :]
        whole = {
            label: Outputs(one, other, *batch)
            for (label, batch), one, other in zip(views.items(), logits, features, strict=True)
        }
        return Seen(whole, own, share)

    @contextmanager
    def _passing(
        self, parts: Mapping[str, slice], counts: Mapping[str, int], split: bool
    ) -> Iterator[None]:
        """Let the model's modules know which rows they see."""
        slices, before = [], 0
        for label, rows in parts.items():
            slices.append(slice(before + rows.start, before + rows.stop))
            before += counts[label]
        self.slices, self.count = (tuple(slices), before) if split else ((), 0)
        try:
            yield
        finally:
            self.slices, self.count = (), 0

    def _counted_once(self, outputs: Tensor) -> Tensor:
        """Outputs that every process has; only a part of each one's gradient is taken."""
        found = outputs.view_as(outputs)
        if found.requires_grad:
            found.register_hook(lambda gradient: gradient / self.size)
        return found

    def rows_of(self, whole: Tensor) -> Tensor:
        """This process's rows of something that was made for all rows of the pass."""
        return torch.cat([whole[rows] for rows in self.slices])

    # --- sums over the processes ----------------------------------------------------------------

    def total(self, values: Sequence[Tensor], shared: Sequence[bool]) -> Tensor:
        """Losses [k] of the whole batch; `shared` says of which a process has its share alone."""
        if self.size == 1:
            return torch.stack(list(values))
        # The mean of what all have is taken, too, so that not a bit differs between processes.
        parts = [v if part else v / self.size for v, part in zip(values, shared, strict=True)]
        return self._reduced(torch.stack(parts))

    def sum(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The sum of each over the processes; None, which all have in the same places, stays."""
        if self.size == 1:
            return list(gradients)
        reached = [one for one in gradients if one is not None]
        pieces: list[list[Tensor]] = []
        held = PIECE
        for one in reached:
            if held + one.numel() > PIECE:
                pieces.append([])
                held = 0
            pieces[-1].append(one)
            held += one.numel()
        summed = (one for piece in pieces for one in self._summed(piece))
        return [None if one is None else next(summed) for one in gradients]

    def mean(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The mean of each over the processes, which all have the same but for rounding."""
        found = self.sum(gradients)
        if self.size == 1:
            return found
        return [None if one is None else one / self.size for one in found]

    def _summed(self, piece: Sequence[Tensor]) -> list[Tensor]:
        flat = self._reduced(torch.cat([one.detach().flatten() for one in piece]))
        parts = flat.split([one.numel() for one in piece])
        return [part.view_as(one) for part, one in zip(parts, piece, strict=True)]

    def gather(self, parts: Sequence[Tensor], counts: Sequence[int]) -> list[Tensor]:
        """The whole of each tensor [count, ...], of which `parts` are this process's rows.

        Only these have a graph. The counts must be such that rows are dealt out.
        """
        most = [-(-count // self.size) for count in counts]
        padded = [
            F.pad(one.detach().flatten(1), (0, 0, 0, rows - len(one))).flatten()
            for one, rows in zip(parts, most, strict=True)
        ]
        every = self._gathered(torch.cat(padded))
        found = []
        blocks = every.split([len(one) for one in padded], dim=1)
        for one, count, rows, block in zip(parts, counts, most, blocks, strict=True):
            theirs = block.reshape(self.size, rows, *one.shape[1:]).to(one.dtype)
            ends = [count * rank // self.size for rank in range(self.size + 1)]
            found.append(
                torch.cat(
                    [
                        one if rank == self.rank else theirs[rank, : ends[rank + 1] - ends[rank]]
                        for rank in range(self.size)
                    ]
                )
            )
        return found

    def shared(self, state: Any, device: torch.device) -> Any:
        """What the first process gives, on every process; only tensors and plain values."""
        if self.size == 1:
            return state
        text = io.BytesIO()
        if self.rank == 0:
            torch.save(state, text)
        sent = torch.frombuffer(bytearray(text.getbuffer() or b"-"), dtype=torch.uint8)
        length = self._first(torch.tensor([len(sent)]).to(device))
        if self.rank:
            sent = torch.empty(int(length), dtype=torch.uint8)
        received = self._first(sent.to(device))
        if self.rank == 0:
            return state
        text = io.BytesIO(received.cpu().numpy().tobytes())
        return torch.load(text, map_location=device, weights_only=True)

    def agree(self, tensors: Iterable[Tensor]) -> None:
        """Raises `RuntimeError` unless all processes hold these tensors, bit for bit."""
        if self.size == 1:
            return
        digest = hashlib.blake2b(digest_size=8)
        device = torch.device("cpu")
        for one in tensors:
            device = one.device
            digest.update(one.detach().flatten().view(torch.uint8).cpu().numpy().tobytes())
        number = int.from_bytes(digest.digest(), "big", signed=True)
        every = self._gathered(torch.tensor([number], device=device)).flatten().tolist()
        if len(set(every)) > 1:
            raise RuntimeError(
                f"the weights of the trial's {self.size} processes differ after an epoch: a part "
                f"of the model or of a loss is not the same function on all of them"
            )

    # --- torch.distributed ----------------------------------------------------------------------

    def _reduced(self, tensor: Tensor) -> Tensor:
        """The sum over the processes, as a new tensor."""
        sent = tensor.cpu() if self.through_host else tensor
        sent = sent.clone() if sent is tensor else sent
        with _connected():
            distributed.all_reduce(sent)
        return sent.to(tensor.device)

    def _gathered(self, tensor: Tensor) -> Tensor:
        """A vector [n] of every process, [size, n]."""
        sent = tensor.cpu() if self.through_host else tensor
        every = [torch.empty_like(sent) for _ in range(self.size)]
        with _connected():
            distributed.all_gather(every, sent)
        return torch.stack(every).to(tensor.device)

    def _first(self, tensor: Tensor) -> Tensor:
        """The first process's tensor, which on others has the same shape."""
        sent = tensor.cpu() if self.through_host else tensor
        with _connected():
            distributed.broadcast(sent, 0)
        return sent.to(tensor.device)


@contextmanager
def _connected() -> Iterator[None]:
    """What torch says when a process is gone, as `ProcessLost`."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost(f"a process of the trial is gone or does not answer: {error}") from error


class _Rows:
    """What a process's rows draw: numbers are drawn for the whole batch, so all draw the same."""

    def __init__(self, team: Team, draws: Draws, rows: slice, count: int) -> None:
        self.team, self.draws, self.taken, self.count = team, draws, rows, count

    def normal(self, like: Tensor, *, extra: int = 0) -> Tensor:
        return self.draws.normal(self._all(like), extra=extra)[self.taken]

    def uniform(self, like: Tensor) -> Tensor:
        return self.draws.uniform(self._all(like))[self.taken]

    def rows(self, index: Tensor) -> Draws:
        # How many rows are left differs between processes: the common stream must not know.
        return self.team.apart(index.device)

    def _all(self, like: Tensor) -> Tensor:
        return like[:1].expand(self.count, *like.shape[1:])


# --- modules that look beyond one example -------------------------------------------------------


def convert(model: nn.Module, team: Team) -> None:
    """Replace the modules of a model that would not do on some rows what they do on all.

    Batch normalisation takes the statistics of all rows, and dropout and what else draws for each
    row (a module's `drawn`) take their rows of what is drawn for all. Parameters, buffers and their
    names stay.
    """
    if team.size == 1:
        return
    for module in list(model.modules()):
        for name, child in module._modules.items():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                module._modules[name] = BatchNorm(child, team)
            elif type(child) is nn.Dropout:
                module._modules[name] = Dropout(child, team)
        if hasattr(module, "drawn"):
            module.drawn = _drawn_for_all(module.drawn, team)


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over the rows of all processes.

    Written with operations that can be differentiated twice, which torch's SyncBatchNorm cannot,
    and for every device. With means m_r and variances v_r of n_r values on process r, m = sum_r
    (n_r / n) m_r and v = sum_r (n_r / n) (v_r + (m_r - m)^2).
    """

    def __init__(self, twin: nn.modules.batchnorm._BatchNorm, team: Team) -> None:
        super().__init__(
            twin.num_features, twin.eps, twin.momentum, twin.affine, twin.track_running_stats
        )
        self.team = team
        self._parameters.update(twin._parameters)
        self._buffers.update(twin._buffers)
        self.training = twin.training

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions from [b, c] on."""

    def forward(self, x: Tensor) -> Tensor:
        """x [b, c, ...] -> the same shape."""
        if not (self.training and self.team.slices):
            return super().forward(x)
        variance, mean = torch.var_mean(x, [0, *range(2, x.dim())], correction=0)
        count = mean.new_full((1,), x.numel() // x.shape[1])
        every = _of_all(torch.cat([mean, variance, count]), self.team)
        means, variances, counts = every.split([len(mean), len(mean), 1], dim=1)
        share = counts / counts.sum()
        mean = (share * means).sum(0)
        variance = (share * (variances + (means - mean).square())).sum(0)
        if self.track_running_stats:
            self._remember(mean.detach(), variance.detach(), counts.detach().sum())
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        shape = (1, -1, *[1] * (x.dim() - 2))
        # Centred first: the other order loses digits where the mean is large.
        found: Tensor = (x - mean.view(shape)) * scale.view(shape)
        return found if self.bias is None else found + self.bias.view(shape)

    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            fresh: Any = self.momentum
            if fresh is None:
                fresh = 1 / self.num_batches_tracked.to(mean.dtype)
            unbiased = variance * (count / (count - 1))
            self.running_mean.mul_(1 - fresh).add_(fresh * mean)
            self.running_var.mul_(1 - fresh).add_(fresh * unbiased)


class Dropout(nn.Dropout):
    """Dropout whose mask is drawn for the rows of all processes."""

    def __init__(self, twin: nn.Dropout, team: Team) -> None:
        super().__init__(twin.p)
        self.team = team
        self.training = twin.training

    def forward(self, x: Tensor) -> Tensor:
        """x [b, ...] -> the same shape."""
        if not (self.training and self.team.slices):
            return super().forward(x)
        # Numbers are drawn in the order of memory, which is not that of the dimensions everywhere.
        shape = (self.team.count, *x.shape[1:])
        order = sorted(range(x.dim()), key=x.stride, reverse=True)
        ones = x.new_ones([shape[place] for place in order])
        whole = F.dropout(ones.permute([order.index(place) for place in range(x.dim())]), self.p)
        return x * self.team.rows_of(whole)


def _drawn_for_all(draw: Any, team: Team) -> Any:
    """A function that draws a number for each row of what it is given, [b, 1, 1, 1]."""

    def drawn(like: Tensor) -> Tensor:
        if not team.slices:
            found: Tensor = draw(like)
            return found
        return team.rows_of(draw(like.new_empty(team.count, *[1] * (like.dim() - 1))))

    return drawn


def _of_all(own: Tensor, team: Team) -> Tensor:
    """A vector [n] of every process, [size, n], with a graph to all of them."""
    after = team.size - 1 - team.rank
    found: Tensor = _Sum.apply(F.pad(own.unsqueeze(0), (0, 0, team.rank, after)), team)
    return found


class _Sum(torch.autograd.Function):
    """The sum over processes; its gradient is the sum of all their gradients, to any order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, team: Team) -> Tensor:
        ctx.team = team
        return team._reduced(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Sum.apply(gradient, ctx.team), None
