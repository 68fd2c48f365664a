"""`logger=wandb`: a copy of the runs at wandb, made by a process of its own, so that a run never waits for wandb.

    a process that makes runs                         the mirror process

    the record of a run (loggers.base)                main: runs one action
      | start                                           |
    Wandb, Process (process)      -- messages -->     worker: messages in, lines out, time limits
                                  one JSON a line       |
    sobench wandb sync|verify     -- messages -->     actions: follow, sync, verify
    (cli.wandb)                                         |                    |
                                                      mirror               remote_state
                                                        | reads              | reads
                                                      the run directory    wandb's files or server

A message names a run directory or the folder of a report, never its contents: the mirror process reads the files. It
may therefore lag behind or be restarted. The number of a row in metrics.jsonl is its step at wandb, so no row is there
twice. At its end a sweep waits for the mirror processes of all its workers, which it knows by their receipts.

    process        starts the mirror process and sends messages without waiting; imports no wandb
    main           `python -m sobench.results.loggers.wandb.main SETTINGS`
    worker         input, output and time limits of the mirror process; imports no wandb
    actions        follow: copy runs while they are made; sync: copy what is missing; verify: report what is missing
                   or repeated
    mirror         copies one run or one report
    receipts       the number of rows that wandb has of each run, by the mirror processes; imports no wandb
    remote_state   the rows and artifacts that wandb has of each run, from its files (offline) or its server (online)
"""
