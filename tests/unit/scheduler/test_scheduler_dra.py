"""Which devices a pod's claims get: KEP-4381 and its extensions, each rule with the page that it comes from, and the
search held to the obvious one on small inputs."""

from __future__ import annotations

from itertools import combinations, product
from random import Random
from typing import Any

import dra_builders as d
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api.types import Obj
from pilothouse.scheduler.dra import capacity, extended
from pilothouse.scheduler.dra.allocator import NotOnThisNode, Reach, Taken, TimedOut, Usable, allocate
from pilothouse.scheduler.dra.devices import Device, DeviceId, PoolId
from pilothouse.scheduler.dra.inventory import Inventory
from pilothouse.scheduler.dra.manager import _asked
from pilothouse.scheduler.dra.requests import RequestError, wanted

CLASS = {"any": d.device_class()}

GPUS = d.resource_slice(d.model("g0", "small"), d.model("g1", "big"), d.model("g2", "big"))


def test_the_first_device_that_is_free_is_taken() -> None:
    assert d.granted(d.allocate([GPUS], d.claim(d.exactly()))) == [["r=g0"]]
    assert d.granted(d.allocate([GPUS], d.claim(d.exactly()), taken=d.taken("g0"))) == [["r=g1"]]
    assert d.allocate([GPUS], d.claim(d.exactly(count=4))) is None


def test_an_allocation_says_where_its_devices_are() -> None:
    """AllocationResult.nodeSelector: the node of a local device, the selectors of network-attached ones, else none."""
    (local,) = d.allocate([GPUS], d.claim(d.exactly())) or []
    only = {"key": "metadata.name", "operator": "In", "values": ["n"]}
    assert local["nodeSelector"] == {"nodeSelectorTerms": [{"matchFields": [only]}]}
    in_zone = {"key": "zone", "operator": "In", "values": ["a"]}
    attached = d.resource_slice(
        d.device("x"), nodeSelector={"nodeSelectorTerms": [{"matchExpressions": [in_zone]}]}
    )
    (zonal,) = d.allocate([attached], d.claim(d.exactly())) or []
    assert zonal["nodeSelector"] == {"nodeSelectorTerms": [{"matchExpressions": [in_zone]}]}
    (anywhere,) = d.allocate([d.resource_slice(d.device("x"), allNodes=True)], d.claim(d.exactly())) or []
    assert "nodeSelector" not in anywhere


def test_devices_of_other_nodes_are_out_of_reach() -> None:
    other = d.resource_slice(d.device("x"), nodeName="other")
    assert d.allocate([other], d.claim(d.exactly())) is None
    each = d.resource_slice(
        d.device("x", nodeName="other"), d.device("y", allNodes=True), perDeviceNodeSelection=True
    )
    assert d.granted(d.allocate([each], d.claim(d.exactly()))) == [["r=y"]]


# -- selectors (https://kubernetes.io/docs/reference/using-api/cel, v1.CELDeviceSelector) -----------------


@pytest.mark.parametrize(
    ("expression", "device"),
    [
        (f'device.attributes["{d.DRIVER}"].model == "big"', "g1"),
        (f'device.driver == "{d.DRIVER}"', "g0"),
        (f'device.capacity["{d.DRIVER}"].memory.isGreaterThan(quantity("1Gi"))', "g2"),
        (f'device.attributes["{d.DRIVER}"].version.isGreaterThan(semver("1.9.0"))', "g1"),
        ('"other.example.com" in device.attributes && true', None),
        ('has(device.attributes["other.example.com"].fast)', None),
        (f'cel.bind(dra, device.attributes["{d.DRIVER}"], dra.model == "big" && dra.numa == 1)', "g2"),
    ],
)
def test_cel_selectors_see_attributes_and_capacity(expression: str, device: str | None) -> None:
    def full(name: str, model: str, memory: str, version: str, numa: int) -> Obj:
        attributes = {"model": {"string": model}, "version": {"version": version}, "numa": {"int": numa}}
        return d.device(name, attributes=attributes, capacity={"memory": {"value": memory}})

    pool = d.resource_slice(
        full("g0", "small", "1Gi", "1.9.0", 0),
        full("g1", "big", "1Gi", "1.10.0", 0),
        full("g2", "big", "2Gi", "1.0.0", 1),
    )
    found = d.granted(d.allocate([pool], d.claim(d.exactly(cel=expression))))
    assert found == (None if device is None else [[f"r={device}"]])


