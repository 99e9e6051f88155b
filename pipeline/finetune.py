"""Stage finetune: clips → processed/<dataset>/finetuned, ResNet50 and BERT tuned on the train split, if asked for."""

from pathlib import Path

from lacuna.finetune.run import tune
from lacuna.params import FINETUNED, load_params
from lacuna.stages import run_stage


def main(dataset: str) -> None:
    section, processed = load_params().finetune.of(dataset), Path("processed", dataset)
    told = tune(processed / "clips.jsonl", section.networks, section.settings, processed / FINETUNED)
    print(f"{dataset}: {told}")


if __name__ == "__main__":
    run_stage(main)
