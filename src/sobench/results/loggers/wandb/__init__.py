"""The mirror of runs to wandb, in a process of its own."""
