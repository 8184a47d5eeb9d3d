"""Answers that grammars of schemas allow, judged by python's jsonschema: random schemas of all the
rules that dak knows, and such as pydantic makes. What a walk through a grammar ends with must be
valid, no walk may come to a place that nothing leads out of, and a valid value in the schema's order
must be taken. Usage: schema_walks_test.py DAK_SCHEMA_WALKS"""

import json
import random
import subprocess
import sys
import unittest

import jsonschema

WALKS = sys.argv.pop()
CHOICES = random.Random(5)

# Schemas in pydantic's manner, each with a valid value and one that is not.
DATE_OR_NONE = {"anyOf": [{"format": "date", "type": "string"}, {"type": "null"}], "default": None, "title": "Due"}
MANNERS = {
    "fields with bounds": (
        {"properties": {"age": {"maximum": 130, "minimum": 0, "title": "Age", "type": "integer"},
                        "share": {"exclusiveMinimum": 0, "maximum": 1, "title": "Share", "type": "number"},
                        "step": {"multipleOf": 5, "title": "Step", "type": "integer"}},
         "required": ["age", "share", "step"], "title": "Bounds", "type": "object"},
        {"age": 44, "share": 0.25, "step": -15}, {"age": 131, "share": 0.25, "step": 5}),
    "texts": (
        {"properties": {"code": {"pattern": "^[A-Z]{2}-\\d{3}$", "title": "Code", "type": "string"},
                        "note": {"maxLength": 8, "minLength": 1, "title": "Note", "type": "string"},
                        "when": {"format": "date-time", "title": "When", "type": "string"},
                        "id": {"format": "uuid", "title": "Id", "type": "string"}},
         "required": ["code", "note", "when", "id"], "title": "Texts", "type": "object"},
        {"code": "AB-123", "note": "é字😀", "when": "2026-11-30T10:00:00Z", "id": "123e4567-e89b-12d3-a456-426614174000"},
        {"code": "AB-12", "note": "x", "when": "2026-11-30T10:00:00Z", "id": "123e4567-e89b-12d3-a456-426614174000"}),
    "optional and default": (
        {"properties": {"due": DATE_OR_NONE, "done": {"default": False, "title": "Done", "type": "boolean"}},
         "title": "Task", "type": "object"},
        {"due": "2024-02-29"}, {"due": "soon"}),
    "enum by reference, with a description": (
        {"$defs": {"Hue": {"enum": ["red", "green"], "title": "Hue", "type": "string"}},
         "properties": {"hue": {"$ref": "#/$defs/Hue", "description": "of the lamp", "default": "red"},
                        "other": {"allOf": [{"$ref": "#/$defs/Hue"}], "description": "of version 1"}},
         "required": ["hue"], "title": "Lamp", "type": "object"},
        {"hue": "red", "other": "green"}, {"hue": "blue"}),
    "discriminated union": (
        {"$defs": {"Circle": {"properties": {"kind": {"const": "circle", "title": "Kind", "type": "string"},
                                             "radius": {"title": "Radius", "type": "number"}},
                              "required": ["kind", "radius"], "title": "Circle", "type": "object"},
                   "Square": {"properties": {"kind": {"const": "square", "default": "square", "title": "Kind", "type": "string"},
                                             "side": {"title": "Side", "type": "number"}},
                              "required": ["side"], "title": "Square", "type": "object"}},
         "properties": {"shape": {"discriminator": {"mapping": {"circle": "#/$defs/Circle", "square": "#/$defs/Square"},
                                                    "propertyName": "kind"},
                                  "oneOf": [{"$ref": "#/$defs/Circle"}, {"$ref": "#/$defs/Square"}], "title": "Shape"}},
         "required": ["shape"], "title": "Drawing", "type": "object"},
        {"shape": {"kind": "circle", "radius": 1.5}}, {"shape": {"kind": "circle", "side": 2}}),
    "tuples, sets and maps": (
        {"properties": {"pair": {"maxItems": 2, "minItems": 2, "prefixItems": [{"type": "integer"}, {"type": "string"}],
                                 "title": "Pair", "type": "array"},
                        "tags": {"items": {"type": "string"}, "title": "Tags", "type": "array", "uniqueItems": True},
                        "ids": {"items": {"type": "integer"}, "maxItems": 5, "title": "Ids", "type": "array", "uniqueItems": True},
                        "prices": {"additionalProperties": {"type": "number"}, "title": "Prices", "type": "object"},
                        "codes": {"patternProperties": {"^[a-z]+$": {"type": "integer"}}, "title": "Codes", "type": "object"},
                        "short": {"additionalProperties": {"type": "integer"}, "propertyNames": {"maxLength": 3}, "type": "object"}},
         "required": ["pair", "tags", "ids", "prices", "codes", "short"], "title": "Many", "type": "object"},
        {"pair": [1, "a"], "tags": ["a", "b"], "ids": [2, 1], "prices": {"x": 1.5}, "codes": {"ab": 1}, "short": {"abc": 1}},
        {"pair": [1, "a"], "tags": ["a", "a"], "ids": [], "prices": {}, "codes": {}, "short": {}}),
    "a tree": (
        {"$defs": {"Node": {"properties": {"name": {"title": "Name", "type": "string"},
                                           "children": {"default": [], "items": {"$ref": "#/$defs/Node"}, "title": "Children",
                                                        "type": "array"}},
                            "required": ["name"], "title": "Node", "type": "object"}},
         "$ref": "#/$defs/Node"},
        {"name": "a", "children": [{"name": "b", "children": []}]}, {"name": "a", "children": [{}]}),
    "a decimal": (
        {"properties": {"price": {"anyOf": [{"minimum": 0, "type": "number"},
                                            {"pattern": "^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$", "type": "string"}], "title": "Price"}},
         "required": ["price"], "title": "Item", "type": "object"},
        {"price": "12.50"}, {"price": "-."}),
    "closed": (
        {"additionalProperties": False, "properties": {"a": {"const": 1, "title": "A", "type": "integer"},
                                                       "b": {"enum": ["x", 2], "title": "B"}},
         "required": ["a"], "title": "Closed", "type": "object"},
        {"a": 1, "b": 2}, {"a": 2}),
}


