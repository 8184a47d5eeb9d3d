#!/usr/bin/env python3
"""Writes tests/data/text/jinja_cases.json: small templates and what jinja2 makes of them.

Run: python3 reference/jinja_cases.py
Made with transformers 5.23.0 and Jinja2 3.1.6 (transformers' own compiler and environment).
A row is [template, text], with null for the text where compiling or rendering raises.
"""

import datetime
import json
import pathlib

import transformers.utils.chat_template_utils as chat

PATH = pathlib.Path(__file__).resolve().parent.parent / "tests/data/text/jinja_cases.json"


class FixedDatetime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26, 13, 5, 9)


X = {
    "s": "Hello, World",
    "u": "naïve Straße 漢字 🤷🏽",
    "n": 7,
    "f": 2.5,
    "t": True,
    "nil": None,
    "l": [3, 1, 2],
    "words": ["b", "A", "c", "a"],
    "d": {"b": 1, "a": [1, 2.0, None, True], "items": "shadowed"},
    "people": [
        {"name": "Ann", "age": 30, "tags": ["x"], "addr": {"city": "Rome"}},
        {"name": "bob", "age": 25, "tags": [], "addr": {"city": "Oslo"}},
        {"name": "Cy", "age": 30, "addr": {"city": "rome"}},
    ],
    "quote": "it's \"q\"\n\t\\ \x07 \u200b é",
}

