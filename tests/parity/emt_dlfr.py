"""EMT-DLFR's fixtures: both views of a batch; BERT's hidden states come as embeddings, [CLS] and [SEP] among them."""

from dataclasses import replace

import torch
from torch import Tensor

from lacuna.commands.published import emt_dlfr as convert
from lacuna.data.batches import Batch, InputSpec
from lacuna.models import emt_dlfr
from parity import harness
from parity.harness import Case

NAMES = {"text": "text", "audio": "audio", "video": "vision", "gmc_tokens": "global"}
THROUGH_BATCH_NORM = 1e-4  # of z and p, which stand behind a norm over 3 clips
TERMS = {
    "pred_m": "task",
    "pred": "task_complete",
    "attra": "attraction",
    "recon": "reconstruction",
    "loss": "loss",
    **{f"attra_{theirs}": f"attraction_{ours}" for theirs, ours in NAMES.items()},
    **{f"recon_{theirs}": f"reconstruction_{ours}" for theirs, ours in NAMES.items() if ours != "global"},
}


def settings_of(case: Case) -> tuple[emt_dlfr.Settings, InputSpec]:
    """PUBLISHED with what the case's JSON says."""
    config = case.settings["config"]
    settings = replace(
        emt_dlfr.PUBLISHED,
        recurrent={"audio": config["a_lstm_hidden_size"], "vision": config["v_lstm_hidden_size"]},
        sizes={"audio": config["audio_out"], "vision": config["video_out"]},
        width=config["d_model"],
        heads=config["heads"],
        depth=config["fusion_layers"],
        expansion=config["ff_expansion"],
        head_hidden=config["post_fusion_dim"],
        predictors={ours: config[f"{theirs}_pred_dim"] for theirs, ours in NAMES.items()},
        attention_dropout=0.0,
        feed_dropout=0.0,
        head_dropout=0.0,
        attraction_weight=config["loss_attra_weight"],
        reconstruction_weight=config["loss_recon_weight"],
    )
    widths = dict(zip(("text", "audio", "vision"), config["feature_dims"]))
    return settings, InputSpec(widths, dict.fromkeys(widths, 1024))


def build(case: Case, state: str = "state") -> emt_dlfr.Model:
    model = emt_dlfr.Model(*settings_of(case))
    model.load_state_dict(convert.rename(case["state"] | case[state]))
    return model


def batches(case: Case) -> tuple[Batch, Batch]:
    """The incomplete view and the complete one, audio and vision cut to the longest of the batch as published."""
    return _batch(case["batch"], "_m"), _batch(case["batch"], "")


def _batch(tensors: dict[str, Tensor], suffix: str) -> Batch:
    told = {}
    for m in ("text", "audio", "vision"):
        values = tensors[f"text{suffix}_hidden" if m == "text" else f"{m}{suffix}"]
        lengths = tensors["text"][:, 1].sum(1).long() if m == "text" else tensors[f"{m}_lengths"]
        seen = tensors[f"{m}_missing_mask"].bool() if suffix else None
        frames = values.shape[1] if m == "text" else int(lengths.max())
        told[m] = harness.padded(values[:, :frames], lengths, None if seen is None else seen[:, :frames])
    return harness.batch_of(told, {"M": tensors["labels"].flatten()})


def check_losses(case: Case) -> None:
    model, (batch, complete) = build(case), batches(case)
    losses = model.train().loss(batch, complete, epoch=1)
    expected = {TERMS[n]: v for n, v in case.numbers("losses").items() if n in TERMS}
    cosines = {n: v for n, v in expected.items() if n.startswith("attraction_")}
    harness.close_losses(losses, {n: v for n, v in expected.items() if n not in cosines})
    for name, value in cosines.items():  # they may cancel to almost 0: what counts is their own scale, 1
        assert abs(float(losses[name].detach()) - value) <= harness.LOSS, name
    losses["loss"].backward()
    norms = {name: torch.tensor(value) for name, value in case.numbers("grad_norms").items()}
    norms = {name: float(value) for name, value in convert.rename(norms).items()}
    harness.close_gradients(model, convert.rename(case["grad"]), norms)
    buffers = dict(model.named_buffers())
    for name, value in convert.rename(case["after"]).items():
        harness.close(buffers[name].float(), value.float(), f"running {name}")


def check_evaluation(case: Case) -> None:
    model, (batch, complete) = build(case, "after").eval(), batches(case)
    harness.close(model(batch)["prediction"], case["eval_out"]["pred_m"], "prediction, incomplete")
    harness.close(model(complete)["prediction"], case["eval_out"]["pred"], "prediction, complete")


def check_intermediate(case: Case) -> None:
    model, out, mid = build(case).train(), case["out"], case["mid"]
    for suffix, batch in zip(("_m", ""), batches(case)):
        view = model.view(batch, restored=True)
        harness.close(view.output_BK, out[f"pred{suffix}"], f"output{suffix}")
        harness.close(view.vectors["global"], mid[f"gmc_out{suffix}"].flatten(1), f"context{suffix}")
        for theirs, ours in NAMES.items():
            if ours in ("audio", "vision"):
                harness.close(view.vectors[ours], mid[f"{theirs}_utterance{suffix}"], f"vector of {ours}{suffix}")
            z = model.projectors[ours](view.vectors[ours])
            p = model.predictors[ours](z)
            for name, value in (("z", z), ("p", p)):
                worst = float((value.detach() - out[f"{name}_{theirs}{suffix}"]).abs().max())
                assert worst <= THROUGH_BATCH_NORM, f"{name} of {ours}{suffix}: {worst:.2e}"
        if suffix:
            check_frames(case, model, view)


def check_frames(case: Case, model: emt_dlfr.Model, view: emt_dlfr.View) -> None:
    """Frames after the fusion, and what is rebuilt of them; those on padding are nobody's."""
    batch, _ = batches(case)
    for theirs, ours in NAMES.items():
        if ours == "global":
            continue
        fused = view.fused[ours]
        real = (view.text.real_BT if ours == "text" else batch[ours].real)[..., None]
        rebuilt = model.reconstruct[ours](fused)
        harness.close(fused * real, case["mid"][f"{theirs}_out_m"] * real, f"frames of {ours}")
        harness.close(rebuilt * real, case["out"][f"{theirs}_recon"] * real, f"rebuilt {ours}")


def check_description(case: Case) -> None:
    """`convert.describe` reads off the shapes what the JSON tells."""
    settings, spec = convert.describe(case["state"])
    expected, expected_spec = settings_of(case)
    assert {name: getattr(expected, name) for name in settings} == settings
    assert InputSpec(**spec) == expected_spec


CHECKS = (check_losses, check_evaluation, check_intermediate, check_description)
