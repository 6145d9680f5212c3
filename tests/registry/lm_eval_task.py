"""A task of lm-eval that needs no network, in the shape of gsm8k."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

SUMS = [(2, 2), (3, 5), (10, 7), (1, 0), (6, 6), (9, 4)]

TASK = """
task: recap_sums
dataset_path: json
dataset_kwargs:
  data_files:
    train: {folder}/solved.jsonl
    test: {folder}/sums.jsonl
training_split: train
fewshot_split: train
test_split: test
output_type: generate_until
doc_to_text: "Question: What is {{{{a}}}} plus {{{{b}}}}?\\nAnswer:"
doc_to_target: "{{{{reason}}}} #### {{{{sum}}}}"
generation_kwargs:
  until: ["Question:"]
  do_sample: false
  max_gen_toks: 24
metric_list:
  - metric: exact_match
    regexes_to_ignore: ["(?s).*#### "]
    ignore_case: true
filter_list:
  - name: strict-match
    filter:
      - function: regex
        regex_pattern: "#### (\\\\-?[0-9]+)"
      - function: take_first
  - name: last-number
    filter:
      - function: regex
        group_select: -1
        regex_pattern: "(\\\\-?[0-9]+)"
      - function: take_first
"""


def local_task() -> str:
    """A folder with the definition of ``recap_sums`` and its documents."""
    folder = Path(tempfile.mkdtemp(prefix="recap-lm-eval-"))
    for name, sums in (("sums", SUMS), ("solved", [(4, 4), (7, 2)])):
        rows = [{"a": a, "b": b, "sum": a + b, "reason": f"{a} and {b} are {a + b}."} for a, b in sums]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "sums.yaml").write_text(TASK.format(folder=folder))
    return str(folder)
