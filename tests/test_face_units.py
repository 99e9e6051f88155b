"""Action units: each moves with its own movement and not with its neighbours', whatever the head does."""

from __future__ import annotations

import moving_faces as faces
import numpy as np
import pytest

from lacuna.demo import head, portrait
from lacuna.demo.expression import Expression, express
from lacuna.extractors._openface import mixed, units
from lacuna.extractors._openface.columns import INTENSITIES, PRESENCES
from lacuna.extractors._openface.geometry import Camera
from lacuna.extractors._openface.landmarker import Landmarker
from lacuna.extractors._openface.motions import MIRROR, MOTIONS, UNITS
from lacuna.extractors._openface.points import KEPT

MOUTH = (61, 39, 40, 37, 0, 91, 84, 17, 78, 81, 82, 13, 87, 14, 146, 181, 185)
CHEEK = (50, 101, 117, 118, 205, 36, 119, 100)
NOSE = (129, 64, 98, 97, 75, 48, 49, 2)
CHIN = (152, 176, 148, 150, 136, 172, 199, 149, 175, 200, 18)
# unit: seeds moved (out, up, back) mm on the canonical face, radius mm that follows, what may follow.
# Written from FACS apart from `motions`: other points, other amounts, and skin that follows smoothly.
MOVEMENTS = {
    1: ({107: (0, 5, 0), 66: (0, 3, 0)}, 10, faces.BROWS),
    2: ({70: (0, 5, 0), 63: (0, 5, 0)}, 10, faces.BROWS),
    4: ({107: (-3, -4, 0), 66: (-2, -4, 0), 105: (-1, -3, 0)}, 9, faces.BROWS),
    5: ({159: (0, 2.5, 0), 160: (0, 2.5, 0), 158: (0, 2.5, 0)}, 5, faces.UPPER_LID),
    6: ({50: (0, 4, 0), 101: (0, 4, 0), 117: (0, 3, 0)}, 16, CHEEK),
    7: ({145: (0, 2, 0), 144: (0, 2, 0), 153: (0, 2, 0)}, 5, faces.LOWER_LID),
    9: ({129: (0, 4, 0), 64: (0, 4, 0), 98: (0, 3, 0)}, 9, NOSE),
    10: ({37: (0, 4, 0), 0: (0, 4, 0), 39: (0, 3, 0), 82: (0, 3.5, 0), 13: (0, 3.5, 0)}, 6, MOUTH),
    12: ({61: (4, 6, 2)}, 16, MOUTH),
    14: ({61: (0, 0, 5), 78: (0, 0, 5)}, 9, MOUTH),
    15: ({61: (0, -5, 0)}, 14, MOUTH),
    17: ({199: (0, 5, 0), 17: (0, 4, 0), 84: (0, 4, 0), 14: (0, 3, 0), 87: (0, 3, 0)}, 9, (*MOUTH, *CHIN[6:])),
    20: ({61: (6, -0.5, 0)}, 16, MOUTH),
    23: ({37: (0, -3, 0), 0: (0, -3, 0), 39: (0, -2, 0), 17: (0, 3, 0), 84: (0, 3, 0), 61: (-2, 0, 0)}, 5, MOUTH),
    25: ({14: (0, -8, 0), 87: (0, -8, 0), 17: (0, -8, 0), 84: (0, -7, 0)}, 8, MOUTH),
    26: ({152: (0, -14, 3), 148: (0, -14, 3), 176: (0, -13, 3), 150: (0, -9, 2), 199: (0, -12, 2)}, 14, CHIN),
    28: (
        {
            37: (0, -4, 2),
            0: (0, -4, 2),
            39: (0, -3, 1),
            17: (0, 4, 2),
            84: (0, 4, 2),
            13: (0, 0, 2),
            82: (0, 0, 2),
            14: (0, 0, 2),
        },
        4,
        MOUTH,
    ),
    45: ({159: (0, -7, 0), 160: (0, -7, 0), 158: (0, -7, 0)}, 5, faces.UPPER_LID),
}


