"""From a pipeline file to a published load: plan, the fused run, retries, state administration."""
