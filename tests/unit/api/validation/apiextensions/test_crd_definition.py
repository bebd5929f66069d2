"""Names, versions, columns, subresources, selectable fields, conversion and approval of definitions, and what their
updates may do (k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation): texts as kube-apiserver 1.36
answers them.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from crd_definitions import ESTABLISHED, crd, errors_of, texts, update_errors, version

from pilothouse.api.validation.apiextensions import approval, definition, formats

Obj = dict[str, Any]

LABEL = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
STRING: Obj = {"type": "string"}
NAMES: Obj = {"plural": "things", "kind": "Thing"}


def fields(**properties: Obj) -> Obj:
    return {"type": "object", "properties": properties}


# Group, scope, names


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"group": "nodot"},
            ['spec.group: Invalid value: "nodot": should be a domain with at least one dot'],
        ),
        ({"scope": ""}, ["spec.scope: Required value"]),
        (
            {"scope": "Galaxy"},
            ['spec.scope: Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced"'],
        ),
        (
            {"names": {"plural": "things"}},
            [
                "spec.names.singular: Required value",
                "spec.names.kind: Required value",
                "spec.names.listKind: Required value",
            ],
        ),
        (
            {"names": {**NAMES, "kind": "Thing_"}},
            [
                f'spec.names.singular: Invalid value: "thing_": {LABEL}',
                f'spec.names.kind: Invalid value: "Thing_": may have mixed case, but should otherwise match: {LABEL}',
                'spec.names.listKind: Invalid value: "Thing_List": may have mixed case, but should otherwise match: '
                + LABEL,
            ],
        ),
        (
            {"names": {**NAMES, "listKind": "Thing"}},
            ['spec.names.listKind: Invalid value: "Thing": kind and listKind may not be the same'],
        ),
        (
            {"names": {**NAMES, "shortNames": ["th", ""], "categories": ["A"]}},
            [
                f'spec.names.shortNames[1]: Invalid value: "": {LABEL}',
                f'spec.names.categories[0]: Invalid value: "A": {LABEL}',
            ],
        ),
        (
            {"preserveUnknownFields": True},
            [
                "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set "
                "x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
            ],
        ),
    ],
)
def test_group_scope_and_names(spec: Obj, expected: list[str]) -> None:
    assert errors_of(**spec) == expected


def test_a_definition_is_called_after_what_it_defines() -> None:
    why = 'must be spec.names.plural+"."+spec.group'
    assert errors_of(metadata={"name": "x.example.com"}) == [
        f'metadata.name: Invalid value: "x.example.com": {why}'
    ]
    assert errors_of(metadata={"generateName": "x-"}) == [
        f'metadata.generateName: Invalid value: "x-": {why}'
    ]
    # the registry says that a name is missing
    assert errors_of(metadata={"name": ""}) == []


# Versions

PRINTED = (
    '{"Name":"%s","Served":true,"Storage":%s,"Deprecated":false,"DeprecationWarning":null,"Schema":null,'
    '"Subresources":null,"AdditionalPrinterColumns":null,"SelectableFields":null}'
)


def test_exactly_one_version_is_stored() -> None:
    why = "must have exactly one version marked as storage version"
    assert errors_of(version("v2")) == [
        f"spec.versions: Invalid value: [{PRINTED % ('v2', 'false')}]: {why}",
        "status.storedVersions: Invalid value: null: must have at least one stored version",
    ]
    both = [version("v1"), version("v2", storage=True)]
    assert errors_of(*both) == [
        f"spec.versions: Invalid value: [{PRINTED % ('v1', 'true')},{PRINTED % ('v2', 'true')}]: {why}",
        'status.storedVersions: Invalid value: ["v1"]: must have the storage version v2',
    ]


@pytest.mark.parametrize(("given", "shown"), [(None, "null"), ([], "[]")])
def test_there_is_a_version(given: Any, shown: str) -> None:
    assert errors_of(versions=given) == [
        f"spec.versions: Invalid value: {shown}: must have exactly one version marked as storage version",
        "status.storedVersions: Invalid value: null: must have at least one stored version",
    ]


def test_versions_are_shown_with_what_they_don_t_have_alike() -> None:
    """Go prints the internal version's structs, by Go's field names."""
    other = version("v1", fields(x=STRING), storage=False, subresources={"status": {}}, deprecated=True)
    (found,) = errors_of(version("v1"), other)
    assert found.startswith('spec.versions: Invalid value: [{"Name":"v1",')
    assert '"Schema":{"OpenAPIV3Schema":{"ID":"","Schema":"","Ref":null,' in found
    assert '"Properties":{"x":{"ID":"",' in found
    assert '"Subresources":{"Status":{},"Scale":null}' in found
    assert found.endswith("must contain unique version names")


def test_a_version_s_name_is_a_label() -> None:
    (first, second) = errors_of(version("1x", storage=True))
    assert first == f'spec.versions[0].name: Invalid value: "1x": {LABEL}'
    assert second == f'spec.version: Invalid value: "1x": {LABEL}'


def test_every_version_has_a_schema() -> None:
    bare = {"name": "v1", "served": True, "storage": True}
    assert errors_of(bare) == ["spec.versions[0].schema.openAPIV3Schema: Required value"]
    assert errors_of(version("v1"), {"name": "v2", "served": True}) == [
        "spec.versions[1].schema.openAPIV3Schema: Required value"
    ]


@pytest.mark.parametrize(
    ("more", "faults"),
    [
        ({"deprecated": True, "deprecationWarning": "use v2"}, []),
        ({"deprecationWarning": "use v2"}, ["can only be set for deprecated versions"]),
        ({"deprecated": True, "deprecationWarning": ""}, ["must not be an empty string"]),
        ({"deprecated": True, "deprecationWarning": "x" * 257}, ["must be <= 256 characters long"]),
        (
            {"deprecated": True, "deprecationWarning": "é\n"},
            ["must only contain printable UTF-8 characters; non-printable character found at index 2"],
        ),
    ],
)
def test_deprecation_warnings(more: Obj, faults: list[str]) -> None:
    found = errors_of(version(**more))
    assert len(found) == len(faults)
    for text, fault in zip(found, faults, strict=True):
        assert text.startswith("spec.versions[0].deprecationWarning: Invalid value: ")
        assert text.endswith(fault)


def test_what_versions_have_alike_is_named_at_the_top() -> None:
    """v1/conversion.go: identical schemas, subresources and columns move to the spec."""
    bad: Obj = {"type": "object", "properties": {"a": {}}}
    why = "properties[a].type: Required value: must not be empty for specified object fields"
    assert errors_of(version("v1", bad), version("v2", bad)) == [f"spec.validation.openAPIV3Schema.{why}"]
    assert errors_of(version("v1", bad), version("v2")) == [f"spec.versions[0].schema.openAPIV3Schema.{why}"]
    column = {"name": "", "type": "string", "jsonPath": ".a"}
    assert errors_of(version(additionalPrinterColumns=[column])) == [
        "spec.additionalPrinterColumns[0].name: Required value"
    ]
    assert errors_of(version("v1", additionalPrinterColumns=[column]), version("v2")) == [
        "spec.versions[0].additionalPrinterColumns[0].name: Required value"
    ]


# Columns and subresources


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ({"name": "x", "type": "date", "jsonPath": ".a"}, []),
        ({"name": "x", "type": "integer", "format": "int32", "jsonPath": ".a['b']"}, []),
        (
            {"name": "", "type": "", "jsonPath": ""},
            [
                "name: Required value",
                "type: Required value: must be one of boolean,date,integer,number,string",
                "JSONPath: Required value",
            ],
        ),
        (
            {"name": "x", "type": "odd", "format": "odd", "jsonPath": "a"},
            [
                'type: Invalid value: "odd": must be one of boolean,date,integer,number,string',
                'format: Invalid value: "odd": must be one of byte,date,date-time,double,float,int32,int64,password',
                'JSONPath: Invalid value: "a": must be a simple json path starting with .',
            ],
        ),
    ],
)
def test_columns(column: Obj, expected: list[str]) -> None:
    found = errors_of(version(additionalPrinterColumns=[column]))
    assert found == [f"spec.additionalPrinterColumns[0].{text}" for text in expected]


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        ({"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}, []),
        (
            {"specReplicasPath": "", "statusReplicasPath": ""},
            ["specReplicasPath: Required value", "statusReplicasPath: Required value"],
        ),
        (
            {"specReplicasPath": ".foo", "statusReplicasPath": "status.n", "labelSelectorPath": ".x"},
            [
                'specReplicasPath: Invalid value: ".foo": should be a json path under .spec',
                'statusReplicasPath: Invalid value: "status.n": must be a simple json path starting with .',
                'labelSelectorPath: Invalid value: ".x": should be a json path under either .spec or .status',
            ],
        ),
        (
            {
                "specReplicasPath": ".spec.n",
                "statusReplicasPath": ".status.n",
                "labelSelectorPath": ".spec.selector",
            },
            [],
        ),
    ],
)
def test_scale_paths(scale: Obj, expected: list[str]) -> None:
    found = errors_of(version(subresources={"scale": scale}))
    assert found == [f"spec.subresources.scale.{text}" for text in expected]


# Selectable fields

SELECTABLE = fields(
    spec=fields(
        color=STRING,
        on={"type": "boolean"},
        ratio={"type": "number"},
        tags={"type": "array", "items": STRING},
    ),
    metadata=fields(name=STRING),
)


def selected(*paths: str) -> list[str]:
    return errors_of(version(schema=SELECTABLE, selectableFields=[{"jsonPath": path} for path in paths]))


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([".spec.color", ".spec.on"], []),
        ([""], ["[0].jsonPath: Required value"]),
        (
            [".spec.nope"],
            [
                '[0].jsonPath: Invalid value: ".spec.nope": is an invalid path: does not refer to a valid field'
            ],
        ),
        (
            [".spec['color']"],
            [
                "[0].jsonPath: Invalid value: \".spec['color']\": is an invalid path: array notation is not allowed"
            ],
        ),
        (
            ["spec.color"],
            ['[0].jsonPath: Invalid value: "spec.color": is an invalid path: expected [ or . but got: spec'],
        ),
        (
            [".spec."],
            ['[0].jsonPath: Invalid value: ".spec.": is an invalid path: unexpected end of JSON path'],
        ),
        (
            [".metadata.name"],
            ['[0].jsonPath: Invalid value: ".metadata.name": must not point to fields in metadata'],
        ),
        (
            [".spec.ratio", ".spec.tags"],
            [
                f'[{i}].jsonPath: Invalid value: "{path}": must point to a field of type string, boolean or integer. '
                "Enum string fields and strings with formats are allowed."
                for i, path in enumerate((".spec.ratio", ".spec.tags"))
            ],
        ),
        ([".spec.color", ".spec.color"], ['[1].jsonPath: Duplicate value: ".spec.color"']),
    ],
)
def test_selectable_fields(paths: list[str], expected: list[str]) -> None:
    assert selected(*paths) == [f"spec.selectableFields{text}" for text in expected]


def test_at_most_eight_fields_are_selectable() -> None:
    schema = fields(spec=fields(**{f"f{i}": STRING for i in range(9)}))
    nine = version(schema=schema, selectableFields=[{"jsonPath": f".spec.f{i}"} for i in range(9)])
    why = "spec.selectableFields: Too many: 9: must have at most 8 items"
    assert errors_of(nine) == [why]
    # what was stored before there was a limit may stay as it is
    assert update_errors(crd(nine), crd(nine)) == []
    assert update_errors(crd(version(schema=schema)), crd(nine)) == [why]


def test_selectable_fields_of_one_version_of_many() -> None:
    """The schema that they point into has moved to the top, and upstream's text misleads."""
    one = version("v1", SELECTABLE, selectableFields=[{"jsonPath": ".spec.color"}])
    assert errors_of(one, version("v2", SELECTABLE)) == [
        'spec.versions[0].selectableFields: Invalid value: "": may only be set when `version.schema.openAPIV3Schema` '
        "is not included"
    ]
    assert errors_of(one, version("v2")) == []


