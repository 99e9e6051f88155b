"""Stage finetune: clips → processed/<dataset>/finetuned, ResNet50 and BERT tuned on the train split, if asked for."""

from lacuna.finetune.run import tune_dataset
from lacuna.params import load_params
from lacuna.stages import run_stage


def main(dataset: str) -> None:
    print(tune_dataset(load_params(), dataset))


if __name__ == "__main__":
    run_stage(main)
