"""DMD in its plain published form: what `benchmarks/training.py` and the tests hold ours against.

Written after the equations with nothing done for speed: tables of all pairs in every attention, means of weights that
no one reads, every position of every layer, a margin loss that loops over anchors, projections that no loss reads.
Parameters carry the names of the published checkpoint: `lacuna.commands.published.dmd.rename` moves weights to ours.
It imports nothing of ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ORDER = "lva"
PARTNERS = {"l": "av", "a": "lv", "v": "la"}


@dataclass(frozen=True)
class Published:
    """MOSI's published settings."""

    width: int = 50
    heads: int = 10
    depth: int = 4
    kernel: int = 5
    text_dropout: float = 0.5
    attention_dropout: dict[str, float] = field(default_factory=lambda: {"l": 0.3, "a": 0.2, "v": 0.0})
    memory_dropout: float = 0.3
    embed_dropout: float = 0.2
    output_dropout: float = 0.5


QUIET = Published(
    text_dropout=0, attention_dropout=dict.fromkeys("lav", 0.0), memory_dropout=0, embed_dropout=0, output_dropout=0
)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, query: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """Time first: (T, B, D) asks (S, B, D)."""
        (frames, batch, width), size = query.shape, query.shape[2] // self.heads
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = (F.linear(x, w, b) for x, w, b in zip((query, source, source), weights, biases))
        q, k, v = (x.reshape(-1, batch * self.heads, size).transpose(0, 1) for x in (q * size**-0.5, k, v))
        table = F.softmax(torch.bmm(q, k.transpose(1, 2)) + mask, -1)
        table = F.dropout(table, self.dropout, self.training)
        told = self.out_proj(torch.bmm(table, v).transpose(0, 1).reshape(frames, batch, width))
        table.view(batch, self.heads, frames, -1).sum(1).div(self.heads)  # the mean that no one reads
        return told


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = _Attention(width, heads, dropout)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.layer_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, x: Tensor, source: Tensor | None) -> Tensor:
        source = x if source is None else source
        frames, keys = len(x), len(source)
        mask = torch.triu(torch.full((frames, keys), -torch.inf), 1 + abs(keys - frames))
        x = x + self.self_attn(self.layer_norms[0](x), self.layer_norms[0](source), mask)
        return x + self.fc2(F.relu(self.fc1(self.layer_norms[1](x))))


class _Transformer(nn.Module):
    def __init__(self, width: int, s: Published, dropout: float) -> None:
        super().__init__()
        self.embed_dropout = s.embed_dropout
        self.layers = nn.ModuleList(_Layer(width, s.heads, dropout) for _ in range(s.depth))
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        x, source = self._embed(x), None if source is None else self._embed(source)
        for layer in self.layers:
            x = layer(x, source)
        return self.layer_norm(x)

    def _embed(self, x: Tensor) -> Tensor:
        half = x.shape[2] // 2
        scale = torch.exp(torch.arange(half) * -(math.log(10000) / (half - 1)))
        angle = torch.arange(1, len(x) + 1)[:, None] * scale
        places = F.pad(torch.cat([angle.sin(), angle.cos()], 1), (0, x.shape[2] % 2))[:, None] * (x[..., :1] != 0)
        return F.dropout(math.sqrt(x.shape[2]) * x + places, self.embed_dropout, self.training)


class _Unit(nn.Module):
    """A graph distillation unit."""

    def __init__(self, width: int, size: int, prior: list[float], push: bool) -> None:
        super().__init__()
        self.W_logit, self.W_repr, self.W_edge = nn.Linear(1, size), nn.Linear(width, size), nn.Linear(4 * size, 1)
        self.prior, self.push = torch.softmax(torch.tensor(prior) / 0.25, 0), push

    def forward(self, logits: list[Tensor], reprs: list[Tensor]) -> Tensor:
        z = [torch.cat([self.W_logit(x), self.W_repr(y)], 1) for x, y in zip(logits, reprs)]
        scores = [self.W_edge(torch.cat([z[j], z[i]], 1)) for j in range(3) for i in range(3) if i != j]
        edges = F.softmax(torch.cat(scores, 1) / 8, 1).T
        loss = (edges.mean(1) - self.prior).pow(2).sum() * 10
        pairs = [(j, i) for j in range(3) for i in range(3) if i != j]
        for edge, prior, (j, i) in zip(edges, self.prior, pairs):
            weight = edge + prior
            loss = loss + ((logits[j] - logits[i].detach()).abs().sum(1) * weight).mean()
            if self.push:
                apart = F.cosine_embedding_loss(reprs[j], reprs[i].detach(), torch.tensor([-1]))
                loss = loss + 10 * (apart * weight).mean()
        return loss


