"""Sources and destinations: their contracts, the publish actions, the registry, one folder per system."""
