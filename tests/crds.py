"""`make chart-crds CRDS=folder`: the objects of KEDA, Strimzi and the like that we write, against
their own definitions.

The folder holds CustomResourceDefinitions as their projects publish them. Unknown fields are
errors, as for `kubectl apply --validate=strict`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

OURS = (
    *Path("deploy/helm/rendered").glob("*.yaml"),
    Path("deploy/helm/examples/strimzi-kafka.yaml"),
    Path("deploy/security/kafka-users.yaml"),
)


def strict(schema: Any) -> Any:
    """The same schema, without fields that it does not name; what Kubernetes adds to JSON Schema is
    taken as it means it."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        found["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    if schema.get("nullable") and isinstance(schema.get("type"), str):
        found["type"] = [schema["type"], "null"]
    return found


def definitions(folder: Path) -> dict[tuple[str, str], Any]:
    """(apiVersion, kind): schema."""
    found: dict[tuple[str, str], Any] = {}
    for file in sorted(folder.rglob("*.yaml")):
        for doc in yaml.safe_load_all(file.read_text()):
            if doc and doc.get("kind") == "CustomResourceDefinition":
                spec = doc["spec"]
                for version in spec["versions"]:
                    schema = strict(version["schema"]["openAPIV3Schema"])
                    schema["properties"] |= {
                        "metadata": {"type": "object"},
                        "apiVersion": {"type": "string"},
                        "kind": {"type": "string"},
                    }
                    found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return found


def main(folder: Path) -> int:
    known, checked, bad, unknown = definitions(folder), 0, 0, set[str]()
    for file in OURS:
        for doc in yaml.safe_load_all(file.read_text()):
            if (
                not doc
                or "." not in doc["apiVersion"].split("/")[0]
                or doc["apiVersion"].split("/")[0].endswith("k8s.io")
            ):
                continue
            schema = known.get((doc["apiVersion"], doc["kind"]))
            if schema is None:
                unknown.add(f"{doc['apiVersion']} {doc['kind']}")
                continue
            checked += 1
            for error in Draft202012Validator(schema).iter_errors(doc):
                bad += 1
                print(
                    f"{file}: {doc['kind']} {doc['metadata']['name']}: "
                    f"{'.'.join(map(str, error.path))}: {error.message[:200]}"
                )
    print(
        f"{checked} objects checked, {bad} errors"
        + (f"; no definition in {folder} of: {', '.join(sorted(unknown))}" if unknown else "")
    )
    return 1 if bad or not checked else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