def test_the_selectors_of_the_class_count_too() -> None:
    big = d.device_class("any", f'device.attributes["{d.DRIVER}"].model == "big"')
    assert d.granted(d.allocate([GPUS], d.claim(d.exactly()), classes={"any": big})) == [["r=g1"]]


def test_an_expression_that_fails_is_an_error_of_the_claim() -> None:
    """Optional attributes must be asked for with has() or orValue()."""
    missing = f'device.attributes["{d.DRIVER}"].fast'
    with pytest.raises(RequestError) as caught:
        d.allocate([GPUS], d.claim(d.exactly(cel=missing)))
    assert str(caught.value) == (
        f"claim default/c: selector #0 on device {d.DRIVER}/p/g0: CEL runtime error: no such key: fast. Consider "
        "using CEL optional chaining (?), has() macro, or orValue() for optional fields"
    )
    guarded = f'device.attributes["{d.DRIVER}"].?fast.orValue(true)'
    assert d.granted(d.allocate([GPUS], d.claim(d.exactly(cel=guarded)))) == [["r=g0"]]


# -- requests ---------------------------------------------------------------------------------------------


def test_all_devices_that_match_or_none() -> None:
    big = d.exactly(allocationMode="All", cel=f'device.attributes["{d.DRIVER}"].model == "big"')
    assert d.granted(d.allocate([GPUS], d.claim(big))) == [["r=g1", "r=g2"]]
    assert d.allocate([GPUS], d.claim(big), taken=d.taken("g2")) is None
    none = d.exactly(allocationMode="All", cel='device.driver == "nobody"')
    assert d.allocate([GPUS], d.claim(none)) is None


def test_all_devices_are_not_known_while_a_pool_is_being_updated() -> None:
    half = d.resource_slice(d.device("x"), count=2)
    with pytest.raises(
        RequestError, match=r"asks for all devices, but resource pool .* is currently being updated"
    ):
        d.allocate([half], d.claim(d.exactly(allocationMode="All")))


def test_a_prioritized_list_takes_the_first_that_there_is() -> None:
    """KEP-4816; the request's name in the result is PARENT/SUB."""
    wish = d.first_of("gpu", d.exactly("two", count=2, cel=BIG), d.exactly("one", count=1))
    assert d.granted(d.allocate([GPUS], d.claim(wish))) == [["gpu/two=g1", "gpu/two=g2"]]
    assert d.granted(d.allocate([GPUS], d.claim(wish), taken=d.taken("g1"))) == [["gpu/one=g0"]]


BIG = f'device.attributes["{d.DRIVER}"].model == "big"'


def test_no_claim_gets_more_devices_than_its_status_can_hold() -> None:
    """AllocationResultsMaxSize is 32; an alternative with fewer devices is taken then."""
    many = d.resource_slice(*(d.device(f"g{i:02}") for i in range(40)))
    with pytest.raises(RequestError, match="number of requested devices 33 exceeds the claim limit of 32"):
        d.allocate([many], d.claim(d.exactly(count=33)))
    wish = d.first_of("b", d.exactly("more", count=20), d.exactly("less", count=2))
    found = d.granted(d.allocate([many], d.claim(d.exactly("a", count=20), wish))) or []
    assert [name.partition("=")[0] for name in found[0]].count("b/less") == 2


