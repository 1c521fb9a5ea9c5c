from repcompare import errors as errors
from repcompare import simulate as simulate
from repcompare.compare import compare as compare
from repcompare.compare import measures as measures
from repcompare.compare import similarity_matrix as similarity_matrix
from repcompare.functional.alignment import cca as cca
from repcompare.functional.alignment import cka as cka
from repcompare.functional.alignment import procrustes as procrustes
from repcompare.functional.diagnostics import axis_alignment as axis_alignment
from repcompare.functional.diagnostics import influence as influence
from repcompare.functional.encoding import encode as encode
from repcompare.functional.geometry import cknna as cknna
from repcompare.functional.geometry import distance_correlation as distance_correlation
from repcompare.functional.geometry import gulp as gulp
from repcompare.functional.geometry import mutual_knn as mutual_knn
from repcompare.functional.geometry import pwcca as pwcca
from repcompare.functional.geometry import shape_distance as shape_distance
from repcompare.functional.geometry import soft_match as soft_match
from repcompare.functional.geometry import svcca as svcca
from repcompare.functional.rdms import compare_rdms as compare_rdms
from repcompare.functional.rdms import rdm as rdm
from repcompare.functional.rdms import rsa as rsa
from repcompare.labels.formats import read as read
from repcompare.labels.parts import split_by as split_by
from repcompare.labels.preprocess import average_repeats as average_repeats
from repcompare.labels.preprocess import complete_block as complete_block
from repcompare.labels.preprocess import split_halves as split_halves
from repcompare.labels.schema import representation as representation
from repcompare.labels.schema import validate as validate
from repcompare.labels.scores import concat_scores as concat_scores
from repcompare.labels.spikes import bin_spikes as bin_spikes
from repcompare.labels.store import open as open
from repcompare.labels.store import save as save
from repcompare.views import plot as plot
from repcompare.views.table import table as table

__version__: str
__all__: list[str]
