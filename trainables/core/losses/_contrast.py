"""The contrastive objective over a batch of embeddings."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def contrast(embeddings: Tensor, labels: Tensor, temperature: Tensor) -> Tensor:
    """Mean over anchors of -(1/|P(i)|) sum_{p in P(i)} log softmax_{k != i}(s_ik / temperature)_p.

    s are cosines of embeddings [n, d], P(i) the others with the label of i (labels [n]). Anchors
    without a positive are left out of the mean; without any, the loss is 0.
    """
    # Squares of half-precision embeddings overflow from 256 on.
    wide = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    z = F.normalize(wide, dim=1)
    scores = z @ z.T / temperature
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    # The least finite number instead of -inf: a lone anchor has no others, and no NaN either.
    others = scores.masked_fill(itself, torch.finfo(scores.dtype).min)
    surprise = others.logsumexp(1, keepdim=True) - scores
    positive = (labels.unsqueeze(1) == labels) & ~itself
    found = positive.sum(1)
    each = torch.where(positive, surprise, 0.0).sum(1) / found.clamp_min(1)
    return each.sum() / (found > 0).sum().clamp_min(1)