def test_an_administrator_looks_at_devices_that_others_have() -> None:
    """KEP-5018: each once in a claim, and without taking it from anybody."""
    look = d.exactly("look", adminAccess=True, allocationMode="All")
    (found,) = d.allocate([GPUS], d.claim(look), taken=d.taken("g0", "g1")) or []
    assert [(r["device"], r["adminAccess"]) for r in found["devices"]["results"]] == [
        ("g0", True),
        ("g1", True),
        ("g2", True),
    ]


def test_taints_keep_requests_away_that_do_not_tolerate_them() -> None:
    """KEP-5055. The tolerations go into the result, for eviction."""
    taint = {"key": "broken", "effect": "NoSchedule", "value": "fan"}
    pool = d.resource_slice(d.device("x", taints=[taint]))
    assert d.allocate([pool], d.claim(d.exactly())) is None
    tolerated = {"key": "broken", "operator": "Exists"}
    (found,) = d.allocate([pool], d.claim(d.exactly(tolerations=[tolerated]))) or []
    assert found["devices"]["results"][0]["tolerations"] == [tolerated]
    wrong = {"key": "broken", "operator": "Equal", "value": "ram"}
    assert d.allocate([pool], d.claim(d.exactly(tolerations=[wrong]))) is None
    harmless = d.resource_slice(d.device("x", taints=[{**taint, "effect": "None"}]))
    assert d.granted(d.allocate([harmless], d.claim(d.exactly()))) == [["r=x"]]


def test_constraints_hold_devices_together_or_apart() -> None:
    """https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/#resourceclaims-templates"""
    model = f"{d.DRIVER}/model"
    alike = d.claim(d.exactly(count=2), constraints=[{"matchAttribute": model}])
    assert d.granted(d.allocate([GPUS], alike)) == [["r=g1", "r=g2"]]
    assert d.allocate([GPUS], alike, taken=d.taken("g1")) is None
    apart = d.claim(d.exactly("a"), d.exactly("b"), constraints=[{"distinctAttribute": model}])
    assert d.granted(d.allocate([GPUS], apart)) == [["a=g0", "b=g1"]]
    some = d.claim(
        d.exactly("a"),
        d.exactly("b"),
        d.exactly("c"),
        constraints=[{"matchAttribute": model, "requests": ["b", "c"]}],
    )
    assert d.granted(d.allocate([GPUS], some)) == [["a=g0", "b=g1", "c=g2"]]
    unknown = d.claim(d.exactly(), constraints=[{"matchAttribute": f"{d.DRIVER}/speed"}])
    assert d.allocate([GPUS], unknown) is None


def test_drivers_get_the_configuration_of_class_and_claim() -> None:
    made = {"opaque": {"driver": d.DRIVER, "parameters": {"x": 1}}}
    known = {"any": d.device_class(config=[made])}
    asked = d.claim(d.exactly("a"), d.exactly("b"), config=[{"requests": ["b"], **made}, made])
    (found,) = d.allocate([GPUS], asked, classes=known) or []
    assert found["devices"]["config"] == [
        {"source": "FromClass", **made},
        {"source": "FromClaim", "requests": ["b"], **made},
        {"source": "FromClaim", **made},
    ]


# -- pools ------------------------------------------------------------------------------------------------


def test_only_the_newest_generation_of_a_pool_counts() -> None:
    old, new = (
        d.resource_slice(d.device("old"), name="a"),
        d.resource_slice(d.device("new"), name="b", generation=2),
    )
    assert d.granted(d.allocate([old, new], d.claim(d.exactly()))) == [["r=new"]]
    half = d.resource_slice(d.device("half"), name="b", generation=2, count=2)
    assert d.allocate([old, half], d.claim(d.exactly())) is None


def test_a_pool_that_names_a_device_twice_is_not_used() -> None:
    twice = d.resource_slice(d.device("x"), d.device("x"))
    with pytest.raises(NotOnThisNode, match="invalid resource pools were encountered"):
        d.allocate([twice], d.claim(d.exactly()))


