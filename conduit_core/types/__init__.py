"""Arrow as the one type system: field tags, schemas as JSON, casts that never lose a value, dialects."""
