#!/usr/bin/env python3
"""Renders every template x conversation with jinja2, the way transformers does.

    chat_template_goldens.py                          our own templates: tests/data/text/chat_template_goldens.json
    chat_template_goldens.py OUT TEMPLATES MODEL.gguf  other people's, of a folder and of a model, into the folder OUT:
                                                      OUT/templates and OUT/chat_template_goldens.json

The second is scripts/make_templates's, in `make test`: nothing of it is committed.
Made with transformers 5.23.0 and Jinja2 3.1.6 (transformers' own compiler and environment).
For each case: the text without a generation prompt, and that with one (as what it adds to the
former when it starts with it: ["+", suffix]); null where rendering raises.
"""

import datetime
import json
import pathlib
import shutil
import sys

import transformers.utils.chat_template_utils as chat
from tokenizer_sources import read_gguf_metadata

OURS = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "text"


class FixedDatetime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26, 13, 5, 9)


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather at a \"place\" <now> & then: 天気",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {"type": "string", "description": "A city"},
                    "days": {"type": "integer", "description": "How many", "default": 1},
                    "unit": {"type": "string", "enum": ["C", "F"], "description": "The unit"},
                },
                "required": ["place"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Adds numbers.",
            "parameters": {
                "type": "object",
                "properties": {"terms": {"type": "array", "items": {"type": "number"}}},
                "required": ["terms"],
            },
        },
    },
]


def call(arguments, **more):
    function = {"name": "get_weather", "arguments": arguments}
    return {"id": "abcdef123", "type": "function", "function": function, **more}


USER = {"role": "user", "content": "What is 1 + 1?"}
SYSTEM = {"role": "system", "content": "You are terse."}
ARGS = {"place": "Zürich", "days": 2}

CASES = {
    "user": {"messages": [USER]},
    "system_user": {"messages": [SYSTEM, USER]},
    "multi_turn": {
        "messages": [
            SYSTEM,
            USER,
            {"role": "assistant", "content": " 2. \n"},
            {"role": "user", "content": "  And 2 + 2?\n\n"},
        ]
    },
    "tools": {"messages": [SYSTEM, {"role": "user", "content": "Weather?"}], "tools": TOOLS},
    "tool_result": {
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": None, "tool_calls": [call(ARGS)]},
            {"role": "tool", "tool_call_id": "abcdef123", "name": "get_weather", "content": '{"t": 21.5}'},
            {"role": "assistant", "content": "21.5 degrees."},
            {"role": "user", "content": "Thanks"},
        ],
        "tools": TOOLS[:1],
    },
    "tool_call_text": {
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": "", "tool_calls": [call(json.dumps(ARGS))]},
            {"role": "tool", "tool_call_id": "abcdef123", "content": "21"},
        ],
        "tools": TOOLS[:1],
    },
    "parts": {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "three"}]},
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]},
        ]
    },
    "unicode": {"messages": [{"role": "user", "content": "naïve Ωmega 漢字 🤷🏽‍♀️ שלום \u2028 \"<|x|>\" \\n 'q'"}]},
    "empty_content": {"messages": [{"role": "system", "content": ""}, {"role": "user", "content": ""}]},
    "reasoning": {
        "messages": [
            USER,
            {"role": "assistant", "content": "2", "reasoning_content": "One and one\nis two."},
            {"role": "user", "content": "Sure?"},
            {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nYes."},
        ]
    },
    "no_thinking": {"messages": [USER], "extra": {"enable_thinking": False, "thinking": False}},
    "thinking": {"messages": [SYSTEM, USER], "extra": {"enable_thinking": True, "reasoning_effort": "high"}},
    "assistant_first": {"messages": [{"role": "assistant", "content": "Hello"}, USER, USER]},
    "unknown_role": {"messages": [USER, {"role": "wizard", "content": "Zap"}]},
    "no_messages": {"messages": []},
}


def render(template, case, prompt):
    variables = {"bos_token": "<s>", "eos_token": "</s>", **case.get("extra", {})}
    try:
        return template.render(
            messages=case["messages"],
            tools=case.get("tools"),
            documents=None,
            add_generation_prompt=prompt,
            **variables,
        )
    except Exception:
        return None


def collect(out, folder, gguf):
    """Other people's templates in one folder: those of `folder`, and the one in a model."""
    templates = out / "templates"
    shutil.rmtree(templates, ignore_errors=True)
    shutil.copytree(folder, templates, ignore=lambda _, names: [name for name in names if not name.endswith(".jinja")])
    (templates / (pathlib.Path(gguf).stem + ".jinja")).write_text(read_gguf_metadata(gguf)["tokenizer.chat_template"],
                                                                  encoding="utf-8")


def render_all(folder):
    goldens = {}
    for path in sorted((folder / "templates").glob("*.jinja")):
        template = chat._compile_jinja_template(path.read_text(encoding="utf-8"))
        rows = {}
        for name, case in CASES.items():
            plain, prompted = render(template, case, False), render(template, case, True)
            if plain is not None and prompted is not None and prompted.startswith(plain):
                prompted = ["+", prompted[len(plain) :]]
            rows[name] = [plain, prompted]
        goldens[path.stem] = rows
    return goldens


def main():
    chat.datetime = FixedDatetime
    folder = OURS
    if len(sys.argv) > 1:
        folder = pathlib.Path(sys.argv[1])
        collect(folder, *sys.argv[2:4])
    goldens = render_all(folder)
    path = folder / "chat_template_goldens.json"
    out = {"cases": CASES, "goldens": goldens}
    path.write_text(json.dumps(out, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    raised = sum(cell is None for rows in goldens.values() for row in rows.values() for cell in row)
    total = sum(len(rows) * 2 for rows in goldens.values())
    print(f"{len(goldens)} templates, {total} renderings ({raised} raise), {path.stat().st_size} bytes")


main()