# Conversion


def converted(**conversion: Any) -> list[str]:
    return errors_of(conversion=conversion)


def webhook(**config: Any) -> Obj:
    return {"clientConfig": config, "conversionReviewVersions": ["v1"]}


@pytest.mark.parametrize(
    ("conversion", "expected"),
    [
        ({"strategy": "None"}, []),
        ({"strategy": "Webhook", "webhook": webhook(url="https://a.b/c")}, []),
        ({"strategy": "Webhook", "webhook": webhook(service={"name": "s", "namespace": "n"})}, []),
        ({"strategy": ""}, ["strategy: Required value"]),
        (
            {"strategy": "Magic"},
            ['strategy: Unsupported value: "Magic": supported values: "None", "Webhook"'],
        ),
        (
            {"strategy": "Webhook"},
            [
                "webhookClientConfig: Required value: required when strategy is set to Webhook",
                "conversionReviewVersions: Required value",
            ],
        ),
        (
            {"strategy": "None", "webhook": webhook(url="https://a.b")},
            [
                "webhookClientConfig: Forbidden: should not be set when strategy is not set to Webhook",
                "conversionReviewVersions: Forbidden: should not be set when strategy is not set to Webhook",
            ],
        ),
        (
            {"strategy": "Webhook", "webhook": webhook()},
            ["webhookClientConfig: Required value: exactly one of url or service is required"],
        ),
        (
            {"strategy": "Webhook", "webhook": webhook(url="http://a.b")},
            [
                "webhookClientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired "
                "format: https://host[/path]"
            ],
        ),
        (
            {
                "strategy": "Webhook",
                "webhook": {**webhook(url="https://a.b"), "conversionReviewVersions": ["v2", "v2", "A"]},
            },
            [
                'conversionReviewVersions[1]: Invalid value: "v2": duplicate version',
                f'conversionReviewVersions[2]: Invalid value: "A": {LABEL}',
                'conversionReviewVersions: Invalid value: ["v2","v2","A"]: must include at least one of v1, v1beta1',
            ],
        ),
    ],
)
def test_conversion(conversion: Obj, expected: list[str]) -> None:
    assert converted(**conversion) == [f"spec.conversion.{text}" for text in expected]


