"""LNLN's fixtures: text comes as the hidden states of the authors' BERT, so the spec says embeddings."""

from dataclasses import replace

import torch
from torch import Tensor

from lacuna.commands.published import lnln as convert
from lacuna.data.batches import Batch, InputSpec
from lacuna.models import lnln
from parity import harness
from parity.harness import Case

TERMS = {"loss": "loss", "l_sp": "sp", "l_cc": "cc", "l_adv": "adv", "l_rec": "rec"}
ORDER = ("text", "vision", "audio")  # of the lists in the authors' configuration


def settings_of(case: Case) -> tuple[lnln.Settings, InputSpec]:
    """PUBLISHED with what the case's JSON says."""
    config = case.settings["config"]
    base, model = config["base"], config["model"]
    feature, dmc, dmml = model["feature_extractor"], model["dmc"], model["dmml"]
    settings = replace(
        lnln.PUBLISHED,
        width=feature["hidden_dims"][0],
        tokens=feature["token_length"][0],
        heads=feature["heads"],
        hidden=feature["hidden_dims"][0],
        depth=feature["depth"],
        proxy_depth=dmc["proxy_dominant_feature_generator"]["depth"],
        completeness_depth=dmc["completeness_check"]["depth"],
        reconstructor_depth=model["reconstructor"]["depth"],
        dominant_depth=dmml["language_encoder"]["depth"],
        hyper_depth=dmml["hyper_modality_learning"]["depth"],
        cross_depth=dmml["fuison_transformer"]["depth"],
        discriminator_hidden=dmc["effectiveness_discriminator"]["hidden_dim"],
        **{name: base[name] for name in ("alpha", "beta", "gamma")},
        delta=base["sigma"],
    )
    outputs = dmml["regression"]["out_dim"]
    spec = InputSpec(
        widths=dict(zip(ORDER, feature["input_dims"])),
        lengths=dict(zip(ORDER, feature["input_length"])),
        classes=outputs if base.get("train_mode") == "classification" and outputs > 1 else 0,
    )
    return settings, spec


def build(case: Case) -> lnln.Model:
    model = lnln.Model(*settings_of(case))
    model.load_state_dict(convert.rename(case["state"]))
    return model


def batches(case: Case) -> tuple[Batch, Batch]:
    tensors = case["batch"]
    labels = {"M": tensors["sentiment"].flatten(), "completeness": tensors["completeness"].flatten()}
    return _batch(tensors, "_m", labels), _batch(tensors, "", labels)


def _batch(tensors: dict[str, Tensor], suffix: str, labels: dict[str, Tensor]) -> Batch:
    values = {m: tensors[f"{m}{suffix}"] for m in ("audio", "vision")} | {"text": tensors[f"text{suffix}_hidden"]}
    return harness.batch_of({m: harness.padded(v) for m, v in values.items()}, labels)


def check_values(case: Case) -> None:
    model, (batch, complete) = build(case), batches(case)
    model.eval()
    told = model(batch)
    harness.close(told["prediction"], case["eval_out"]["sentiment_preds"], "prediction")
    harness.close(told["completeness"], case["eval_out"]["w"], "w")
    check_intermediate(case, model, batch, complete)

    losses = model.train().loss(batch, complete, epoch=1)
    harness.close_losses(losses, {TERMS[name]: value for name, value in case.numbers("losses").items()})
    losses["loss"].backward()
    norms = {name: torch.tensor(value) for name, value in case.numbers("grad_norms").items()}
    norms = {name: float(value) for name, value in convert.rename(norms).items()}
    harness.close_gradients(model, convert.rename(case["grad"]), norms)


def check_intermediate(case: Case, model: lnln.Model, batch: Batch, complete: Batch) -> None:
    features, targets = model.embed_both(batch, complete)
    for letter, m in (("l", "text"), ("a", "audio"), ("v", "vision")):
        harness.close(features[m], case["mid"][f"h_1_{letter}"], f"H1 of {m}")
    order = ("audio", "vision", "text")
    harness.close(torch.cat([targets[m] for m in order], 1), case["out"]["complete_feats"], "complete features")
    rebuilt = [model.reconstructors[m](features[m], model.settings.tokens) for m in order]
    harness.close(torch.cat(rebuilt, 1), case["out"]["rec_feats"], "reconstructed features")


def check_description(case: Case) -> None:
    """`convert.describe` reads off the shapes what the JSON tells."""
    settings, spec = convert.describe(case["state"])
    expected, expected_spec = settings_of(case)
    assert {name: getattr(expected, name) for name in settings} == settings
    assert InputSpec(**spec) == replace(expected_spec, classes=spec["classes"])


CHECKS = (check_values, check_description)