def test_devices_that_must_be_prepared_come_last() -> None:
    """KEP-5007: pools without binding conditions first."""
    fabric = d.resource_slice(d.device("far", bindingConditions=["ready"]), pool_name="a", name="a")
    local = d.resource_slice(d.device("near"), pool_name="b", name="b")
    assert d.granted(d.allocate([fabric, local], d.claim(d.exactly()))) == [["r=near"]]
    (found,) = d.allocate([fabric], d.claim(d.exactly())) or []
    assert found["devices"]["results"][0]["bindingConditions"] == ["ready"]


def _mig(*names: str, size: int = 1) -> list[Obj]:
    taken = [{"counterSet": "gpu", "counters": {"memory": {"value": f"{size}Gi"}}}]
    return [d.device(name, consumesCounters=taken) for name in names]


COUNTERS = [{"name": "gpu", "counters": {"memory": {"value": "4Gi"}}}]


def test_parts_of_a_device_share_its_counters() -> None:
    """KEP-4815: the whole or the parts, not both."""
    parts = d.resource_slice(*_mig("whole", size=4), *_mig("half-0", "half-1", size=2), count=2)
    counters = d.resource_slice(name="t", count=2, nodeName="n", sharedCounters=COUNTERS)
    pool = [parts, counters]
    assert d.granted(d.allocate(pool, d.claim(d.exactly()))) == [["r=whole"]]
    assert d.granted(d.allocate(pool, d.claim(d.exactly(count=2)))) == [["r=half-0", "r=half-1"]]
    assert d.granted(d.allocate(pool, d.claim(d.exactly()), taken=d.taken("half-1"))) == [["r=half-0"]]
    assert d.allocate(pool, d.claim(d.exactly()), taken=d.taken("whole")) is None
    assert d.allocate(pool, d.claim(d.exactly(count=3))) is None


# -- shares (KEP-5075) ------------------------------------------------------------------------------------


def _link(**policy: Any) -> Obj:
    bandwidth: Obj = {"value": "10", **({"requestPolicy": policy} if policy else {})}
    return d.device("eth", allowMultipleAllocations=True, capacity={"bandwidth": bandwidth})


def _asks(value: str, name: str = "r") -> Obj:
    return d.exactly(name, capacity={"requests": {"bandwidth": value}})


def test_claims_share_a_device_as_long_as_capacity_is_left() -> None:
    pool = [d.resource_slice(_link())]
    (first, second) = d.allocate(pool, d.claim(_asks("6")), d.claim(_asks("4"), name="d")) or []
    assert first["devices"]["results"][0]["consumedCapacity"] == {"bandwidth": "6"}
    assert second["devices"]["results"][0]["shareID"] == "share"
    assert d.allocate(pool, d.claim(_asks("6")), d.claim(_asks("5"), name="d")) is None
    ten = 10**9
    assert d.allocate(pool, d.claim(_asks("6")), taken=d.taken(eth={"bandwidth": 5 * ten})) is None
    assert d.allocate(pool, d.claim(_asks("5")), taken=d.taken(eth={"bandwidth": 5 * ten})) is not None
    assert d.allocate(pool, d.claim(d.exactly())) is not None, "without a request the whole capacity"
    assert d.allocate(pool, d.claim(d.exactly()), taken=d.taken(eth={"bandwidth": 1})) is None


