"""Self-MM live: MMSA's model and the label machinery of its trainer, over epochs of batches of 12 clips."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lacuna.commands.published import self_mm as convert
from lacuna.data.batches import Batch, InputSpec
from lacuna.data.samples import Sample
from lacuna.models import self_mm
from lacuna.types import Clip
from parity import harness, live

FRAMES = {"text": 9, "audio": 14, "vision": 11}
LENGTHS = {"text": [9, 4, 7, 3], "audio": [14, 3, 9, 2], "vision": [5, 11, 1, 6]}
NAMES = {"M": "fusion", "text": "text", "audio": "audio", "vision": "vision"}  # ours and MMSA's
LETTERS = {"text": "T", "audio": "A", "vision": "V"}
LABELS = torch.tensor([2.4, -1.2, 0.0, 0.8, -0.4, 1.6, -2.8, 0.2, -1.0, 3.0, 0.6, -0.2])


@dataclass(frozen=True)
class Pair:
    """Theirs, its trainer, and ours with the same weights."""

    theirs: live.Live
    trainer: object
    ours: self_mm.Model
    labels: Tensor

    @classmethod
    def build(cls, dataset: str, **changes: object) -> "Pair":
        theirs = live.build("self_mm", dataset, train_samples=len(LABELS), excludeZero=True)
        from MMSA.trains.multiTask.SELF_MM import SELF_MM

        described, spec = convert.describe(theirs.model.state_dict())
        assert spec["lengths"] == {m: frames for m, (frames, _) in theirs.shapes.items()}
        limit = theirs.settings.H
        settings = replace(self_mm.PUBLISHED, **described, dropout={}, **changes)
        ours = self_mm.Model(settings, InputSpec(**spec, low=-limit, high=limit))
        missing, unexpected = ours.load_state_dict(convert.rename(theirs.model.state_dict()), strict=False)
        assert not unexpected and all(name.startswith("own_labels.") for name in missing)
        # Dropout within BERT stays: both are in evaluation mode, but for the switch that the loss looks at.
        theirs.model.eval(), ours.eval()
        ours.training = True
        pair = cls(theirs, SELF_MM(theirs.settings), ours, LABELS * limit / 3)
        ours.meet([Sample(Clip(str(i), "d", "train", "", {"M": float(y)}), {}) for i, y in enumerate(pair.labels)])
        pair.trainer.init_labels(torch.arange(len(LABELS)), pair.labels)
        pair.in_doubles()
        return pair

    def in_doubles(self) -> None:
        """Compute both in float64: in labels a ratio to a δ_M near 0 magnifies the last digit of float32."""
        self.ours.double(), self.theirs.model.double()
        for name in NAMES.values():
            for kept in (self.trainer.label_map, self.trainer.feature_map):
                kept[name] = kept[name].double()

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Batch]]:
        order = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(epoch))
        for i, chosen in enumerate(order.split(4)):
            batch = live.batch_of(self.theirs, FRAMES, LENGTHS, seed=10 * epoch + i, tokens=True)
            modalities = {m: replace(batch[m], values=batch[m].values.double()) for m in ("audio", "vision")}
            ids = tuple(str(int(j)) for j in chosen)
            yield chosen, Batch(ids, batch.modalities | modalities, {"M": self.labels[chosen]})

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        audio, vision = ((batch[m].values, batch[m].lengths) for m in ("audio", "vision"))
        return self.theirs.model(batch["text"].values.transpose(1, 2), audio, vision)

    def losses(self, told: dict[str, Tensor], chosen: Tensor) -> dict[str, Tensor]:
        """The terms of MMSA's trainer by our names, and their sum."""
        terms = {}
        for name, theirs in NAMES.items():
            labels = self.trainer.label_map[theirs][chosen]
            terms[name] = self.trainer.weighted_loss(told[LETTERS.get(name, "M")], labels, indexes=chosen, mode=theirs)
        return terms | {"loss": sum(terms.values())}

    def after(self, told: dict[str, Tensor], chosen: Tensor, epoch: int) -> None:
        """What MMSA's trainer does behind a backward pass."""
        features = [told[f"Feature_{letter}"].detach() for letter in "ftav"]
        if epoch > 1:
            self.trainer.update_labels(*features, epoch, chosen, told)
        self.trainer.update_features(*features, chosen)
        self.trainer.update_centers()

    def close_maps(self) -> None:
        rows = self.ours.own_labels.rows(self_mm.keys_of([str(i) for i in range(len(LABELS))]))
        for name, theirs in NAMES.items():
            harness.close(self.ours.own_labels.of(name, rows), self.trainer.label_map[theirs], f"labels of {name}")


def check_live(dataset: str) -> None:
    """Outputs, loss terms, gradients and the labels made, batch by batch through three epochs."""
    pair = Pair.build(dataset)
    for epoch in (1, 2, 3):
        for chosen, batch in pair.batches(epoch):
            pair.theirs.model.zero_grad(), pair.ours.zero_grad()
            told, own = pair.outputs(batch), pair.ours(batch)
            harness.close(own["prediction"], told["M"].detach(), "prediction")
            for m, letter in LETTERS.items():
                harness.close(own[f"prediction_{m}"], told[letter].detach(), f"prediction of {m}")
            losses, ours = pair.losses(told, chosen), pair.ours.loss(batch, batch, epoch)
            harness.close_losses(ours, {name: value.item() for name, value in losses.items()})
            losses["loss"].backward(), ours["loss"].backward()
            gradients = convert.rename(live.gradients(pair.theirs.model))
            harness.close_gradients(pair.ours, gradients, {name: float(g.norm()) for name, g in gradients.items()})
            pair.after(told, chosen, epoch)
            pair.close_maps()
    moved = (pair.trainer.label_map["text"] - pair.trainer.label_map["fusion"]).abs()
    assert float(moved.max()) > 0.01, "expected labels of text that differ from the clips', or nothing was compared"
