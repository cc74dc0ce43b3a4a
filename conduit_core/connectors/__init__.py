"""Sources and destinations: contracts, publish actions, registry, one folder per system."""
