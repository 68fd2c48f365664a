"""From a list of runs to finished run directories: sweep > task > attempt."""
