"""OpenFace 2.2's own action units from a user's copy of its model files. In: landmarks and frames. Out: AU*_r, AU*_c.

Nothing of OpenFace is in here: its predictors may be used for academic work, and are not to be passed on. `files`
reads the user's folder, `shape` fits its shape model to landmarks, `aligned` cuts the face out, `fhog` describes it,
`history` keeps a clip's running medians and `units` predicts. One job per file; `track` joins them.
Source: Baltrušaitis, Zadeh, Lim, Morency (2018), OpenFace 2.0; Baltrušaitis, Mahmoud, Robinson (2015), Cross-dataset
learning and person-specific normalisation for automatic Action Unit detection.
"""
