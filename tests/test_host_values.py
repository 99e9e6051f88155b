"""No loss waits for a value from its device: on torch's `meta` device, which has no values, it runs all the same.

Text comes as embeddings: transformers asks whether a batch has padding before it attends.
"""

import pytest
import torch
from random_batches import random_batch, random_spec
from test_models import WIDTHS, small

from lacuna.params import plugin

MODELS = ("almt", "emt_dlfr", "lmf", "mmim", "mult", "p_rmf", "self_mm", "tf_mamba", "tfn", "tfr_net")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("form", ["mended", "published"])
@pytest.mark.parametrize("classes", [0, 3])
def test_forward_loss_and_gradients_need_no_value(name, form, classes):
    module = plugin("models", name)
    spec = random_spec({m: WIDTHS[m] for m in ("text", "audio", "vision")}, classes=classes)
    settings = small(name, module.PUBLISHED if form == "published" else None)
    model, batch = module.Model(settings, spec).to("meta"), random_batch(spec).to("meta")
    assert model.eval()(batch)["prediction"].shape == ((4, 3) if classes else (4,))
    for epoch in (1, 3):
        loss = model.train().loss(batch, batch, epoch)["loss"]
        assert loss.shape == torch.Size([]) and loss.device.type == "meta"
        loss.backward()
