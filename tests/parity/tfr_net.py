"""TFR-Net live: MMSA's model and ours with its weights, on the same two views; BERT's states are given to both."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from lacuna.commands.published import tfr_net as convert
from lacuna.data.batches import Batch, InputSpec
from lacuna.models import tfr_net
from parity import harness, live

LENGTHS = {"text": [10, 4, 7, 3], "audio": [15, 3, 9, 6], "vision": [5, 20, 2, 12]}
FRAMES = {"text": 10, "audio": 15, "vision": 20}
CHECKS = ()  # no fixture: the installed MMSA is asked


class Given(nn.Module):
    """Stands for a text encoder: tells given states, one after the other."""

    def __init__(self, *states: Tensor) -> None:
        super().__init__()
        self.states = list(states)

    def forward(self, ids: Tensor) -> Tensor:
        return self.states.pop(0)


def lossy(batch: Batch, seed: int = 3) -> Batch:
    """Half of the real frames lost, zeros in their place."""
    generator = torch.Generator().manual_seed(seed)
    told = {}
    for m, padded in batch.modalities.items():
        seen_BT = padded.seen & (torch.rand(padded.seen.shape, generator=generator) < 0.5)
        told[m] = replace(padded, values=padded.values * seen_BT[..., None], seen=seen_BT)
    return replace(batch, modalities=told)


def built(dataset: str, **changes: object) -> tuple[live.Live, tfr_net.Model]:
    """MMSA's, at short lengths (25 heads would have to divide them all), and ours with its weights."""
    heads = {"num_temporal_head": 5, "seq_lens": list(FRAMES.values())}
    theirs = live.build("tfr_net", dataset, **heads)
    described, spec = convert.describe({n: t for n, t in theirs.model.state_dict().items() if "text_model" not in n})
    assert spec["lengths"] == FRAMES and spec["widths"] == {m: width for m, (_, width) in theirs.shapes.items()}
    quiet = {"attention_dropout": {}} | {f"{part}_dropout": 0.0 for part in QUIET}
    weights = dict(zip(("text", "audio", "vision"), theirs.settings.weight_gen_loss))
    settings = replace(tfr_net.PUBLISHED, **described, **quiet, weights=weights, final_heads=5, **changes)
    ours = tfr_net.Model(settings, InputSpec(**spec))
    ours.load_state_dict(convert.rename({n: t for n, t in theirs.model.state_dict().items() if "text_model" not in n}))
    return theirs, ours


QUIET = ("text", "memory", "relu", "residual", "embed", "fusion", "head")


def asked(theirs: live.Live, batch: Batch, complete: Batch) -> tuple[Tensor, Tensor]:
    """MMSA's prediction and its weighted sum of the reconstruction losses."""
    theirs.model.text_model = Given(batch["text"].values, complete["text"].values)
    real = {m: padded.real.float() for m, padded in complete.modalities.items()}
    kept = {m: padded.seen.float() for m, padded in batch.modalities.items()}
    ids = torch.stack([real["text"]] * 3, 1)
    others = [(complete[m].values, batch[m].values, real[m], kept[m]) for m in ("audio", "vision")]
    return theirs.model((ids, ids, kept["text"]), *others)


def check_live(dataset: str) -> None:
    """Outputs in both modes, losses before and with reconstruction, all gradients, batch norm's statistics."""
    theirs, ours = built(dataset)
    complete = live.batch_of(theirs, FRAMES, LENGTHS)
    batch = lossy(complete)
    theirs.model.eval(), ours.eval()
    harness.close(ours(batch)["prediction"], asked(theirs, batch, complete)[0].detach(), "prediction")
    theirs.model.train(), ours.train()
    prediction, rebuilt = asked(theirs, batch, complete)
    error = (prediction - batch.labels["M"][:, None]).abs().mean()
    losses = ours.loss(batch, complete, epoch=2)
    parts = sum(ours.settings.weights[m] * losses[f"reconstruction_{m}"] for m in FRAMES)
    harness.close_losses({"task": losses["task"], "rebuilt": parts}, {"task": error.item(), "rebuilt": rebuilt.item()})
    torch.testing.assert_close(ours.head[0].running_var, theirs.model.fusion_subnet.Model.classifier[0].running_var)
    (error + rebuilt).backward(), losses["loss"].backward()
    gradients = convert.rename(live.gradients(theirs.model))
    harness.close_gradients(ours, gradients, {name: float(g.norm()) for name, g in gradients.items()})
    assert set(ours.loss(batch, complete, epoch=1)) == {"loss", "task"}
