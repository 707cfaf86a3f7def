"""The lifetime value model: how it is judged, its review page, and the asset that fits and registers it."""

NAME = "lifetime_value_model"
VERSION = "2"
