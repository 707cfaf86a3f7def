"""The lapse model: how it is judged, its review page, and the asset that trains and registers it."""

NAME = "lapse_model"
VERSION = "2"
