"""The tables of `dak inspect --keys` against transformers' configuration classes.

    config_keys_test.py DAK     in a Python that has transformers (tests/requirements.txt)
"""

import dataclasses
import fnmatch
import json
import subprocess
import sys
import unittest

from transformers import GenerationConfig, LlamaConfig, MistralConfig, OPTConfig, Qwen2Config, Qwen3Config
from transformers.modeling_rope_utils import RopeParameters

DAK = sys.argv.pop(1)
CLASSES = {"llama": LlamaConfig, "mistral": MistralConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config, "opt": OPTConfig}
# Fields that dak reads and the classes take as further arguments, each for the reason given.
BESIDE = {
    "model_type": "a class attribute", "torch_dtype": "older name of dtype", "rope_scaling": "older name of rope_parameters",
    "rope_theta": "older place, in rope_parameters now", "partial_rotary_factor": "the same",
    "original_max_position_embeddings": "the same",
}
BESIDE_OF = {
    ("llama", "layer_types"): "checked", ("llama", "sliding_window"): "checked", ("mistral", "layer_types"): "MinistralConfig's",
    ("qwen2", "head_dim"): "read with getattr",
}
# Where dak takes a null that the class no longer takes: its own __post_init__ says what it means.
NULLS = {("mistral", "num_key_value_heads")}


def table(name):
    output = subprocess.run([DAK, "inspect", "--keys", name, "--json"], check=True, capture_output=True, text=True).stdout
    return json.loads(output)


def row_of(rows, key):
    exact = [row for row in rows if row["key"] == key]
    return (exact or [row for row in rows if fnmatch.fnmatchcase(key, row["key"])] or [None])[0]


def takes_null(config_class, field):
    try:
        config_class(**{field: None})
    except Exception:
        return False
    return True


class ConfigKeys(unittest.TestCase):
    def test_every_attribute_of_each_class_is_in_the_table_with_its_default(self):
        common = table("config")
        for name, config_class in CLASSES.items():
            rows = table(name) + common
            for field in dataclasses.fields(config_class):
                with self.subTest(family=name, field=field.name):
                    row = row_of(rows, field.name)
                    self.assertIsNotNone(row, "is in no table")
                    if field.default is dataclasses.MISSING or row["use"] == "ignored":
                        continue
                    if row["use"] == "must be":
                        self.assertIn(field.default, row["values"] + [None])
                        continue
                    self.assertEqual(row["missing"], field.default)
                    if (name, field.name) not in NULLS:
                        self.assertEqual(row["null"], takes_null(config_class, field.name), "null")

    def test_every_field_that_is_used_is_the_classes_or_listed_here(self):
        for name, config_class in CLASSES.items():
            attributes = {field.name for field in dataclasses.fields(config_class)}
            for row in table(name) + table("config"):
                if row["use"] != "used" or row["key"] in attributes or row["key"] in BESIDE:
                    continue
                self.assertIn((name, row["key"]), BESIDE_OF)
            if name != "opt":
                self.assertEqual(row_of(table(name), "rope_theta")["missing"], config_class.default_theta)

    def test_what_the_tables_ignore_or_refuse_cannot_hide_an_attribute(self):
        # A pattern ignores only what it was written for.
        for name, config_class in CLASSES.items():
            wild = [row["key"] for row in table("config") if "*" in row["key"] and row["use"] == "ignored"]
            hidden = {f.name for f in dataclasses.fields(config_class) for key in wild if fnmatch.fnmatchcase(f.name, key)}
            self.assertLessEqual(hidden, {"attention_dropout", "dropout", "initializer_range", "output_hidden_states",
                                          "return_dict", "_remove_final_layer_norm"})

    def test_generation_config(self):
        rows = table("generation_config")
        for key in GenerationConfig().to_dict().keys() | vars(GenerationConfig()).keys():
            with self.subTest(key=key):
                self.assertIsNotNone(row_of(rows, key), "is in no table")

    def test_rope_parameters(self):
        rows = table("rope")
        for key in RopeParameters.__annotations__:
            with self.subTest(key=key):
                self.assertIsNotNone(row_of(rows, key), "is in no table")


if __name__ == "__main__":
    unittest.main()