def test_a_bundle_without_a_certificate_may_stand_until_the_definition_is_established() -> None:
    def with_bundle(text: bytes, **more: Any) -> Obj:
        bundle = b64encode(text).decode()
        config = webhook(url="https://a.b", caBundle=bundle)
        return crd(conversion={"strategy": "Webhook", "webhook": config}, **more)

    bad = with_bundle(b"nothing")
    assert texts(definition.validate(bad)) == []
    assert update_errors(crd(), bad) == []
    why = "unable to load root certificates: unable to parse bytes as PEM block"
    shown = b64encode(b"nothing").decode()
    assert update_errors(crd(status=ESTABLISHED), bad) == [
        f'spec.conversion.webhookClientConfig.caBundle: Invalid value: "{shown}": {why}'
    ]
    assert update_errors(with_bundle(b"nothing", status=ESTABLISHED), with_bundle(b"neither")) == []


# Protected groups

SEE = "see https://github.com/kubernetes/enhancements/pull/1111"
AT = "metadata.annotations[api-approved.kubernetes.io]"


def protected(annotation: str | None, group: str = "a.k8s.io") -> Obj:
    annotations = {} if annotation is None else {"annotations": {approval.ANNOTATION: annotation}}
    return crd(group=group, metadata=annotations)


@pytest.mark.parametrize(
    ("annotation", "error", "condition"),
    [
        ("https://github.com/a/b/pull/1", "", ("True", "ApprovedAnnotation")),
        ("unapproved, for a test", "", ("False", "UnapprovedAnnotation")),
        (
            None,
            f'{AT}: Required value: protected groups must have approval annotation "api-approved.kubernetes.io", {SEE}',
            ("False", "MissingAnnotation"),
        ),
        (
            "nope",
            f'{AT}: Invalid value: "nope": protected groups must have approval annotation '
            f'"api-approved.kubernetes.io" with either a URL or a reason starting with "unapproved", {SEE}',
            ("False", "InvalidAnnotation"),
        ),
        *(
            (
                text,
                f'{AT}: Invalid value: "{text}": protected groups must have approval annotation '
                f'"api-approved.kubernetes.io" with either a URL or a reason starting with "unapproved", {SEE}',
                ("False", "InvalidAnnotation"),
            )
            for text in ("/relative", " https://a.b", "https:///path", "https://a b", "https://a:x")
        ),
    ],
)
def test_groups_of_the_community_need_an_approval(
    annotation: str | None, error: str, condition: tuple[str, str]
) -> None:
    obj = protected(annotation)
    assert texts(definition.validate(obj)) == ([error] if error else [])
    found = approval.condition(obj)
    assert found is not None
    assert (found["type"], found["status"], found["reason"]) == (approval.CONDITION, *condition)
    # what was let in once is not held up by what it was then
    assert update_errors(protected(annotation), protected(annotation)) == []


