"""RCML: evidence → losses and their gradients, and weights + views → evidence, in the authors' pairwise fusion."""

from dataclasses import replace

import torch
from torch import Tensor

from lacuna.data.batches import InputSpec
from lacuna.models import rcml
from lacuna.models.parts import evidence as ev
from parity.harness import GRADIENT, Case, batch_of, close, close_losses, padded


def losses(case: Case) -> None:
    """Each loss at each epoch, for each form of the evidential loss."""
    if "evidences" not in case.settings or "target" not in case.settings:
        return
    numbers = case.settings
    evidence_VBK = torch.tensor(numbers["evidences"], requires_grad=True)
    target_B = torch.tensor(numbers["target"])
    target_VB = target_B.expand(len(evidence_VBK) + 1, -1)
    settings = replace(rcml.PUBLISHED, annealing=numbers["annealing_step"], conflict=numbers["gamma"])
    fused_BK = ev.fuse(evidence_VBK, settings.fusion)
    close(fused_BK, torch.tensor(numbers["evidence_a"]), "fused evidence")
    for epoch, expected in numbers["epochs"].items():
        weight = ev.annealing(int(epoch), settings.annealing)
        forms = {
            f"edl_{form}_a": ev.edl_loss(fused_BK, target_B, form, weight).mean() for form in ("digamma", "log", "mse")
        }
        total = rcml.total_loss(evidence_VBK, target_VB, settings, weight)["loss"]
        close_losses(forms | {"total": total}, {k: v for k, v in expected.items() if k == "total" or k in forms})
        each = ev.edl_loss(evidence_VBK, target_B.expand(len(evidence_VBK), -1), "digamma", weight).mean(1)
        close(each, torch.tensor(expected["edl_digamma_v"]), f"evidential loss of the views, epoch {epoch}")
        _close_gradient(total, evidence_VBK, expected["grads"], f"total, epoch {epoch}")
    conflict = ev.conflict(evidence_VBK).mean()
    close_losses({"dc": conflict}, {"dc": numbers["dc"]})
    _close_gradient(conflict, evidence_VBK, numbers["dc_grads"], "conflict")


def divergence(case: Case) -> None:
    """KL(Dir(α) ‖ Dir(1)) of the first view's opinion."""
    if "kl_divergence" in case.settings:
        alpha = torch.tensor(case.settings["evidences"][0]) + 1
        close(ev.kl_to_uniform(alpha), torch.tensor(case.settings["kl_divergence"]), "KL divergence")


def evidence(case: Case) -> None:
    """The published weights on the published input give the published evidence, view by view and fused."""
    if "state_dict" not in case.settings:
        return
    numbers = case.settings
    names = [f"view{v:02d}" for v in range(len(numbers["dims"]))]
    inputs = [torch.tensor(x) for x in _listed(numbers["X"])]
    given = [torch.tensor(x) for x in _listed(numbers["evidences"])]
    spec = InputSpec(
        {n: d[0] for n, d in zip(names, numbers["dims"])}, dict.fromkeys(names, 1), classes=given[0].shape[1]
    )
    hidden = {n: tuple(d[1:]) for n, d in zip(names, numbers["dims"])}
    model = rcml.Model(replace(rcml.PUBLISHED, hidden=hidden), spec).eval()
    state = {name: torch.tensor(value) for name, value in numbers["state_dict"].items()}
    model.load_state_dict({_our_name(name, names): value for name, value in state.items()})
    batch = batch_of({n: padded(x[:, None]) for n, x in zip(names, inputs)}, {})
    told = model(batch)
    for name, theirs in zip(names, given):
        close(told[f"evidence_{name}"], theirs, f"evidence of {name}")
    fused = torch.tensor(numbers["evidence_a"])
    close(told["prediction"], (fused + 1) / (fused + 1).sum(1, keepdim=True), "expected probabilities")
    close(told["uncertainty"], fused.shape[1] / (fused + 1).sum(1), "uncertainty")


def _our_name(theirs: str, names: list[str]) -> str:
    """EvidenceCollectors.<view>.net.<layer>.<kind> → collectors.<name>.<layer>.<kind>."""
    _, view, _, layer, kind = theirs.split(".")
    return f"collectors.{names[int(view)]}.{layer}.{kind}"


def _listed(views: dict[str, list] | list) -> list:
    return [views[key] for key in sorted(views, key=int)] if isinstance(views, dict) else views


def _close_gradient(loss: Tensor, evidence_VBK: Tensor, theirs: list, name: str) -> None:
    (ours,) = torch.autograd.grad(loss, evidence_VBK, retain_graph=True)
    expected = torch.tensor(theirs)
    error = float((ours - expected).norm() / expected.norm())
    assert error <= GRADIENT, f"gradient of {name}: off by {error:.2e} of its norm, allowed {GRADIENT}"


CHECKS = (losses, divergence, evidence)
