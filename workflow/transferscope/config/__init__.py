"""What a study may say: pydantic models, from which schema, defaults and documentation follow."""
