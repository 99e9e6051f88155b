"""EMT-DLFR: each setting does what it says; what is published and left alone holds; any widths, equal ones too."""

from dataclasses import replace

import pytest
import torch
from random_batches import random_batch, random_spec, rows

from lacuna.commands.published import emt_dlfr as convert
from lacuna.data.batches import Batch, InputSpec, Padded
from lacuna.models import emt_dlfr
from lacuna.types import MalformedInput

WIDTHS = {"text": 12, "audio": 5, "vision": 7}
SMALL = emt_dlfr.Settings(width=8, heads=2, depth=2, head_hidden=8, recurrent={"audio": 6}, sizes={"audio": 4})
QUIET = {"attention_dropout": 0.0, "feed_dropout": 0.0, "head_dropout": 0.0}
TOTAL = ("task", "attraction", "reconstruction")


def built(settings: emt_dlfr.Settings = SMALL, **spec: int) -> tuple[emt_dlfr.Model, Batch, Batch]:
    """A model, an incomplete batch, and the complete one."""
    torch.manual_seed(0)
    spec = random_spec(WIDTHS, **spec)
    complete = random_batch(spec)
    complete = replace(complete, modalities={m: replace(p, seen=p.real) for m, p in complete.modalities.items()})
    lost = {m: lossy(p) for m, p in complete.modalities.items()}
    return emt_dlfr.Model(settings, spec), replace(complete, modalities=lost), complete


def lossy(padded: Padded) -> Padded:
    """Every other frame lost."""
    kept = padded.real & (torch.arange(padded.values.shape[1]) % 2 == 0)
    return replace(padded, values=padded.values * kept[..., None], seen=kept)


def test_the_total_is_the_weighted_sum_of_its_terms():
    model, batch, complete = built(replace(SMALL, attraction_weight=0.5, reconstruction_weight=0.25, **QUIET))
    told = model.train().loss(batch, complete, 1)
    torch.testing.assert_close(told["loss"], told["task"] + 0.5 * told["attraction"] + 0.25 * told["reconstruction"])
    parts = sum(told[f"attraction_{name}"] for name in ("global", *WIDTHS)) + told["task_complete"]
    torch.testing.assert_close(told["attraction"], parts)
    torch.testing.assert_close(told["reconstruction"], sum(told[f"reconstruction_{m}"] for m in WIDTHS))


def test_a_view_that_lost_nothing_has_nothing_to_rebuild():
    model, _, complete = built(replace(SMALL, **QUIET))
    told = model.train().loss(complete, complete, 1)
    assert told["reconstruction"] == 0 and told["task"] == told["task_complete"]


def test_the_rebuilt_frames_are_the_lost_ones():
    """A frame that is kept, or padded, may be anything in the target."""
    model, batch, complete = built(replace(SMALL, **QUIET))
    first = model.train().loss(batch, complete, 1)["reconstruction_audio"]
    audio = complete["audio"]
    free = ~audio.real | batch["audio"].seen
    moved = replace(audio, values=torch.where(free[..., None], 7.0, audio.values))
    whole = model.view(complete)
    told = model.reconstruction(
        model.view(batch, restored=True),
        whole,
        batch,
        replace(complete, modalities=complete.modalities | {"audio": moved}),
    )
    torch.testing.assert_close(told["audio"], first)


def test_an_epoch_is_chosen_by_the_task_or_by_the_total():
    for chosen_by, terms in (("task", {"loss", "task"}), ("total", {"loss", *TOTAL})):
        model, batch, complete = built(replace(SMALL, chosen_by=chosen_by))
        told = model.eval().loss(batch, complete, 1)
        assert terms <= set(told) and (told["loss"] == told["task"]) == (chosen_by == "task")


def test_the_attraction_teaches_neither_target():
    """z stands for the other view without a gradient: what moves is the predictor's side (SimSiam)."""
    model, batch, complete = built(replace(SMALL, **QUIET))
    model.train()
    view, whole = model.view(batch, restored=True), model.view(complete)
    vectors = {name: x.detach().requires_grad_() for name, x in whole.vectors.items()}
    for parameter in model.predictors.parameters():  # predictors that say 0 pass nothing back
        torch.nn.init.zeros_(parameter)
    attraction = model.attraction(view, replace(whole, vectors=vectors))
    sum(attraction.values()).backward()
    assert all(x.grad is None or not x.grad.any() for x in vectors.values())


def test_cls_is_the_vector_and_neither_it_nor_sep_is_a_frame():
    model, _, complete = built(replace(SMALL, text_pool="cls"))
    frames = model.view(complete).text
    torch.testing.assert_close(frames.vector_BW, complete["text"].values[:, 0])
    lengths = complete["text"].lengths
    assert frames.real_BT.sum(1).tolist() == (lengths - 2).clamp(min=1).tolist()


