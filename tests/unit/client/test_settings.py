from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelize.settings import KEYS, Resolved, resolve
from parallelize_core.errors import UsageError


def write(folder: Path, text: str) -> Path:
    path = folder / "parallelize.toml"
    path.write_text(text, encoding="utf-8")
    return path


def read(
    folder: Path, text: str, environ: dict[str, str] | None = None, **flags: object
) -> Resolved:
    write(folder, text)
    return resolve(
        {key.replace("__", "."): value for key, value in flags.items()}, environ or {}, folder
    )


def refusal(folder: Path, text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read(folder, text)
    return caught.value


def test_a_flag_beats_a_variable_beats_the_file_beats_the_users_file(tmp_path: Path) -> None:
    users = tmp_path / "config.toml"
    users.write_text("[workers]\ncount = 1\nami = 'stock'\nmarket = 'on-demand'\ndisk = '1GiB'\n")
    write(tmp_path, "[workers]\ncount = 2\nami = 'ami-file'\nmarket = 'spot'\n")
    environ = {"PARALLELIZE_WORKERS_COUNT": "3", "PARALLELIZE_WORKERS_AMI": "ami-variable"}

    found = resolve({"workers.count": 4}, environ, tmp_path, user_file=users)

    workers = found.settings.workers
    assert (workers.count, workers.ami, workers.market, workers.disk) == (
        4, "ami-variable", "spot", 2**30,
    )  # fmt: skip
    sources = [
        found.source(f"workers.{key}") for key in ("count", "ami", "market", "disk", "slots")
    ]
    assert sources == [
        "flag", "PARALLELIZE_WORKERS_AMI", "parallelize.toml", "config.toml", "default",
    ]  # fmt: skip


def test_the_file_is_searched_upwards_and_its_folder_is_the_projects(tmp_path: Path) -> None:
    write(tmp_path, "[run]\nname = 'above'\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    found = resolve({}, {}, below)
    assert found.settings.run.name == "above"
    assert found.folder == tmp_path.resolve()


@pytest.mark.parametrize(
    ("text", "key", "meant"),
    [
        ("[workers]\ncuont = 2", "workers.cuont", "workers.count"),
        ("[wrokers]\ncount = 2", "wrokers", "workers"),
        ("[run]\ninput = 'x'", "run.input", "run.inputs"),
        ("[run]\nmarket = 'spot'", "run.market", "workers.market"),
    ],
)
def test_an_unknown_key_is_named_with_the_one_that_was_meant(
    tmp_path: Path, text: str, key: str, meant: str
) -> None:
    error = refusal(tmp_path, text)
    assert error.what == f"parallelize.toml: unknown key {key}"
    assert error.why == f"did you mean {meant}?"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[workers]\ncount = 'many'", "workers.count"),
        ("[run]\ntimeout = 'soon'", "run.timeout"),
        ("[run]\ntimeout = 0", "run.timeout"),
        ("[workers]\nslots = '-1'", "workers.slots"),
        ("[workers]\nmarket = 'black'", "workers.market"),
        ("[output]\nname = '{key}'", "output.name"),
        ("[output]\nname = '{dir.__class__}'", "output.name"),
        ("[output]\nname = '{dir'", "output.name"),
    ],
)
def test_a_wrong_value_is_named_with_its_file_and_key(tmp_path: Path, text: str, key: str) -> None:
    assert refusal(tmp_path, text).what == f"parallelize.toml: {key} is wrong"


def test_a_wrong_value_of_a_variable_is_named_with_the_variable(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"PARALLELIZE_WORKERS_COUNT: workers\.count is wrong"):
        resolve({}, {"PARALLELIZE_WORKERS_COUNT": "many"}, tmp_path)


@pytest.mark.parametrize("text", ["[run", "run = 3", "schema = 2", "\x00"])
def test_a_file_that_is_not_one_is_refused(tmp_path: Path, text: str) -> None:
    assert "parallelize.toml" in refusal(tmp_path, text).what


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"other\.toml does not exist"):
        resolve({}, {}, tmp_path, config=Path("other.toml"))


def test_the_region_of_the_environment_beats_the_files(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "[aws]\nregion = 'eu-west-1'",
        {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "x"},
    )
    assert found.settings.aws.region == "us-east-1"
    assert found.source("aws.region") == "AWS_REGION"


def test_keys_in_the_environment_beat_a_profile_of_the_file(tmp_path: Path) -> None:
    text = "[aws]\nprofile = 'lab'"
    assert read(tmp_path, text).settings.aws.profile == "lab"
    assert read(tmp_path, text, {"AWS_ACCESS_KEY_ID": "x"}).settings.aws.profile is None


def test_an_empty_variable_is_one_that_is_not_set(tmp_path: Path) -> None:
    assert (
        read(
            tmp_path, "[workers]\ncount = 7", {"PARALLELIZE_WORKERS_COUNT": ""}
        ).settings.workers.count
        == 7
    )


