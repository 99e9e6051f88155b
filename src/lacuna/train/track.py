"""Metrics while a model trains. In: `Progress` after each epoch. Out: dvclive's files under live/, which Git ignores.

They can be watched (`dvc plots show live/…`, an editor's DVC view, any reader of its tables), and are no part of the
pipeline: neither dvc.yaml nor an experiment is written.
"""

from __future__ import annotations

from pathlib import Path

from lacuna.train.trainer import Progress

ROOT = Path("live")


class Live:
    """To be called after each epoch: adds to `folder` (metrics.json, plots/metrics/<split>/<term>.tsv)."""

    def __init__(self, folder: Path) -> None:
        from dvclive import Live as Logger  # slow to import, and seldom asked for

        self._logger, self._told = Logger(str(folder), dvcyaml=None, save_dvc_exp=False), 0

    def __call__(self, progress: Progress) -> None:
        # All rows at first: a run that was killed goes on with the whole of its curve.
        for row in progress.history.rows[self._told :]:
            self._logger.step = int(row["epoch"])
            for name, value in row.items():
                if name != "epoch":
                    self._logger.log_metric(name.replace("train_", "train/").replace("valid_", "valid/"), value)
            self._logger.next_step()
        self._told = len(progress.history.rows)
