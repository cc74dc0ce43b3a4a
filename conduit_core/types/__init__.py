"""Arrow as the one type system: field tags, schemas as JSON, exact casts, dialects."""
