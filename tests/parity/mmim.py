"""MMIM live: MMSA's model and ours with its weights, batch after batch; BERT's states are given to both."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from lacuna.commands.published import mmim as convert
from lacuna.data.batches import Batch, InputSpec
from lacuna.models import mmim
from parity import harness, live

CHECKS = ()  # no fixture: the installed MMSA is asked
COUNT = 16  # samples a batch: fewer than 5 of a sign in two batches have no entropy


class Given(nn.Module):
    """Stands for a text encoder: what it is asked for is what it tells."""

    def forward(self, states: Tensor) -> Tensor:
        return states


def batches(theirs: live.Live) -> list[Batch]:
    """Three batches of clips of all lengths, half of them of either sign."""
    generator = torch.Generator().manual_seed(5)
    told = []
    for seed in range(3):
        frames = {"text": 6, "audio": 9, "vision": 7}
        lengths = {m: torch.randint(1, most + 1, (COUNT,), generator=generator).tolist() for m, most in frames.items()}
        lengths = {m: [frames[m], *values[1:]] for m, values in lengths.items()}
        batch = live.batch_of(theirs, frames, lengths, seed)
        told.append(replace(batch, labels={"M": torch.randn(COUNT, generator=generator)}))
    return told


def built(dataset: str) -> tuple[live.Live, mmim.Model]:
    theirs = live.build("mmim", dataset)
    own = {name: t for name, t in theirs.model.state_dict().items() if not name.startswith("bertmodel.")}
    described, spec = convert.describe(own)
    assert spec["widths"] == {m: width for m, (_, width) in theirs.shapes.items()}
    ours = mmim.Model(replace(mmim.PUBLISHED, **described, dropout=0.0), InputSpec(**spec))
    ours.load_state_dict(convert.rename(own))
    theirs.model.bertmodel = Given()
    return theirs, ours


def asked(theirs: live.Live, batch: Batch, **more: object) -> dict:
    others = [(batch[m].values, batch[m].lengths) for m in ("audio", "vision")]
    return theirs.model(batch["text"].values, *others, **more)


def check_live(dataset: str) -> None:
    """Outputs, both stages' losses and gradients, and the entropy over three batches, whose memory grows as theirs."""
    theirs, ours = built(dataset)
    made = batches(theirs)
    theirs.model.eval(), ours.eval()
    harness.close(ours(made[0])["prediction"], asked(theirs, made[0])["M"].detach(), "prediction")
    theirs.model.train(), ours.train()
    first = asked(theirs, made[0])
    (-first["lld"]).backward()
    losses = ours.loss(made[0], made[0], epoch=1)
    harness.close_losses(losses, {"loss": -first["lld"].item(), "likelihood": first["lld"].item()})
    losses["loss"].backward()
    check_gradients(theirs, ours, ("bounds.",))
    memory: dict[str, dict[str, list[Tensor]] | None] = {"tv": None, "ta": None, "va": None}
    for i, batch in enumerate(made):
        told = asked(theirs, batch, y=batch.labels["M"][:, None], mem=memory)
        memory = {
            pair: {sign: [told["pn_dic"][pair][sign].detach()] for sign in ("pos", "neg")} for pair in ("tv", "ta")
        }
        error = (told["M"] - batch.labels["M"][:, None]).abs().mean()
        total = error + 0.1 * told["nce"] - 0.1 * told["lld"] - (0.1 * told["H"] if i > 1 else 0)
        losses = ours.loss(batch, batch, epoch=2)
        expected = {"loss": total, "task": error, "contrast": told["nce"], "likelihood": told["lld"]}
        harness.close_losses(losses, {name: value.item() for name, value in expected.items()})
    harness.close_losses(losses, {"entropy": told["H"].item()})
    theirs.model.zero_grad(), ours.zero_grad()
    total.backward(), losses["loss"].backward()
    check_gradients(theirs, ours, ("recurrent.", "contrasts.", "first.", "second.", "out."))


def check_gradients(theirs: live.Live, ours: mmim.Model, stepped: tuple[str, ...]) -> None:
    """Of those that the stage's optimiser steps, and of no others."""
    gradients = {n: g for n, g in convert.rename(live.gradients(theirs.model)).items() if n.startswith(stepped)}
    harness.close_gradients(ours, gradients, {name: float(g.norm()) for name, g in gradients.items()})
    assert live.gradients(ours).keys() == gradients.keys()
