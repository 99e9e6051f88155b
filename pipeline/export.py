"""Stage export: features → mmsa/unaligned.pkl, aligned.pkl (where features were aligned) and incomplete/*.pkl."""

from pathlib import Path

from lacuna.export.run import Variant, can_export, export_pickle
from lacuna.params import load_params
from lacuna.stages import run_stage


def main(dataset: str) -> None:
    params, out = load_params(), Path("processed", dataset)
    if not can_export(params, out):
        (out / "mmsa").mkdir(parents=True, exist_ok=True)
        told = "no audio and no vision in export.features: nothing that MMSA's models could read"
        (out / "mmsa" / "none.txt").write_text(told + "\n")
        print(f"{dataset}: {told}")
        return
    wanted: list[tuple[Variant | None, bool]] = [(None, False)]
    if params.align.of(dataset).extractors:
        wanted.append((None, True))
    wanted += [(Variant(v.pattern, v.level, v.seed), False) for v in params.export.of(dataset).incomplete]
    for variant, aligned in wanted:
        for line in export_pickle(params, out, None, variant, aligned):
            print(line)


if __name__ == "__main__":
    run_stage(main)
