"""The parts of the face extractor: from mesh points, or OpenFace's own tables, to OpenFace 2.2's 709 columns.

In: pictures, or a CSV. Out: arrays with one row per frame. One job per file; `lacuna.extractors.face` joins them.
Coordinates are OpenFace's: pixels with y down; millimetres in the camera's frame, x right, y down, z away from it.
"""
