"""The command, as it is typed: each does its work on small inputs, and says in one line what is wrong with others."""

import json
import os
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from media_files import Video, write_video
from safetensors.torch import load_file
from small_checkpoint import write_checkpoint
from test_comparing import write_scores

from lacuna import cli
from lacuna.across.run import Across, write_across
from lacuna.commands import doctor
from lacuna.data.batches import InputSpec
from lacuna.models import misa
from lacuna.params import plugin_names
from lacuna.storage import pickles
from lacuna.train.checkpoint import load, read_card

ROOT = Path(__file__).resolve().parents[1]
DMD = Path(os.environ.get("LACUNA_FIXTURES", ROOT / "../shared/fixtures")) / "dmd/mosei.safetensors"
COMMANDS = [command.name or command.callback.__name__ for command in cli.app.registered_commands]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Type a command in an empty folder: (exit status, what it printed, its error lines)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def typed(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lacuna", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
            raise SystemExit(0)
        out, err = capsys.readouterr()
        code = ended.value.code or 0
        return (1, out, f"{err}{code}\n") if isinstance(code, str) else (code, out, err)

    return typed


def mmsa_pickle(path, count=6, width=5, limit=3.0):
    """An MMSA pickle of random features, with one value that is not finite."""
    rng = np.random.default_rng(0)
    content = {}
    for split in ("train", "valid", "test"):
        sound = rng.normal(size=(count, 7, width)).astype(np.float32)
        sound[0, 0, 0] = -np.inf
        content[split] = {
            "id": [f"{split}$_${i}" for i in range(count)],
            "raw_text": ["what a day"] * count,
            "text": rng.normal(size=(count, 4, 6)).astype(np.float32),
            "audio": sound,
            "regression_labels": np.linspace(-limit, limit, count).astype(np.float32),
        }
    with path.open("wb") as file:
        pickles.dumps_to(file, content)
    return path


def published_misa(path):
    """What the authors' MISA would have saved: our fresh weights under their names."""
    spec = InputSpec(widths={"text": 6, "audio": 3, "vision": 4}, lengths={})
    model = misa.Model(misa.Settings(size=8, finetune=False), spec)
    theirs = {}
    names = {"text": "t", "audio": "a", "vision": "v"}
    for name, tensor in model.state_dict().items():
        for modality, letter in names.items():
            name = name.replace(f"recurrence.{modality}.first.", f"{letter}rnn1.")
            name = name.replace(f"recurrence.{modality}.second.", f"{letter}rnn2.")
            name = name.replace(f"recurrence.{modality}.norm.", f"{letter}layer_norm.")
            name = name.replace(f"project.{modality}.0.", f"project_{letter}.project_{letter}.")
            name = name.replace(f"project.{modality}.2.", f"project_{letter}.project_{letter}_layer_norm.")
            name = name.replace(f"subspaces.private.{modality}.", f"private_{letter}.private_{letter}_1.")
            name = name.replace(f"subspaces.decoder.{modality}.", f"recon_{letter}.recon_{letter}_1.")
        for ours, other in (
            ("subspaces.shared.", "shared.shared_1."),
            ("head.0.", "fusion.fusion_layer_1."),
            ("head.3.", "fusion.fusion_layer_3."),
            ("fusion.qkv.", "transformer_encoder.layers.0.self_attn.in_proj_"),
            ("fusion.out.", "transformer_encoder.layers.0.self_attn.out_proj."),
            ("fusion.feed.0.", "transformer_encoder.layers.0.linear1."),
            ("fusion.feed.3.", "transformer_encoder.layers.0.linear2."),
            ("fusion.norm_attention.", "transformer_encoder.layers.0.norm1."),
            ("fusion.norm_feed.", "transformer_encoder.layers.0.norm2."),
        ):
            name = other + name.removeprefix(ours) if name.startswith(ours) else name
        theirs[f"Model.{name}"] = tensor
    torch.save({"epoch": 3, "state_dict": theirs}, path)
    return model


def test_help_names_every_command(run):
    status, out, _ = run("--help")
    assert status == 0 and all(name in out for name in COMMANDS)
    assert {"convert", "import-mmsa", "compare", "predict", "docs"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(run, name):
    status, out, _ = run(name, "--help")
    assert status == 0 and f"lacuna {name}" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("check", "mine"), "params.yaml: expected the settings of the pipeline, found none"),
        (("info", "none.h5"), "none.h5: expected an .h5 or .pkl file"),
        (("scores",), "expected scores, found none"),
        (("export", "mine"), "params.yaml: expected the settings"),
        (("extract", "mine", "face"), "params.yaml: expected the settings"),
        (("import-mmsa", "none.pkl", "--dataset", "x"), "none.pkl: expected a pickle, found no file"),
        (
            ("convert", "lnnl", "a.pth", "--out", "x"),
            f"expected one of {', '.join(plugin_names('commands.published'))}; got 'lnnl' (did you mean 'lnln'?)",
        ),
        (
            ("convert", "lnln", "a.pth", "--out", "x"),
            "a.pth: expected a checkpoint of published code (.pth), found none",
        ),
        (("compare", "none.json"), "none.json: expected scores/<model>.json"),
        (("predict", "a.mp4", "--checkpoint", "none"), "none: expected a checkpoint with model.json"),
        (("predict", "a.mp4", "--checkpoint", "none", "--missing", "text"), "expected <modality>=<share>"),
        (("serve", "--checkpoint", "none"), "none: expected a checkpoint"),
        (("docs", "faq"), "docs: expected one of params, schema; got 'faq'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_wrong_is_told_in_one_line(run, words, told):
    if words[0] == "serve":
        pytest.importorskip("nicegui")
    status, out, err = run(*words)
    assert status == 1 and not out
    assert err.startswith("lacuna: ") and told in err and err.count("\n") == 1


def test_a_pickle_becomes_a_dataset(run, tmp_path):
    path = mmsa_pickle(tmp_path / "unaligned_5.pkl")
    path.chmod(0o440)
    status, out, _ = run("import-mmsa", path, "--dataset", "mine")
    assert status == 0 and (tmp_path / "raw/mine/unaligned_5.pkl").read_bytes() == path.read_bytes()
    assert "clips: 6 train, 6 valid, 6 test; no published file known here" in out
    assert "audio: 5 columns, at most 7 frames; values that are not finite count as 0: 3" in out
    assert "labels from -3 to 3" in out and "prepare: {label_range: [-3, 3]}" in out
    written = out.split("in their place):\n")[1]
    assert yaml.safe_load(written) == {
        "datasets": ["mine"],
        "prepare": {"label_range": [-3, 3]},
        "extract": {"extractors": ["tokens", "bert", "librosa"]},
        "align": {"extractors": []},
        "export": {"tokens": "tokens", "features": ["bert", "librosa"]},
        "train": {"features": ["bert", "librosa"]},
    }
    assert run("import-mmsa", path, "--dataset", "mine")[0] == 0  # again: nothing changes
    assert path.stat().st_mode & 0o777 == 0o440  # the user's file is as it was
    status, out, _ = run("info", "raw/mine/unaligned_5.pkl")
    assert status == 0 and "train.audio" in out


@pytest.mark.parametrize(("protocol", "told"), [("validation", "chosen on validation"), ("paper", "SELECTED ON TEST")])
def test_scores_say_what_chose_them(run, tmp_path, protocol, told):
    path = write_scores(tmp_path / "processed" / "tiny" / "scores", "good", 0.3, protocol=protocol)
    record = json.loads(path.read_text()) | {"clips": {"test": 60}, "baselines": {}}
    path.write_text(json.dumps(record))
    assert told in run("scores")[1]


def test_scores_on_other_datasets_are_printed_too(run, tmp_path):
    values = {name: {"mean": value, "std": None} for name, value in (("mae", 1.25), ("corr", 0.5), ("acc2", None))}
    record = Across("mine", "mosei", "lnln", "regression", {"test": 12}, {"frames": {"0.3": values}}, {}, [])
    path = write_scores(tmp_path / "processed/mine/scores", "lnln", 0.3)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"clips": {"test": 60}, "baselines": {}}))
    write_across(tmp_path / "processed/mine/across/lnln.mosei.json", record)
    told = run("scores")[1]
    assert "mine: lnln judged on 12 test clips of mosei" in " ".join(told.split())
    cells = [line.replace("│", " ").replace("|", " ").split() for line in told.splitlines()]
    assert ["frames", "0.3", "1.250", "0.500", "undefined"] in cells


