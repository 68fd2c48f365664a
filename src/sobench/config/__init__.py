"""Configuration: from the overrides of a command line and the YAML files of conf/ to runs. No torch."""
