import pytest

from poc_lib.escribano.references import parse_names, parse_reference, parse_vlm_model, reference_problem


@pytest.mark.parametrize(
    ("description", "problem"),
    [
        (None, "no description stored"),
        ("", "empty description"),
        ("  \n", "empty description"),
        ("No description available", "placeholder 'No description…'"),
        ("no description", "placeholder 'No description…'"),
        ("Parse error: bad line", "placeholder 'Parse error…'"),
        ("Failed to parse Frame 3", "placeholder 'Failed to parse Frame…'"),
        ("Editing a parser: Parse error is shown", None),
        ("The page says No description", None),
    ],
)
def test_placeholders_are_no_references_but_texts_that_mention_them_are(description, problem):
    assert reference_problem(description, "coding") == problem


@pytest.mark.parametrize("activity", ["unknown", " Unknown "])
def test_activity_unknown_means_that_the_description_is_a_raw_reply(activity):
    reference, problem = parse_reference("Let me look at the picture", activity, "[]", "[]", None)
    assert reference is None
    assert problem == "activity 'unknown': an unparsed reply"


def test_a_usable_row_becomes_a_reference_with_trimmed_fields():
    reference, problem = parse_reference(" Reading docs ", " Reading ", '["Chrome"]', "pandas, docs", "m")
    assert problem is None
    assert (reference.description, reference.activity, reference.model) == ("Reading docs", "reading", "m")
    assert (reference.apps, reference.topics) == (("Chrome",), ("pandas", "docs"))


@pytest.mark.parametrize("activity", [None, "", "  "])
def test_no_stored_activity_is_none(activity):
    assert parse_reference("Reading docs", activity, None, None, None)[0].activity is None


@pytest.mark.parametrize(
    ("stored", "names"),
    [
        (None, None),
        ("", None),
        ("null", None),
        ("[]", ()),
        ('["VS Code", "Chrome"]', ("VS Code", "Chrome")),
        ('["VS Code", "", null]', ("VS Code",)),
        ("VS Code, Chrome", ("VS Code", "Chrome")),
        ("VS Code", ("VS Code",)),
        ('"VS Code"', ("VS Code",)),
        ("[VS Code, Chrome]", ("VS Code", "Chrome")),
        ('["the "new" editor","Chrome"]', ('the "new" editor', "Chrome")),
        ("[1, 2]", ("1", "2")),
        ("2048", ("2048",)),
    ],
)
def test_names_are_read_from_json_and_from_plain_lists_and_null_stays_unknown(stored, names):
    assert parse_names(stored) == names


@pytest.mark.parametrize(
    ("metadata", "model"),
    [
        (None, None),
        ("{}", None),
        ('{"vlm_model": "qwen3-vl:4b"}', "qwen3-vl:4b"),
        ('{"vlm_model":"qwen3-vl:4b","env":{,"llm_backend":"ollama"},"llm_backend":"ollama"}', "qwen3-vl:4b"),
    ],
)
def test_the_model_is_found_even_in_metadata_that_a_migration_made_invalid(metadata, model):
    assert parse_vlm_model(metadata) == model
