"""Prompt templates of the paper (section on training data), bound in gin as `%prompts.THINKING` and so on."""

import gin

PLAIN = "{question}"
ANSWER = "{question} Output the answer in <answer> </answer> tags."
THINKING = (
    "{question} Output the thinking process in <think> </think> tags and the final answer (option) in"
    " <answer> </answer> tags."
)
BOX = "{question} Output the answer as <answer>[x1, y1, x2, y2]</answer>."

for _name in ("PLAIN", "ANSWER", "THINKING", "BOX"):
    gin.constant(f"prompts.{_name}", globals()[_name])
