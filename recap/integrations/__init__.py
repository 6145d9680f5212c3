"""The method in other people's trainers; each module needs only the library that it is called after.

| module | what it is for |
|---|---|
| `recap.integrations.losses` | a loop of your own in PyTorch: `weighted_sum` |
| `recap.integrations.trainer` | Hugging Face's Trainer: `ReweightedLosses` |
| `recap.integrations.lightning` | Lightning: `Reweighting` |
| `recap.integrations.trl` | TRL's GRPOTrainer and RLOOTrainer: `Reweighting`, `as_trl_reward` |
| `recap.integrations.verl` | verl: `as_compute_score`, `ReweightedScores` |
"""
