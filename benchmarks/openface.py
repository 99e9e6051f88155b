"""How the face extractor's columns agree with OpenFace 2.2's own, on clips of which OpenFace's tables are at hand.

    python benchmarks/openface.py [--backend mesh] [--neutral clip] [--au-predictors FOLDER] [--clips NAME ...]

In: `openface_truth/<clip>.csv.gz` and `clips/*/<clip>.*` in the folder LACUNA_DATA (default ../shared/data). Out: a
table of the groups and a table of the action units, as Markdown. It asks the extractor alone, so that it runs on older
commits too (PYTHONPATH). OpenFace's tables judge; nothing here is fitted to them.

r: correlation within a clip, mean over clips in which OpenFace's column moves (standard deviation of MOVES or more; in
brackets over all in which it is not constant). CCC: Lin's concordance within a clip, mean over the same clips. pooled:
CCC over the frames of all clips. clips: correlation of the clips' means. F1: of presence, over the frames of all clips.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from lacuna.extractors import face
from lacuna.types import Clip

DATA = Path(os.environ.get("LACUNA_DATA", Path(__file__).resolve().parents[1] / "../shared/data"))
MOVES = 0.1
INTENSITIES = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
EYES = (("iris", 0, 8), ("lids", 8, 20), ("pupil", 20, 28))
Pair = tuple[np.ndarray, np.ndarray]  # ours and theirs (T,) of one clip


def truth(path: Path) -> tuple[dict[str, int], np.ndarray]:
    """Columns by name and rows of an OpenFace table."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = list(csv.reader(file, skipinitialspace=True))
    return {name: i for i, name in enumerate(rows[0])}, np.array(rows[1:], float)


class Clips:
    """Both sides' rows of every clip, frame by frame, where both see a face."""

    def __init__(self, settings: dict[str, object], wanted: Iterable[str]) -> None:
        extractor = face.Extractor(face.Settings(fps=None, **settings))
        self._columns = {name: i for i, name in enumerate(extractor.columns)}
        self.names: list[str] = []
        self._rows: list[tuple[np.ndarray, dict[str, int], np.ndarray]] = []
        for table in sorted(DATA.glob("openface_truth/*.csv.gz")):
            name = table.name.partition(".")[0]
            media = [path for path in DATA.glob(f"clips/*/{name}.*") if path.suffix != ".csv"]
            if media and (not wanted or name in wanted):
                self._add(extractor, name, media[0], table)

    def _add(self, extractor: face.Extractor, name: str, media: Path, table: Path) -> None:
        place, theirs = truth(table)
        ours = extractor(Clip(name, "truth", "test", path=media))
        count = min(len(ours), len(theirs))
        both = ours.seen[:count] & (theirs[:count, place["success"]] > 0.5)
        self.names.append(name)
        self._rows.append((ours.values[:count][both].astype(float), place, theirs[:count][both]))

    def pairs(self, column: str) -> list[Pair]:
        """One pair a clip; without the column on our side, none."""
        if column not in self._columns:
            return []
        return [(ours[:, self._columns[column]], theirs[:, place[column]]) for ours, place, theirs in self._rows]


