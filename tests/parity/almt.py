"""ALMT's fixtures: text comes as the hidden states of the authors' BERT; padding is read, so no lengths are."""

from dataclasses import replace

import torch

from lacuna.commands.published import almt as convert
from lacuna.data.batches import Batch, InputSpec
from lacuna.models import almt
from parity import harness
from parity.harness import Case

LETTERS = {"l": "text", "a": "audio", "v": "vision"}


def settings_of(case: Case) -> tuple[almt.Settings, InputSpec]:
    """PUBLISHED with what the case's JSON says."""
    model = case.settings["config"]["model"]
    settings = replace(
        almt.PUBLISHED,
        width=model["token_dim"],
        tokens=model["token_len"],
        heads=model["proj_heads"],
        hidden=model["proj_mlp_dim"],
        depth=model["proj_depth"],
        hyper_depth=model["AHL_depth"],
        hyper_head=model["ahl_dim_head"],
        fusion_depth=model["fusion_layer_depth"],
    )
    widths = {m: model[f"{letter}_input_dim"] for letter, m in LETTERS.items()}
    lengths = {m: model[f"{letter}_input_length"] for letter, m in LETTERS.items()}
    return settings, InputSpec(widths, lengths)


def build(case: Case) -> almt.Model:
    model = almt.Model(*settings_of(case))
    model.load_state_dict(convert.rename(case["state"]))
    return model


def batch_of(case: Case) -> Batch:
    tensors = case["batch"]
    values = {"text": tensors["text_hidden"], "audio": tensors["audio"], "vision": tensors["vision"]}
    return harness.batch_of({m: harness.padded(v) for m, v in values.items()}, {"M": tensors["labels"].flatten()})


def check_values(case: Case) -> None:
    model, batch = build(case), batch_of(case)
    harness.close(model.eval()(batch)["prediction"], case["eval_out"]["sentiment_preds"], "prediction")
    losses = model.train().loss(batch, batch, epoch=1)
    harness.close_losses(losses, case.numbers("losses"))
    losses["loss"].backward()
    norms = {name: torch.tensor(value) for name, value in case.numbers("grad_norms").items()}
    norms = {name: float(value) for name, value in convert.rename(norms).items()}
    harness.close_gradients(model, convert.rename(case["grad"]), norms)


def check_intermediate(case: Case) -> None:
    model, mid = build(case), case["mid"]
    features = model.embed(batch_of(case))
    hypers, states = model.hypers(features)
    for letter, m in LETTERS.items():
        harness.close(features[m], mid[f"h_{letter}"], f"H1 of {m}")
    for i, state in enumerate(states):
        harness.close(state, mid[f"h_l_{i}"], f"the guide's state {i}")
    for i, hyper in enumerate(hypers, 1):
        harness.close(hyper, mid[f"h_hyper_{i}"], f"hyper-modality after layer {i}")
    harness.close(model.fusion.at_token(hypers[-1]), mid["fused"][:, 0], "fusion at the token")
    harness.close(model.fusion(hypers[-1], states[-1]), mid["fused"][:, 1:], "fusion at the guide's places")


def check_description(case: Case) -> None:
    """`convert.describe` reads off the shapes what the JSON tells."""
    settings, spec = convert.describe(case["state"])
    expected, expected_spec = settings_of(case)
    assert {name: getattr(expected, name) for name in settings} == settings
    assert InputSpec(**spec) == expected_spec


CHECKS = (check_values, check_intermediate, check_description)
