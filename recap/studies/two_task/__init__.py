"""The two-task study: every reweighting policy and gradient method on two conflicting losses of two variables.

Source: RECAP (arXiv 2510.21978v2), Figures 13, 16 and 17; the losses are those of CAGrad's example (arXiv 2110.14048).

    problem.py    the two losses, their gradients, the starts
    front.py      their Pareto front, and how far a pair of losses is from it
    methods.py    what is compared: policies of the registry, gradient methods of TorchJD
    descent.py    Adam on all starts and seeds at once
    measures.py   what is measured of a trajectory, and intervals over seeds
    study.py      all methods, in parallel processes
    tables.py     the results as CSV, Markdown and on the screen
    figures.py    trajectories over the contours
    logged.py     the results in MLflow
"""
