"""Features as Parquet, one file a split. In: a features file and its clips. Out: what `datasets` and pandas read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from lacuna.data.samples import read_clips
from lacuna.storage.features import FeatureFile
from lacuna.types import Clip, FeatureSequence, MalformedInput

SPLITS = {"train": "train", "valid": "validation", "test": "test", "unlabelled": "unlabelled"}  # ours → the hub's
ROWS = 64  # clips a row group


def write_parquet(features: Path, processed: Path, out: Path) -> dict[str, int]:
    """<out>/<split>.parquet of one extractor's features; {split: clips}. Needs pyarrow: lacuna[hub]."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MalformedInput(f"{out}: expected the package pyarrow (pip install 'lacuna[hub]'), found none") from error
    clips, counts = read_clips(processed / "clips.jsonl"), {}
    out.mkdir(parents=True, exist_ok=True)
    with FeatureFile(features) as file:
        number = pa.int64() if file.origin.dtype == "int64" else pa.float32()
        lists = {"times": pa.float64(), "seen": pa.bool_(), "values": pa.list_(number)}
        fields = [("id", pa.string()), ("text", pa.string()), ("label", pa.float64())]
        schema = pa.schema([*fields, *((name, pa.list_(kind)) for name, kind in lists.items())])
        schema = schema.with_metadata({"lacuna": json.dumps(asdict(file.origin))})
        for split, told in SPLITS.items():
            members = [clip for clip in clips if clip.split == split]
            if not members:
                continue
            counts[told] = len(members)
            with pq.ParquetWriter(out / f"{told}.parquet", schema) as writer:
                for first in range(0, len(members), ROWS):
                    rows = [_row(clip, file[clip.id]) for clip in members[first : first + ROWS]]
                    writer.write_table(pa.Table.from_pylist(rows, schema))
    return counts


def _row(clip: Clip, sequence: FeatureSequence) -> dict[str, object]:
    known = {"id": clip.id, "text": clip.text, "label": clip.labels.get("M")}
    parts = {"times": sequence.times, "seen": sequence.seen, "values": sequence.values}
    return known | {name: array.tolist() for name, array in parts.items()}
