"""The four families of pluggable parts.

| family | gin prefix | contract | what one does |
|---|---|---|---|
| `verifiers` | `verifiers` | `registry.verifiers.base.Verifier` | completion + example -> reward in [0, 1], or None |
| `replay_sources` | `replay` | `registry.replay.base.ReplaySource` | seedable, resumable supply of examples of one domain |
| `reweighting_policies` | `reweighting` | `registry.reweighting.base.ReweightingPolicy` | signals per objective -> weights |
| `model_backends` | `backends` | `registry.backends.base.Backend` | loads a model and says how it chats, sees and generates |

Importing this package is cheap: built-ins are imported at the first look-up, and torch only when a model is loaded.
"""

import importlib

from registry.core import FAILED_PLUGINS, Registry, RegistryError, load_entry_points, load_plugin

# Importing a subpackage binds its name here, once: this one has to come before the family of that name.
importlib.import_module("registry.verifiers")

verifiers = Registry(
    "verifier",
    "verifiers",
    [
        "registry.verifiers.accuracy",
        "registry.verifiers.anls",
        "registry.verifiers.answer_format",
        "registry.verifiers.boxes",
        "registry.verifiers.brevity",
        "registry.verifiers.exact_match",
        "registry.verifiers.gate",
        "registry.verifiers.giou",
        "registry.verifiers.ifeval",
        "registry.verifiers.iou",
        "registry.verifiers.iou_at",
        "registry.verifiers.json_match",
        "registry.verifiers.json_schema",
        "registry.verifiers.language",
        "registry.verifiers.lm_eval",
        "registry.verifiers.no_repetition",
        "registry.verifiers.point_in_box",
        "registry.verifiers.product",
        "registry.verifiers.reasoning_gym",
        "registry.verifiers.regex_match",
        "registry.verifiers.relaxed_accuracy",
        "registry.verifiers.tag_order",
        "registry.verifiers.text_similarity",
        "registry.verifiers.thinking_format",
        "registry.verifiers.thinking_length",
        "registry.verifiers.token_f1",
        "registry.verifiers.trl_function",
        "registry.verifiers.verifiers_taskset",
        "registry.verifiers.verl_function",
        "registry.verifiers.vqa_accuracy",
        "registry.verifiers.weighted_sum",
    ],
)
replay_sources = Registry(
    "replay source",
    "replay",
    [
        "registry.replay.arithmetic",
        "registry.replay.careless",
        "registry.replay.comparing",
        "registry.replay.concatenate",
        "registry.replay.copying",
        "registry.replay.coreset",
        "registry.replay.counting",
        "registry.replay.files",
        "registry.replay.grounding",
        "registry.replay.hub_dataset",
        "registry.replay.hub_stream",
        "registry.replay.image_folder",
        "registry.replay.instructions",
        "registry.replay.limit",
        "registry.replay.lm_eval",
        "registry.replay.naming",
        "registry.replay.reading",
        "registry.replay.reasoning_gym",
        "registry.replay.selection",
        "registry.replay.self_replay",
        "registry.replay.shuffle_buffer",
        "registry.replay.subtraction",
        "registry.replay.verifiers_taskset",
        "registry.replay.webdataset",
    ],
)
reweighting_policies = Registry(
    "reweighting policy",
    "reweighting",
    [
        "registry.reweighting.dwa",
        "registry.reweighting.famo",
        "registry.reweighting.gradnorm",
        "registry.reweighting.kl_only",
        "registry.reweighting.recap",
        "registry.reweighting.recap_released",
        "registry.reweighting.replayed",
        "registry.reweighting.rlw",
        "registry.reweighting.scale_invariant",
        "registry.reweighting.schedule",
        "registry.reweighting.static",
        "registry.reweighting.uniform",
        "registry.reweighting.uw",
    ],
)
model_backends = Registry(
    "model backend",
    "backends",
    [
        "registry.backends.huggingface",
        "registry.backends.smollm2",
        "registry.backends.tiny_qwen2_5_vl",
    ],
)

FAMILIES = (verifiers, replay_sources, reweighting_policies, model_backends)

__all__ = [
    "FAILED_PLUGINS",
    "FAMILIES",
    "Registry",
    "RegistryError",
    "load_entry_points",
    "load_plugin",
    "model_backends",
    "replay_sources",
    "reweighting_policies",
    "verifiers",
]
