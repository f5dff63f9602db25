"""Learning where to look: the library behind the book on saccades in machine learning.

Conventions, the same in every file:

Images
    float tensors ``(B, C, H, W)`` with values in [0, 1].
Locations
    ``(x, y)`` in [-1, 1]: x to the right, y down, 0 the centre of the image, -1 and 1
    the outer borders of its outermost pixels (PyTorch's ``align_corners=False``).
Scale
    ``s`` in (0, 1]: side of the crop over side of the image.
Glimpses
    T of them per image: locations ``(B, T, 2)``, scales ``(B, T)``, crops
    ``(B, T, C, L, L)``.
Seeds
    are arguments. Nothing here touches a global random state unless it says so.
Profiles
    ``quick`` (seconds; what the checks run), ``standard`` (the honest small
    experiment), ``paper`` (the sizes that a paper used).

Layers, top to bottom: notebooks; models, records, plots; train, estimators; glimpse,
pyramid, data; session. A file imports only from layers below its own. Importing the
package itself loads nothing but this text.
"""

__version__ = "0.1.0"
