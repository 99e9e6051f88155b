"""params.yaml: its sections as typed values, and the plug-ins that it names."""

from lacuna.params.file import load_params
from lacuna.params.plugins import PlainSettings, checked, merged, plugin, plugin_names, plugin_settings
from lacuna.params.sections import (
    FINETUNED,
    TUNED_FILES,
    Incomplete,
    Params,
    Prepare,
    Section,
    Train,
    check_dataset,
    resolved,
)

__all__ = [
    "FINETUNED",
    "TUNED_FILES",
    "Incomplete",
    "Params",
    "PlainSettings",
    "Prepare",
    "Section",
    "Train",
    "check_dataset",
    "checked",
    "load_params",
    "merged",
    "plugin",
    "plugin_names",
    "plugin_settings",
    "resolved",
]
