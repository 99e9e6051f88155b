"""The transformers of LNLN and ALMT. In: sequences (B, T, D). Out: as many hidden states as are read, no more.

Pre-norm layers of "Towards Robust Multimodal Sentiment Analysis with Incomplete Data" (NeurIPS 2024), written so that
they cost what is used of them: one normalisation serves queries, keys and values; attention is fused; and the last
layer is evaluated only for the positions that somebody reads. The values are those of the plain form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD_WIDTH = 64  # of every attention but the hyper-modality's, whatever the width of the model


def normalised(x: Tensor) -> Tensor:
    """Layer normalisation over the last axis without gain and bias, which `projected` applies."""
    return F.layer_norm(x, x.shape[-1:])


def projected(x_hat: Tensor, norm: nn.LayerNorm, projection: nn.Linear) -> Tensor:
    """projection(norm(x)) from the normalised x: W(γ·x̂ + β) = (Wγ)x̂ + Wβ, so that many norms of one x share x̂."""
    return F.linear(x_hat, projection.weight * norm.weight, projection.weight @ norm.bias)


def attend(q_BQI: Tensor, k_BTI: Tensor, v_BTI: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention of `heads` heads; `mask` (B, 1, 1, T) is True where there is something to read."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q_BQI, k_BTI, v_BTI))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(-2)


class Attention(nn.Module):
    """Multi-head attention behind one norm each for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        inner = heads * HEAD_WIDTH
        self.heads = heads
        self.norm_q, self.norm_k, self.norm_v = (nn.LayerNorm(width) for _ in range(3))
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, inner, bias=False) for _ in range(3))
        self.to_out = nn.Identity() if heads == 1 and inner == width else nn.Linear(inner, width)

    def forward(self, target_BQD: Tensor, source_BTD: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """What `target` reads of `source` (B, Q, D); without a source, of itself."""
        target_hat = normalised(target_BQD)
        source_hat = target_hat if source_BTD is None else normalised(source_BTD)
        return self.read(target_hat, source_hat, mask)

    def first(self, x_BTD: Tensor, keep: int, mask: Tensor | None = None) -> Tensor:
        """What the first `keep` positions read of all (B, keep, D).

        So few ask that keys and values, four times as wide as x, are never made: q·(W x) = (Wᵀ q)·x, and
        Σ a (W x) = W (Σ a x). H heads of width E; K is `keep`.
        """
        x_hat = normalised(x_BTD)
        q_BKI = projected(x_hat[:, :keep], self.norm_q, self.to_q) * HEAD_WIDTH**-0.5
        q_BHKE = q_BKI.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key_HED, key_HE = self._by_head(self.norm_k, self.to_k)
        value_HED, value_HE = self._by_head(self.norm_v, self.to_v)
        asked_BHKD = torch.einsum("bhke,hed->bhkd", q_BHKE, key_HED)
        scores_BHKT = (asked_BHKD.flatten(1, 2) @ x_hat.transpose(1, 2)).unflatten(1, (self.heads, keep))
        scores_BHKT = scores_BHKT + torch.einsum("bhke,he->bhk", q_BHKE, key_HE)[..., None]
        if mask is not None:
            scores_BHKT = scores_BHKT.masked_fill(~mask, -torch.inf)
        read_BHKD = (scores_BHKT.softmax(-1).flatten(1, 2) @ x_hat).unflatten(1, (self.heads, keep))
        mixed_BHKE = torch.einsum("bhkd,hed->bhke", read_BHKD, value_HED) + value_HE[:, None]
        return self.to_out(mixed_BHKE.transpose(1, 2).flatten(2))

    def _by_head(self, norm: nn.LayerNorm, projection: nn.Linear) -> tuple[Tensor, Tensor]:
        """What `projected` applies to x̂, for each head: weights (H, E, D) and constants (H, E)."""
        weight, constant = projection.weight * norm.weight, projection.weight @ norm.bias
        return weight.unflatten(0, (self.heads, -1)), constant.unflatten(0, (self.heads, -1))

    def read(self, target_hat: Tensor, source_hat: Tensor, mask: Tensor | None) -> Tensor:
        # Three products, not one of three times the width: their gradients need not be joined again.
        q = projected(target_hat, self.norm_q, self.to_q)
        k = projected(source_hat, self.norm_k, self.to_k)
        v = projected(source_hat, self.norm_v, self.to_v)
        return self.to_out(attend(q, k, v, self.heads, mask))


class FeedForward(nn.Sequential):
    """Norm, linear, GELU, linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class Layer(nn.Module):
    """x + attention, then x + feed-forward; of itself, or (`source` given) of another sequence."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.feed = FeedForward(width, hidden)

    def forward(self, x_BTD: Tensor, source: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        x_BTD = x_BTD + self.attention(x_BTD, source, mask)
        return x_BTD + self.feed(x_BTD)

    def first(self, x_BTD: Tensor, keep: int, mask: Tensor | None = None) -> Tensor:
        """The first `keep` outputs of `forward(x)`."""
        if keep >= x_BTD.shape[1]:
            return self(x_BTD, mask=mask)
        x_BKD = x_BTD[:, :keep] + self.attention.first(x_BTD, keep, mask)
        return x_BKD + self.feed(x_BKD)


class Transformer(nn.Module):
    """[`tokens` learnt tokens ; frames] + learnt positions through `depth` layers."""

    def __init__(self, frames: int, tokens: int, width: int, heads: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(1, frames + tokens, width))
        self.tokens = nn.Parameter(torch.zeros(1, tokens, width)) if tokens else None
        self.layers: Any = nn.ModuleList(Layer(width, heads, hidden) for _ in range(depth))

    def begin(self, x_BTD: Tensor) -> Tensor:
        """What enters the first layer (B, tokens + T, D)."""
        if self.tokens is not None:
            x_BTD = torch.cat((self.tokens.expand(len(x_BTD), -1, -1), x_BTD), dim=1)
        return x_BTD + self.positions[:, : x_BTD.shape[1]]

    def forward(self, x_BTD: Tensor, keep: int, real_BT: Tensor | None = None) -> Tensor:
        """The first `keep` outputs (B, keep, D); where `real` is False, frames are padding and are not read."""
        tokens = 0 if self.tokens is None else self.tokens.shape[1]
        mask = None if real_BT is None else F.pad(real_BT, (tokens, 0), value=True)[:, None, None]
        x_BTD = self.begin(x_BTD)
        for layer in self.layers[:-1]:
            x_BTD = layer(x_BTD, mask=mask)
        return self.layers[-1].first(x_BTD, keep, mask) if len(self.layers) else x_BTD[:, :keep]

    def states(self, x_BTD: Tensor) -> list[Tensor]:
        """What enters the first layer and what leaves each: depth + 1 tensors (B, T, D)."""
        states = [self.begin(x_BTD)]
        for layer in self.layers:
            states.append(layer(states[-1]))
        return states


class Embedding(nn.Module):
    """Linear, then a transformer over [K learnt tokens ; T frames], whose first K outputs are H¹_m."""

    def __init__(self, features: int, frames: int, tokens: int, block: tuple[int, int, int], depth: int) -> None:
        """`block` is the transformer's width, heads, and width inside its feed-forward layers."""
        super().__init__()
        self.project = nn.Linear(features, block[0])
        self.transformer = Transformer(frames, tokens, *block, depth)
        self.tokens = tokens

    def forward(self, x_BTD: Tensor, real_BT: Tensor | None) -> Tensor:
        return self.transformer(self.project(x_BTD), self.tokens, real_BT)


class HyperLayer(nn.Module):
    """H_hyper <- norm(H_hyper) + W_o(Σ_m MHA(H_d, H_m)), one term for each other modality m (DMML).

    Without `normed` it is H_hyper itself that is added to, as ALMT's paper has it.
    """

    def __init__(self, others: Sequence[str], width: int, heads: int, head: int = 0, normed: bool = True) -> None:
        """`head` is the width of a head; by default they share `width`."""
        super().__init__()
        self.heads = heads
        inner = (head or width // heads) * heads
        self.norm_dominant = nn.LayerNorm(width)
        self.norm_hyper = nn.LayerNorm(width) if normed else nn.Identity()
        self.norms = nn.ModuleDict({m: nn.LayerNorm(width) for m in others})
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_k = nn.ModuleDict({m: nn.Linear(width, inner, bias=False) for m in others})
        self.to_v = nn.ModuleDict({m: nn.Linear(width, inner, bias=False) for m in others})
        self.to_out = nn.Identity() if heads == 1 and inner == width else nn.Linear(inner, width)

    def forward(self, hyper_BKD: Tensor, dominant_BKD: Tensor, others: dict[str, Tensor]) -> Tensor:
        q = self.to_q(self.norm_dominant(dominant_BKD))
        read = []
        for m, norm in self.norms.items():
            h_BKD = norm(others[m])
            read.append(attend(q, self.to_k[m](h_BKD), self.to_v[m](h_BKD), self.heads))
        return self.norm_hyper(hyper_BKD) + self.to_out(sum(read[1:], start=read[0]))


class CrossTransformer(nn.Module):
    """`target` reads `source` through `depth` layers; the source alone starts with one learnt token.

    The published forms give the target such a token too. No row of a target reaches another, so LNLN, which reads the
    others, leaves it out (its row of `target_positions` is kept for its weights), and ALMT reads it alone: `at_token`.
    """

    def __init__(self, frames: int, width: int, heads: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.source_positions = nn.Parameter(torch.randn(1, frames + 1, width))
        self.target_positions = nn.Parameter(torch.randn(1, frames + 1, width))
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.layers = nn.ModuleList(Layer(width, heads, hidden) for _ in range(depth))

    def forward(self, source_BSD: Tensor, target_BKD: Tensor) -> Tensor:
        return self._read(source_BSD, target_BKD + self.target_positions[:, 1 : target_BKD.shape[1] + 1])

    def at_token(self, source_BSD: Tensor) -> Tensor:
        """The output at the target's learnt token, (B, D)."""
        token_11D = self.token + self.target_positions[:, :1]
        return self._read(source_BSD, token_11D.expand(len(source_BSD), -1, -1))[:, 0]

    def _read(self, source_BSD: Tensor, target_BKD: Tensor) -> Tensor:
        source_BSD = torch.cat((self.token.expand(len(source_BSD), -1, -1), source_BSD), dim=1)
        source_BSD = source_BSD + self.source_positions[:, : source_BSD.shape[1]]
        for layer in self.layers:
            target_BKD = layer(target_BKD, source_BSD)
        return target_BKD