def test_lists_and_tables_can_be_given_as_variables(tmp_path: Path) -> None:
    environ = {"PARALLELIZE_WORKERS_TYPES": "a.x, b.y", "PARALLELIZE_AWS_TAGS": "owner=ana,x=1=2"}
    settings = resolve({}, environ, tmp_path).settings
    assert settings.workers.types == ("a.x", "b.y")
    assert settings.aws.tags == {"owner": "ana", "x": "1=2"}


@given(
    key=st.sampled_from(KEYS),
    text=st.text(
        alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20
    ),
)
def test_any_text_in_any_variable_is_taken_or_refused_in_words(key: str, text: str) -> None:
    name = f"PARALLELIZE_{key.replace('.', '_').upper()}"
    try:
        said = resolve({}, {name: text}, Path("/nonexistent")).source(key)
    except UsageError as error:
        said = error.what
    assert said == (f"{name}: {key} is wrong" if "wrong" in said else name if text else "default")


@pytest.mark.parametrize(("written", "halt"), [("'5%'", "5%"), ("20", "20"), ("'0.5%'", "0.5%")])
def test_a_run_is_halted_after_a_number_or_a_share_of_failures(
    tmp_path: Path, written: str, halt: str
) -> None:
    assert read(tmp_path, f"[run]\nhalt = {written}\n").settings.run.halt == halt


@pytest.mark.parametrize("written", ["0", "'5 %'", "-1", "'many'", "true", "'%'"])
def test_what_is_neither_halts_no_run(tmp_path: Path, written: str) -> None:
    assert "5%" in str(refusal(tmp_path, f"[run]\nhalt = {written}\n"))


def test_jobs_share_a_gpu_only_if_each_has_one(tmp_path: Path) -> None:
    text = "[run]\ngpu_share = 3\n"
    assert "run.gpus_per_job = 1" in str(refusal(tmp_path, text).why)
    assert "run.gpus_per_job = 1" in str(refusal(tmp_path, f"{text}gpus_per_job = 2\n").why)
    assert read(tmp_path, f"{text}gpus_per_job = 1\n").settings.run.gpu_share == 3


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("run.command", '"echo a\\u0000b"'),
        ("run.inputs", '"in\\u0000/"'),
        ("workers.types", '["c7i.xlarge", "c\\u0000"]'),
        ("aws.tags", '{ name = "a\\u0000" }'),
    ],
)
def test_a_nul_in_a_setting_is_refused_in_a_sentence(tmp_path: Path, key: str, text: str) -> None:
    file = tmp_path / "parallelize.toml"
    file.write_text(f"{key} = {text}\n")
    with pytest.raises(UsageError, match=f"{key} has a NUL character"):
        resolve({}, {}, tmp_path, file)


@pytest.mark.parametrize("given", ['"*.png"', '["*.png"]'])
def test_a_glob_of_outputs_may_stand_alone_or_in_a_list(tmp_path: Path, given: str) -> None:
    assert read(tmp_path, f"[output]\ncollect = {given}\n").settings.output.collect == ("*.png",)


def test_globs_of_outputs_may_come_from_a_variable(tmp_path: Path) -> None:
    environ = {"PARALLELIZE_OUTPUT_COLLECT": "*.png, tables/**/*.csv"}
    assert read(tmp_path, "", environ).settings.output.collect == ("*.png", "tables/**/*.csv")


@pytest.mark.parametrize("glob", ["/tmp/*.png", "../*.png", "a/../../b"])
def test_a_glob_that_leads_out_of_the_scratch_folder_is_refused(tmp_path: Path, glob: str) -> None:
    error = refusal(tmp_path, f"[output]\ncollect = '{glob}'\n")
    assert "output.collect is wrong" in error.what
    assert "leads out of the scratch folder" in (error.why or "")


@pytest.mark.parametrize(("text", "said"), [("", None), ("require_output = false", False)])
def test_not_to_say_whether_outputs_are_required_is_not_to_say_no(
    tmp_path: Path, text: str, *, said: bool | None
) -> None:
    assert read(tmp_path, f"[run]\n{text}\n").settings.run.require_output is said


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ('{ "aws:cost" = "1" }', "AWS reserves"),
        (f'{{ k = "{"v" * 257}" }}', "wrong length"),
        ('{ team = "a<b" }', "use letters, digits"),
        ("{" + ", ".join(f'k{n} = "v"' for n in range(41)) + "}", "41 tags are too many"),
    ],
)
def test_tags_that_some_service_of_aws_does_not_take_are_refused(
    tmp_path: Path, tags: str, said: str
) -> None:
    error = refusal(tmp_path, f"[aws]\ntags = {tags}\n")
    assert "aws.tags" in error.what
    assert said in (error.why or "")
