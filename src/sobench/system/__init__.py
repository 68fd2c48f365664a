"""The machine: devices, processes, files, leases and signals."""
