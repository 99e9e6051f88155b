"""TF-Mamba: its state space layer is that of the library transformers, padding has no say, each switch does its own."""

from dataclasses import replace

import pytest
import torch
from random_batches import random_batch, random_spec
from torch.nn import functional as F

from lacuna.models import tf_mamba
from lacuna.models.parts.crossmodal import Frames
from lacuna.models.parts.mamba import Mamba, Shape, Way, start_of_states
from lacuna.models.parts.text import pad_to
from lacuna.storage.pretrained import import_transformers
from lacuna.types import MalformedInput

WIDTHS = {"text": 12, "audio": 5, "vision": 7}
SMALL = tf_mamba.Settings(width=16, heads=2, head=8, states=3, expansion=2, dropout=0.0)


def built(settings: tf_mamba.Settings = SMALL, **spec: int) -> tuple:
    torch.manual_seed(0)
    spec = random_spec(WIDTHS, **spec)
    return tf_mamba.Model(settings, spec), random_batch(spec)


def peer(shape: Shape, way: Way, mamba: Mamba, states_EN: torch.Tensor):
    """One direction as transformers has it, with our weights."""
    from transformers.models.mamba.modeling_mamba import MambaConfig, MambaMixer

    config = MambaConfig(
        hidden_size=shape.width, state_size=shape.states, expand=shape.expansion, conv_kernel=shape.kernel,
        time_step_rank=shape.rank, num_hidden_layers=1, use_mambapy=False,
    )  # fmt: skip
    mixer = MambaMixer(config, layer_idx=0)
    ours = {
        "in_proj.weight": mamba.widen["x"].weight, "out_proj.weight": mamba.narrow["x"].weight,
        "conv1d.weight": way.convolution.weight, "conv1d.bias": way.convolution.bias,
        "x_proj.weight": way.to_scan.weight, "dt_proj.weight": way.to_step.weight, "dt_proj.bias": way.to_step.bias,
        "A_log": states_EN, "D": way.skip_E,
    }  # fmt: skip
    mixer.load_state_dict(ours)
    return mixer.eval()


def test_both_ways_are_those_of_transformers():
    import_transformers()
    torch.manual_seed(0)
    shape = Shape(width=16, states=5, expansion=2, kernel=4)
    mamba = Mamba(["x"], shape)
    for parameter in mamba.parameters():  # nothing is one or zero by its start
        torch.nn.init.normal_(parameter, std=0.3)
    x_BTD = torch.randn(2, 9, 16)
    there, back = (
        peer(shape, way, mamba, states)
        for way, states in ((mamba.ways["x"], mamba.states), (mamba.back["x"], mamba.states_back))
    )
    wanted = 0.5 * (there(x_BTD) + back(x_BTD.flip(1)).flip(1))
    torch.testing.assert_close(mamba("x", x_BTD, torch.tensor([9, 9])), wanted, atol=1e-5, rtol=1e-4)


def test_a_state_space_starts_as_published():
    """Step sizes between .001 and .1, states that decay by 1 … N, all of the input passed on."""
    shape = Shape(width=16, states=4, expansion=2, kernel=4)
    way = Way(shape)
    step_E = F.softplus(way.to_step.bias)
    assert step_E.min() > 0.00099 and step_E.max() < 0.101 and (way.skip_E == 1).all()
    torch.testing.assert_close(start_of_states(shape).exp(), torch.arange(1.0, 5.0).expand(32, 4))


def test_frames_are_laid_along_the_words_that_there_are():
    torch.manual_seed(0)
    align = tf_mamba.Alignment(5, steps=8)
    frames = Frames(torch.ones(2, 6, 5), torch.tensor([6, 6]))
    along = Frames(torch.zeros(2, 8, 16), torch.tensor([8, 3]))
    laid_BSD = align(frames, along)
    assert not laid_BSD[1, 3:].any() and laid_BSD[1, :3].all()
    # Frames of ones: what stands on the steps together is as many frames as belong to some step, which is not all.
    assert (laid_BSD.sum(1) > 0).all() and (laid_BSD.sum(1) < 6).all()


def plain(model: tf_mamba.Model, frames: dict[str, torch.Tensor]) -> torch.Tensor:
    """The published form, written out: no masks, all sequences as long as the spec says."""
    text, others = model.project(frames["text"]), {}
    count, steps = text.shape[:2]
    for m, mixing in model.mixing.items():
        shares = mixing.align.place(frames[m])[0].softmax(2)[:, :, 1:].transpose(1, 2)
        x = mixing.project(shares @ frames[m])
        like = F.cosine_similarity(x[:, :, None], text[:, None], dim=-1)
        like = (mixing.scale.exp() * like).softmax(-1)
        others[m] = x + (like * (like > 1 / steps)) @ text
    whole = torch.full((count,), steps)

    def read(layer, stream, x):
        return x + layer.norms[stream](layer.mamba(stream, x, whole))

    for pairs in model.pairs:
        texts = [read(pairs[m], "guide", text) for m in others]
        others = {m: read(pairs[m], "other", x) for m, x in others.items()}
        text = sum(texts) / len(texts)
    source, asking = torch.cat(list(others.values()), 1), model.asking
    q, k, v = (
        f(x).unflatten(-1, (asking.heads, -1)).transpose(1, 2)
        for f, x in ((asking.to_q, text), (asking.to_k, source), (asking.to_v, source))
    )
    mixed = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(-1) @ v
    text = text + asking.norm(asking.to_out(mixed.transpose(1, 2).flatten(2)))
    for layer in model.layers:
        text = read(layer, "guide", text)
    return model.head(text.max(1).values)[:, 0]


def test_reading_padding_is_the_plain_form():
    model, batch = built(replace(SMALL, padding="read", pair_depth=2, depth=2))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    frames = {m: pad_to(batch[m], model.spec.lengths[m]).values for m in WIDTHS}
    torch.testing.assert_close(model.eval()(batch)["prediction"], plain(model, frames), atol=1e-5, rtol=1e-4)


def test_a_fixed_target_has_no_gradient():
    for target in ("fixed", "learnt"):
        model, batch = built(replace(SMALL, target=target), tokens=False)
        whole = batch["text"].values.clone().requires_grad_()
        seen = batch["text"].real
        complete = replace(
            batch, modalities=batch.modalities | {"text": replace(batch["text"], values=whole, seen=seen)}
        )
        model.loss(batch, complete, 1)["reconstruction"].backward()
        assert (whole.grad is None) == (target == "fixed")


def test_nothing_lost_leaves_nothing_to_rebuild():
    model, batch = built()
    assert model.loss(batch, batch, 1)["reconstruction"].detach() == 0


def test_it_learns_a_small_set():
    model, batch = built()
    optimizer, history = torch.optim.AdamW(model.parameters(), 3e-3), []
    for _ in range(60):
        loss = model.loss(batch, batch, 1)["loss"]
        history.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert history[-1] < 0.1 * history[0]


def test_reading_padding_depends_on_it():
    told = [built(replace(SMALL, padding=how))[0].eval()(built()[1])["prediction"] for how in ("masked", "read")]
    assert (told[0] - told[1]).abs().max() > 1e-4


@pytest.mark.parametrize("change", [{"guide": "smell"}, {"target": "moving"}, {"states": 0}, {"kernel": 0}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(MalformedInput, match=f"tf_mamba.{next(iter(change))}: expected"):
        tf_mamba.Settings(**change)