def scalar():
    number = lambda: CHOICES.choice([-12, -1.5, 0, 0.25, 3, 7, 20, 1000])
    return CHOICES.choice([
        lambda: {"type": "integer", "minimum": number()},
        lambda: {"type": "integer", "maximum": number(), "multipleOf": CHOICES.choice([1, 2, 3, 10])},
        lambda: {"type": "number", "exclusiveMinimum": number()},
        lambda: {"type": "number", "maximum": number(), "minimum": -12},
        lambda: {"type": "string", "maxLength": CHOICES.randrange(6)},
        lambda: {"type": "string", "minLength": CHOICES.randrange(4), "pattern": CHOICES.choice(["^[a-c]*$", "x", "^\\d+-", "[^a]$"])},
        lambda: {"type": "string", "format": CHOICES.choice(["date", "time", "date-time", "uuid", "email", "ipv4", "duration"])},
        lambda: {"enum": CHOICES.sample(["a", "ab", 1, 2, 2.5, None, True, [1], {"k": 1}], 4)},
        lambda: {"const": CHOICES.choice(["a", 1, None, {"k": [1, 2]}])},
        lambda: {"type": CHOICES.sample(["string", "integer", "null", "boolean", "number"], 2), "minimum": number(), "minLength": 1},
        lambda: {"type": "boolean"}, lambda: {"minimum": number(), "maxLength": 3}, lambda: {}, lambda: {"type": "null"},
    ])()