class DMD(nn.Module):
    """`widths`, `lengths`: {"l", "v", "a": …}; `bert`: a transformers encoder, or None where text is hidden states."""

    def __init__(
        self, widths: dict[str, int], lengths: dict[str, int], bert: nn.Module | None = None, s: Published | None = None
    ) -> None:
        super().__init__()
        self.s = s = s or Published()
        if bert is not None:
            self.text_model = nn.Module()
            self.text_model.model = bert
        d, high, all_ = s.width, 2 * s.width, 9 * s.width
        self.encoder_c = nn.Conv1d(d, d, 1, bias=False)
        for m in ORDER:
            flat = d * (lengths[m] - s.kernel + 1)
            parts = {
                f"proj_{m}": nn.Conv1d(widths[m], d, s.kernel, bias=False),
                f"encoder_s_{m}": nn.Conv1d(d, d, 1, bias=False),
                f"decoder_{m}": nn.Conv1d(2 * d, d, 1, bias=False),
                f"proj_cosine_{m}": nn.Linear(flat, d),
                f"align_c_{m}": nn.Linear(flat, d),
                f"self_attentions_c_{m}": _Transformer(d, s, s.attention_dropout[m]),
                f"trans_{m}_mem": _Transformer(high, s, s.memory_dropout),
                f"weight_{m}": nn.Linear(high, high),
            }
            parts |= {f"trans_{m}_with_{p}": _Transformer(d, s, s.attention_dropout[p]) for p in PARTNERS[m]}
            parts |= _head(f"_{m}_low", flat, d) | _head(f"_{m}_high", high, high)
            for name, part in parts.items():
                setattr(self, name, part)
        for name, part in (
            {"weight_c": nn.Linear(3 * d, 3 * d)} | _head("_c", 3 * d, 3 * d) | _head("", all_, all_)
        ).items():
            setattr(self, name, part)
        self.homo = _Unit(d, 64, [0, 0, 1, 0, 1, 0], push=False)
        self.hetero = _Unit(high, 32, [0, 0, 1, 0, 1, 1], push=True)

    def loss(self, x: dict[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
        """The published total, private ⊥ shared read over features; `x["l"]` is (B, 3, T) ids, or hidden states."""
        p = {m: self._split(m, x[m]) for m in ORDER}
        low = {m: self._read(f"_{m}_low", p[m]["c"].transpose(1, 2).flatten(1)) for m in ORDER}
        time = {m: {k: v.permute(2, 0, 1) for k, v in p[m].items()} for m in ORDER}
        for m in ORDER:
            getattr(self, f"proj_cosine_{m}")(p[m]["s"].transpose(1, 2).flatten(1))
        common = torch.cat([getattr(self, f"self_attentions_c_{m}")(time[m]["c"])[-1] for m in ORDER], 1)
        memory, high = {}, {}
        for m in ORDER:
            asked = [getattr(self, f"trans_{m}_with_{q}")(time[m]["s"], time[q]["s"]) for q in PARTNERS[m]]
            memory[m] = getattr(self, f"trans_{m}_mem")(torch.cat(asked, 2))[-1]
            high[m] = self._read(f"_{m}_high", memory[m])
        gates = [torch.sigmoid(getattr(self, f"weight_{m}")(memory[m])) for m in ORDER]
        final = self._read("", torch.cat([*gates, torch.sigmoid(self.weight_c(common))], 1))[0]
        outputs = [final, self._read("_c", common)[0], *(low[m][0] for m in ORDER), *(high[m][0] for m in ORDER)]
        task = sum(F.l1_loss(output[:, 0], labels) for output in outputs)
        recon = sum(F.mse_loss(p[m]["recon"], p[m]["origin"]) for m in ORDER)
        cycle = sum(F.mse_loss(p[m]["again"], p[m]["s"]) for m in ORDER)
        apart = sum(F.relu(F.cosine_similarity(p[m]["s"], p[m]["c"], 1)).mean() for m in ORDER)
        near = [getattr(self, f"align_c_{m}")(p[m]["c"].flatten(1)) for m in ORDER]
        margin = _margin(torch.stack(near, 1).flatten(0, 1), labels.repeat_interleave(3))
        homo = self.homo([low[m][0] for m in ORDER], [F.relu(low[m][1]) for m in ORDER])
        hetero = self.hetero([high[m][0] for m in ORDER], [high[m][2] for m in ORDER])
        total = task + 0.05 * (homo + hetero) + 0.1 * (cycle + recon + 0.1 * (margin + apart))
        return {"loss": total, "task": task, "margin": margin}

    def _split(self, m: str, x: Tensor) -> dict[str, Tensor]:
        if m == "l" and hasattr(self, "text_model"):
            ids, mask, segments = x.unbind(1)
            told = self.text_model.model(input_ids=ids, attention_mask=mask.float(), token_type_ids=segments)
            x = told.last_hidden_state
        if m == "l":
            x = F.dropout(x, self.s.text_dropout, self.training)
        origin = getattr(self, f"proj_{m}")(x.transpose(1, 2))
        private, shared = getattr(self, f"encoder_s_{m}")(origin), self.encoder_c(origin)
        recon = getattr(self, f"decoder_{m}")(torch.cat([private, shared], 1))
        again = getattr(self, f"encoder_s_{m}")(recon)
        return {"origin": origin, "s": private, "c": shared, "recon": recon, "again": again}

    def _read(self, name: str, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = getattr(self, f"proj1{name}")(x)
        told = getattr(self, f"proj2{name}")(F.dropout(F.relu(hidden), self.s.output_dropout, self.training)) + x
        return getattr(self, f"out_layer{name}")(told), hidden, told


def _head(name: str, width: int, hidden: int) -> dict[str, nn.Module]:
    return {
        f"proj1{name}": nn.Linear(width, hidden),
        f"proj2{name}": nn.Linear(hidden, width),
        f"out_layer{name}": nn.Linear(width, 1),
    }


def _margin(x: Tensor, ids: Tensor) -> Tensor:
    count = len(x)
    left, right = x.repeat_interleave(count, 0), x.repeat(count, 1)
    norms = [(y.pow(2).sum(1) + 1e-8).sqrt() for y in (left, right)]
    cosine = ((left * right).sum(1) / (norms[0] * norms[1])).view(count, count)
    total, anchors = x.new_zeros(()), 0
    for i in range(count):
        others = torch.arange(count) != i
        equal = (ids == ids[i])[others]
        if not equal.any() or equal.all():
            continue
        near, far = cosine[i][others][equal][:, None], cosine[i][others][~equal]
        gap = 0.15 * (ids[i] - ids[others][~equal]).abs() - near + far
        total, anchors = total + F.relu(gap).mean(), anchors + 1
    return total / max(anchors, 1)
