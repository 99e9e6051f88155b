"""Tiny random models of each family, saved as folders that transformers loads. In: a folder. Out: it, filled."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

from lacuna.storage import pretrained

WORDS = ("the", "movie", "was", "great", "but", "i", "did", "not", "like", "its", "end", "good", "bad")
_BODY = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
_CONVOLUTIONS = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
_VISION = _BODY | {"image_size": 32, "patch_size": 8}
_TEXT = _BODY | {"vocab_size": 30}
_SIZE = {"height": 32, "width": 32}

VISION = ("vit", "clip", "siglip", "dinov2", "resnet", "timm", "timm_vit")
SPEECH = ("wav2vec2", "wav2vec2_layer_norm", "hubert", "wavlm", "data2vec", "whisper")
TEXT = ("gpt2", "llama", "t5", "deberta", "electra")


def make(folder: Path, family: str) -> Path:
    """Write the family's tiny model into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    if family.startswith("timm"):
        _timm(folder, {"timm": "resnet10t", "timm_vit": "test_vit"}[family])
        return folder
    transformers = pretrained.import_transformers()
    if family in VISION:
        _vision(transformers, folder, family)
    elif family in SPEECH:
        _speech(transformers, folder, family)
    else:
        _text(transformers, folder, family)
    return folder


def _vision(t, folder: Path, family: str) -> None:
    if family in ("clip", "siglip"):
        kind = {"clip": "CLIP", "siglip": "Siglip"}[family]
        words = _TEXT | {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        projection = {"projection_dim": 12} if family == "clip" else {}
        config = getattr(t, f"{kind}Config")(text_config=words, vision_config=_VISION, **projection)
        model, processor = getattr(t, f"{kind}Model")(config), getattr(t, f"{kind}ImageProcessor")
    elif family == "resnet":
        config = t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
        model, processor = t.ResNetModel(config), t.ViTImageProcessor
    else:
        kind = {"vit": "ViT", "dinov2": "Dinov2"}[family]
        model, processor = getattr(t, f"{kind}Model")(getattr(t, f"{kind}Config")(**_VISION)), t.ViTImageProcessor
    model.save_pretrained(folder)
    processor(size=_SIZE, crop_size=_SIZE, do_center_crop=False).save_pretrained(folder)


def _timm(folder: Path, name: str) -> None:
    """As timm packs models for the hub: the architecture's name and how pictures are prepared, and the weights."""
    model = pretrained.import_timm().create_model(name, pretrained=False, num_classes=0)
    told = {
        "input_size": [3, 64, 64],
        "interpolation": "bicubic",
        "crop_pct": 0.95,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    if name == "test_vit":
        told["input_size"] = [3, 160, 160]
    card = {"architecture": name, "num_classes": 0, "num_features": model.num_features, "pretrained_cfg": told}
    (folder / "config.json").write_text(json.dumps(card), encoding="utf-8")
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})


def _speech(t, folder: Path, family: str) -> None:
    if family == "whisper":
        halves = {f"{half}_{what}": n for half in ("encoder", "decoder") for what, n in _WHISPER.items()}
        ids = {"bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3, "pad_token_id": 0}
        t.WhisperModel(t.WhisperConfig(d_model=16, vocab_size=30, **halves, **ids)).save_pretrained(folder)
        t.WhisperFeatureExtractor().save_pretrained(folder)
        return
    masked = family == "wav2vec2_layer_norm"
    stable = {"feat_extract_norm": "layer", "do_stable_layer_norm": True} if masked else {}
    kind = {"hubert": "Hubert", "wavlm": "WavLM", "data2vec": "Data2VecAudio"}.get(family, "Wav2Vec2")
    config = getattr(t, f"{kind}Config")(**_BODY, **_CONVOLUTIONS, **stable)
    if family == "data2vec":
        config.conv_pos_kernel_size = 3
    getattr(t, f"{kind}Model")(config).save_pretrained(folder)
    t.Wav2Vec2FeatureExtractor(return_attention_mask=masked).save_pretrained(folder)


_WHISPER = {"layers": 2, "attention_heads": 2, "ffn_dim": 32}


def _text(t, folder: Path, family: str) -> None:
    templates = {"gpt2": "$A", "llama": "<s> $A", "t5": "$A </s>"}
    size = _tokenizer(t, folder, templates.get(family, "<s> $A </s>"))
    if family == "gpt2":
        model = t.GPT2Model(t.GPT2Config(n_embd=16, n_layer=3, n_head=2, n_positions=64, vocab_size=size))
    elif family == "t5":
        model = t.T5Model(t.T5Config(d_model=16, d_kv=8, d_ff=32, num_layers=3, num_heads=2, vocab_size=size))
    elif family == "llama":
        model = t.LlamaModel(t.LlamaConfig(**_BODY, vocab_size=size, num_key_value_heads=2))
    else:
        kind = {"deberta": "DebertaV2", "electra": "Electra"}[family]
        more = {"embedding_size": 16} if family == "electra" else {}
        model = getattr(t, f"{kind}Model")(getattr(t, f"{kind}Config")(**_BODY, **more, vocab_size=size))
    model.save_pretrained(folder)


def _tokenizer(t, folder: Path, template: str) -> int:
    """A word-level tokenizer whose special tokens stand as the template says; its size."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ("<pad>", "<unk>", "<s>", "</s>")
    ids = {word: i for i, word in enumerate((*special, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    named = [(s, ids[s]) for s in special if s in template]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=named)
    names = ["input_ids", "attention_mask"]
    fast = t.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", model_input_names=names
    )
    fast.save_pretrained(folder)
    return len(ids)