@pytest.mark.parametrize(("limit", "told"), [(1.0, "[-1, 1]"), (0.5, "[-1, 1]"), (2.0, "[-3, 3]"), (5.0, "[-5, 5]")])
def test_an_imported_pickle_s_labels_ask_for_their_range(run, tmp_path, limit, told):
    _, out, _ = run("import-mmsa", mmsa_pickle(tmp_path / "a.pkl", limit=limit), "--dataset", "other")
    assert f"prepare: {{label_range: {told}}}" in out


@pytest.mark.parametrize(("value", "told"), [("much", "expected numbers"), (np.nan, "expected at least one number")])
def test_a_pickle_without_labels_is_refused_before_it_is_copied(run, tmp_path, value, told):
    content = pickles.load(mmsa_pickle(tmp_path / "a.pkl"))
    content = {s: part | {"regression_labels": [value] * 6} for s, part in content.items()}
    with (tmp_path / "b.pkl").open("wb") as file:
        pickles.dumps_to(file, content)
    status, _, err = run("import-mmsa", "b.pkl", "--dataset", "mine")
    assert status == 1 and f"regression_labels: {told}" in err and "b.pkl: " in err and not (tmp_path / "raw").exists()


def test_a_pickle_does_not_join_another_dataset(run, tmp_path):
    path = mmsa_pickle(tmp_path / "a.pkl")
    (tmp_path / "raw/mine").mkdir(parents=True)
    (tmp_path / "raw/mine/label.csv").touch()
    status, _, err = run("import-mmsa", path, "--dataset", "mine")
    assert status == 1 and "raw/mine: expected a new dataset or only a.pkl, found label.csv" in err
    for name in ("../mine", ".mine", "", "my data", "a&b", "report", "nul"):
        status, _, err = run("import-mmsa", path, "--dataset", name)
        assert (
            status == 1
            and "lacuna: dataset: expected" in err
            and sorted(p.name for p in (tmp_path / "raw").iterdir()) == ["mine"]
        )