@pytest.mark.parametrize(
    ("policy", "asked", "gets"),
    [
        ({"default": "1"}, None, "1"),
        ({"default": "1", "validRange": {"min": "2", "max": "8", "step": "2"}}, "1", "2"),
        ({"default": "2", "validRange": {"min": "2", "max": "8", "step": "2"}}, "3", "4"),
        ({"default": "2", "validRange": {"min": "2", "max": "8", "step": "2"}}, "9", None),
        ({"default": "1", "validValues": ["1", "4", "8"]}, "2", "4"),
        ({"default": "1", "validValues": ["1", "4", "8"]}, "9", None),
    ],
)
def test_a_policy_rounds_up_or_refuses(policy: Obj, asked: str | None, gets: str | None) -> None:
    device = Device(DeviceId(d.DRIVER, "p", "eth"), _link(**policy), {})
    found = capacity.share(device, {} if asked is None else {"bandwidth": asked})
    assert (None if found is None else capacity.texts(device, found)["bandwidth"]) == gets


def test_a_device_of_its_own_must_be_large_enough() -> None:
    pool = [
        d.resource_slice(
            d.device("a", capacity={"m": {"value": "1Gi"}}), d.device("b", capacity={"m": {"value": "4Gi"}})
        )
    ]
    assert d.granted(d.allocate(pool, d.claim(d.exactly(capacity={"requests": {"m": "2Gi"}})))) == [["r=b"]]
    assert d.allocate(pool, d.claim(d.exactly(capacity={"requests": {"other": "1"}}))) is None


def test_a_search_ends_when_its_time_is_up() -> None:
    def odd(i: int) -> Obj:
        return {"model": {"string": "odd" if i % 2 else "even"}, "number": {"int": i}}

    many = d.resource_slice(*(d.device(f"g{i:02}", attributes=odd(i)) for i in range(26)))
    alike = d.claim(d.exactly(count=14), constraints=[{"matchAttribute": f"{d.DRIVER}/model"}])
    with pytest.raises(TimedOut):
        d.allocate([many], alike, late=lambda: True)


def test_devices_that_are_alike_are_not_tried_in_all_combinations() -> None:
    """There are 601,080,390 ways to take 16 of 32."""
    many = d.resource_slice(*(d.device(f"g{i:02}") for i in range(32)))
    impossible = d.claim(d.exactly("a", count=16), d.exactly("b", cel='device.driver == "nobody"'))
    assert d.allocate([many], impossible, late=lambda: True) is None


# -- extended resources (KEP-5004) ------------------------------------------------------------------------


def _container(name: str, count: int, **more: Any) -> Obj:
    return {"name": name, "resources": {"requests": {"cpu": "1", "example.com/gpu": str(count)}}, **more}


def test_containers_ask_one_by_one_and_earlier_ones_use_theirs() -> None:
    pod = {
        "metadata": {"name": "p"},
        "spec": {
            "initContainers": [_container("prepare", 3)],
            "containers": [_container("a", 1), _container("b", 1)],
        },
    }
    found = extended.translated(pod, ["example.com/gpu"], lambda name: "gpu")
    assert [(r["name"], r["exactly"]["count"]) for r in found.requests] == [
        ("container-0-request-1", 1),
        ("container-1-request-1", 1),
        ("container-2-request-1", 1),
    ]
    assert [(m["containerName"], m["requestName"]) for m in found.mappings] == [
        ("a", "container-1-request-1"),
        ("b", "container-2-request-1"),
        ("prepare", "container-1-request-1"),
        ("prepare", "container-2-request-1"),
        ("prepare", "container-0-request-1"),
    ]


# -- the obvious search -----------------------------------------------------------------------------------


def _obvious(
    devices: list[Obj], requests: list[tuple[str, int]], used: set[str], match: bool, room: int
) -> bool:
    """Whether any choice of devices, one set for each request, keeps all rules."""
    free = [each for each in devices if each["name"] not in used]
    model = {each["name"]: each["attributes"]["model"]["string"] for each in devices}
    size = {each["name"]: int(each["consumesCounters"][0]["counters"]["m"]["value"]) for each in devices}
    gone = sum(size[name] for name in used)
    choices = [
        list(combinations([each["name"] for each in free if wish in ("", model[each["name"]])], count))
        for wish, count in requests
    ]
    for choice in product(*choices):
        names = [name for chosen in choice for name in chosen]
        distinct = len(set(names)) == len(names)
        alike = not match or len({model[name] for name in names}) == 1
        if distinct and alike and gone + sum(size[name] for name in names) <= room:
            return True
    return False


