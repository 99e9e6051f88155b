"""A dataset for other people's training loops. In: processed/<dataset>. Out: a torch Dataset of what we train on.

Samples are read when they are asked for, scaled as our trainer has them, and lose what a pattern takes from them: the
same frames in every process, whatever the order. It may be given to DataLoader's workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch.utils.data import Dataset

from lacuna.data.batches import InputSpec
from lacuna.data.samples import Sample, Samples, open_samples, read_clips
from lacuna.data.scaler import Scaled, Scaler
from lacuna.data.stores import Store
from lacuna.mask.mask import Level
from lacuna.mask.masked import Drawn, Masked
from lacuna.mask.together import TOGETHER
from lacuna.params import plugin
from lacuna.train.run import fit_scaler
from lacuna.types import SPLITS, MalformedInput


@dataclass(frozen=True)
class Loss:
    """What samples lose: a pattern's name, the rate (or the modalities left), a seed, and which of its draws."""

    pattern: str
    rate: Level = 0.5
    seed: int = 0
    draw: int = 0


class Opened(Dataset[Sample]):
    """Samples of one split; `complete` are the same without loss, `spec` says what models of ours are built for."""

    def __init__(self, complete: Samples, loss: Loss | None) -> None:
        self.complete, self.loss = complete, loss
        self._lossy = complete if loss is None else _masked(complete, loss)

    def __len__(self) -> int:
        return len(self.complete)

    def __getitem__(self, place: int) -> Sample:
        return self._lossy[place]

    def at(self, draw: int) -> Opened:
        """The same samples under another draw of the loss: the number of the epoch gives other masks in each."""
        return self if self.loss is None else Opened(self.complete, replace(self.loss, draw=draw))

    def __getstate__(self) -> dict[str, object]:
        return {"complete": self.complete, "loss": self.loss}  # a pattern is a module, which cannot be sent

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(**state)  # type: ignore[misc, arg-type]

    def spec(self, lengths: Mapping[str, int] | None = None, classes: int = 0) -> InputSpec:
        """Widths and longest sequences of the data, these cut at `lengths`."""
        return InputSpec.of(self.complete, lengths or {}, classes)


def open_dataset(
    folder: Path | str, features: Sequence[str], split: str = "train", loss: Loss | None = None, scale: bool = True
) -> Opened:
    """The samples of `processed/<dataset>` with these features files, one a modality.

    With `scale`, columns are standardised by the mean and deviation of the train split, as our models see them.
    MalformedInput where the folder, a file or the split is not there.
    """
    if split not in SPLITS:
        raise MalformedInput(f"split: expected one of {', '.join(SPLITS)}; got {split!r}")
    folder = Path(folder)
    files = {name: folder / "features" / f"{name}.h5" for name in features}
    samples, _ = open_samples(read_clips(folder / "clips.jsonl"), files)
    scaler: Scaler | None = fit_scaler(samples.of_split("train")) if scale else None
    return Opened(samples.of_split(split).scaled(scaler), loss)


def _masked(complete: Samples, loss: Loss) -> Samples:
    """Scaled first, as in training: what a pattern adds is as strong as what is scaled."""
    pattern, drawn = plugin("patterns", loss.pattern), Drawn(loss.rate, loss.seed, loss.draw, TOGETHER)
    stores: dict[str, Store] = dict(complete.stores)
    if complete.scaler is not None:
        stores = {m: Scaled(store, m, complete.scaler) for m, store in stores.items()}
    return Samples(complete.clips, {m: Masked(s, complete.clips, m, pattern, drawn) for m, s in stores.items()})
