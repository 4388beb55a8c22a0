"""Reference files are read as they are published, and refused with a sentence where they are not whole."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rdata

from genomics_assets.input_error import InputError
from genomics_assets.verbal_autopsy.broad_causes import BROAD_CAUSES
from genomics_assets.verbal_autopsy.misclassification import (
    AS_DIRICHLET,
    MEAN,
    MisclassificationMatrices,
    read_matrices,
)
from genomics_assets.verbal_autopsy.probbase import Probbase, find_probbase, read_probbase
from genomics_assets.verbal_autopsy.r_objects import LabelledArray, read_r_objects
from genomics_assets.verbal_autopsy.reference_file import check_reference, find_reference
from genomics_assets.verbal_autopsy.synthetic_reference import COUNTRIES, mean_matrix, write_reference


def test_a_probbase_has_its_version_its_causes_and_its_rules(probbase: Probbase) -> None:
    assert probbase.version == "probbase synthetic-1"
    assert probbase.is_synthetic
    assert "Birth asphyxia" in probbase.cause_names
    assert probbase.grades.shape == (len(probbase.indicators), 2 + 16 + 2)
    assert len(probbase.sha256) == 64
    male, female = probbase.row_of["i019a"], probbase.row_of["i019b"]
    assert [(rule.indicator, rule.answer) for rule in probbase.never_with[male]] == [(female, 1)]
    after = probbase.asked_after[probbase.row_of["i079o"]]
    assert after is not None
    assert probbase.indicators[after.indicator] == "i077o"
    newborn = probbase.newborns_only[probbase.row_of["i165o"]]
    assert newborn is not None
    assert (probbase.indicators[newborn.indicator], newborn.answer) == ("i022g", 1)
    assert probbase.newborns_only[probbase.row_of["i135o"]] is None
    assert [probbase.substantive[probbase.row_of[name]] for name in ("i123o", "i124o")] == [1, 0]


def test_the_reference_is_the_same_bytes_each_time(reference: Path, tmp_path: Path) -> None:
    write_reference(tmp_path)
    for path in reference.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("doaskif", "nothing", "no column doaskif"),
        ("b_0102", "x_0102", "its last columns are not"),
        (",A+,", ",Z,", "'Z' is no grade"),
        ("i019bY", "i777xY", "names no indicator"),
        ("\ni019b,", "\ni019a,", "is there twice"),
        (",Y,B,", ",M,B,", "not Y or N"),
        ("\ni083o,Made-up question i083o", "\ni083o", "cells where the header has"),
    ],
)
def test_a_probbase_of_another_shape_is_refused(
    reference: Path, tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    text = (reference / "probbase_synthetic.csv").read_text()
    assert old in text
    (tmp_path / "probbase.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=sentence) as refused:
        read_probbase(check_reference(tmp_path / "probbase.csv"))
    assert str(refused.value).startswith("probbase.csv")


def test_other_bytes_than_the_checksum_says_are_refused(reference: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(reference, folder)
    path = folder / "misclassification_synthetic.csv"
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(InputError, match=r"SHA-256 is .*SHA256SUMS says"):
        find_reference(folder, "misclassification")


def test_a_folder_without_or_with_several_files_is_refused(reference: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="GENOMICS_VA_REFERENCE is not set"):
        find_reference(None, "misclassification")
    with pytest.raises(InputError, match="holds no probbase file"):
        find_probbase(tmp_path)
    for name in ("probbase_1.csv", "probbase_2.csv"):
        shutil.copy(reference / "probbase_synthetic.csv", tmp_path / name)
    with pytest.raises(InputError, match=r"several probbase files.*probbase_1\.csv, probbase_2\.csv"):
        find_probbase(tmp_path)


def test_the_wheel_vacheck_stands_in_as_data_and_is_never_imported(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "site" / "vacheck" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").write_text("raise RuntimeError('imported')\n")
    shutil.copy(reference / "probbase_synthetic.csv", data / "probbaseV5.csv")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert read_probbase(find_probbase(None)).version == "probbase synthetic-1"
    # A file of one's own goes first.
    assert find_probbase(reference).path.parent == reference


def test_matrices_come_back_as_they_were_made(matrices: MisclassificationMatrices) -> None:
    assert matrices.countries == list(COUNTRIES)
    for kind in (AS_DIRICHLET, MEAN):
        found = matrices.matrix("child", "InterVA", "Exampleland", kind)
        shares = found / found.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(shares, mean_matrix("child", "interva", "Exampleland"), atol=1e-9)


def test_an_unknown_country_is_refused_with_the_nearest_one(matrices: MisclassificationMatrices) -> None:
    with pytest.raises(InputError, match="write 'Exampleland'; the countries are Exampleland, Sampleland"):
        matrices.check_country("exampeland")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda lines: lines[:-1], "lacks 1 of its 81 cells"),
        (lambda lines: [*lines, lines[-1]], "is there twice"),
        (lambda lines: [*lines[:-1], lines[-1].replace("nn_causes", "flu")], "'flu' is no broad cause"),
        (lambda lines: [*lines[:-1], lines[-1].rsplit(",", 1)[0] + ",x"], "'x' is no number"),
        (lambda lines: [*lines[:-1], lines[-1].rsplit(",", 1)[0] + ",-1"], "-1.0 is no probability"),
        (lambda lines: [*lines[:-1], lines[-1].rsplit(",", 1)[0] + ",0.9"], "rows that do not sum to one"),
        (lambda lines: [lines[0], "a,b,c", *lines[2:]], "its columns are not"),
    ],
)  # fmt: skip
def test_matrices_of_another_shape_are_refused(
    reference: Path, tmp_path: Path, change, sentence: str
) -> None:  # type: ignore[no-untyped-def]
    lines = (reference / "misclassification_synthetic.csv").read_text().splitlines()
    path = tmp_path / "misclassification.csv"
    path.write_text("\n".join(change(lines)) + "\n")
    with pytest.raises(InputError, match=sentence):
        read_matrices(check_reference(path))


def test_r_objects_keep_names_of_dimensions(tmp_path: Path) -> None:
    path = tmp_path / "objects.rda"
    rdata.write_rda(
        path, {"tree": {"a": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": "text", "n": np.array([1, 2])}}
    )
    tree = read_r_objects(path)["tree"]
    assert isinstance(tree["a"], LabelledArray)
    assert tree["a"].values.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert tree["a"].names == (None, None)
    assert list(tree["b"]) == ["text"]
    assert tree["n"].tolist() == [1, 2]


def named_array(array: LabelledArray, converter: Any) -> Any:
    """An array of R with `dim` and `dimnames`, some of which may be NULL."""
    names = [None if of_one is None else np.array(of_one) for of_one in array.names]
    plain = converter.convert_to_r_object(array.values.ravel(order="F"))
    attributes = converter.convert_to_r_attributes({"dim": np.array(array.values.shape), "dimnames": names})
    info = replace(plain.info, attributes=True)
    return replace(plain, info=info, attributes=attributes)


def test_matrices_are_read_from_rs_workspace(tmp_path: Path, matrices: MisclassificationMatrices) -> None:
    """The published file is a nested list of arrays, of which some name only part of their dimensions."""
    causes = BROAD_CAUSES["neonate"]

    def array(kind: str) -> LabelledArray:
        return LabelledArray(matrices.matrix("neonate", "interva", "Exampleland", kind), (causes, causes))

    summaries = LabelledArray(np.zeros((2, 6, 6)), (None, causes, causes))
    kinds: dict[str, Any] = {kind: {"Exampleland": array(kind)} for kind in (AS_DIRICHLET, MEAN)}
    tree = {
        "neonate": {"interva": {**kinds, "postsumm": {"Exampleland": summaries}}},
        "version": np.array(["20241004"]),
    }
    rdata.write_rda(
        tmp_path / "CCVA_missmat.rda", {"CCVA_missmat": tree}, constructor_dict={LabelledArray: named_array}
    )
    found = read_matrices(find_reference(tmp_path, "misclassification"))
    assert found.version == "20241004"
    assert len(found.matrices) == 2
    np.testing.assert_allclose(
        found.matrix("neonate", "interva", "Exampleland", MEAN),
        matrices.matrix("neonate", "interva", "Exampleland", MEAN),
    )


def test_a_probbase_is_read_from_rs_workspace(tmp_path: Path, reference: Path, probbase: Probbase) -> None:
    header, *rows = list(csv.reader((reference / "probbase_synthetic.csv").open()))
    cells = LabelledArray(np.array(rows, dtype=object), (None, tuple(header)))
    rdata.write_rda(
        tmp_path / "probbaseV5.rda", {"probbaseV5": cells}, constructor_dict={LabelledArray: named_array}
    )
    found = read_probbase(find_probbase(tmp_path))
    assert found.version == probbase.version
    np.testing.assert_array_equal(found.grades, probbase.grades)


def test_bytes_that_r_did_not_save_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "Mmat_champs.rda"
    path.write_bytes(b"RDX3\nnothing of the kind")
    with pytest.raises(InputError, match=r"Mmat_champs\.rda: it cannot be read as data saved by R"):
        read_matrices(check_reference(path))