# One expression each, printed by {{ }}.
EXPRESSIONS = r"""
"<p>a <b>b</b>\n<!-- c > d --> e &lt;i&gt; &amp;amp; &#39;&#x41; < f" | striptags
"a & b &" | striptags
n | striptags
0 | filesizeformat
1 | filesizeformat
999.9 | filesizeformat
1000 | filesizeformat
123456789 | filesizeformat
123456789 | filesizeformat(true)
"2048" | filesizeformat(binary=true)
1e30 | filesizeformat
-5 | filesizeformat
{"a": 1, "b": none, "c": missing, "d": "x<\"y\">&'"} | xmlattr
{"a": 1} | xmlattr(false)
{} | xmlattr
{"a b": 1} | xmlattr
"a" | xmlattr
1 + 2 * 3 - 4
2 ** 3 ** 2
-2 ** 2
7 // 2
-7 // 2
7 % 3
-7 % 3
7 % -3
7.5 // 2
-7.5 % 2
1 / 2
4 / 2
1e3
1.5e-7
1e16
1e15
123456789.123456789
0.1 + 0.2
1_000
0x1F + 0b11 + 0o17
True + 1
1 == 1.0
1 == True
'1' == 1
1 < 2 < 3
1 < 3 < 2
3 > 2 == 2
'a' < 'b'
'a' < 1
[1, 2] < [1, 3]
[1, 2] == [1, 2]
(1, 2) == [1, 2]
{'a': 1} == {'a': 1.0}
none == undefined_name
undefined_name == other_undefined
1 in l
9 not in l
'ell' in s
1 in s
'a' in d
'x' in undefined_name
'x' in nil
not t
not t or n
t and n
'' or 'fallback'
nil and 1
s ~ n ~ f ~ nil ~ t ~ l
s + n
l + [4]
l + (4,)
(1,) + (2,)
'ab' * 3
3 * 'ab'
[0] * 3
'ab' * -1
'x' if t else 'y'
'x' if not t else 'y'
'x' if not t
('x' if not t) is defined
'x' if t else 'y' if f else 'z'
-n
+f
- 'a'
[1, 2, 3,]
(1,)
()
[]
{}
{'a': 1, 'b': [1, 'x', none, true, 1.0]}
{1: 'a', 1.0: 'b', true: 'c'}
{'a': 1, 'a': 2}
{[1]: 2}
'con' 'cat' "ed"
'a\nb\t\'q\' \x41 \u00e9 \U0001F600 \101 \q'
"it's"
quote
[quote]
['it\'s', "q\"", 'both\'"']
[u]
l[0]
l[-1]
l[9]
l['x']
l[1:]
l[:-1]
l[::-1]
l[::2]
l[5:]
l[0:2:0]
s[0]
s[-5:]
s[::-1]
u[2]
u[-1]
u[::-1]
u | length
u[3:8]
d['a']
d.a
d.items
d['items']
d.keys() | list
d.get('zz')
d.get('zz', 5)
d.get('b')
d.zz
d.zz.yy
d['zz'] is defined
d.values() | list
d.items() | list
d.items()
d.keys()
d.items() | length
d
d.update({'z': 1})
d.pop('a')
d.append
l.append(4)
l.index(1)
l.index(99)
l.count(1)
l.sort()
nil.x
nil['x']
n.x
undefined_name
undefined_name.x
undefined_name[0]
undefined_name()
undefined_name + 1
undefined_name | length
undefined_name | list
undefined_name | upper
undefined_name ~ 'x'
undefined_name | default('dflt')
'' | default('dflt')
'' | default('dflt', true)
'' | d('dflt', boolean=true)
nil | default('x')
s.strip('Hd')
'  x '.strip()
' \n x'.lstrip()
'x \u3000'.rstrip()
'xxaxx'.strip('x')
s.split(', ')
'a  b c '.split()
'a b c d'.split(' ', 2)
' a  b  c '.split(none, 1)
' a  b  c '.rsplit(none, 1)
'a,b,c'.rsplit(',', 1)
'a,,b'.split(',')
'abc'.split('')
'a\nb\r\nc\n'.splitlines()
'a\nb'.splitlines(true)
'a-b-c'.partition('-')
'a-b-c'.rpartition('-')
s.startswith('Hell')
s.startswith(('x', 'H'))
s.startswith('World', 7)
s.endswith('ld')
s.endswith(1)
s.upper()
u.upper()
u.lower()
'ΑΣ ΣΑΣ'.lower()
"they're bill's".title()
"they're bill's (x) a-b" | title
u | title
u.capitalize()
'hELLO wORLD' | capitalize
'ßa'.capitalize()
'Ab'.swapcase()
s.replace('l', 'L')
s.replace('l', 'L', 1)
s.replace('', '-')
s.find('o')
s.find('o', 5)
s.find('zz')
s.rfind('o')
s.index('zz')
u.find('漢')
s.count('l')
s.count('')
'-'.join(['a', 'b'])
'-'.join([1])
'-'.join('abc')
'{} {} {}'.format(1, 'a', none)
'{0}{1}{0}'.format('a', 'b')
'{x.a} {y[0]}'.format(x=d, y=l)
'{:>5}|{:<5}|{:^5}|{:05d}|{:.2f}|{:x}|{:,}'.format('a', 'b', 'c', 42, 3.14159, 255, 1234567)
'{!r:>6}'.format('a')
'{{}}'.format()
'{'.format(1)
'%s and %d and %.2f %%' % ('a', 5, 1.5)
'%5s|%-5s|%05d' % ('a', 'b', 42)
'%s' % nil
'%s' % (1, 2)
'%d' % 'x'
'%(a)s' % {'a': 1}
'ab'.removeprefix('a')
'ab'.removesuffix('b')
'12'.isdigit()
'²'.isdigit()
'²'.isdecimal()
'½'.isnumeric()
''.isdigit()
'aé'.isalpha()
'a1'.isalnum()
' \t'.isspace()
'ABC1'.isupper()
'abc1'.islower()
'a'.center(6, '*')
'ab'.center(5, '*')
'a'.ljust(3) ~ '|'
'a'.rjust(3)
'-5'.zfill(4)
'x'.nope()
'x'.__class__
s.format_map
s | upper
5 | upper
s | lower
s | length
l | length
n | length
s | trim
'xxaxx' | trim('x')
5 | trim
s | replace('o', '0')
s | replace('o', '0', 1)
12321 | replace(2, 'x')
s | reverse
l | reverse | list
d | length
l | join(', ')
l | join
people | join(', ', attribute='name')
people | map(attribute='name') | join(',')
people | map(attribute='addr.city') | list
people | map(attribute='tags', default='-') | list
people | map(attribute='nope') | list
words | map('upper') | list
words | map('replace', 'a', 'z') | list
words | map | list
words | map('nope') | list
people | selectattr('age', 'equalto', 30) | map(attribute='name') | list
people | selectattr('age', '>', 26) | list | length
people | selectattr('tags') | map(attribute='name') | list
people | selectattr('tags', 'defined') | map(attribute='name') | list
people | rejectattr('age', 'eq', 30) | map(attribute='name') | list
people | selectattr('name', 'in', ['Ann', 'Cy']) | list | length
l | select('odd') | list
l | select('greaterthan', 1) | list
[0, 1, '', 'a', none] | select | list
[0, 1, '', 'a', none] | reject | list
l | reject('equalto', 1) | list
l | select('odd') | length
(l | select('odd')) | first
(l | select('odd')) | last
(l | select('nope')) | list
(l | select('odd'))[0]
'yes' if (l | select('equalto', 99)) else 'no'
l | sort
l | sort(reverse=true)
words | sort
words | sort(case_sensitive=true)
people | sort(attribute='age') | map(attribute='name') | list
people | sort(attribute='age,name', reverse=true) | map(attribute='name') | list
[1, 'a'] | sort
[3, 1, 3, 'a', 'A', 1] | unique | list
people | map(attribute='addr.city') | unique | list
l | min
l | max
words | min
[] | max
people | max(attribute='age')
l | sum
people | sum(attribute='age')
l | sum(start=10)
[1.5, 2] | sum
l | first
l | last
[] | first
[] | last
s | first
d | first
s | list
d | list
d | items | list
undefined_name | items | list
l | items
d | dictsort
{'B': 1, 'a': 3, 'C': 2} | dictsort
{'B': 1, 'a': 3, 'C': 2} | dictsort(true)
{'B': 1, 'a': 3, 'C': 2} | dictsort(false, 'value')
{'B': 1, 'a': 3} | dictsort(reverse=true)
5 | string
f | string
l | string
'3.7' | int
'abc' | int
'abc' | int(5)
'0x1f' | int(0, 16)
' 42 ' | int
'1_0' | int
3.9 | int
-3.9 | int
nil | int
true | int
'2.5' | float
'x' | float
'1e3' | float
'inf' | float
5 | float
-5 | abs
-2.5 | abs
2.567 | round(2)
2.5 | round
3.5 | round
2.4 | round(0, 'ceil')
2.6 | round(method='floor')
5 | round
0.5 | round | int
'a\nb\n\nc' | indent
'a\nb' | indent(2, true)
'a\n\nb' | indent(width=2, blank=true)
'a\nb' | indent('> ')
5 | indent
s | safe
'<a & "b">' | e
'<a>' | escape
'<a>' | safe ~ '<b>'
('<a>' | safe) + '<b>'
'<b>' + ('<a>' | safe)
('<a>%s' | safe) % '<b>'
('<a>' | safe).replace('a', '<')
('<a>' | safe) | upper + '<'
('<' | safe).join(['<', '>'])
(('<a> b' | safe).split(' '))[0] + '<'
('<' | safe)[0] + '<'
('<' | safe) * 2 + '<'
'a b c' | wordcount
'foo bar baz qux' | truncate(9)
'foo bar baz qux' | truncate(9, true)
'%s-%s' | format('a', 1)
[1, 2, 3, 4, 5] | batch(2) | list
[1, 2, 3] | batch(2, 'x') | list
people | groupby('age') | list | length
(people | groupby('age') | first).__class__
(people | groupby('age') | map('first') | list)
d | tojson
people | tojson
u | tojson
u | tojson(ensure_ascii=true)
'🤷' | tojson(ensure_ascii=true)
quote | tojson
d | tojson(indent=2)
[] | tojson(indent=2)
{'a': [], 'b': {}} | tojson(indent=4)
d | tojson(separators=(',', ':'))
{'b': 1, 'a': 2} | tojson(sort_keys=true)
d | tojson(false, 1)
{1: 2, none: 3, true: 4, 1.5: 5} | tojson
(1, 2) | tojson
undefined_name | tojson
[undefined_name] | tojson
d.items() | tojson
'</script>' | tojson
1.0 | tojson
1e100 | tojson
n is odd
n is even
n is divisibleby 7
n is divisibleby(2)
n is defined
undefined_name is defined
undefined_name is undefined
undefined_name is not defined
nil is none
nil is not none
s is string
d is mapping
l is mapping
l is iterable
s is iterable
n is iterable
d is sequence
l is sequence
s is sequence
undefined_name is sequence
(l | select) is sequence
n is number
t is number
f is number
s is number
n is integer
t is integer
f is float
n is float
t is boolean
n is boolean
t is true
n is true
t is false
n is eq 7
n is equalto(7)
n == 7 and n is ne 8
n is gt 5
n is ge 7
n is lt 5
n is le 7
n is in [1, 7]
n is not in [1, 7]
nil is sameas none
t is sameas true
range is callable
s is callable
'ABC' is upper
'abc' is lower
n is nope
'x' is filter
'upper' is filter
range(3) | list
range(1, 10, 3) | list
range(5, 0, -2) | list
range(3)
range(0)
range(3)[1]
range(3) | length
range(1, 2, 0)
range(100001)
range('a')
dict(a=1, b=2)
dict([('a', 1)], b=2)
dict({'a': 1}, a=2)
namespace(a=1)
namespace(a=1).a
namespace(a=1).b is defined
namespace(_a=1)
strftime_now('%Y-%m-%d %H:%M:%S %B %b %d %A %j')
strftime_now('')
raise_exception('no')
l is defined and l | length > 2
not l is defined
not 1 == 2
1 if 0 else 2 if 0 else 3
l | length > 2 and 'a' or 'b'
n|string|length
s.lower().split(', ')[1][0]
(1, 2)[0]
[[1, 2], [3]][0][1]
{'a': {'b': 5}}['a']['b']
{'a': {'b': 5}}.a.b
people.0.name
people[0]['addr'].city
1 .x
[1,2](0)
1 + + 1
1 +
(1
foo bar
)
'unclosed
l[1
{'a' 1}
x =
true = 1
a.b.c.d
1 | nope
1 is defined is defined
l[none:2]
l['1':]
u | wordcount
d.copy()
d.fromkeys
s.encode
1 in d
[1] in d
1 in 1
9223372036854775807
-9223372036854775807 - 1
2 ** 62
2 ** -1
2 ** 0.5
0 ** 0
1 / 0
1 // 0
1 % 0
1.0 / 0
'%c' % 'a' if false else 'ok'
[1, [2, [3]]] | string
{'a': (1, 2), 'b': {}} | string
1e400
-0.0
100000000000000000000.0
1e22
5e-324
1.7976931348623157e308
0.0001
0.00001
"""