def test_other_groups_need_no_approval() -> None:
    assert approval.condition(crd()) is None
    assert texts(definition.validate(protected(None, "notk8s.io"))) == []
    assert approval.is_protected("kubernetes.io")


# Updates


def test_what_the_store_is_ordered_by_never_changes() -> None:
    assert update_errors(crd(), crd(group="other.com", names={"plural": "others", "kind": "Thing"})) == [
        'spec.group: Invalid value: "other.com": field is immutable',
        'spec.names.plural: Invalid value: "others": field is immutable',
    ]


def test_scope_and_kind_are_fixed_once_the_definition_is_established() -> None:
    changed = crd(scope="Cluster", names={"plural": "things", "kind": "Other"})
    assert update_errors(crd(), changed) == []
    assert update_errors(crd(status=ESTABLISHED), changed) == [
        'spec.scope: Invalid value: "Cluster": field is immutable',
        'spec.names.kind: Invalid value: "Other": field is immutable',
    ]


def test_what_was_ever_stored_can_still_be_read() -> None:
    old = crd(version("v1"), version("v2"))
    gone = crd(version("v2", storage=True), status={"storedVersions": ["v1", "v2"]})
    assert update_errors(old, gone) == [
        'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage '
        "version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 "
        "and removes v1 from status.storedVersions"
    ]


