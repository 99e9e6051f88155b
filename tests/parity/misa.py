"""MISA's fixtures, of MMSA and of its authors: BERT's hidden states or GloVe's vectors come as embeddings."""

from dataclasses import replace

import torch
from torch import Tensor

from lacuna.commands.published import misa as convert
from lacuna.data.batches import Batch, InputSpec
from lacuna.models import misa
from parity import harness
from parity.harness import Case

TERMS = {"total": "loss", "cls": "task", "diff": "diff", "sim": "sim", "recon": "recon"}
LETTERS = {"t": "text", "v": "vision", "a": "audio"}
NAMES = {  # MMSA's and the authors' names of what a batch holds
    "text": ("text_hidden", "bert_hidden", "bert_sent_hidden", "sentences_hidden", "sentences", "text"),
    "vision": ("vision", "visual", "video"),
    "audio": ("audio", "acoustic"),
    "mask": ("bert_sent_mask", "bert_mask"),
    "labels": ("labels", "label", "y"),
}


def settings_of(case: Case) -> tuple[misa.Settings, InputSpec]:
    """PUBLISHED with what the case's JSON says; widths, and whether text is recurrent, from its weights."""
    config, weights = case.settings["config"], case.numbers("weights")
    described, spec = convert.describe(case["state"])
    mmsa = case.settings.get("impl", "MMSA") == "MMSA"
    settings = replace(
        misa.PUBLISHED,
        size=config["hidden_size"],
        dropout=0.0,
        fusion_dropout=0.0,
        cell=config["rnncell"],
        recurrent=described["recurrent"],
        text_mean="real" if mmsa or not config.get("use_bert", True) else "padded",
        similarity="cmd" if config["use_cmd_sim"] else "adversarial",
        reverse_weight=config["reverse_grad_weight"],
        **{f"{name}_weight": weights.get(name, config.get(f"{name}_weight", 0.0)) for name in ("sim", "diff", "recon")},
    )
    if config.get("train_mode", "classification") == "regression":
        spec["classes"] = 0
    return settings, InputSpec(**spec)


def build(case: Case) -> misa.Model:
    model = misa.Model(*settings_of(case))
    model.load_state_dict(convert.rename(case["state"]))
    return model


def named(case: Case, what: str) -> Tensor | None:
    tensors = case["batch"]
    return next((tensors[name] for name in NAMES[what] if name in tensors), None)


def batches(case: Case) -> tuple[Batch, Batch]:
    labels = named(case, "labels").flatten().float()
    values = {m: named(case, m) for m in LETTERS.values()}
    if values["text"].dim() == 2 and not values["text"].is_floating_point():  # ids into the published GloVe table
        values["text"] = case["state"]["embed.weight"][values["text"]]
    values = {m: v if len(v) == len(labels) else v.transpose(0, 1).contiguous() for m, v in values.items()}
    tensors = case["batch"]
    mask = tensors["text"][:, 1] if "text_hidden" in tensors else named(case, "mask")
    lengths = tensors["lengths"].flatten() if "lengths" in tensors else mask.sum(1)
    modalities = {m: harness.padded(v, lengths if m == "text" else None) for m, v in values.items()}
    batch = harness.batch_of(modalities, {"M": labels})
    return batch, batch


def check_values(case: Case) -> None:
    model, (batch, complete) = build(case), batches(case)
    told = model.eval()(batch)
    expected = case.tensors["pred"]
    harness.close(told["prediction"], expected.softmax(-1) if model.spec.classes else expected, "prediction")
    for letter, m in LETTERS.items():
        for part in ("private", "shared"):
            if f"utt_{part}_{letter}" in case["mid"]:
                harness.close(told[f"{part}_{m}"], case["mid"][f"utt_{part}_{letter}"], f"{part} {m}")

    losses = model.train().loss(batch, complete, epoch=1)
    expected = {TERMS[name]: value for name, value in case.numbers("losses").items() if name in TERMS}
    harness.close_losses(losses, expected)
    losses["loss"].backward()
    norms = {name: torch.tensor(value) for name, value in case.numbers("grad_norms").items()}
    norms = {name: float(value) for name, value in convert.rename(norms).items()}
    harness.close_gradients(model, convert.rename(case["grad"]), norms)


CHECKS = (check_values,)