TEMPLATES = [
    "a\n",
    "a\n\n",
    "a\r\nb\rc",
    "{{ 'a\r\nb' }}",
    "  {% if t %}\n  x\n  {% endif %}\n  y",
    "  {%- if t %}\n  x\n  {%- endif %}\n  y",
    "a  {%+ if t %}\n  x\n  {%+ endif +%}\n  y",
    "a {%- if t -%} \n x \n {%- endif -%} \n b",
    "a\n  {{- n -}}  \n b",
    "a\n  {{ n }}  \n b",
    "{{+ n }}",
    "x {# comment #} y",
    "x\n  {# comment #}\n y",
    "x\n  {#- comment -#}\n y",
    "x\n  {#+ c +#}\n y",
    "{# never closed",
    "{% raw %}{{ n }}{% if %}{% endraw %}|",
    "{% raw -%}  {{ n }}  {%- endraw %}\n|",
    "  {% raw %}\n x\n  {% endraw %}\n|",
    "{% raw %} never closed",
    "{{ '}}' }}{{ '%}' }}",
    "{{ {'a': {'b': 1}} }}",
    "{{ {'a': {'b': 1}}}}",
    "{ { n } }",
    "{% if n == 1 %}a{% elif n == 7 %}b{% else %}c{% endif %}",
    "{% if nil %}a{% elif undefined_name %}b{% else %}c{% endif %}",
    "{% if n: %}a{% endif %}",
    "{% if %}a{% endif %}",
    "{% if n %}a",
    "{% endif %}",
    "{% else %}",
    "{% nope %}",
    "{% for x in l %}{{ x }},{% endfor %}",
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }} {% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for x in [1, 1, 2] %}{{ loop.changed(x) }} {% endfor %}",
    "{% for x in l %}{{ loop.nope }}{% endfor %}",
    "{% for x in [] %}a{% else %}empty{% endfor %}",
    "{% for x in l %}a{% else %}empty{% endfor %}",
    "{% for x in l if x > 1 %}{{ x }}{{ loop.index }}{{ loop.last }}{{ loop.length }} {% endfor %}",
    "{% for x in l if x > 9 %}{{ x }}{% else %}none{% endfor %}",
    "{% set ns = namespace(stop=false) %}{% for x in l if not ns.stop %}{{ x }}{% set ns.stop = true %}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in d %}{{ k }};{% endfor %}",
    "{% for a, b in [[1, 2], [3, 4]] %}{{ a }}{{ b }}{% endfor %}",
    "{% for a, (b, c) in [[1, [2, 3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for a, b in [[1, 2, 3]] %}{{ a }}{% endfor %}",
    "{% for c in u %}[{{ c }}]{% endfor %}",
    "{% for x in n %}{{ x }}{% endfor %}",
    "{% for x in nil %}{{ x }}{% endfor %}",
    "{% for x in undefined_name %}{{ x }}{% else %}e{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% break %}{% else %}e{% endfor %}",
    "{% for x in l %}{% continue %}{% else %}e{% endfor %}",
    "{% break %}",
    "{% for x in l %}{% for y in l %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}",
    "{% for x in l %}{% set y = x %}{% endfor %}{{ y }}",
    "{% set y = 0 %}{% for x in l %}{{ y }}{% set y = x %}{{ y }} {% endfor %}{{ y }}",
    "{% set x = 'o' %}{% for x in l %}{{ x }}{% endfor %}{{ x }}",
    "{% for loop in l %}{% endfor %}",
    "{% for x in l %}{% set loop = 1 %}{% endfor %}",
    "{% for x in range(3) %}{% if loop.last %}{{ loop.index }}{% endif %}{% endfor %}",
    "{% for x in l recursive_not %}{% endfor %}",
    "{% set x = 5 %}{{ x }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set a, b = 1, 2, 3 %}",
    "{% set x = 1, %}{{ x }}",
    "{% set x %}block {{ n }}{% endset %}{{ x }}!",
    "{% set x | upper %}block {{ n }}{% endset %}{{ x }}!",
    "{% set x %}{% set y = 2 %}{% endset %}{{ y }}",
    "{% if t %}{% set y = 2 %}{% endif %}{{ y }}",
    "{% set ns = namespace(a=1) %}{% set ns.a = ns.a + 1 %}{{ ns.a }}",
    "{% set ns = namespace() %}{% for x in l %}{% set ns.last = x %}{% endfor %}{{ ns.last }}{{ ns }}",
    "{% set ns = namespace() %}{% set ns._x = 1 %}",
    "{% set d.x = 1 %}",
    "{% set ns.x = 1 %}",
    "{% set true = 1 %}",
    "{% set x = %}",
    "{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(b=5, a=4) }}",
    "{% macro m(a, b=a) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }}",
    "{% macro m(a) %}[{{ a }}]{{ a is defined }}{% endmacro %}{{ m() }}",
    "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{% endmacro %}{{ m(x=2) }}",
    "{% macro m(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}",
    "{% macro m() %}{{ caller() }}|{{ caller() }}{% endmacro %}{% call m() %}body {{ n }}{% endcall %}",
    "{% macro m() %}{{ caller(5) }}{% endmacro %}{% call(x) m() %}got {{ x }}{% endcall %}",
    "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}",
    "{% macro m(x) %}{{ x }}{% if x > 0 %}{{ m(x - 1) }}{% endif %}{% endmacro %}{{ m(3) }}",
    "{% set y = 1 %}{% macro m() %}{{ y }}{% endmacro %}{% set y = 2 %}{{ m() }}",
    "{% macro m() %}{% set z = 1 %}{{ z }}{% endmacro %}{{ m() }}{{ z }}",
    "{% macro m() %}{{ n }}{% endmacro %}{{ m() | length }}{{ m() + 'x' }}{{ m.name }}",
    "{% macro m(x) %}{{ x }}{% endmacro %}{{ l | map('string') | list }}{{ m(*[1]) }}{{ m(**{'x': 2}) }}",
    "{% for x in l %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}",
    "{% macro m(a=1, b) %}{% endmacro %}",
    "{{ m() }}{% macro m() %}x{% endmacro %}",
    "{% filter upper %}abc {{ s }}{% endfilter %}",
    "{% filter replace('a', 'b') | upper %}abc{% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}",
    "{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}",
    "{% print n, s %}",
    "{% generation %}a{{ n }}{% endgeneration %}",
    "{% generation %}{% set q = 1 %}{{ q }}{% endgeneration %}{{ q }}",
    "{% for x in l %}\n  {% generation %}\n{{ x }}\n  {% endgeneration %}\n{% endfor %}",
    "{% if false %}{{ x | no_such_filter }}{% endif %}ok",
    "{{ x | no_such_filter }}",
    "{% if true %}{{ x | no_such_filter }}{% endif %}",
    "{{ 'a' if true else x | no_such_filter }}",
    "{% set x = messages[0].content %}",
    "{{ messages }}{{ tools }}{{ documents }}{{ add_generation_prompt }}{{ bos_token }}{{ eos_token }}",
    "{{ tools is none }}{{ tools is defined }}",
    "{% set messages = [1] %}{{ messages }}",
    "{% set range = 5 %}{{ range }}",
    "{{ 'a' ~ 'b' if t }}{{ n -1 }}{{ n - 1 }}{{-n}}",
    "{%if t%}x{%endif%}{{n}}",
    "{% if t and (n > 5 or f) %}x{% endif %}",
    "{% set x = {'a': [1, 2, {'b': 'c'}]} %}{{ x.a[2].b }}{{ x['a'][0] }}",
    "{{ [1, 2,\n 3] }}\n{{ {\n'a': 1\n} }}",
    "{% set content = 'a' %}{% if content is string %}{% set content = content + 'b' %}{% endif %}{{ content }}",
    "{{ (people | selectattr('age', 'equalto', 25) | first).name }}",
    "{% for m in people[::-1] %}{{ loop.index0 }}{{ m.name }}{% endfor %}",
    "{% for m in people %}{% if loop.index0 > 0 and people[loop.index0 - 1].age == 30 %}{{ m['name'] }}{% endif %}{% endfor %}",
    "{% for x in l|sort %}{{ x }}{{ ',' if not loop.last }}{% endfor %}",
    "{% for k, v in d|dictsort %}{{ k }}:{{ v|tojson }}{% endfor %}",
    "{% for x in loop_messages|default([]) %}{% endfor %}ok",
    "\u2028{{ u }}\u00a0",
    "{{ u|upper|lower|title }}",
    "{%- set x -%}  a  {%- endset -%}  [{{ x }}]",
    "{{ '%}' }}{{ \"{{\" }}{# {{ #}x",
    "{{ l is iterable and l is not string and l is not mapping }}",
    "{% for x in [1, [2, [3, 4]], 5] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ loop.depth }}{{ x }}{% endif %}{% endfor %}",
    "{% for x in [[1, 2], [], [3]] recursive %}{% if x is iterable %}[{{ loop(x) }}]{% else %}{{ loop.depth0 }}:{{ loop.index }} {% endif %}{% else %}none{% endfor %}",
    "{% set q = 'q' %}{% for x in [[1], 2] recursive %}{% set q = 'in' %}{{ q }}{% if x is iterable %}{{ loop(x) | length }}{% endif %}{% endfor %}{{ q }}",
    "{% for x in l if x > 1 recursive %}{{ x }}{% if x == 3 %}<{{ loop([0, 2, 5]) }}>{% endif %}{% endfor %}",
    "{% for x in l %}{{ loop(l) }}{% endfor %}",
    "{% for m in people recursive %}{{ m.name }}{% if m.addr is defined and loop.first and loop.depth < 3 %}{{ loop([m]) }}{% endif %}{% endfor %}",
    "{% set c = cycler('a', 'b', 'c') %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{{ c.reset() }}{{ c.current }}",
    "{% set c = cycler(*l) %}{% for x in words %}{{ c.next() }}{{ x }}{% endfor %}",
    "{{ cycler() }}",
    "{% set j = joiner() %}{% for x in words %}{{ j() }}{{ x }}{% endfor %}",
    "{% set j = joiner(' | ') %}{{ j() }}a{{ j() }}b",
    "{% block title %}{{ s }}{% endblock %}",
    "{% set q = 1 %}{% block a scoped %}{{ q }}{% set q = 2 %}{{ q }}{% endblock a %}{{ q }}",
    "{{ l | slice(2) | list }}{{ words | slice(3, 'x') | list }}{{ [] | slice(2) | list }}",
    "{{ range(10) | slice(3) | list }}{{ l | slice(0) | list }}",
    "{{ 'a b/c?d=é&~._-' | urlencode }}{{ {'a b': 1, 'c/d': 'é '} | urlencode }}{{ [('x', 'y z'), ('q', none)] | urlencode }}",
    "{{ n | urlencode }}",
]


def render(template):
    try:
        compiled = chat._compile_jinja_template(template)
        return compiled.render(
            messages=[], tools=None, documents=None, add_generation_prompt=True,
            bos_token="<s>", eos_token="</s>", **X,
        )
    except Exception:
        return None


def main():
    chat.datetime = FixedDatetime
    templates = ["{{ " + line + " }}" for line in EXPRESSIONS.strip("\n").split("\n")] + TEMPLATES
    rows = [[template, render(template)] for template in templates]
    rows = [row for row in rows if " at 0x" not in (row[1] or "")]  # an address: nobody's meaning
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    variables = json.dumps(X, ensure_ascii=False)
    PATH.write_text(f'{{"variables":{variables},\n"rows":[\n{lines}\n]}}\n', encoding="utf-8")
    print(f"{len(rows)} rows, {sum(text is None for _, text in rows)} raise")


main()