@settings(max_examples=300, deadline=None)
@given(
    models=st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 3)), min_size=1, max_size=5),
    requests=st.lists(st.tuples(st.sampled_from(("", "a", "b")), st.integers(1, 2)), min_size=1, max_size=3),
    used=st.sets(st.integers(0, 4), max_size=2),
    match=st.booleans(),
    split=st.booleans(),
    room=st.integers(1, 9),
)
def test_there_is_an_answer_exactly_when_the_obvious_search_finds_one(
    models: list[tuple[str, int]],
    requests: list[tuple[str, int]],
    used: set[int],
    match: bool,
    split: bool,
    room: int,
) -> None:
    devices = [
        d.model(
            f"g{i}", kind, consumesCounters=[{"counterSet": "s", "counters": {"m": {"value": str(size)}}}]
        )
        for i, (kind, size) in enumerate(models)
    ]
    counters = [{"name": "s", "counters": {"m": {"value": str(room)}}}]
    half = len(devices) // 2
    slices = [
        d.resource_slice(*devices[:half], name="a", count=3),
        d.resource_slice(*devices[half:], name="b", count=3),
        d.resource_slice(name="c", count=3, nodeName="n", sharedCounters=counters),
    ]
    asked = [
        d.exactly(
            f"r{i}",
            count=count,
            **({"cel": f'device.attributes["{d.DRIVER}"].model == "{kind}"'} if kind else {}),
        )
        for i, (kind, count) in enumerate(requests)
    ]
    constraint = {"constraints": [{"matchAttribute": f"{d.DRIVER}/model"}]} if match else {}
    if split and not match:
        claims = [d.claim(each, name=f"c{i}") for i, each in enumerate(asked)]
    else:
        claims = [d.claim(*asked, **constraint)]
    names = {f"g{i}" for i in used if i < len(devices)}
    found = d.granted(d.allocate(slices, *claims, taken=d.taken(*names)))
    assert (found is not None) == _obvious(devices, requests, names, match, room)
    if found is not None:
        given_out = [each.partition("=")[2] for claim in found for each in claim]
        assert len(set(given_out)) == len(given_out)
        assert names.isdisjoint(given_out)


# -- what is remembered -----------------------------------------------------------------------------------


def _steps(seed: int, usable: dict[PoolId, Usable] | None) -> list[Any]:
    """The answers to claims that come and go, on three pools with parts, shares, taints and models."""
    random = Random(seed)
    slices = []
    for number in range(3):
        name = f"p{number}"
        devices = [
            d.model(
                f"g{i}",
                random.choice("ab"),
                capacity={"memory": {"value": str(random.choice((2, 4)))}},
                allowMultipleAllocations=random.random() < 0.4,
                consumesCounters=[
                    {"counterSet": "s", "counters": {"m": {"value": str(random.choice((1, 2)))}}}
                ],
                **({"taints": [{"key": "k", "effect": "NoSchedule"}]} if random.random() < 0.2 else {}),
            )
            for i in range(4)
        ]
        counters = [{"name": "s", "counters": {"m": {"value": str(random.choice((2, 4)))}}}]
        where = {"nodeName": "n"}
        slices.append(d.resource_slice(*devices, name=f"{name}-a", pool_name=name, count=2, **where))
        slices.append(
            d.resource_slice(name=f"{name}-b", pool_name=name, count=2, sharedCounters=counters, **where)
        )
    reach = d.reach(slices)
    devices_taken: set[DeviceId] = set()
    shares: dict[DeviceId, dict[str, int]] = {}
    taken = Taken(devices_taken, shares, usable)
    answers: list[Any] = []
    for number in range(25):
        asked = d.exactly(
            count=random.choice((1, 1, 2)),
            capacity={"requests": {"memory": str(random.choice((1, 2)))}},
            **({"cel": f'device.attributes["{d.DRIVER}"].model == "a"'} if random.random() < 0.3 else {}),
            **({"tolerations": [{"operator": "Exists"}]} if random.random() < 0.3 else {}),
        )
        match = {"constraints": [{"matchAttribute": f"{d.DRIVER}/model"}]} if random.random() < 0.5 else {}
        found = allocate([wanted(d.claim(asked, **match), CLASS.get)], reach, taken)
        grants = [(grant.device.id, dict(grant.share or {})) for grant in (found or [[]])[0]]
        answers.append(grants)
        for id, share in grants:
            if share:
                has = shares.setdefault(id, {})
                for name, value in share.items():
                    has[name] = has.get(name, 0) + value
            else:
                devices_taken.add(id)
        gone = random.sample(sorted(devices_taken), min(len(devices_taken), 1)) if number % 4 == 3 else []
        devices_taken.difference_update(gone)
        taken.forget([*(id for id, _ in grants), *gone])
    return answers


