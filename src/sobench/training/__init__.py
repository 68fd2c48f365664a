"""One run in memory: its problem, the loop, checkpoints, instruments, and the contract of every optimizer."""
