"""From words and YAML files to runs. No torch."""