def test_one_token_alone_is_borne():
    model, _, complete = built(replace(SMALL, text_pool="cls"))
    one = rows(complete, [2])
    text = Padded(*(x[:, :1] for x in (one["text"].values, one["text"].times, one["text"].seen)), one["text"].lengths)
    told = model.eval()(replace(one, modalities=one.modalities | {"text": text}))
    assert torch.isfinite(told["prediction"]).all()


def test_equal_sizes_need_no_projection_and_are_described():
    """SIMS's vision: 32 of the LSTM's linear, 32 of the model."""
    settings = replace(SMALL, sizes={"audio": 6, "vision": 8}, recurrent={"audio": 6, "vision": 10})
    model, batch, complete = built(settings)
    names = {name for name, _ in model.named_parameters()}
    assert "project.vision.weight" not in names and "recurrent.audio.out.weight" not in names
    model.train().loss(batch, complete, 1)["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def published_names(model: emt_dlfr.Model) -> dict[str, torch.Tensor]:
    """A model's state under the authors' names, shared modules under all of theirs, as their state dict has them."""
    state = model.state_dict()
    told = {}
    for name, tensor in state.items():
        for theirs in candidates(name):
            told[theirs] = tensor
    return told


def candidates(name: str) -> list[str]:
    ours = {"text": "text", "audio": "audio", "vision": "video", "global": "gmc_tokens"}
    first, _, rest = name.partition(".")
    which, _, last = rest.partition(".")
    if first in ("projectors", "predictors"):
        return [f"{ours[which]}_{first[:-1]}.net.{last}"]
    if first == "reconstruct":
        return [f"recon_{ours[which]}.{last}"]
    if first == "project":
        return [f"proj_{ours[which]}.{last}"]
    if first == "recurrent":
        inner = last.replace("recurrence.layers.0.0.", "rnn.").replace("out.", "linear_1.")
        return [f"{ours[which]}_model.{inner}"]
    if first == "head":
        return [f"post_fusion_layer_{(int(which) + 1) // 2}.{last}"]
    if which == "pool":
        return [f"fusion.attn_pools.{i}.attention.{last}" for i in range(2)]
    part, _, end = last.partition(".")
    slots = {
        "norm_cross": "0.norm", "norm_source": "0.norm_context", "norm_self": "1.norm", "norm_feed": "2.norm",
        "cross": "0.fn", "own": "1.fn", "widen": "2.fn.net.0", "narrow": "2.fn.net.2",
    }  # fmt: skip
    return [f"fusion.mpus.{i}.{m}.{d}.layers.0.{slots[part]}.{end}" for i in range(2) for m in range(3) for d in (0, 1)]


@pytest.mark.parametrize("sizes", [{"audio": 4, "vision": 6}, {"audio": 6, "vision": 8}])
def test_a_whole_state_dict_with_shared_modules_is_described_and_renamed(sizes):
    settings = replace(emt_dlfr.PUBLISHED, width=8, head_hidden=8, recurrent={"audio": 6, "vision": 10}, sizes=sizes)
    model, _, complete = built(settings)
    state = published_names(model)
    described, spec = convert.describe(state)
    other = emt_dlfr.Model(replace(emt_dlfr.PUBLISHED, **described), InputSpec(**spec))
    other.load_state_dict(convert.rename(state))
    torch.testing.assert_close(other.eval()(complete)["prediction"], model.eval()(complete)["prediction"])


def test_positions_are_interleaved_sinusoids():
    told = emt_dlfr.places(torch.zeros(1, 3, 4))
    frames = torch.tensor([0.0, 1.0, 2.0])
    columns = [frames.sin(), frames.cos(), (frames / 100).sin(), (frames / 100).cos()]
    torch.testing.assert_close(told, torch.stack(columns, 1))
    assert emt_dlfr.places(torch.zeros(1, 3, 5)).shape == (3, 5)


def test_it_learns_a_small_set():
    model, batch, complete = built(replace(SMALL, width=16, **QUIET))
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    history = []
    for _ in range(80):
        losses = model.train().loss(batch, complete, 1)
        history.append(float(losses["task"].detach()))
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    assert history[-1] < 0.3 * history[0]


@pytest.mark.parametrize("change", [{"width": 9}, {"depth": 0}, {"text_pool": "max"}, {"chosen_by": "test"}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(MalformedInput, match=f"emt_dlfr.{next(iter(change))}: expected"):
        replace(SMALL, **change)
