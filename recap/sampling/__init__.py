"""How completions come: rollouts, by our own decoder or by another engine."""
