"""Validates documents with the jsonschema package: pairs of schema and document."""

import json
import sys

from jsonschema import Draft202012Validator

for schema_path, document_path in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    with open(schema_path) as schema, open(document_path) as document:
        schema, document = json.load(schema), json.load(document)
    Draft202012Validator.check_schema(schema)
    for error in Draft202012Validator(schema).iter_errors(document):
        print(f"{schema_path}: {error.json_path}: {error.message}")
        sys.exit(1)
print("valid")