@pytest.mark.parametrize(
    "field",
    [
        {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "set"},
        {
            "type": "array",
            "items": fields(k=STRING),
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"],
        },
        {**fields(x=STRING), "default": {"z": 1}},
        {"type": "stringy"},
    ],
    ids=["set of objects", "optional list keys", "unpruned default", "unknown type"],
)
def test_old_mistakes_may_stay(field: Obj) -> None:
    """Stored before the rule was made: the rule holds for definitions that did not break it."""
    bad = crd(version(schema=fields(a=field)))
    assert texts(definition.validate(bad)) != []
    assert update_errors(crd(), bad) == texts(definition.validate(bad))
    assert update_errors(bad, bad) == []


def test_an_old_definition_without_a_schema() -> None:
    """v1beta1 let that be; a version that is served and pruned needs one all the same."""
    bare = {"name": "v1", "served": True, "storage": True}
    why = "spec.versions[0].schema.openAPIV3Schema: Required value: because otherwise all fields are pruned"
    assert update_errors(crd(bare), crd(bare)) == [why]
    kept = crd(bare, preserveUnknownFields=True)
    assert update_errors(kept, kept) == []


def test_accepted_names_are_checked_in_the_status() -> None:
    named = crd(status={"acceptedNames": {"plural": "A", "kind": ""}})
    assert texts(definition.validate_status(named)) == [
        f'status.acceptedNames.plural: Invalid value: "A": {LABEL}'
    ]


# Warnings


def test_unknown_formats_are_worth_a_warning() -> None:
    def formatted(**of: tuple[str, str]) -> Obj:
        return crd(version(schema=fields(**{k: {"type": t, "format": f} for k, (t, f) in of.items()})))

    known = formatted(a=("string", "date-time"), b=("integer", "int32"), c=("number", "double"))
    assert formats.warnings(known, None) == []
    odd = formatted(a=("string", "odd"), b=("integer", "double"), c=("string", "odd"))
    assert formats.warnings(odd, None) == ['unrecognized format "odd"', 'unrecognized format "double"']
    assert formats.warnings(odd, known) == formats.warnings(odd, None)
    assert formats.warnings(odd, odd) == []
