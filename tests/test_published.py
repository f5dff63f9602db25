"""The published cells: every number of the papers, typed once, checked here."""

import copy
import json
import math
import re
from collections import Counter, defaultdict
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = json.loads((ROOT / "saccade_lib" / "published.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
PAPERS = sorted(path.stem for path in (ROOT / "book" / "published").glob("*.yml"))
TIME = {"s", "s/epoch", "s/image", "ms", "ms/image", "us", "min", "h", "days"}
MEMORY = {"GiB", "MiB", "GB", "MB"}
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight"]


class StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML in which a key given twice is an error; plain YAML keeps the last one."""


def _mapping(loader, node):
    count = Counter(loader.construct_object(name) for name, _ in node.value)
    for name, n in count.items():
        if n > 1:
            line = node.start_mark.line + 1
            raise ValueError(f"key {name!r} stands twice, line {line}")
    return loader.construct_mapping(node, deep=True)


StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read(paper):
    path = ROOT / "book" / "published" / f"{paper}.yml"
    return yaml.load(path.read_text("utf-8"), StrictLoader)


@pytest.fixture(scope="module", params=PAPERS)
def paper(request):
    return read(request.param)


@pytest.fixture(scope="module")
def saccading():
    return by_key(read("variational-saccading"))


@pytest.fixture(scope="module")
def tnet():
    return by_key(read("tnet"))


def key(cell):
    return cell["table"], cell["row"], cell["column"]


def by_key(paper):
    return {key(cell): cell for cell in paper["cells"]}


def wrong(cells, rule):
    """Keys of the cells that break a rule, for a readable failure."""
    return [key(cell) for cell in cells if not rule(cell)]


def numbers(printed):
    """Every number in a printed text, with the weight of its last digit.

    Thousands marks, powers of ten, fractions and numbers in words are understood.
    """
    text = printed.lower().replace("−", "-").replace("–", "-")
    text = re.sub(r"(?<=\d)[,\s](?=\d{3}\b)", "", text).replace("one third", "1/3")
    found = [
        (float(n), unit_of_last_digit(n))
        for n in re.findall(r"(?:\d+(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?", text)
    ]
    for a, b in re.findall(r"(\d+)\s*/\s*(\d+)", text):
        found.append((int(a) / int(b), 1e-4))
    for a, b in re.findall(r"(?:(\d+(?:\.\d+)?)\s*[×x·]\s*)?10\^\{?(-?\d+)", text):
        found.append((float(a or 1) * 10.0 ** int(b), 10.0 ** int(b)))
    found += [
        (float(WORDS.index(w)), 1.0) for w in re.findall(r"[a-z]+", text) if w in WORDS
    ]
    return found


def unit_of_last_digit(number):
    mantissa, _, exponent = number.partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - decimals)


def printed_digit(cell):
    """Weight of the last digit of the cell's value as printed; None if it is not."""
    for number, digit in numbers(cell["printed"]):
        if math.isclose(
            number, abs(cell["value"]), rel_tol=1e-3 if digit == 1e-4 else 1e-9
        ):
            return digit
    return None


# The files


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_there_is_one_file_a_paper():
    files = {path.stem for path in (ROOT / "book" / "published").glob("*.y*ml")}
    assert files == set(PAPERS)  # none ends in .yaml


def test_file_follows_the_schema(paper):
    errors = [f"{e.json_path}: {e.message}" for e in VALIDATOR.iter_errors(paper)]
    assert not errors, "\n".join(errors[:10])


@pytest.mark.parametrize(
    "path, value",
    [
        (["paper"], "A fifth paper"),
        (["cells"], []),
        (["cells", 0, "unit"], "parsec"),
        (["cells", 0, "value"], "95.42"),
        (["cells", 0, "row"], "Saccading 100"),
        (["cells", 0, "record"], {"row": "saccading-sum"}),
        (["cells", 0, "profiles"], ["huge"]),
        (["cells", 0, "quoted"], False),
        (["cells", 0, "compare", "tolerance"], 0),
        (["cells", 0, "compare", "better"], "larger"),
        (["cells", 0, "colour"], "red"),
    ],
    ids=lambda x: ".".join(map(str, x)) if isinstance(x, list) else None,
)
def test_schema_refuses_a_wrong_value(path, value):
    broken = copy.deepcopy(read("variational-saccading"))
    place = broken
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert not VALIDATOR.is_valid(broken)


@pytest.mark.parametrize("name", SCHEMA["$defs"]["cell"]["required"])
def test_schema_refuses_a_missing_key(name):
    broken = copy.deepcopy(read("variational-saccading"))
    del broken["cells"][0][name]
    assert not VALIDATOR.is_valid(broken)


def test_reader_refuses_a_key_given_twice():
    with pytest.raises(ValueError, match="'value' stands twice, line 2"):
        yaml.load("cells:\n  - {value: 1, value: 2}", StrictLoader)


# The cells


def test_cells_are_unique(paper):
    count = Counter(key(cell) for cell in paper["cells"])
    assert [k for k, n in count.items() if n > 1] == []


@pytest.mark.parametrize("name", ["row", "column"])
def test_an_id_has_one_label_in_a_printed_table(paper, name):
    labels = defaultdict(set)
    for cell in paper["cells"]:
        if cell["table"].startswith("table-"):
            labels[cell["table"], cell[name]].add(cell[f"{name}_label"])
    assert {k: v for k, v in labels.items() if len(v) > 1} == {}


def test_the_printed_text_holds_the_value(paper):
    assert wrong(paper["cells"], lambda c: printed_digit(c) is not None) == []


def test_the_printed_text_holds_the_spread_and_only_then(paper):
    def rule(cell):
        spread = cell.get("spread")
        if spread is None:
            return "±" not in cell["printed"]
        return any(math.isclose(n, spread) for n, _ in numbers(cell["printed"]))

    assert wrong(paper["cells"], rule) == []


def test_tolerance_covers_the_last_digit_and_the_spread(paper):
    def rule(cell):
        least = max(0.5 * (printed_digit(cell) or 0), cell.get("spread") or 0)
        return cell["compare"]["tolerance"] >= least * (1 - 1e-9)

    assert wrong(paper["cells"], rule) == []


def test_costs_are_never_better_when_higher(paper):
    costs = [c for c in paper["cells"] if c["unit"] in TIME | MEMORY]
    assert wrong(costs, lambda c: c["compare"]["better"] != "higher") == []


def test_accuracies_are_better_when_higher_and_errors_when_lower(paper):
    def rule(cell):
        label = f"{cell['column']} {cell['column_label']}".lower()
        better = cell["compare"]["better"]
        if "error" in label and "accuracy" not in label:
            return better != "higher"
        return better != "lower" or "accuracy" not in label

    assert wrong(paper["cells"], rule) == []


def test_a_percentage_lies_between_0_and_100(paper):
    shares = [c for c in paper["cells"] if c["unit"] == "%"]
    assert wrong(shares, lambda c: 0 <= c["value"] <= 100) == []


def test_a_quoted_number_is_answered_by_its_own_model_or_by_none(paper):
    """RAM's number, which a paper took from elsewhere, by a run of RAM alone."""
    quoted = [c for c in paper["cells"] if c.get("quoted") and "record" in c]
    model = [c["row"].split("-")[0] for c in quoted]
    assert set(model) <= {"ram", "dram"}
    rows = [c["record"]["row"].split("-")[0] for c in quoted]
    assert rows == model


def test_cells_that_share_a_record_share_unit_and_direction(paper):
    kinds = defaultdict(set)
    for cell in (c for c in paper["cells"] if "record" in c):
        record = cell["record"]["row"], cell["record"]["metric"]
        kinds[record].add((cell["unit"], cell["compare"]["better"]))
    assert {k: v for k, v in kinds.items() if len(v) > 1} == {}


def test_counts(capsys):
    """Prints how many cells each paper has, and holds three tables to their shape."""
    tables = {name: Counter(c["table"] for c in read(name)["cells"]) for name in PAPERS}
    with capsys.disabled():
        print()
        for name, count in tables.items():
            parts = ", ".join(f"{table} {n}" for table, n in count.items())
            print(f"{name}: {count.total()} published cells ({parts})")
    # upper half 7 + 5 (two ways to train the baseline), lower half 5 + 2 + 2 + 5
    assert tables["variational-saccading"]["table-1"] == 26
    assert (
        tables["tnet"]["table-1"] == 14 * 5 + 4
    )  # a parameter count for each of 4 models
    assert tables["tnet"]["table-2"] == 10 * 5 + 3 + 1  # and a footnote


# Variational saccading


def test_lower_half_of_table_1_is_answered_by_four_rows(saccading):
    metrics = {
        "identification": ("identification", "test_accuracy"),
        "sum": ("sum", "test_accuracy"),
        "parameters": ("identification", "parameters"),
        "memory": ("identification", "training_memory"),
        "time": ("identification", "seconds_per_epoch"),
    }
    for model in ("saccading", "resnet18"):
        for column, (task, metric) in metrics.items():
            cell = saccading["table-1", f"{model}-100", column]
            if (model, column) == ("resnet18", "parameters"):  # counted, not trained
                counted = {"row": "settings", "metric": "parameters_whole"}
                assert cell["record"] == counted and "profiles" not in cell
                continue
            assert cell["record"] == {"row": f"{model}-{task}", "metric": metric}
            # costs compare at the paper's sizes only, accuracies at any
            assert cell.get("profiles") == (None if "acc" in metric else ["paper"])


def test_the_crops_of_the_baseline_cover_the_image(saccading):
    crops, side = (
        saccading["text-section-4-1", "resnet18-144-crops", column]["value"]
        for column in ("crops", "crop-side")
    )
    image = saccading["settings", "table-1-upper", "image-side"]["value"]
    assert crops == math.ceil(image / side) ** 2


def test_claims_follow_from_the_table_they_sum_up(saccading):
    def table(row, column):
        return saccading["table-1", row, column]["value"]

    def holds(value, column):
        cell = saccading["text-claims", "saccading-2528", column]
        return abs(value - cell["value"]) <= cell["compare"]["tolerance"]

    naive = "resnet18-144-crops-naive"
    memory = 100 * table("saccading-2528", "memory") / table(naive, "memory")
    speed_up = table(naive, "time") / table("saccading-2528", "time")
    assert holds(memory, "memory-share")
    assert holds(speed_up, "speed-up-least")
    assert not holds(speed_up, "inference-speed-up")  # 8.8, not the abstract's 10


# TNet


def test_repeated_numbers_agree(tnet):
    repeated = [c for c in tnet.values() if "Also in Table" in c.get("note", "")]
    assert len(repeated) == 8
    for cell in repeated:
        table = "table-" + re.search(r"Also in Table (\d)", cell["note"])[1]
        assert tnet[table, cell["row"], "top-1"]["value"] == cell["value"]


def test_coverage_of_one_crop_is_of_the_padded_image(tnet):
    base = tnet["settings", "tnet-imagenet", "base-side"]["value"]
    side = tnet["settings", "tnet-imagenet", "image-side"]["value"]
    cell = tnet["text-section-5-3", "tnet-1", "coverage"]
    assert abs(100 * (base / (side + 1)) ** 2 - cell["value"]) <= 0.005
    assert abs(100 * (base / side) ** 2 - cell["value"]) > 0.1
    assert tnet["settings", "tnet-imagenet", "cell-share"]["value"] == 100 * base / side


@pytest.mark.parametrize(
    "row, runs", [("tnet", (0, 1, 2, 3, 5)), ("dram", (2, 4, 8, 20))]
)
def test_multiplications_grow_by_the_same_amount_a_location(tnet, row, runs):
    flops = [tnet["table-1", f"{row}-{n}", "flops"]["value"] for n in runs]
    slope = (flops[-1] - flops[0]) / (runs[-1] - runs[0])
    for n, value in zip(runs, flops, strict=True):
        assert abs(flops[0] + slope * (n - runs[0]) - value) < 0.02


@pytest.mark.parametrize(
    "table, side, without_padding",
    [
        ("table-4", 77, {"conv", "conv-block-8", "conv-block-14"}),
        ("table-5", 224, set()),
    ],
)
def test_sizes_and_receptive_fields_follow_from_the_layers(
    tnet, table, side, without_padding
):
    """Kernel and stride of every printed row give its printed size and field."""
    layers = defaultdict(dict)
    for (where, row, column), cell in tnet.items():
        if where == table:
            layers[row][column] = cell["value"]
    layers = {row: v for row, v in layers.items() if "receptive-field" in v}
    assert len(layers) == {"table-4": 14, "table-5": 15}[table]
    field, jump = 1, 1  # pixels that a feature sees; pixels between two features
    for row, layer in layers.items():
        kernel, stride = layer["kernel"], layer["stride"]
        field += layer.get("repeats", 1) * (kernel - 1) * jump
        jump *= stride
        inner = side - kernel + 1 if row in without_padding else side
        side = math.ceil(inner / stride)
        assert (side, field) == (layer["output"], layer["receptive-field"]), row