@pytest.mark.parametrize("seed", range(60))
def test_what_is_remembered_of_a_pool_changes_no_answer(seed: int) -> None:
    assert _steps(seed, {}) == _steps(seed, None)


def test_an_expression_that_fails_for_a_device_behind_the_answer_is_no_error() -> None:
    slices = [d.resource_slice(d.model("g0", "a"), d.device("g1"))]
    asked = [wanted(d.claim(d.exactly(cel=f'device.attributes["{d.DRIVER}"].model == "a"')), CLASS.get)]
    found = allocate(asked, d.reach(slices), Taken(frozenset(), {}, {}))
    assert found is not None and found[0][0].device.id.device == "g0"


def test_nodes_that_reach_the_same_devices_are_one_case() -> None:
    inventory = Inventory(lambda nodes: None)
    inventory.on_add(d.resource_slice(d.device("near"), pool_name="a", nodeName="n1"))
    selector = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]}
    for name in ("b", "c"):
        made = d.resource_slice(d.device("far"), name=name, pool_name=name, nodeSelector=selector)
        inventory.on_add(made)

    def on(name: str, **labels: str) -> Reach:
        return inventory.on({"metadata": {"name": name, "labels": labels}})

    assert on("n2", gpu="") is on("n3", gpu="yes")
    assert [pool.id.pool for pool, _ in on("n1", gpu="")] == ["a", "b", "c"]
    assert [pool.id.pool for pool, _ in on("n2")] == []
    inventory.on_delete(made)
    assert [pool.id.pool for pool, _ in on("n2", gpu="")] == ["b"]


def test_claims_that_ask_the_same_are_one_question() -> None:
    """Whatever they and their classes are called."""
    classes = {name: d.device_class(name, "true") for name in ("any", "other")}

    def key(*requests: Obj, **devices: Any) -> object:
        return _asked(wanted(d.claim(*requests, **devices), classes.get))

    other = {"name": "x", "exactly": {"deviceClassName": "other"}}
    match = [{"requests": ["r"], "matchAttribute": f"{d.DRIVER}/model"}]
    assert key(d.exactly()) == key(other)
    different = [
        key(d.exactly()),
        key(d.exactly(count=2)),
        key(d.exactly(allocationMode="All")),
        key(d.exactly(), d.exactly("s")),
        key(d.exactly(cel="false")),
        key(d.exactly(adminAccess=True)),
        key(d.exactly(tolerations=[{"operator": "Exists"}])),
        key(d.exactly(capacity={"requests": {"memory": "1"}})),
        key(d.first_of("r", d.exactly())),
        key(d.exactly(), constraints=match),
        key(d.exactly("s"), constraints=match),
    ]
    assert len(set(different)) == len(different)
