"""Rules that watch over a training: each names a fault that it saw, the figures that show it, and the remedy.

    rule.py                  what a rule is
    facts.py                 the plain numbers that rules judge
    epochs.py, steps.py,     the rules, by what they look at
    tensors.py, data.py, speed.py
    catalogue.py             all of them; hyperparameters/health.py lists their names for what a job sets
    monitor.py               tells the rules the facts, and the log what they found
    looks.py, observer.py    gather the facts of steps

The names are those of SageMaker Debugger's built-in rules, where it has such a rule.
"""
