from poc_lib.report.marking import mark_differences, mark_phrases, mark_shared, plain


def whole(pieces):
    return "".join(piece.text for piece in pieces)


def marked(pieces):
    return [piece.text for piece in pieces if piece.kind != "same"]


def test_both_texts_stay_whole_and_only_their_differences_are_marked():
    answer, reference = "Reading the notes, in Firefox now.", "reading release notes in the browser"
    ours, theirs = mark_differences(answer, reference)
    assert (whole(ours), whole(theirs)) == (answer, reference)
    assert marked(ours) == ["the", "Firefox now."]
    assert marked(theirs) == ["release", "the browser"]


def test_each_side_has_a_mark_of_its_own():
    ours, theirs = mark_differences("a cat", "a dog")
    assert [piece.kind for piece in ours] == ["same", "added"]
    assert [piece.kind for piece in theirs] == ["same", "lacking"]


def test_case_and_punctuation_are_no_difference():
    assert marked(mark_differences("A cat; here", "a CAT, here!")[0]) == []


def test_texts_that_share_nothing_are_marked_from_end_to_end():
    ours, _ = mark_differences('<script>alert("x")', "other words")
    assert marked(ours) == ['<script>alert("x")']


def test_what_two_texts_share_is_marked_but_for_short_words():
    assert marked(mark_shared("Reading the release notes of SQLite", "the release notes")) == [
        "release notes"
    ]


def test_every_occurrence_of_a_phrase_is_marked_whatever_its_case():
    assert marked(mark_phrases("code ab-1 and AB-1", ["AB-1"])) == ["ab-1", "AB-1"]
    assert marked(mark_phrases("a.b", ["a+b", ""])) == []


def test_an_empty_text_has_no_pieces():
    assert plain("") == ()
    assert mark_differences("", "a") == ((), mark_differences("", "a")[1])
