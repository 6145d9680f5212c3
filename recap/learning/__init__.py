"""How the model learns: one step of Algorithm 1, and the loss (1/K) Σ λ_k L_k that it takes the gradient of."""
