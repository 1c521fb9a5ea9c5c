"""repcompare: how alike are two systems' responses to the same stimuli, where, and can it be believed?

The public names are loaded when first used, so that importing the package costs next to nothing.
"""

import sys as _sys
from importlib import import_module as _import_module
from types import ModuleType as _ModuleType
from typing import Any as _Any

__version__ = "0.1.0"

# public name -> module that is its home
_HOMES = {
    "read": "repcompare.labels.formats",
    "representation": "repcompare.labels.schema",
    "validate": "repcompare.labels.schema",
    "split_by": "repcompare.labels.parts",
    "average_repeats": "repcompare.labels.preprocess",
    "split_halves": "repcompare.labels.preprocess",
    "complete_block": "repcompare.labels.preprocess",
    "bin_spikes": "repcompare.labels.spikes",
    "save": "repcompare.labels.store",
    "open": "repcompare.labels.store",
    "concat_scores": "repcompare.labels.scores",
    "rdm_set": "repcompare.labels.rdms",
    "merge_sets": "repcompare.labels.rdms",
    "compare": "repcompare.compare",
    "similarity_matrix": "repcompare.compare",
    "best": "repcompare.engine.best",
    "measures": "repcompare.compare",
    "searchlight": "repcompare.searchlight",
    "neighbourhoods": "repcompare.searchlight",
    "cka": "repcompare.functional.alignment",
    "svcca": "repcompare.functional.geometry",
    "pwcca": "repcompare.functional.geometry",
    "shape_distance": "repcompare.functional.geometry",
    "shape_distances": "repcompare.functional.shapes",
    "soft_match": "repcompare.functional.geometry",
    "gulp": "repcompare.functional.geometry",
    "distance_correlation": "repcompare.functional.geometry",
    "mutual_knn": "repcompare.functional.geometry",
    "cknna": "repcompare.functional.geometry",
    "influence": "repcompare.functional.diagnostics",
    "axis_alignment": "repcompare.functional.diagnostics",
    "rsa": "repcompare.functional.rdms",
    "rdm": "repcompare.functional.distances",
    "estimate_noise": "repcompare.functional.distances",
    "compare_rdms": "repcompare.functional.rdms",
    "rdm_models": "repcompare.functional.rdm_models",
    "rdm_ceiling": "repcompare.functional.rdm_sets",
    "rdm_map": "repcompare.functional.rdm_sets",
    "merge_partial": "repcompare.functional.rdm_sets",
    "rsa_inference": "repcompare.functional.rsa_inference",
    "fr_rsa": "repcompare.functional.rdm_regression",
    "variance_partitioning": "repcompare.functional.rdm_regression",
    "cluster": "repcompare.functional.spaces",
    "embed": "repcompare.functional.spaces",
    "medoids": "repcompare.functional.spaces",
    "frechet_mean": "repcompare.functional.barycentre",
    "procrustes": "repcompare.functional.alignment",
    "cca": "repcompare.functional.alignment",
    "encode": "repcompare.functional.encoding",
    "canonical_hrf": "repcompare.measures.encoding.delays",
    "convert_alpha": "repcompare.functional.encoding",
    "decode": "repcompare.functional.decoding",
    "decode_layers": "repcompare.functional.decode_layers",
    "label_target": "repcompare.labels.targets",
    "table": "repcompare.views.table",
    "plot": "repcompare.views.plot",
    "simulate": "repcompare.simulate",
    "estimators": "repcompare.estimators",
    "encode_partition": "repcompare.functional.encoding_partition",
    "learning_curve": "repcompare.functional.learning_curve",
}
_MODULES = {"estimators", "plot", "rdm_models", "simulate", "errors"}

__all__ = sorted([*_HOMES, "errors", "__version__"])


class _FrontDoor(_ModuleType):
    """The package as users see it: importing the submodule ``compare`` must not hide the function ``compare``."""

    def __getattr__(self, name: str) -> _Any:
        if name in ("errors", "functional"):
            return _import_module(f"repcompare.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module 'repcompare' has no attribute {name!r}")
        module = _import_module(_HOMES[name])
        found = module if name in _MODULES else getattr(module, name)
        self.__dict__[name] = _Menu(found) if name == "measures" else found
        return self.__dict__[name]

    def __setattr__(self, name: str, value: _Any) -> None:
        if isinstance(value, _ModuleType) and name in _HOMES and name not in _MODULES:
            return  # the import system binding a submodule to its parent
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return __all__


class _Menu:
    """``repcompare.measures()`` is the menu; ``repcompare.measures.cka`` is still the module of that name."""

    def __init__(self, menu: _Any) -> None:
        self._menu = menu
        self.__doc__ = menu.__doc__

    def __call__(self) -> _Any:
        return self._menu()

    def __getattr__(self, name: str) -> _Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return _import_module(f"repcompare.measures.{name}")
        except ModuleNotFoundError:
            raise AttributeError(f"module 'repcompare.measures' has no attribute {name!r}") from None


_sys.modules[__name__].__class__ = _FrontDoor
