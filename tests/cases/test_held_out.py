import dataclasses

import numpy as np
import pytest
from small_stores import lungs, new_store, volume

from napari_covseg.cases.gate import Way
from napari_covseg.cases.held_out import (
    Role,
    clean_ancestor,
    divide,
    draw_roles,
    frozen_cases,
    reference,
    roles_of,
    sizes,
    taught_patients,
    trained_patients,
)
from napari_covseg.cases.records import Kind, NewModel, NewVersion
from napari_covseg.cases.replayed import scan_of, settings_of
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label
from napari_covseg.io.write import write_volume


def accept(store: CaseStore, case: str, size: int = 2, slices=(0, 1, 2)):
    newest = store.case(case).newest
    saved = store.save_version(
        case,
        lungs(size=size),
        NewVersion(author="RA", kind=Kind.CORRECTION, parent=newest, reviewed=slices),
    )
    store.accept(saved.version.id, reader="RA")
    return saved.version


def labelled(folder, cases: int) -> CaseStore:
    store = new_store(folder, cases)
    for case in store.cases():
        accept(store, case.name)
    return store


def record(store: CaseStore, sha256: str, cases=(), parent=None, **settings):
    return store.record_model(
        NewModel(
            sha256,
            "m",
            parent=parent,
            trained_on=dict.fromkeys(cases, "d" * 64),
            settings=settings,
            code_version="1",
        ),
        author="RA",
    )


def test_how_many_are_held_out():
    assert [sizes(n) for n in (0, 4, 5, 6, 10, 20, 100)] == [
        *((0, 0), (0, 0), (2, 0), (2, 1), (2, 2), (5, 3), (25, 15)),
    ]


def test_a_patient_is_drawn_once():
    first = draw_roles({}, [f"p{n}" for n in range(8)], (), seed=0)
    assert sorted(first.values()) == sorted(
        [Role.HELD_OUT] * 2 + [Role.VALIDATION] * 1 + [Role.TRAINING] * 5
    )
    assert draw_roles(first, first, (), seed=0) == {}
    more = draw_roles(first, [f"p{n}" for n in range(20)], (), seed=0)
    assert not more.keys() & first.keys()
    both = list((first | more).values())
    assert (both.count(Role.HELD_OUT), both.count(Role.VALIDATION)) == (5, 3)
    assert draw_roles({}, ["p1", "p2", "p3", "p4"], (), seed=0) == {}
    draws = {tuple(draw_roles({}, "abcdefgh", (), seed=n).items()) for n in range(4)}
    assert len(draws) > 1


def test_patients_of_a_training_are_held_out_last():
    for seed in range(5):
        roles = draw_roles({}, ["a", "b", "c", "d", "e", "f"], ["a", "b", "c", "d"], seed)
        assert {roles["e"], roles["f"]} == {Role.HELD_OUT}


def test_patients_who_taught_without_labels_never_measure():
    patients = [f"p{n}" for n in range(10)]
    for seed in range(5):
        roles = draw_roles({}, patients, ["p9"], seed, taught=patients[:7])
        assert {p for p, role in roles.items() if role is Role.HELD_OUT} <= set(patients[7:])
        assert {roles[p] for p in patients[:7]} == {Role.TRAINING}
        assert sorted(roles.values()).count(Role.HELD_OUT) == 2
    assert Role.HELD_OUT in draw_roles({}, patients, ["p9"], 0).values()


def test_scans_without_labels_count_as_seen(tmp_path):
    store = new_store(tmp_path / "store", 3)
    patient = {case.name: case.patient for case in store.cases()}
    one = record(store, "a" * 64, ["case_0001"], unlabelled_cases=["case_0002"])
    assert trained_patients(store, one) == {patient["case_0001"], patient["case_0002"]}
    assert taught_patients(store) == {patient["case_0002"]}
    assert clean_ancestor(store, one, [patient["case_0002"]]) is None
    assert clean_ancestor(store, one, [patient["case_0003"]]) == one


