"""The lapse model: how it is judged, its review page, and the asset that trains and registers it."""

NAME = "lapse_model"
VERSION = "2"
FREQUENCY_ALONE = "frequency alone"  # the kind of a version that ranks by one feature, where nothing more helped