def test_a_published_checkpoint_is_converted(run, tmp_path):
    model = published_misa(tmp_path / "theirs.pth")
    status, out, _ = run("convert", "misa", "theirs.pth", "--out", "ours", "--label-range", "-1", "1")
    assert status == 0 and "misa with its published settings" in out and "text 6, vision 4, audio 3" in out
    again, card = load(tmp_path / "ours")
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert card.published and card.task == "regression" and tuple(card.label_range) == (-1, 1)
    assert card.origins["audio"].columns == ("audio_0", "audio_1", "audio_2")
    status, out, _ = run("info", "ours")
    assert status == 0 and "misa" in out
    status, _, err = run("predict", "clip.mp4", "--checkpoint", "ours", "--text", "good")
    assert status == 1 and "clip.mp4" in err


def test_what_is_no_published_checkpoint_is_refused(run, tmp_path):
    published_misa(tmp_path / "misa.pth")
    status, _, err = run("convert", "lnln", "misa.pth", "--out", "x")
    assert status == 1 and "misa.pth: expected a published checkpoint of lnln" in err
    (tmp_path / "text.pth").write_text("no checkpoint")
    torch.save({"list": [1, 2]}, tmp_path / "list.pth")
    for name in ("text.pth", "list.pth"):
        status, _, err = run("convert", "misa", name, "--out", "x")
        assert status == 1 and f"{name}: expected a state dict of tensors" in err and err.count("\n") == 1
        assert "weights_only" not in err  # torch's advice is to run the file
    state = torch.load(tmp_path / "misa.pth", weights_only=True)["state_dict"]
    state.pop("Model.fusion.fusion_layer_1.bias")
    torch.save(state, tmp_path / "part.pth")
    status, _, err = run("convert", "misa", "part.pth", "--out", "x")
    assert status == 1 and "lacking ['head.0.bias']" in err
    assert not (tmp_path / "x").exists()


class Evil:
    def __reduce__(self):
        return (open, ("pwned", "w"))


def test_a_checkpoint_runs_no_code(run, tmp_path):
    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    status, _, err = run("convert", "misa", "evil.pth", "--out", "x")
    assert status == 1 and "expected a state dict of tensors" in err and not (tmp_path / "pwned").exists()


