"""Our own chat templates use every construct that other people's use, so that they stand in for them where there is no
network: template_constructs_test.py FETCHED_FOLDER (a Python with Jinja2)"""

import pathlib
import sys
import unittest

import jinja2
import jinja2.ext
from jinja2 import nodes

THEIRS = pathlib.Path(sys.argv[1])
OURS = pathlib.Path(__file__).resolve().parents[1] / "data/text/templates"
MARKS = ("{%-", "-%}", "{{-", "-}}", "{#-", "-#}", "{#")
# Not in transformers' environment: a template that uses it compiles in another program alone.
UNKNOWN = {"filter from_json"}


class Generation(jinja2.ext.Extension):
    """transformers' {% generation %}: here only its words matter."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(nodes.Call(nodes.Name("generation", "load"), [], [], None, None), [], [], body, lineno=line)


ENVIRONMENT = jinja2.Environment(extensions=[Generation, jinja2.ext.loopcontrols])
GLOBALS = {"caller", "cycler", "dict", "generation", "joiner", "namespace", "raise_exception", "range", "strftime_now"}


def of_call(node):
    if isinstance(node.node, nodes.Getattr):
        return f"method {node.node.attr}"
    if isinstance(node.node, nodes.Name) and node.node.name in GLOBALS:
        return f"call of {node.node.name}"
    return "call of a macro"


def of_loop(node):
    more = {"if": node.test, "else": node.else_, "recursive": node.recursive, "several names": isinstance(node.target, nodes.Tuple)}
    return ["for", *(f"for with {word}" for word, there in more.items() if there)]


def constructs(source):
    """What a template uses, as words: statements, operators, filters with their named arguments, methods, ..."""
    found = {f"mark {mark}" for mark in MARKS if mark in source}
    for node in ENVIRONMENT.parse(source).find_all(nodes.Node):
        kind = type(node).__name__
        if kind in ("Filter", "Test"):
            found.add(f"{kind.lower()} {node.name}")
            found |= {f"{kind.lower()} {node.name} with {keyword.key}" for keyword in node.kwargs}
        elif kind == "Call":
            found.add(of_call(node))
        elif kind == "For":
            found |= set(of_loop(node))
        elif kind == "Operand":
            found.add(f"operator {node.op}")
        elif kind == "Const":
            found.add(f"constant {type(node.value).__name__}")
        elif kind == "Slice":
            found.add("slice " + ":".join("x" if part else "" for part in (node.start, node.stop, node.step)))
        elif kind == "Getattr" and isinstance(node.node, nodes.Name) and node.node.name == "loop":
            found.add(f"loop.{node.attr}")
        elif kind == "CondExpr":
            found.add("x if y" + (" else z" if node.expr2 else ""))
        elif kind == "Macro":
            found.add("macro" + (" with defaults" if node.defaults else ""))
        else:
            found.add(kind)
    return found


def of_folder(folder):
    return {path.name: constructs(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.jinja"))}


class Constructs(unittest.TestCase):
    def test_ours_use_all_that_theirs_use(self):
        ours = set().union(*of_folder(OURS).values())
        theirs = of_folder(THEIRS)
        self.assertGreaterEqual(len(theirs), 71)
        missing = {name: sorted(found - ours - UNKNOWN) for name, found in theirs.items() if found - ours - UNKNOWN}
        self.assertEqual(missing, {}, "a template of tests/data/text/templates should use these")

    def test_ours_are_none_of_theirs(self):
        texts = {path.read_text(encoding="utf-8").strip() for path in THEIRS.glob("*.jinja")}
        self.assertEqual([path.name for path in OURS.glob("*.jinja") if path.read_text(encoding="utf-8").strip() in texts], [])

    def test_a_construct_that_is_missing_is_seen(self):
        self.assertIn("filter items", constructs("{{ x | items }}"))
        self.assertIn("filter tojson with indent", constructs("{{ x | tojson(indent=2) }}"))
        self.assertIn("method pop", constructs("{{ x.pop() }}"))
        self.assertIn("for with else", constructs("{% for i in x %}{% else %}none{% endfor %}"))
        self.assertIn("Break", constructs("{% for i in x %}{% break %}{% endfor %}"))
        self.assertNotIn("Break", constructs("{% for i in x %}{% endfor %}"))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