def correlation(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Pearson's r; 0 where ours does not move."""
    return float(np.corrcoef(ours, theirs)[0, 1]) if ours.std() > 1e-9 and theirs.std() > 1e-9 else 0.0


def concordance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Lin's concordance correlation coefficient."""
    apart = ours.var() + theirs.var() + (ours.mean() - theirs.mean()) ** 2
    return float(2 * np.cov(ours, theirs, bias=True)[0, 1] / apart) if apart > 1e-12 else 1.0


def f1(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Of presences; NaN where neither side ever has one."""
    found = 2 * ((ours > 0.5) & (theirs > 0.5)).sum() / max(1, (ours > 0.5).sum() + (theirs > 0.5).sum())
    return float(found) if (ours > 0.5).any() or (theirs > 0.5).any() else float("nan")


def within(pairs: list[Pair], measure: Callable[[np.ndarray, np.ndarray], float], least: float) -> float:
    """The mean over clips in which theirs has a deviation of `least` or more."""
    found = [measure(ours, theirs) for ours, theirs in pairs if theirs.std() >= least]
    return float(np.mean(found)) if found else float("nan")


def together(pairs: list[Pair]) -> Pair:
    """All clips' frames."""
    ours, theirs = zip(*pairs)
    return np.concatenate(ours), np.concatenate(theirs)


def unit_row(clips: Clips, unit: int) -> list[float]:
    """r, r over all, CCC, pooled CCC, clips, bias, both 95 % quantiles, F1."""
    pairs = clips.pairs(f"AU{unit:02d}_r")
    ours, theirs = together(pairs)
    means = np.array([(o.mean(), t.mean()) for o, t in pairs]).T
    return [
        within(pairs, correlation, MOVES),
        within(pairs, correlation, 1e-9),
        within(pairs, concordance, MOVES),
        concordance(ours, theirs),
        correlation(*means),
        float(ours.mean() - theirs.mean()),
        float(np.quantile(ours, 0.95)),
        float(np.quantile(theirs, 0.95)),
        f1(*together(clips.pairs(f"AU{unit:02d}_c"))),
    ]


def units(clips: Clips) -> None:
    """Print the table of action units and the means of its columns."""
    print("| unit | r (all) | CCC | pooled | clips | bias | 95 %: ours, OpenFace's | F1 |")
    print("|---|---|---|---|---|---|---|---|")
    rows = {f"AU{unit:02d}": unit_row(clips, unit) for unit in INTENSITIES}
    rows["mean"] = list(np.nanmean(np.array(list(rows.values())), axis=0))
    for name, (r, every, ccc, pooled, means, bias, ours, theirs, score) in rows.items():
        print(
            f"| {name} | {r:.2f} ({every:.2f}) | {ccc:.2f} | {pooled:.2f} | {means:.2f} | {bias:+.2f} | "
            f"{ours:.2f}, {theirs:.2f} | {score:.2f} |"
        )
    missing = clips.pairs("AU28_c")
    print(f"\nAU28_c: F1 {f1(*together(missing)):.2f}" if missing else "")


def groups() -> dict[str, list[str]]:
    """Columns that are judged together, by what they are called in the table."""
    named = {name: [name] for name in ("gaze_angle_x", "gaze_angle_y")}
    named |= {f"gaze_{eye}_{axis}": [f"gaze_{eye}_{axis}"] for eye in (0, 1) for axis in "xyz"}
    named |= {f"pose_{kind}{axis}": [f"pose_{kind}{axis}"] for kind in "TR" for axis in "xyz"}
    named |= {f"{axis}_0..67": [f"{axis}_{i}" for i in range(68)] for axis in "xyXYZ"}
    for axis in "xyXYZ":
        for part, low, high in EYES:
            for eye in (0, 1):
                columns = [f"eye_lmk_{axis}_{28 * eye + i}" for i in range(low, high)]
                named[f"eye_lmk_{axis}, {part} of eye {eye}"] = columns
    named |= {name: [name] for name in ("p_scale", "p_rx", "p_ry", "p_rz", "p_tx", "p_ty")}
    return named | {"p_0..33": [f"p_{i}" for i in range(34)]}


def geometry(clips: Clips) -> None:
    """Print error, bias and correlation of every other group: px, mm, rad as OpenFace has them; means over clips."""
    print("| columns | MAE | worst clip | bias | r |\n|---|---|---|---|---|")
    for name, columns in groups().items():
        pairs = [clips.pairs(column) for column in columns]
        errors = [np.mean([np.abs(o - t).mean() for o, t in same]) for same in zip(*pairs)]
        bias = np.mean([np.mean([(o - t).mean() for o, t in same]) for same in pairs])
        r = np.mean([within(same, correlation, 1e-9) for same in pairs])
        print(f"| {name} | {np.mean(errors):.3f} | {max(errors):.3f} | {bias:+.3f} | {r:.2f} |")


def main() -> None:
    if not DATA.is_dir():
        sys.exit(f"LACUNA_DATA: expected a folder of clips and OpenFace's tables, found none at {DATA}")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="mesh")
    parser.add_argument("--neutral", default="clip")
    parser.add_argument("--au-predictors", default=None)
    parser.add_argument("--clips", nargs="*", default=())
    given = parser.parse_args()
    settings = {"backend": given.backend, "neutral": given.neutral}
    if given.au_predictors:
        settings["au_predictors"] = given.au_predictors
    clips = Clips(settings, given.clips)
    print(f"{len(clips.names)} clips: {', '.join(clips.names)}\n")
    geometry(clips)
    print()
    units(clips)


if __name__ == "__main__":
    main()
