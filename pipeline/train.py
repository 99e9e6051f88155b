"""Stage train: features → models/<model>/<seed>/: the weights best on validation, what built them, and the history."""

from functools import partial
from pathlib import Path

from lacuna.compute import distributed
from lacuna.evaluate.protocol import PAPER, keep_none, observers_of
from lacuna.params import load_params
from lacuna.stages import run_stage
from lacuna.train.plan import plan
from lacuna.train.run import train_model
from lacuna.train.track import ROOT, Tracking


def main(dataset: str, model: str, seed: str) -> None:
    params, out = load_params(), Path("processed", dataset)
    train, run = params.train.of(dataset), out / "models" / model / seed
    if distributed.launch(train.processes):
        return
    made = plan(params.train, model, dataset, params.prepare.of(dataset).label_range)
    observers = observers_of(made)
    if train.track:
        told = {"dataset": dataset, "model": model, "seed": seed, "scores": str(out / "scores" / f"{model}.json")}
        observers.append(partial(Tracking, train.track, ROOT / dataset / model / seed, told))
    card, history = train_model(made, out, int(seed), run, observers, train.device)
    if distributed.rank():
        return
    if made.protocol != PAPER:
        keep_none(run)
    best = history.rows[history.best - 1]
    print(
        f"{dataset}: {model} seed {seed}: best epoch {card.best_epoch} of {len(history.rows)}, "
        f"validation loss {best['valid_loss']:.4f}"
    )


if __name__ == "__main__":
    run_stage(main)
