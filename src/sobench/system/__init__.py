"""The machine: its devices, processes, files, leases and signals."""