@pytest.mark.skipif(not DMD.is_file(), reason=f"NO PARITY CHECKED: no {DMD} (set LACUNA_FIXTURES)")
def test_dmds_units_may_be_given_apart(run, tmp_path):
    state = {n.removeprefix("state."): t for n, t in load_file(DMD).items() if n.startswith("state.")}
    apart = ("homo.", "hetero.")
    torch.save({n: t for n, t in state.items() if not n.startswith(apart)}, tmp_path / "dmd.pth")
    status, out, _ = run("convert", "dmd", "dmd.pth", "--out", "bare")
    assert status == 0 and "note: hetero, homo were not given" in out
    ours = load(tmp_path / "bare")[0].state_dict()
    names = {"logit": "W_logit", "representation": "W_repr", "edge": "W_edge"}
    for unit in ("homo", "hetero"):
        parts = {tuple(n.split(".")[1:]): t for n, t in ours.items() if n.startswith(f"{unit}.")}
        theirs = {".".join((names[first], *rest)): t + 1 for (first, *rest), t in parts.items()}
        torch.save(theirs, tmp_path / f"{unit}.pth")
    status, out, _ = run("convert", "dmd", "dmd.pth", "--homo", "homo.pth", "--hetero", "hetero.pth", "--out", "whole")
    assert status == 0 and "were not given" not in out
    whole = load(tmp_path / "whole")[0].state_dict()
    assert all(torch.equal(whole[n], ours[n] + n.startswith(apart)) for n in ours)


def test_models_are_compared(run, tmp_path):
    paths = [write_scores(tmp_path / "scores", name, noise, seed=k) for k, (name, noise) in enumerate(
        (("good", 0.3), ("bad", 1.5))
    )]  # fmt: skip
    status, out, _ = run("compare", *paths, "--metric", "mae", "--latex", "tables/all.tex")
    assert status == 0 and "tiny, pattern frames" in out and "Errs" in out  # the head of a narrow column
    assert out.index("good †") < out.index("bad") and "not clear" not in out
    assert r"\begin{tabular}" in (tmp_path / "tables/all.tex").read_text(encoding="utf-8")
    status, _, err = run("compare", *paths, "--metric", "mea")
    assert status == 1 and "got 'mea'" in err


def test_a_clip_is_predicted(run, tmp_path, monkeypatch):
    monkeypatch.setenv("LACUNA_CACHE", str(tmp_path / "cache"))
    folder, clip = write_checkpoint(tmp_path / "model"), write_video(tmp_path / "a [b].mp4", Video(frames=30))
    words = ("predict", clip, "--checkpoint", folder, "--text", "what a day", "--device", "cpu")
    status, out, _ = run(*words, "--missing", "audio=0.5")
    assert status == 0 and "a [b].mp4" in out and "contributes" in out and "audio: 50% of it lost, as asked" in out
    status, out, _ = run(*words, "--drop", "audio", "--json")
    answer = json.loads(out)
    assert status == 0 and answer["seen"] == {"text": 1.0, "audio": 0.0} and answer["text"] == "what a day"
    status, _, err = run(*words, "--drop", "smell")
    assert status == 1 and "got 'smell'" in err
    assert read_card(folder).model == "lnln"


NAMES = ["[dQw4w9WgXcQ]", "[/b]", "[bold]x[/bold]", ":smile:", "lacuna[opensmile]", "[link=x]y"]


@pytest.mark.parametrize("name", NAMES)
def test_brackets_and_colons_are_shown_as_they_stand(run, capsys, monkeypatch, name):
    monkeypatch.setattr("lacuna.commands.doctor.examine", lambda: {name: [(name, f"pip install '{name}'")]})
    status, out, _ = run("doctor")
    assert status == 0 and out.count(name) == 3
    status, _, err = run("info", f"{name}.h5")
    assert status == 1 and f"{name}.h5: expected" in err
    cli._say([name, f"{name}\x1b[2J"])
    assert capsys.readouterr().out == f"{name}\n{name}\\x1b[2J\n"


def test_the_doctor_downloads_nothing(monkeypatch):
    asked = []
    monkeypatch.setattr("socket.socket.connect", lambda self, address: asked.append(address))
    with doctor._offline():
        with pytest.raises(OSError, match="downloads nothing"):
            urllib.request.urlopen("http://example.org", timeout=5)
        assert "needs settings or files" in doctor._extractor("resnet50", None)
    assert asked == []