def found(shapes: list[np.ndarray], turns_deg: float = 12.0) -> dict[int, np.ndarray]:
    """{unit: intensity of each frame} of faces (478, 3) mm under random turns of the head."""
    turns = np.radians(np.random.default_rng(0).uniform(-turns_deg, turns_deg, (len(shapes), 3)))
    kept = faces.seen(np.stack(shapes), turns)
    return dict(zip(UNITS, units.intensities(units.head_shapes(kept, faces.CAMERA)).T))


@pytest.mark.parametrize("unit", MOVEMENTS)
def test_each_unit_moves_with_its_own_movement_and_not_with_its_neighbours(unit):
    result = found([faces.vertices()] * 10 + [faces.moved(*MOVEMENTS[unit])] * 4)
    own = result.pop(unit)
    assert own[-4:].min() > 1.5
    assert own[:10].max() < 0.5
    loudest = max(result, key=lambda other: result[other][-4:].max())
    assert result[loudest][-4:].max() < 0.5 * own[-4:].min(), f"AU{loudest:02d} moves along"


def test_half_the_movement_is_about_half_the_intensity():
    seeds, radius, only = MOVEMENTS[12]
    half = {index: tuple(value / 2 for value in move) for index, move in seeds.items()}
    rest = [faces.vertices()] * 12
    result = found([*rest, faces.moved(half, radius, only), faces.moved(seeds, radius, only)])[12]
    assert 0.25 < result[-2] / result[-1] < 0.75


def test_two_movements_at_once_are_two_units():
    smile, raised = faces.moved(*MOVEMENTS[12]), faces.moved(*MOVEMENTS[1])
    both = smile + raised - faces.vertices()
    result = found([faces.vertices()] * 10 + [both] * 3)
    assert result[12][-1] > 1.5
    assert result[1][-1] > 1.5
    assert max(result[other][-1] for other in UNITS if other not in (1, 12)) < 1


def test_a_turning_head_moves_no_unit():
    result = found([faces.vertices()] * 40, turns_deg=30.0)
    assert max(values.max() for values in result.values()) < 0.5


def test_a_persons_face_is_its_own_neutral():
    odd = faces.moved({61: (4, -3, 0), 107: (0, -4, 0), 152: (0, -8, 0)}, 25)
    assert max(values.max() for values in found([odd] * 20).values()) < 0.5


def test_columns_are_intensities_and_presences_in_order():
    strengths = np.zeros((2, len(UNITS)))
    strengths[1, UNITS.index(12)], strengths[1, UNITS.index(28)] = 3.0, 2.0
    columns = mixed.columns_of(strengths)
    assert columns.shape == (2, 35)
    assert not columns[0].any()
    assert columns[1, INTENSITIES.index(12)] == 3.0
    assert set(np.flatnonzero(columns[1, 17:])) == {PRESENCES.index(12), PRESENCES.index(28)}


def test_the_displacement_fields_are_the_same_on_both_sides():
    mirrored = MOTIONS[:, MIRROR] * [-1, 1, 1]
    assert np.allclose(MOTIONS, mirrored)


# What the astronaut's picture can be warped into: unit, mesh points moved by px to the image's left side and the right.
WARPS = {
    1: ({107: (0, -7), 336: (0, -7), 66: (0, -5), 296: (0, -5), 55: (0, -7), 285: (0, -7)}, 9, (4, 12, 15)),
    2: ({70: (0, -6), 300: (0, -6), 63: (0, -6), 293: (0, -6), 53: (0, -6), 283: (0, -6)}, 9, (4, 12)),
    12: ({61: (-6, -7), 291: (6, -7)}, 14, (4, 1, 15, 45)),
    15: ({61: (0, 7), 291: (0, 7)}, 14, (12, 4, 1)),
    20: ({61: (-8, 0), 291: (8, 0)}, 14, (4, 45, 15)),
    7: ({145: (0, -3), 374: (0, -3), 144: (0, -3), 153: (0, -3), 373: (0, -3), 380: (0, -3)}, 4, (45, 5, 12)),
    10: ({0: (0, -6), 37: (0, -6), 267: (0, -6), 39: (0, -5), 269: (0, -5), 13: (0, -5)}, 6, (12, 15, 4)),
    5: ({159: (0, -5), 386: (0, -5), 160: (0, -5), 158: (0, -5), 385: (0, -5), 387: (0, -5)}, 6, (45, 4, 12)),
    23: (
        {0: (0, 4), 37: (0, 4), 267: (0, 4), 17: (0, -4), 84: (0, -4), 314: (0, -4), 61: (3, 0), 291: (-3, 0)},
        5,
        (12, 15, 4, 25),
    ),
    26: (
        {152: (0, 12), 148: (0, 12), 377: (0, 12), 176: (0, 11), 400: (0, 11), 199: (0, 10), 17: (0, 6), 14: (0, 6)},
        16,
        (12, 4, 1),
    ),
    45: ({159: (0, 6), 386: (0, 6), 160: (0, 6), 158: (0, 6), 385: (0, 6), 387: (0, 6)}, 5, (5, 4, 15)),
    25: ({14: (0, 8), 17: (0, 8), 87: (0, 8), 317: (0, 8), 84: (0, 8), 314: (0, 8)}, 8, (12, 26, 4)),
}


