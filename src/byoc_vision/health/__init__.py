"""Rules that watch over a training: each names a fault that it saw, the numbers that show it, and the remedy.

    rule.py             what a rule is
    facts.py            the plain numbers that rules judge
    learning_rules.py   the rules of the data, of steps and of epochs
    tensor_rules.py     … of weights, gradients and activations
    speed_rules.py      … of what slows the training
    monitor.py          all of them: gives them the facts, and logs what they find
    tensor_stats.py     gathers the facts of tensors in a step
    loader_diagnosis.py finds out why a training waits for images

Two callbacks of a training give the facts: step_watch.py those of steps, health.py those of the data and of epochs.
health.py also notices that no steps are made, and says whether a rule ends the training.

A job's settings of the rules are in hyperparameters/health.py. The names are those of SageMaker Debugger's built-in
rules, if it has such a rule.
"""