def test_scans_that_were_replayed_count_as_seen_once_they_are_added(tmp_path):
    store = labelled(tmp_path / "store", 8)
    patient = {case.name: case.patient for case in store.cases()}
    other = write_volume(volume(3), tmp_path / "other.nii")
    strange = write_volume(volume(99), tmp_path / "strange.nii.gz")
    told = settings_of([scan_of(other), scan_of(strange)])
    assert store.image_path("case_0004").read_bytes() != other.read_bytes()
    old = record(store, "a" * 64, ["case_0001"], **told)
    new = record(store, "b" * 64, ["case_0001"], parent="a" * 64)
    assert trained_patients(store, new) == {patient["case_0001"], patient["case_0004"]}
    assert trained_patients(store, old) == trained_patients(store, new)
    assert taught_patients(store) == {patient["case_0004"]}
    for seed in range(6):
        roles = draw_roles({}, patient.values(), (), seed, taught_patients(store))
        assert roles[patient["case_0004"]] is Role.TRAINING
    assert {
        draw_roles({}, patient.values(), (), seed)[patient["case_0004"]] for seed in range(9)
    } > {Role.TRAINING}
    assert clean_ancestor(store, new, [patient["case_0004"]]) is None
    assert clean_ancestor(store, new, [patient["case_0005"]]) == new


def test_few_patients_measure_in_turn(tmp_path):
    store = labelled(tmp_path / "store", 3)
    division = divide(store, author="RA")
    assert division.way is Way.FOLDS
    assert division.training == ("case_0001", "case_0002", "case_0003")
    assert [one.case for one in division.measured] == list(division.training)
    assert roles_of(store) == {}


def test_the_held_out_set_is_kept_and_frozen(tmp_path):
    store = labelled(tmp_path / "store", 6)
    first = divide(store, author="RA")
    assert first.way is Way.HELD_OUT
    measured = {one.case for one in first.measured}
    assert (len(measured), len(first.validation), len(first.training)) == (2, 1, 3)
    assert not measured & {*first.training, *first.validation}
    frozen = first.measured[0]
    old = reference(store, frozen)
    newer = accept(store, frozen.case, size=4, slices=range(6))
    store.send_back(first.measured[1].case, reader="RB", comment="again")
    again = divide(CaseStore.open(store.folder), author="RB", seed=7)
    assert again == first
    assert frozen_cases(store)[frozen.case].version != newer.id
    np.testing.assert_array_equal(reference(store, frozen).labels, old.labels)
    assert (old.labels[3:] == Label.IGNORE).all()
    assert (old.labels[:3] != Label.IGNORE).all()


def test_new_patients_join(tmp_path):
    store = labelled(tmp_path / "store", 4)
    assert divide(store, author="RA").way is Way.FOLDS
    record(store, "a" * 64, ["case_0001", "case_0002", "case_0003", "case_0004"])
    from small_stores import volume

    for seed in (10, 11):
        accept(store, store.add_case(volume(seed), author="RA").name)
    division = divide(store, author="RA")
    assert division.way is Way.HELD_OUT
    assert [one.case for one in division.measured] == ["case_0005", "case_0006"]


def test_a_changed_reference_is_noticed(tmp_path):
    store = labelled(tmp_path / "store", 2)
    frozen = divide(store, author="RA").measured[0]
    file = store.folder / "versions" / f"{frozen.sha256}.nii.gz"
    file.chmod(0o644)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(InputError):
        reference(store, frozen)


def test_what_a_model_has_seen(tmp_path):
    store = new_store(tmp_path / "store", 4)
    patient = {case.name: case.patient for case in store.cases()}
    a = record(store, "a" * 64, ["case_0001"], parent="f" * 64)
    b = record(store, "b" * 64, ["case_0002"], parent=a.sha256)
    c = record(store, "c" * 64, ["gone"], parent=b.sha256, may_have_seen=["case_0003"])
    assert trained_patients(store, None) == frozenset()
    assert trained_patients(store, b) == {patient["case_0001"], patient["case_0002"]}
    assert trained_patients(store, c) == {patient[f"case_000{n}"] for n in (1, 2, 3)}
    assert clean_ancestor(store, c, [patient["case_0003"]]) == b
    assert clean_ancestor(store, c, [patient["case_0002"]]) == a
    assert clean_ancestor(store, c, [patient["case_0001"]]) is None
    assert clean_ancestor(store, c, [patient["case_0004"]]) == c


def test_frozen_cases_as_json(tmp_path):
    store = labelled(tmp_path / "store", 1)
    (one,) = divide(store, author="RA").measured
    assert type(one).from_dict(one.to_dict()) == one
    assert dataclasses.replace(one, slices=frozenset({1})).to_dict()["slices"] == "1"
