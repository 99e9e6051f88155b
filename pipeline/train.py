"""Stage train: features → models/<model>/<seed>/: the weights best on validation, what built them, and the history."""

from pathlib import Path

from lacuna import processes
from lacuna.experiments import train_model
from lacuna.params import load_params
from lacuna.stages import run_stage


def main(dataset: str, model: str, seed: str) -> None:
    params, out = load_params(), Path("processed", dataset)
    if processes.launch(params.train.of(dataset).processes):
        return
    card, history = train_model(params, out, model, int(seed), out / "models" / model / seed)
    if processes.rank():
        return
    best = history.rows[history.best - 1]
    print(
        f"{dataset}: {model} seed {seed}: best epoch {card.best_epoch} of {len(history.rows)}, "
        f"validation loss {best['valid_loss']:.4f}"
    )


if __name__ == "__main__":
    run_stage(main)
