"""Builders of moving faces for tests. In: how a face moves. Out: mesh points, pictures, videos.

Three makings, from exact to real: points of the canonical face projected through a camera; that face rendered with the
skin of scikit-image's astronaut (a real face, public domain); and the astronaut's picture itself, warped.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from importlib import resources
from pathlib import Path

import av
import cv2
import numpy as np
from scipy.spatial import Delaunay
from skimage.data import astronaut

from lacuna.extractors import _openface
from lacuna.extractors._openface import points
from lacuna.extractors._openface.geometry import Camera, rotation
from lacuna.extractors._openface.landmarker import Landmarker

CAMERA = Camera.of_picture(640, 480)
BROWS = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55)
UPPER_LID = (246, 161, 160, 159, 158, 157, 173)
LOWER_LID = (7, 163, 144, 145, 153, 154, 155)
Vector = tuple[float, float, float]


@cache
def vertices() -> np.ndarray:
    """The canonical face (478, 3) mm in OpenFace's axes, the mean of the 68 landmarks at the origin; irises put in."""
    text = resources.files(_openface).joinpath("canonical_face.csv").read_text(encoding="utf-8")
    face = np.loadtxt(text.splitlines(), delimiter=",") * [10.0, -10.0, -10.0]
    irises = []
    for corner, other in ((33, 133), (362, 263)):
        centre = (face[corner] + face[other]) / 2 + [0, -1.0, -2.0]
        irises += [centre + 5.85 * np.array(side) for side in ((0, 0, 0), (1, 0, 0), (0, -1, 0), (-1, 0, 0), (0, 1, 0))]
    face = np.concatenate([face, irises])
    return face - points.landmarks(face[list(points.KEPT)]).mean(axis=0)


def moved(seeds: dict[int, Vector], radius: float, only: tuple[int, ...] = ()) -> np.ndarray:
    """The face with both sides' `seeds` moved (out, up, back) mm, their surroundings following within `radius` mm.

    Seeds are mesh points of the image's left half or the midline; `only` bounds what follows (and its mirror image).
    """
    face = vertices()
    mirror = np.argmin(np.linalg.norm(face[:, None] * [-1, 1, 1] - face[None], axis=-1), axis=1)
    weight, change = np.zeros(len(face)), np.zeros_like(face)
    for seed, (out, up, back) in seeds.items():
        for index, side in {seed: -1, int(mirror[seed]): 1}.items():
            near = np.exp(-((np.linalg.norm(face - face[index], axis=1) / radius) ** 2))
            flat = 0.0 if mirror[seed] == seed else side * out
            change += near[:, None] * np.array([flat, -up, back])
            weight += near
    change /= np.maximum(weight, 1.0)[:, None]
    if only:
        bound = np.isin(np.arange(len(face)), [*only, *mirror[list(only)]])
        change[~bound] = 0
    return face + change


def seen(faces: np.ndarray, angles: np.ndarray, place: Vector = (10.0, -5.0, 500.0)) -> np.ndarray:
    """Kept points (T, KEPT, 3) px, as the mesh gives them, of faces (T, 478, 3) mm turned by angles (T, 3) rad."""
    placed = faces[:, list(points.KEPT)] @ np.swapaxes(rotation(angles), -1, -2) + np.array(place)
    depth = (placed[..., 2:] - place[2]) * CAMERA.focal / place[2]
    return np.concatenate([CAMERA.project(placed), depth], axis=-1)


@cache
def portrait() -> np.ndarray:
    """The astronaut's picture (512, 512, 3), read once."""
    return astronaut()


@cache
def skin() -> np.ndarray:
    """Where each mesh point lies in the astronaut's picture (478, 2) px."""
    return Landmarker(scored=False).points(portrait())[0][:, :2]


def rendered(angles: np.ndarray, place: Vector = (10.0, -5.0, 380.0)) -> np.ndarray:
    """A picture (480, 640, 3) of the canonical face with the astronaut's skin, turned by angles (3,) rad."""
    face, source = vertices()[:468], skin()[:468].astype(np.float32)
    placed = face @ rotation(angles).T + np.array(place)
    target = CAMERA.project(placed).astype(np.float32)
    triangles = Delaunay(face[:, :2]).simplices
    picture = np.full((480, 640, 3), 90, np.uint8)
    for triangle in triangles[np.argsort(-placed[triangles, 2].mean(axis=1))]:  # far ones first
        a, b = source[triangle], target[triangle]
        turned = np.linalg.det(np.stack([b[1] - b[0], b[2] - b[0]])) * np.linalg.det(
            np.stack([a[1] - a[0], a[2] - a[0]])
        )
        low, high = np.floor(b.min(axis=0)).astype(int) - 1, np.ceil(b.max(axis=0)).astype(int) + 2
        if turned <= 0 or (low < 0).any() or high[0] > 640 or high[1] > 480:
            continue
        piece = cv2.warpAffine(
            portrait(),
            cv2.getAffineTransform(a, (b - low).astype(np.float32)),
            tuple((high - low).tolist()),
            borderMode=cv2.BORDER_REFLECT,
        )
        mask = np.zeros(piece.shape[:2], np.uint8)
        cv2.fillConvexPoly(mask, np.round((b - low) * 16).astype(np.int32), 1, cv2.LINE_8, 4)
        picture[low[1] : high[1], low[0] : high[0]][mask > 0] = piece[mask > 0]
    return picture


def warped(moves: dict[int, tuple[float, float]], radius: float) -> np.ndarray:
    """The astronaut's picture with mesh points moved by (right, down) px, the skin within `radius` px following."""
    y, x = np.mgrid[0:512, 0:512].astype(np.float32)
    shift, weight = np.zeros((512, 512, 2), np.float32), np.zeros((512, 512), np.float32)
    for index, move in moves.items():
        centre = skin()[index] + move
        near = np.exp(-(((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / radius**2)).astype(np.float32)
        shift += near[..., None] * np.array(move, np.float32)
        weight += near
    shift /= np.maximum(weight, 1)[..., None]
    return cv2.remap(portrait(), x - shift[..., 0], y - shift[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def written(path: Path, pictures: list[np.ndarray], rate: int = 25, sound: np.ndarray | None = None) -> Path:
    """A video of the pictures, nearly lossless, with `sound` (n,) float at 16 kHz beside it where given."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=Fraction(rate), options={"crf": "8", "preset": "ultrafast"})
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuv420p"
        track = container.add_stream("aac", rate=16000, layout="mono") if sound is not None else None
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(video.encode())
        if track is not None:
            frame = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(track.encode(frame))
            container.mux(track.encode())
    return path
