"""Runs a GraphQL document over plain Python objects, without a schema.

A field that no object knows is null and counted in ``UNKNOWN``: when a newer SDK asks for more, a test says so.
"""

from graphql.language import ast as A  # noqa: N812 - short, since every line names a node

from tests.fake_wandb.queries import Query
from tests.fake_wandb.store import GQLError

SUPER = {"ArtifactSequence": {"ArtifactCollection"}, "ArtifactPortfolio": {"ArtifactCollection"}}
UNKNOWN: dict[str, int] = {}


def execute(doc, variables, root):
    frags = {d.name.value: d for d in doc.definitions if isinstance(d, A.FragmentDefinitionNode)}
    op = next(d for d in doc.definitions if isinstance(d, A.OperationDefinitionNode))
    variables = {
        **{v.variable.name.value: value(v.default_value, {}) for v in op.variable_definitions or () if v.default_value},
        **(variables or {}),
    }
    return select(root, op.selection_set, variables, frags)


def value(node, vs):
    if isinstance(node, A.VariableNode):
        return vs.get(node.name.value)
    if isinstance(node, A.ListValueNode):
        return [value(v, vs) for v in node.values]
    if isinstance(node, A.ObjectValueNode):
        return {f.name.value: value(f.value, vs) for f in node.fields}
    if isinstance(node, A.IntValueNode):
        return int(node.value)
    if isinstance(node, A.FloatValueNode):
        return float(node.value)
    return getattr(node, "value", None)  # strings, booleans, enums; null has no value


def select(obj, sel, vs, frags):
    out = {}
    for s in sel.selections:
        if any(bool(value(d.arguments[0].value, vs)) != (d.name.value == "include") for d in s.directives or ()):
            continue
        if isinstance(s, A.FieldNode):
            v = resolve(obj, s.name.value, {a.name.value: value(a.value, vs) for a in s.arguments or ()})
            out[s.alias.value if s.alias else s.name.value] = complete(v, s.selection_set, vs, frags)
        else:
            f = frags[s.name.value] if isinstance(s, A.FragmentSpreadNode) else s
            t = obj.get("__typename") if isinstance(obj, dict) else obj.T
            want = f.type_condition and f.type_condition.name.value
            if t is None or want in (None, t) or want in SUPER.get(t, ()):
                out.update(select(obj, f.selection_set, vs, frags))
    return out


def resolve(obj, name, args):
    if name == "__typename":
        return obj.get("__typename") if isinstance(obj, dict) else obj.T
    m = getattr(obj, f"f_{name}", None)
    if m:
        return m(**{k: v for k, v in args.items() if v is not None})
    src = obj if isinstance(obj, dict) else getattr(obj, "r", {})
    if isinstance(src, dict) and name in src:
        return src[name]
    k = f"{getattr(obj, 'T', 'dict')}.{name}"
    if isinstance(obj, Query):
        raise GQLError(f'Cannot query field "{name}" on type "{type(obj).__name__}".', 400)
    UNKNOWN[k] = UNKNOWN.get(k, 0) + 1
    return None


def complete(v, sel, vs, frags):
    if v is None or sel is None:
        return v
    if isinstance(v, list):
        return [complete(x, sel, vs, frags) for x in v]
    return select(v, sel, vs, frags)