@pytest.fixture(scope="module")
def mesh():
    return Landmarker(max_faces=1)


def points_of(mesh, picture):
    mesh.start()
    return mesh(picture, 0.0)[0].kept


@pytest.mark.parametrize("unit", WARPS)
def test_a_warped_picture_moves_its_unit(mesh, unit):
    moves, radius, still = WARPS[unit]
    rest, moved = points_of(mesh, faces.portrait()), points_of(mesh, faces.warped(moves, radius))
    assert rest.shape == (len(KEPT), 3)
    shapes = units.head_shapes(np.stack([rest] * 8 + [moved] * 2), faces.CAMERA)
    result = dict(zip(UNITS, units.intensities(shapes).T))
    assert result[unit][-1] > 1.0
    for other in still:
        assert result[other][-1] < 0.5 * result[unit][-1], f"AU{other:02d} moves along"


@pytest.mark.parametrize(
    ("action", "unit", "still"),
    [
        ("brow_down", 4, (1, 2, 5, 12, 15)),
        ("brow_up", 2, (4, 12, 20)),
        ("brow_up", 1, (4, 12, 20)),
        ("blink", 45, (1, 2, 4, 5, 12)),
        ("jaw", 25, (1, 2, 4, 12, 15)),
    ],
)
def test_the_demos_head_moves_its_units(mesh, action, unit, still):
    """Another real face, and expressions that were made for the eye and not for this extractor."""
    canvas = portrait.canvas()
    rest, moved = (
        points_of(mesh, head.shown(express(canvas, Expression(**actions)), head.Pose(), 256))
        for actions in ({}, {action: 1.0})
    )
    shapes = units.head_shapes(np.stack([rest] * 8 + [moved] * 2), Camera.of_picture(256, 256))
    result = dict(zip(UNITS, units.intensities(shapes).T))
    assert result[unit][-1] > 1.0
    for other in still:
        assert result[other][-1] < 0.5 * result[unit][-1], f"AU{other:02d} moves along"


def test_a_smile_held_through_a_clip_shows_against_peoples_faces(mesh):
    """The demo's head without a smile and with one, held: against the clip's own face alone, neither is a movement."""
    found = {}
    for smile in (-1.0, 1.0):
        picture = head.shown(express(portrait.canvas(), Expression(smile=smile)), head.Pose(), 256)
        shapes = units.head_shapes(np.stack([points_of(mesh, picture)] * 10), Camera.of_picture(256, 256))
        for people in (False, True):
            found[smile, people] = units.intensities(shapes, people)[0, UNITS.index(12)]
    assert found[-1.0, False] == found[1.0, False] == 0
    assert found[1.0, True] > 3 and found[-1.0, True] < 0.5


def test_peoples_faces_add_the_same_to_every_frame():
    """And nothing at all where the resting face is within what faces differ by."""
    smile = faces.moved({61: (2, 3, 1)}, 16, MOUTH)
    shapes = units.head_shapes(
        faces.seen(np.stack([faces.vertices()] * 8 + [smile] * 4), np.zeros((12, 3))), faces.CAMERA
    )
    own, people = units.intensities(shapes), units.intensities(shapes, people=True)
    at = UNITS.index(12)
    assert own[0, at] == people[0, at] == 0  # the canonical face: 0.7 below people's mean, which is within 2.7
    np.testing.assert_allclose(people[8:, at], own[8:, at], atol=0.3)
