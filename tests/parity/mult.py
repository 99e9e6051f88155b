"""MulT live: MMSA's model and ours with its weights, on the same frames, whose padding is read."""

from dataclasses import replace

from torch.nn import functional as F

from lacuna.commands.published import mult as convert
from lacuna.data.batches import InputSpec
from lacuna.models import mult
from parity import harness, live

FRAMES = {"text": 9, "audio": 14, "vision": 11}
LENGTHS = {"text": [9, 4, 7, 1], "audio": [14, 3, 9, 2], "vision": [5, 11, 1, 6]}
QUIET = {"attention_dropout": {}} | dict.fromkeys(
    ("text_dropout", "memory_dropout", "residual_dropout", "embed_dropout", "output_dropout"), 0.0
)


def check_live(dataset: str) -> None:
    theirs = live.build("mult", dataset)
    described, spec = convert.describe(theirs.model.state_dict())
    assert (described["width"], described["heads"]) == tuple(theirs.settings.dst_feature_dim_nheads)
    assert spec["lengths"] == {m: frames for m, (frames, _) in theirs.shapes.items()}
    ours = mult.Model(replace(mult.PUBLISHED, **described | QUIET), InputSpec(**spec | {"lengths": FRAMES}))
    ours.load_state_dict(convert.rename(theirs.model.state_dict()))
    batch = live.batch_of(theirs, FRAMES, LENGTHS)
    told, own = theirs.model(*(batch[m].values for m in FRAMES)), ours(batch)
    harness.close(own["prediction"], told["M"].detach(), "prediction")
    for m in FRAMES:
        harness.close(own[f"memory_{m}"], told[f"Feature_{m[0]}"].detach(), f"memory of {m}")
    loss, losses = F.l1_loss(told["M"], batch.labels["M"][:, None]), ours.loss(batch, batch, 1)
    harness.close_losses(losses, {"loss": loss.item()})
    loss.backward(), losses["loss"].backward()
    gradients = convert.rename(live.gradients(theirs.model))
    harness.close_gradients(ours, gradients, {name: float(g.norm()) for name, g in gradients.items()})
