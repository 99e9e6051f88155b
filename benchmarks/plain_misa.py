"""MISA in its plain published form: what `benchmarks/training.py` and the tests hold ours against.

Written after the equations with nothing done for speed: padding goes through BERT, a recurrence unpacks its states for
the norm and packs them again, each pair of vectors has its own loss. Parameters carry the names of the published
checkpoint, so `lacuna.commands.published.misa.rename` moves weights from here to ours. It imports nothing of ours.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

SIZE, MOMENTS = 128, 5
PAIRS = (("t", "v"), ("t", "a"), ("a", "v"))


class MISA(nn.Module):
    """`widths`: {"t", "v", "a": features}; `bert`: a transformers encoder, or None where text is hidden states."""

    def __init__(
        self, widths: dict[str, int], bert: nn.Module | None = None, cell: str = "lstm", dropout: float = 0.2
    ) -> None:
        super().__init__()
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        self.bertmodel = bert
        for m in "va":
            width = widths[m]
            setattr(self, f"{m}rnn1", kind(width, width, bidirectional=True, batch_first=True))
            setattr(self, f"{m}rnn2", kind(2 * width, width, bidirectional=True, batch_first=True))
            setattr(self, f"{m}layer_norm", nn.LayerNorm(2 * width))
        for m in "tva":
            inputs = widths[m] * (1 if m == "t" else 4)
            parts = {
                f"project_{m}": nn.Linear(inputs, SIZE),
                "relu": nn.ReLU(),
                f"project_{m}_layer_norm": nn.LayerNorm(SIZE),
            }
            setattr(self, f"project_{m}", _named(parts))
            last = "3" if m == "a" else "1"
            setattr(
                self, f"private_{m}", _named({f"private_{m}_{last}": nn.Linear(SIZE, SIZE), "sigmoid": nn.Sigmoid()})
            )
            setattr(self, f"recon_{m}", _named({f"recon_{m}_1": nn.Linear(SIZE, SIZE)}))
        self.shared = _named({"shared_1": nn.Linear(SIZE, SIZE), "sigmoid": nn.Sigmoid()})
        layer = nn.TransformerEncoderLayer(SIZE, 2, dropout=0.1 if dropout else 0.0)
        self.transformer_encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.fusion = _named(
            {
                "fusion_layer_1": nn.Linear(6 * SIZE, 3 * SIZE),
                "dropout": nn.Dropout(dropout),
                "relu": nn.ReLU(),
                "fusion_layer_3": nn.Linear(3 * SIZE, 1),
            }
        )

    def forward(self, x: dict[str, Tensor], mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Scores (B, 1) and all vectors; `mask` (B, T) is 1 on the text's real tokens."""
        lengths = mask.sum(1).long()
        vectors = {"orig_t": self.project_t(self._text(x["t"], mask))}
        for m in "va":
            vectors[f"orig_{m}"] = getattr(self, f"project_{m}")(self._recur(m, x[m], lengths))
        for m in "tva":
            vectors[f"private_{m}"] = getattr(self, f"private_{m}")(vectors[f"orig_{m}"])
            vectors[f"shared_{m}"] = self.shared(vectors[f"orig_{m}"])
            both = vectors[f"private_{m}"] + vectors[f"shared_{m}"]
            vectors[f"recon_{m}"] = getattr(self, f"recon_{m}")(both)
        stack = torch.stack([vectors[f"{part}_{m}"] for part in ("private", "shared") for m in "tva"])
        fused = self.transformer_encoder(stack)
        return self.fusion(torch.cat(list(fused), 1)), vectors

    def _text(self, text: Tensor, mask: Tensor) -> Tensor:
        if self.bertmodel is not None:
            ids, segments = text[:, 0].long(), text[:, 2].long()
            text = self.bertmodel(input_ids=ids, attention_mask=mask, token_type_ids=segments).last_hidden_state
        return (text * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    def _recur(self, m: str, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        hidden, first = getattr(self, f"{m}rnn1")(packed)
        hidden, _ = pad_packed_sequence(hidden, batch_first=True)
        normed = getattr(self, f"{m}layer_norm")(hidden)
        packed = pack_padded_sequence(normed, lengths, batch_first=True, enforce_sorted=False)
        _, second = getattr(self, f"{m}rnn2")(packed)
        states = [final[0] if isinstance(final, tuple) else final for final in (first, second)]
        return torch.cat(states, 2).permute(1, 0, 2).reshape(len(x), -1)

    def loss(self, x: dict[str, Tensor], mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Task + .1 difference + .3 similarity + 1 reconstruction, the weights of MOSI."""
        scores, v = self(x, mask)
        terms = {"task": F.mse_loss(scores[:, 0], labels)}
        terms["diff"] = sum(_difference(v[f"private_{m}"], v[f"shared_{m}"]) for m in "tva")
        terms["diff"] = terms["diff"] + sum(
            _difference(v[f"private_{m}"], v[f"private_{n}"]) for m, n in combinations("tva", 2)
        )
        terms["sim"] = sum(_discrepancy(v[f"shared_{m}"], v[f"shared_{n}"]) for m, n in PAIRS) / 3
        terms["recon"] = sum(F.mse_loss(v[f"recon_{m}"], v[f"orig_{m}"]) for m in "tva") / 3
        return {"loss": terms["task"] + 0.1 * terms["diff"] + 0.3 * terms["sim"] + terms["recon"], **terms}


def _named(parts: dict[str, nn.Module]) -> nn.Sequential:
    sequence = nn.Sequential()
    for name, part in parts.items():
        sequence.add_module(name, part)
    return sequence


def _difference(x: Tensor, y: Tensor) -> Tensor:
    x, y = x - x.mean(0), y - y.mean(0)
    x = x / (x.norm(dim=1, keepdim=True).detach() + 1e-6)
    y = y / (y.norm(dim=1, keepdim=True).detach() + 1e-6)
    return (x.T @ y).pow(2).mean()


def _discrepancy(x: Tensor, y: Tensor) -> Tensor:
    total = (x.mean(0) - y.mean(0)).pow(2).sum().sqrt()
    x, y = x - x.mean(0), y - y.mean(0)
    for k in range(2, MOMENTS + 1):
        total = total + (x.pow(k).mean(0) - y.pow(k).mean(0)).pow(2).sum().sqrt()
    return total