def schema(depth):
    if depth == 0 or CHOICES.random() < 0.3:
        return scalar()
    below = lambda: schema(depth - 1)
    return CHOICES.choice([
        lambda: {"type": "object", "properties": {key: below() for key in CHOICES.sample("abcde", 3)},
                 "required": CHOICES.sample("abcdef", CHOICES.randrange(3)), **CHOICES.choice([{}, {"additionalProperties": below()}])},
        lambda: {"type": "object", "additionalProperties": below(), "maxProperties": 3, "minProperties": CHOICES.randrange(2)},
        lambda: {"type": "object", "patternProperties": {"^[ab]": below()}, "additionalProperties": below()},
        lambda: {"type": "object", "properties": {"a": below(), "b": below()}, "propertyNames": {"enum": ["a", "b", "c"]},
                 "minProperties": 1, "maxProperties": 1},
        lambda: {"type": "array", "items": below(), "maxItems": 3, "minItems": CHOICES.randrange(2)},
        lambda: {"type": "array", "prefixItems": [below(), below()], "items": below()},
        lambda: {"type": "array", "items": scalar(), "uniqueItems": True, "minItems": 2, "maxItems": 4},
        lambda: {"anyOf": [below(), below()]},
        lambda: {"anyOf": [below(), below()], **scalar()},
        lambda: {"allOf": [below(), below()]},
        lambda: {"allOf": [below()], **below()},
        lambda: {"oneOf": [below(), below()]},
        lambda: {"$ref": "#/$defs/s", **scalar()},
    ])()


def ask(requests):
    """One answer of the program for each request."""
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([WALKS], input=lines, capture_output=True, text=True, check=True, timeout=500)
    return [json.loads(line) for line in done.stdout.splitlines()]


class SchemaWalksTest(unittest.TestCase):
    def expect_valid(self, schema, answer):
        validator = jsonschema.Draft202012Validator(schema)
        self.assertEqual(answer["stuck"], [], json.dumps(schema))
        for text in answer["walks"]:
            try:
                validator.validate(json.loads(text))
            except (ValueError, jsonschema.ValidationError) as error:
                self.fail(f"{json.dumps(schema)}\n{text}\n{error}")

    def test_what_pydantic_makes(self):
        answers = ask({"schema": schema, "walks": 8, "texts": [json.dumps(good), json.dumps(good, ensure_ascii=False), json.dumps(bad)]}
                      for schema, good, bad in MANNERS.values())
        for (name, (schema, good, _)), answer in zip(MANNERS.items(), answers, strict=True):
            with self.subTest(name):
                self.assertNotIn("error", answer)
                jsonschema.Draft202012Validator(schema).validate(good)
                self.assertEqual(answer["takes"], [True, True, False], name)
                self.expect_valid(schema, answer)

    def test_random_schemas(self):
        requests = []
        for _ in range(400):
            one = {"$defs": {"s": scalar()}, **schema(2)}
            requests.append({"schema": one, "walks": 4, "texts": []})
        walks, refused = 0, {}
        for request, answer in zip(requests, ask(requests), strict=True):
            if "error" in answer:
                reason = answer["error"].split(" ", 2)[-1].split("/")[-1]
                refused[reason] = refused.get(reason, 0) + 1
                continue
            walks += len(answer["walks"])
            self.expect_valid(request["schema"], answer)
        self.assertGreater(walks, 500, refused)
        self.refusals(requests, refused)

    def refusals(self, requests, refused):
        """Most of what is refused holds for nothing."""
        others = {reason: count for reason, count in refused.items() if "allows no value" not in reason}
        self.assertLess(sum(others.values()), len(requests) // 5, refused)

    def test_values_are_taken(self):
        """A value of plain types beside rules that it is valid to."""
        values = ["a", "abc", "", "é", 0, 7, -3, 2.5, True, None, [], [1, 2], [1, "a"], {}, {"a": 1}, {"a": "x", "b": [1]}]
        requests = [{"schema": schema(1), "walks": 0, "texts": [json.dumps(value) for value in values]} for _ in range(300)]
        taken = 0
        for request, answer in zip(requests, ask(requests), strict=True):
            if "error" in answer:
                continue
            validator = jsonschema.Draft202012Validator(request["schema"])
            for value, takes in zip(values, answer["takes"], strict=True):
                taken += takes
                if takes:
                    self.assertTrue(validator.is_valid(value), f"{json.dumps(request['schema'])} {value!r}")
                elif "type" in request["schema"] and not isinstance(value, (dict, bool)) \
                        and not any(word in json.dumps(request["schema"]) for word in ("oneOf", "format")):
                    self.assertFalse(validator.is_valid(value), f"{json.dumps(request['schema'])} {value!r}")
        self.assertGreater(taken, 300)


if __name__ == "__main__":
    unittest.main()
