"""LNLN in its plain published form: what `benchmarks/training.py` and the tests hold ours against.

Written after the equations with nothing done for speed: three layer norms an attention, a softmax over a full (T, T)
table, every output of every layer, each batch encoded twice, padding read. Parameters carry the names of the authors'
checkpoint, so `lacuna.commands.published.lnln.rename` moves weights from here to ours. It imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, TOKENS, HEADS, HEAD_WIDTH = 128, 8, 8, 64
ORDER = ("l", "v", "a")


def attention(q_BQI: Tensor, k_BTI: Tensor, v_BTI: Tensor, heads: int) -> Tensor:
    """softmax(q·k / √d)·v, with the table of all pairs in memory."""
    q, k, v = (t.reshape(*t.shape[:2], heads, -1).permute(0, 2, 1, 3) for t in (q_BQI, k_BTI, v_BTI))
    weights = (torch.einsum("bhqd,bhtd->bhqt", q, k) * q.shape[-1] ** -0.5).softmax(-1)
    return torch.einsum("bhqt,bhtd->bhqd", weights, v).permute(0, 2, 1, 3).reshape(*q_BQI.shape[:2], -1)


class _Maps(nn.Module):
    """The projections of one attention."""

    def __init__(self) -> None:
        super().__init__()
        inner = HEADS * HEAD_WIDTH
        self.to_q, self.to_k, self.to_v = (nn.Linear(WIDTH, inner, bias=False) for _ in range(3))
        self.to_out = nn.Sequential(nn.Linear(inner, WIDTH))


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm_q, self.norm_k, self.norm_v = (nn.LayerNorm(WIDTH) for _ in range(3))
        self.fn = _Maps()

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        q = self.fn.to_q(self.norm_q(target))
        k, v = self.fn.to_k(self.norm_k(source)), self.fn.to_v(self.norm_v(source))
        return self.fn.to_out(attention(q, k, v, HEADS))


class _FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.fn = nn.Module()
        self.fn.net = nn.Sequential(
            nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Dropout(0.0), nn.Linear(WIDTH, WIDTH), nn.Dropout(0.0)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.fn.net(self.norm(x))


class _Encoder(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleList([_Attention(), _FeedForward()]) for _ in range(depth))

    def forward(self, x: Tensor, source: Tensor | None = None) -> list[Tensor]:
        states = [x]
        for attend, feed in self.layers:
            x = attend(x, x if source is None else source) + x
            x = feed(x) + x
            states.append(x)
        return states


class Transformer(nn.Module):
    """[learnt tokens ; frames] + positions -> the state before and after each layer."""

    def __init__(self, frames: int, tokens: int, depth: int = 2) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.randn(1, frames + tokens, WIDTH))
        self.extra_token = nn.Parameter(torch.zeros(1, tokens, WIDTH)) if tokens else None
        self.encoder = _Encoder(depth)

    def forward(self, x: Tensor) -> list[Tensor]:
        if self.extra_token is not None:
            x = torch.cat([self.extra_token.repeat(len(x), 1, 1), x], 1)
        return self.encoder(x + self.pos_embedding[:, : x.shape[1]])


class _HyperMaps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_k_ta, self.to_k_tv, self.to_v_ta, self.to_v_tv = (
            nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(5)
        )
        self.to_out = nn.Sequential(nn.Linear(WIDTH, WIDTH))


class _HyperLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(WIDTH) for _ in range(4))
        self.fn = _HyperMaps()

    def forward(self, dominant: Tensor, audio: Tensor, vision: Tensor, hyper: Tensor) -> Tensor:
        q, audio, vision = self.fn.to_q(self.norm1(dominant)), self.norm2(audio), self.norm3(vision)
        read = attention(q, self.fn.to_k_ta(audio), self.fn.to_v_ta(audio), HEADS)
        read = read + attention(q, self.fn.to_k_tv(vision), self.fn.to_v_tv(vision), HEADS)
        return self.norm4(hyper) + self.fn.to_out(read)


class _Hyper(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleList([_HyperLayer()]) for _ in range(depth))


class _Cross(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.pos_embedding_s = nn.Parameter(torch.randn(1, TOKENS + 1, WIDTH))
        self.pos_embedding_t = nn.Parameter(torch.randn(1, TOKENS + 1, WIDTH))
        self.extra_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.CrossTransformerEncoder = _Encoder(depth)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        token = self.extra_token.repeat(len(source), 1, 1)
        source = torch.cat([token, source], 1) + self.pos_embedding_s
        target = torch.cat([token, target], 1) + self.pos_embedding_t
        return self.CrossTransformerEncoder(target, source)[-1]


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        return -gradient


class LNLN(nn.Module):
    """`widths` and `lengths` by the authors' letters l, v, a; `bert` encodes ids, or None where text is embeddings."""

    def __init__(
        self, widths: Mapping[str, int], lengths: Mapping[str, int], bert: nn.Module | None, cross_depth: int = 2
    ) -> None:
        super().__init__()
        self.h_hyper = nn.Parameter(torch.ones(1, TOKENS, WIDTH))
        self.h_p = nn.Parameter(torch.ones(1, TOKENS, WIDTH))
        if bert is not None:
            self.bertmodel = nn.Module()
            self.bertmodel.model = bert
        for m in ORDER:
            setattr(self, f"proj_{m}", nn.Sequential(nn.Linear(widths[m], WIDTH), Transformer(lengths[m], TOKENS)))
        self.proxy_dominate_modality_generator = Transformer(3 * TOKENS, TOKENS)
        self.effective_discriminator = nn.Sequential(nn.Linear(WIDTH, 64), nn.LeakyReLU(0.1), nn.Linear(64, 2))
        head = nn.Sequential(nn.Linear(WIDTH, WIDTH // 2), nn.LeakyReLU(0.1), nn.Linear(WIDTH // 2, 1), nn.Sigmoid())
        self.completeness_check = nn.ModuleList([Transformer(TOKENS, 1), head])
        self.reconstructor = nn.ModuleList(Transformer(TOKENS, 0) for _ in range(3))
        self.dmml = nn.ModuleList([Transformer(TOKENS, 0), _Hyper(3), _Cross(cross_depth), nn.Linear(WIDTH, 1)])

    def embed(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{letter: values; l: (B, 3, T) ids, mask, segments} -> {letter: (B, 8, 128)}."""
        inputs = dict(inputs)
        if hasattr(self, "bertmodel"):
            ids, mask, segments = inputs["l"].unbind(1)
            told = self.bertmodel.model(input_ids=ids, attention_mask=mask.float(), token_type_ids=segments)
            inputs["l"] = told.last_hidden_state
        return {m: getattr(self, f"proj_{m}")(inputs[m])[-1][:, :TOKENS] for m in ORDER}

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        h = self.embed(inputs)
        w = self.completeness_check[1](self.completeness_check[0](h["l"])[-1][:, 0])
        start = self.h_p.repeat(len(w), 1, 1)
        proxy = self.proxy_dominate_modality_generator(torch.cat([start, h["a"], h["v"]], 1))[-1][:, :TOKENS]
        dominant = _Reverse.apply(proxy) * (1 - w[..., None]) + h["l"] * w[..., None]
        states, hyper = self.dmml[0](dominant), self.h_hyper.repeat(len(w), 1, 1)
        for (layer,), state in zip(self.dmml[1].layers, states, strict=False):
            hyper = layer(state, h["a"], h["v"], hyper)
        told = self.dmml[3](self.dmml[2](hyper, states[-1])[:, 1:].mean(1))
        return {"prediction": told, "w": w, "dominant": dominant, **h}

    def loss(
        self, lossy: Mapping[str, Tensor], whole: Mapping[str, Tensor], label_B: Tensor, completeness_B: Tensor
    ) -> dict[str, Tensor]:
        """.9 cc + .8 adv + .1 rec + sp, and the terms."""
        told, complete = self(lossy), self.embed(whole)
        judged = self.effective_discriminator(torch.cat([told["dominant"], complete["l"]]).flatten(0, 1))
        truth = torch.arange(2).repeat_interleave(len(judged) // 2).flip(0)
        rebuilt = torch.cat([self.reconstructor[i](told[m])[-1] for i, m in enumerate("avl")], 1)
        terms = {
            "sp": F.mse_loss(told["prediction"].squeeze(1), label_B),
            "cc": F.mse_loss(told["w"].squeeze(1), completeness_B),
            "adv": F.cross_entropy(judged, truth),
            "rec": F.mse_loss(rebuilt, torch.cat([complete[m] for m in "avl"], 1)),
        }
        total = 0.9 * terms["cc"] + 0.8 * terms["adv"] + 0.1 * terms["rec"] + terms["sp"]
        return {"loss": total, **terms}
