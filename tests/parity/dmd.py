"""DMD's fixtures: BERT's hidden states come as embeddings; published padding is read like frames, so all is real."""

from dataclasses import replace

import torch

from lacuna.commands.published import dmd as convert
from lacuna.data.batches import Batch, InputSpec
from lacuna.models import dmd
from parity import harness
from parity.harness import Case

LETTERS = {"l": "text", "v": "vision", "a": "audio"}  # in the order of everything stacked
TERMS = {
    "task": "task",
    "recon": "recon",
    "s_sr": "cycle",
    "sim_hinge": "margin",
    "homo_reg": "homo_reg",
    "homo_logit": "homo_logit",
    "hetero_reg": "hetero_reg",
    "hetero_logit": "hetero_logit",
    "hetero_repr": "hetero_repr",
}
ORTHOGONALITY = {  # two readings of one line of the authors', by the version of torch
    "batch": ("ort_batchdim(torch<1.11)", "total_batchdim"),
    "features": ("ort_featdim", "total_featdim"),
}


def settings_of(case: Case) -> tuple[dmd.Settings, InputSpec]:
    """PUBLISHED with what the case's JSON says; lengths and the sizes of the units from its weights."""
    config = case.settings["config"]
    described, spec = convert.describe(weights_of(case))
    settings = replace(
        dmd.PUBLISHED,
        width=config["dst_feature_dim_nheads"][0],
        heads=config["dst_feature_dim_nheads"][1],
        depth=config["nlevels"],
        kernels={m: config[f"conv1d_kernel_size_{letter}"] for letter, m in LETTERS.items()},
        causal=config["attn_mask"],
        homo_size=described["homo_size"],
        hetero_size=described["hetero_size"],
        text_dropout=0.0,
        attention_dropout={},
        memory_dropout=0.0,
        embed_dropout=0.0,
        output_dropout=0.0,
    )
    return settings, InputSpec(**spec)


def weights_of(case: Case) -> dict[str, torch.Tensor]:
    units = {f"{unit}.{name}": t for unit in ("homo", "hetero") for name, t in case[unit].items()}
    return case["state"] | units


def build(case: Case, **changes: object) -> dmd.Model:
    settings, spec = settings_of(case)
    model = dmd.Model(replace(settings, **changes), spec)
    model.load_state_dict(convert.rename(weights_of(case)))
    return model


def batches(case: Case) -> tuple[Batch, Batch]:
    tensors = case["batch"]
    text = tensors.get("text_hidden", tensors["text"])  # GloVe comes as it is
    values = {"text": text, "audio": tensors["audio"], "vision": tensors["vision"]}
    batch = harness.batch_of({m: harness.padded(v) for m, v in values.items()}, {"M": tensors["labels"].flatten()})
    return batch, batch


def check_values(case: Case) -> None:
    model, (batch, _) = build(case).eval(), batches(case)
    told = model(batch)
    harness.close(told["prediction"], case.tensors["eval_output"], "prediction")
    for unit in ("homo", "hetero"):
        harness.close(told[f"edges_{unit}"].T, case.tensors[f"edges_{unit}"], f"edges {unit}")
        harness.close(getattr(model, unit).prior_P, case.tensors[f"gd_prior_{unit}"], f"prior {unit}")


def check_intermediate(case: Case) -> None:
    model, (batch, _), out = build(case), batches(case), case["out"]
    parts = model.decouple(batch)
    heads, aligned = model.heads(parts), model.aligned(parts)
    harness.close(heads.final, out["output_logit"], "final")
    harness.close(heads.common, out["logits_c"], "common")
    for i, (letter, m) in enumerate(LETTERS.items()):
        part = parts[m]
        harness.close(part.origin.values_BTD.transpose(1, 2), out[f"origin_{letter}"], f"origin {m}")
        harness.close(part.private_BTD.transpose(0, 1), out[f"s_{letter}"], f"private {m}")
        harness.close(part.shared_BTD.transpose(0, 1), out[f"c_{letter}"], f"shared {m}")
        harness.close(part.rebuilt_BTD.transpose(1, 2), out[f"recon_{letter}"], f"rebuilt {m}")
        harness.close(part.again_BTD.transpose(1, 2), out[f"s_{letter}_r"], f"private again {m}")
        harness.close(aligned[:, i], out[f"c_{letter}_sim"], f"aligned {m}")
        for space in ("homo", "hetero"):
            harness.close(getattr(heads, f"{space}_logits")[i], out[f"logits_{letter}_{space}"], f"{space} logits {m}")
            harness.close(getattr(heads, f"{space}_reprs")[i], out[f"repr_{letter}_{space}"], f"{space} reprs {m}")


def check_losses(case: Case) -> None:
    losses = case.numbers("losses")
    for reading, (term, total) in ORTHOGONALITY.items():
        model, (batch, complete) = build(case, orthogonality=reading, homo_repr_weight=10.0), batches(case)
        told = model.loss(batch, complete, epoch=1)
        expected = {ours: losses[name] for name, ours in TERMS.items()} | {"orthogonality": losses[term]}
        harness.close_losses(told, expected | {"homo_repr": losses["homo_repr_unused"]})
        told = build(case, orthogonality=reading).loss(batch, complete, epoch=1)
        harness.close_losses(told, {"loss": losses[total]})


def check_gradients(case: Case) -> None:
    """The fixture's gradients are those of one of the two readings of orthogonality; the JSON's keys name it."""
    for reading, (_, total) in ORTHOGONALITY.items():
        norms = {name: torch.tensor(value) for name, value in case.numbers(f"grad_norms_{total}").items()}
        if not norms:
            continue
        model, (batch, complete) = build(case, orthogonality=reading), batches(case)
        model.train().loss(batch, complete, epoch=1)["loss"].backward()
        norms = {name: float(value) for name, value in convert.rename(norms).items()}
        harness.close_gradients(model, convert.rename(case["grad"]), norms)
        return
    raise AssertionError("expected gradient norms of one of the totals, found none")


CHECKS = (check_values, check_intermediate, check_losses, check_gradients)
