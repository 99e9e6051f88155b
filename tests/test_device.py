"""No model waits for its device: forward and loss run on torch's meta device, which has shapes and no values.

There, a value that must be known on the host, and a tensor that was made on another device, raise.
"""

from dataclasses import replace

import pytest
import torch
from random_batches import random_batch, random_spec
from test_models import READS, WIDTHS, evidential, small

from lacuna.data.batches import Batch
from lacuna.params import plugin, plugin_names

FORMS = [
    (name, form)
    for name in plugin_names("models")
    for form in ("mended", "published")
    if form == "mended" or hasattr(plugin("models", name), "PUBLISHED")
]


def there(batch: Batch, lossy: bool) -> Batch:
    """The batch on the meta device, with what the host noted when it was collated."""
    moved = batch.to("meta")
    changed = torch.tensor([0, 2]) if lossy else torch.arange(0)
    return replace(moved, modalities={m: replace(p, changed=changed) for m, p in moved.modalities.items()})


@pytest.mark.parametrize(("name", "form"), FORMS)
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("classes", [0, 3])
def test_nothing_is_asked_of_the_device(name, form, tokens, classes):
    if evidential(name) and not classes:
        pytest.skip("evidence is counted for classes")
    module = plugin("models", name)
    subset = ("text", "image") if name in READS else ("text", "audio", "vision")
    spec = random_spec({m: WIDTHS[m] for m in subset}, tokens=tokens, classes=classes)
    base = module.PUBLISHED if form == "published" else module.Settings()
    model = module.Model(small(name, base), spec).to("meta")
    batch = random_batch(spec)
    told = model.eval()(there(batch, False))
    assert told["prediction"].shape == ((4, classes) if classes else (4,))
    losses = model.train().loss(there(batch, True), there(batch, False), 1)
    losses["loss"].backward()
    with torch.no_grad():
        model.eval().loss(there(batch, True), there(batch, False), 1)
    assert all(value.device.type == "meta" for value in losses.values())
