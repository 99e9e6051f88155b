"""TFN and LMF live: MMSA's model and ours with its weights, on the same frames, whose padding is read."""

import importlib
from dataclasses import replace

import torch
from torch.nn import functional as F

from lacuna.data.batches import InputSpec
from lacuna.params import plugin
from parity import harness, live

FRAMES = {"text": 9, "audio": 14, "vision": 11}
LENGTHS = {"text": [9, 4, 7, 1], "audio": [14, 3, 9, 2], "vision": [5, 11, 1, 6]}


def check(name: str, dataset: str, **quiet: object) -> None:
    """Outputs in both modes, the vectors of all modalities, the loss, its gradients, and batch norm's statistics."""
    theirs, module = live.build(name, dataset), plugin("models", name)
    convert = importlib.import_module(f"lacuna.commands.published.{name}")
    described, spec = convert.describe(theirs.model.state_dict())
    assert spec["lengths"] == {m: frames for m, (frames, _) in theirs.shapes.items()}
    settings = replace(module.PUBLISHED, **described, **quiet, dropout={})
    ours = module.Model(settings, InputSpec(**spec | {"lengths": FRAMES}))
    ours.load_state_dict(convert.rename(theirs.model.state_dict()))
    batch = live.batch_of(theirs, FRAMES, LENGTHS)
    inputs = [batch["text"].values, *(batch[m].values.mean(1, keepdim=True) for m in ("audio", "vision"))]
    for training in (False, True):
        theirs.model.train(training), ours.train(training)
        told, own = theirs.model(*inputs), ours(batch)
        harness.close(own["prediction"], told["M"].detach(), "prediction")
        for m in FRAMES:
            harness.close(own[f"vector_{m}"], told[f"Feature_{m[0]}"].detach(), f"vector of {m}")
    loss, losses = F.l1_loss(theirs.model(*inputs)["M"], batch.labels["M"][:, None]), ours.loss(batch, batch, 1)
    harness.close_losses(losses, {"loss": loss.item()})
    loss.backward(), losses["loss"].backward()
    gradients = convert.rename(live.gradients(theirs.model))
    harness.close_gradients(ours, gradients, {name: float(g.norm()) for name, g in gradients.items()})
    torch.testing.assert_close(ours.subnets["audio"].norm.running_var, theirs.model.audio_subnet.norm.running_var)
