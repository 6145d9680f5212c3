"""Small data sets with the columns of the paper's, saved to disk; nothing is downloaded."""

import io

import datasets
import gin
import pytest
from PIL import Image

from registry import replay_sources
from registry.example import MalformedExample
from registry.replay.hub_dataset import HubDataset
from registry.testing import check_replay_source

TEXTS = datasets.List(datasets.Value("string"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def picture(shade=0, size=(64, 48)):
    stream = io.BytesIO()
    Image.new("L", size, shade).save(stream, format="PNG")
    return stream.getvalue()


def pictures(count, size=(64, 48)):
    return [{"bytes": picture(shade, size), "path": None} for shade in range(count)]


def saved(tmp_path, rows, name="data", **features):
    """A data set on disk; `features` are the types of columns that cannot be told from the values."""
    dataset = datasets.Dataset.from_dict(rows)
    for column, feature in features.items():
        dataset = dataset.cast_column(column, feature)
    dataset.save_to_disk(tmp_path / name)
    return str(tmp_path / name)


def in_order(source):
    source.check()
    return [source.example(position) for position in range(source.length)]


def test_thinklite(tmp_path):
    path = saved(
        tmp_path,
        {
            "image": [picture(0), picture(1)],  # bytes, not the Image feature
            "problem": ["<image>How many?\nChoices:\nA. 1\nB. 2", "<image>What colour?"],
            "answer": ["2", "black"],
            "ground_truth": ["B", "black"],
            "choices": ["['1', '2']", "[]"],
            "id": ["a7", "b3"],
        },
    )
    columns = {"image": "image", "question": "problem", "answer": "ground_truth", "choices": "choices", "id": "id"}
    first, second = in_order(HubDataset(path, columns=columns, shuffle=False))
    assert first.id == "data/train/a7"
    assert first.question == "How many?\nChoices:\nA. 1\nB. 2", "no marker, and the choices only once"
    assert (first.answer, first.choices) == ("B", ("1", "2"))
    assert (first.images[0].mode, first.file_size) == ("RGB", (64, 48))
    assert (second.answer, second.choices, second.images[0].getpixel((0, 0))) == ("black", (), (1, 1, 1))


def test_onevision_by_configs(tmp_path):
    for config, count in {"iiit5k": 3, "k12": 9}.items():
        turns = [
            [{"from": "human", "value": f"<image>\nRead {i}"}, {"from": "gpt", "value": f"t{i}"}] for i in range(count)
        ]
        rows = {"id": [f"{i}" for i in range(count)], "conversations": turns, "image": pictures(count)}
        dataset = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
        (tmp_path / "ocr" / config).mkdir(parents=True)
        dataset.to_parquet(tmp_path / "ocr" / config / "train-00000-of-00001.parquet")
    configs = "".join(f"- config_name: {c}\n  data_files: {c}/train-*.parquet\n" for c in ("iiit5k", "k12"))
    (tmp_path / "ocr" / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")

    columns = {"image": "image", "conversations": "conversations"}
    source = HubDataset(
        str(tmp_path / "ocr"),
        configs=["iiit5k", "k12"],
        limit_per_config=5,
        columns=columns,
        convert="conversations",
        max_image_side=32,
    )
    examples = in_order(source)
    assert sorted(example.id.split("/")[1] for example in examples) == ["iiit5k"] * 3 + ["k12"] * 5
    for example in examples:
        number = example.id.split("/")[-1]
        assert (example.question, example.answer) == (f"Read {number}", f"t{number}")
        assert example.supervised_target == f"<answer>t{number}</answer>"
        assert (example.images[0].size, example.file_size) == ((32, 24), (64, 48))

    with pytest.raises(ValueError, match=r"(?s)replay.hub_dataset: .*ocr, config 'iit5k'.*iiit5k"):
        HubDataset(str(tmp_path / "ocr"), configs="iit5k", columns=columns, convert="conversations").take(1)


def test_lisa(tmp_path):
    solutions = [f"<answer>[{{'Position': [{i}, 2, 30, 40], 'Confidence': 1}}]</answer>" for i in range(3)]
    rows = {"image": pictures(3), "problem": ["Where?"] * 3, "solution": [*solutions[:2], "<answer>[]</answer>"]}
    path = saved(tmp_path, rows, image=datasets.Image())
    source = HubDataset(
        path,
        columns={"image": "image", "question": "problem", "answer": "solution"},
        box_frame="file",
        max_image_side=16,
        shuffle=False,
    )
    first, second = source.take(3)
    assert (first.answer, second.answer) == ("[0, 2, 30, 40]", "[1, 2, 30, 40]")
    assert (first.box_frame, first.file_size, first.images[0].size) == ("file", (64, 48), (16, 12))
    assert source.malformed.listed == ["data/train, row 2: answer '[]' is not one box of four numbers"]


def test_geoqav_and_sat(tmp_path):
    rows = {"image": pictures(2), "problem": ["x = ?\nA. 1\nB. 2"] * 2, "solution": ["<answer> B </answer>", "left"]}
    path = saved(tmp_path, rows, image=datasets.Image())
    columns = {"image": "image", "question": "problem", "answer": "solution"}
    assert [e.answer for e in in_order(HubDataset(path, columns=columns, shuffle=False))] == ["B", "left"]


def test_scienceqa_index_zero_is_an_answer(tmp_path):
    rows = {
        "image": pictures(3),
        "question": ["Which is a mammal?"] * 3,
        "choices": [["bat", "newt"]] * 3,
        "answer": [0, 1, 2],
        "hint": [""] * 3,
        "solution": ["A long explanation."] * 3,
    }
    path = saved(tmp_path, rows, image=datasets.Image(), answer=datasets.Value("int8"))
    columns = {name: name for name in ("image", "question", "choices", "answer")}
    source = HubDataset(path, columns=columns, shuffle=False)
    first, second = source.take(3)
    assert (first.answer, second.answer) == ("A", "B")
    assert first.question == "Which is a mammal?\nA. bat\nB. newt"
    assert source.malformed.listed == ["data/train, row 2: answer 2 is not the number of one of 2 choices"]


def test_ai2d_index_as_text(tmp_path):
    rows = {"image": pictures(2), "question": ["?"] * 2, "options": [["x", "y"]] * 2, "answer": ["1", "0"]}
    columns = {"image": "image", "question": "question", "choices": "options", "answer": "answer"}
    source = HubDataset(saved(tmp_path, rows), columns=columns, convert="choice_index", shuffle=False)
    assert [example.answer for example in in_order(source)] == ["B", "A"]


def test_refcoco_with_several_captions_for_a_box(tmp_path):
    (tmp_path / "coco").mkdir()
    for name in "ab":
        (tmp_path / "coco" / f"{name}.png").write_bytes(picture())
    rows = {
        "image_path": ["coco/a.png", "coco/b.png"],
        "bbox": [[1.5, 2.0, 30.25, 40.0], [0.0, 0.0, 5.0, 5.0]],
        "captions": [["the cat", "left one"], ["a dog"]],
    }
    source = HubDataset(
        saved(tmp_path, rows),
        columns={"image": "image_path", "question": "captions", "answer": "bbox"},
        explode="captions",
        box_frame="file",
        image_root=str(tmp_path),
        shuffle=False,
    )
    assert [(e.id, e.question, e.answer) for e in in_order(source)] == [
        ("data/train/0-0", "the cat", "[1.5, 2, 30.25, 40]"),
        ("data/train/0-1", "left one", "[1.5, 2, 30.25, 40]"),
        ("data/train/1-0", "a dog", "[0, 0, 5, 5]"),
    ]


def test_lmms_refcoco_corner_and_size(tmp_path):
    rows = {"image": pictures(1), "answer": [["the cat", "it"]], "bbox": [[10.1, 20.0, 30.0, 5.5]]}
    path = saved(tmp_path, rows, bbox=datasets.List(datasets.Value("float32")), answer=TEXTS)
    columns = {"image": "image", "question": "answer", "answer": "bbox"}
    source = HubDataset(path, columns=columns, explode="answer", box_frame="file", box_order="xywh", shuffle=False)
    assert [(e.question, e.answer) for e in in_order(source)] == [
        ("the cat", "[10.1, 20, 40.1, 25.5]"),
        ("it", "[10.1, 20, 40.1, 25.5]"),
    ]


def test_mmmu_several_pictures_and_mmbench_columns_of_choices(tmp_path):
    rows = {
        "question": ["Compare <image 1> with <image 2>"],
        "options": ["['x', 'y']"],
        "image_1": pictures(1),
        "image_2": pictures(1, (32, 32)),
        "image_3": [None],
        "answer": ["B"],
        **{"A": ["x"], "B": ["y"], "C": ["nan"], "D": [None]},
    }
    path = saved(tmp_path, rows)
    columns = {"question": "question", "answer": "answer", "image": ["image_1", "image_2", "image_3"]}
    (mmmu,) = in_order(HubDataset(path, columns={**columns, "choices": "options"}))
    (mmbench,) = in_order(HubDataset(path, columns={**columns, "choices": ["A", "B", "C", "D"]}))
    assert mmmu == mmbench
    assert [image.size for image in mmmu.images] == [(64, 48), (32, 32)]
    assert mmmu.choices == ("x", "y")


def test_vizwiz_spellings_and_metadata(tmp_path):
    rows = {"image": pictures(1), "question": ["What?"], "answers": [["cup", "a cup"]], "category": ["other"]}
    columns = {"image": "image", "question": "question", "answer": "answers", "metadata.category": "category"}
    (example,) = in_order(HubDataset(saved(tmp_path, rows), columns=columns))
    assert example.answer == "cup"
    assert example.metadata == {"answers": ("cup", "a cup"), "category": "other"}


def test_mmmu_pro_asks_in_the_picture(tmp_path):
    rows = {"image": pictures(1), "options": ["['x', 'y']"], "answer": ["A"]}
    columns = {"image": "image", "answer": "answer", "choices": "options"}
    (example,) = in_order(HubDataset(saved(tmp_path, rows), columns=columns))
    assert example.question == "A. x\nB. y"


def test_a_converter_of_ones_own(tmp_path):
    def caption(fields):
        return {"question": "Describe it.", "answer": fields["texts"][0].upper(), "image": fields["jpg"]}

    path = saved(tmp_path, {"jpg": pictures(2), "texts": [["a cat"], []]}, texts=TEXTS)
    source = HubDataset(path, convert=caption, shuffle=False)
    (example,) = source.take(2)
    assert example.answer == "A CAT"
    assert source.malformed.listed == [
        "data/train, row 1: converter caption failed: IndexError: list index out of range"
    ]


def numbered(tmp_path, count=40):
    """Every fourth picture is corrupt."""
    images = [{"bytes": b"no picture" if i % 4 == 3 else picture(i), "path": None} for i in range(count)]
    rows = {"image": images, "question": [f"q{i}" for i in range(count)], "answer": [f"a{i}" for i in range(count)]}
    return saved(tmp_path, rows, image=datasets.Image())


def test_corrupt_pictures_are_skipped_and_counted(tmp_path):
    source = HubDataset(numbered(tmp_path), seed=1)
    examples = source.take(40)
    assert sorted(int(example.answer[1:]) for example in examples) == [i for i in range(40) if i % 4 != 3]
    assert source.malformed.total() == 10
    assert "data/train, row 3: image (10 bytes) cannot be decoded: UnidentifiedImageError" in source.malformed.listed


def test_keeps_the_contract(tmp_path):
    path = saved(tmp_path, {"question": [f"q{i}" for i in range(30)], "answer": ["a"] * 30, "image": pictures(30)})
    check_replay_source(lambda: HubDataset(path, seed=3, limit=20), count=14)
    check_replay_source(lambda: HubDataset(path, shuffle=False), count=14)


@pytest.mark.parametrize("stop", [1, 17, 40, 63])
def test_resumed_equals_uninterrupted_although_rows_are_malformed(tmp_path, stop):
    path = numbered(tmp_path)
    whole, first, second = (HubDataset(path, seed=5) for _ in range(3))
    expected = whole.take(90)
    taken = first.take(stop)
    second.load_state_dict(first.state_dict())
    assert taken + second.take(90 - stop) == expected
    assert second.malformed.state_dict() == whole.malformed.state_dict()


def test_two_ranks_equal_one_process(tmp_path):
    path = numbered(tmp_path)
    alone, ranks = HubDataset(path, seed=5), [HubDataset(path, seed=5) for _ in range(2)]
    for count in (7, 8, 45):
        shares = [source.take(count, rank, num_processes=2) for rank, source in enumerate(ranks)]
        together = sorted(e.id for share in shares for e in share)
        assert together == sorted(e.id for e in alone.take(count))
    assert ranks[0].malformed.counts + ranks[1].malformed.counts == alone.malformed.counts


def test_limit_is_a_coreset(tmp_path):
    path = saved(tmp_path, {"question": [f"q{i}" for i in range(50)], "answer": ["a"] * 50})
    source = HubDataset(path, limit=10, seed=2)
    epochs = [[e.id for e in source.take(10)] for _ in range(3)]
    assert source.length == 10
    assert len(set(epochs[0])) == 10
    assert set(epochs[0]) == set(epochs[1]) == set(epochs[2])
    assert len({tuple(epoch) for epoch in epochs}) == 3, "three orders; chance of two alike: 3 / 10!"
    assert {e.id for e in HubDataset(path, limit=10, seed=3).take(10)} != set(epochs[0])
    assert [e.id for e in HubDataset(path, limit=10, seed=2, shuffle=False).take(20)][10:] == [
        e.id for e in HubDataset(path, limit=10, seed=2, shuffle=False).take(10)
    ]


def test_split_of_a_saved_dataset_dict(tmp_path):
    splits = {name: datasets.Dataset.from_dict({"question": [name], "answer": ["a"]}) for name in ("train", "val")}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "both")
    (example,) = in_order(HubDataset(str(tmp_path / "both"), split="val"))
    assert (example.id, example.question) == ("both/val/0", "val")
    with pytest.raises(ValueError, match=r"(?s)has no split 'vale'.*did you mean: val"):
        HubDataset(str(tmp_path / "both"), split="vale").check()
    with pytest.raises(ValueError, match="saved without configs"):
        HubDataset(str(tmp_path / "both"), configs=["x"]).check()


def test_missing_columns_are_one_error(tmp_path):
    path = saved(tmp_path, {"problem": ["q"], "solution": ["a"], "image": pictures(1)})
    source = HubDataset(path, columns={"question": "problm", "answer": "solutions", "image": "image"})
    with pytest.raises(ValueError, match="no column") as error:
        source.check()
    assert not isinstance(error.value, MalformedExample)
    assert str(error.value).splitlines() == [
        "replay.hub_dataset: data/train has no column 'problm', for question",
        "  did you mean: problem?",
        "replay.hub_dataset: data/train has no column 'solutions', for answer",
        "  did you mean: solution?",
        "  columns: problem, solution, image",
    ]


def test_nothing_usable_is_an_error_not_an_endless_search(tmp_path):
    path = saved(tmp_path, {"image": ["a.png"] * 3, "question": ["q"] * 3, "answer": ["a"] * 3})
    with pytest.raises(ValueError, match=r"none of 3 rows tried can be used; the first: .*'a.png' does not exist"):
        HubDataset(path).check()
    empty = saved(tmp_path, {"question": [], "answer": []}, name="empty")
    with pytest.raises(ValueError, match="empty cannot be read"):  # datasets cannot read back what it saved
        HubDataset(empty).take(1)


def test_check_of_a_hub_id_asks_nobody(monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("asked the Hub"))
    HubDataset("lmms-lab/ScienceQA-IMG").check()
    with pytest.raises(ValueError, match="neither a folder that exists nor an id"):
        HubDataset("./data/gone")


def test_a_damaged_file_says_what_is_wrong(tmp_path):
    datasets.Dataset.from_dict({"question": ["q"], "answer": ["a"]}).to_parquet(tmp_path / "data" / "train.parquet")
    data = (tmp_path / "data" / "train.parquet").read_bytes()
    (tmp_path / "data" / "train.parquet").write_bytes(b"PAR1" + b"\xff" * 100 + data[104:])
    with pytest.raises(ValueError, match=r"data, split 'train': An error occurred .*: (OSError|ArrowInvalid): \w"):
        HubDataset(str(tmp_path / "data")).take(1)


def test_hub_failure_names_the_data_set(monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(ValueError, match=r"replay.hub_dataset: someone/something, split 'train': no network"):
        HubDataset("someone/something").take(1)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"limit": 0}, "limit must be a whole number, at least 1, not 0"),
        ({"limit_per_config": 1e4}, "limit_per_config must be a whole number, at least 1, not 10000.0"),
        (
            {"box_frame": "files"},
            "(?s)box_frame must be one of file, processed, fraction, thousandths, not 'files'.*did you mean: file",
        ),
        ({"box_order": "xywh"}, "without box_frame there are no boxes"),
        ({"box_frame": "processed", "max_image_side": 512}, "max_image_side changes what is processed"),
    ],
)
def test_settings_refused(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        HubDataset("owner/name", **settings)


def test_bound_in_gin(tmp_path):
    path = saved(tmp_path, {"problem": ["q"], "answer": ["a"]})
    replay_sources.load_builtins()
    try:
        with gin.unlock_config():  # another test may have locked it
            gin.parse_config(f"""
                replay.hub_dataset.dataset = {path!r}
                replay.hub_dataset.columns = {{'question': 'problem', 'answer': 'answer'}}
            """)
        (example,) = in_order(replay_sources.build("hub_dataset"))
    finally:
        gin.clear_config()
    assert example.question == "q"
