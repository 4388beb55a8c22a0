"""Filter expressions: what is accepted, what it means, and that no text of an expression ever is SQL."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genomics_assets.annotations import filter_expression, filter_sql
from genomics_assets.annotations.filter_expression import (
    And,
    Column,
    Columns,
    Comparison,
    Expression,
    ExpressionError,
    Likeness,
    Membership,
    Not,
    Nullness,
    Or,
    Range,
    Truth,
    columns_of,
    parse,
    render,
)
from genomics_assets.annotations.filter_sql import SQL_WORDS, Parameter, sql_pieces

POS = Column("variants", "pos", "integer")
QUAL = Column("variants", "qual", "real")
SIG = Column("variants", "clinvar_sig", "text")
LOF = Column("variants", "is_lof", "boolean")
AF = Column("gnomad", "af", "real")
OTHER_AF = Column("kg", "af", "real")
SCORE = Column("kg", "score", "double")
COLUMNS = Columns([POS, QUAL, SIG, LOF, AF, OTHER_AF, SCORE])


def sql(text: str) -> str:
    """The statement, with columns in brackets and parameters as they are bound."""
    return "".join(
        piece if isinstance(piece, str) else f"[{piece.label}]" if isinstance(piece, Column) else f"%{piece.value!r}"
        for piece in sql_pieces(parse(text, COLUMNS))
    )  # fmt: skip


def test_the_examples_in_the_docstrings_hold() -> None:
    for module in (filter_expression, filter_sql):
        assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        ("pos == 7", "[pos] = %7"),
        ("7 != pos", "%7 <> [pos]"),
        ("gnomad.af < 0.5 && clinvar_sig == 'Pathogenic'", "([gnomad.af] < %0.5 AND [clinvar_sig] = %'Pathogenic')"),
        ("pos == 1 or pos == 2 and is_lof", "([pos] = %1 OR ([pos] = %2 AND [is_lof]))"),
        ("(pos == 1 || pos == 2) AND is_lof", "(([pos] = %1 OR [pos] = %2) AND [is_lof])"),
        ("!is_lof", "NOT ([is_lof])"),
        ("not not is_lof", "[is_lof]"),
        ("not pos is null", "NOT ([pos] IS NULL)"),
        ("pos Is Not Null", "[pos] IS NOT NULL"),
        ("clinvar_sig in ['a', \"it's\"]", "[clinvar_sig] = ANY (%('a', \"it's\"))"),
        ("pos not in [1, -2]", "[pos] <> ALL (%(1, -2))"),
        ("pos in [1, 2.5]", "[pos] = ANY (%(1.0, 2.5))"),
        ("clinvar_sig like '%path_'", "[clinvar_sig] LIKE %'%path_'"),
        ("clinvar_sig not like 'a\\\\'", "[clinvar_sig] NOT LIKE %'a\\\\\\\\'"),
        ("kg.score between 1 and 2 and is_lof", "(([kg.score] BETWEEN %1.0 AND %2.0) AND [is_lof])"),
        ("pos not between 1 and 2", "([pos] NOT BETWEEN %1 AND %2)"),
        ("variants.pos >= 1e3", "[pos] >= %1000.0"),
        ("score > gnomad.af", "[kg.score] > [gnomad.af]"),
        ("is_lof == true", "[is_lof] = %True"),
        ("true", "TRUE"),
        ("clinvar_sig == 'p&&q || r'", "[clinvar_sig] = %'p&&q || r'"),
        ("clinvar_sig == 'it''s'", "[clinvar_sig] = %\"it's\""),
    ],
)  # fmt: skip
def test_what_an_expression_becomes(text: str, statement: str) -> None:
    assert sql(text) == statement


def test_a_number_meets_a_single_precision_column_as_a_single_precision_number() -> None:
    # 0.01 as a file's real column holds it; compared with the double 0.01 it would be smaller.
    assert sql("qual == 0.01") == "[qual] = %0.009999999776482582"
    assert sql("score == 0.01") == "[kg.score] = %0.01"
    # Beyond single precision a number stays what it is, rather than become 0 or infinity.
    assert sql("qual < 1e-60 and qual < 1e60") == "([qual] < %1e-60 AND [qual] < %1e+60)"


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("gnomad.aff < 1", 1, "unknown column 'gnomad.aff'. Remedy: write gnomad.af"),
        ("is_lof and POS == 1", 12, "write pos"),
        ("af < 1", 1, "a column of more than one source. Remedy: write gnomad.af or kg.af"),
        ("pos > '5'", 1, "pos is a number, '5' is text"),
        ("clinvar_sig == 5", 1, "clinvar_sig is text, 5 is a number. Remedy: put text in quotes"),
        ("is_lof == 1", 1, "is_lof is a boolean, 1 is a number"),
        ("pos in [1, 'a']", 12, "pos is a number, 'a' is text"),
        ("pos between 'a' and 2", 13, "pos is a number, 'a' is text"),
        ("clinvar_sig == gnomad.af", 1, "clinvar_sig is text, gnomad.af is a number"),
        ("clinvar_sig < 'a'", 13, "no order"),
        ("is_lof between 1 and 2", 1, "no order"),
        ("pos like 'a'", 1, "like compares text"),
        ("clinvar_sig like 'a\\'", 18, "ends in a backslash"),
        ("pos == null", 8, "write `is null`"),
        ("clinvar_sig == Pathogenic", 16, "put text in quotes"),
        ("pos = 1", 5, "write == for equal"),
        ("pos == 1 & is_lof", 10, "write &&"),
        ("clinvar_sig == 'abc", 16, "close the quotes"),
        ("1 == 1", 1, "two constants"),
        ("5 is null", 1, "a constant stands before `is null`"),
        ("is_lof and pos", 12, "pos alone is no condition"),
        ("pos ==", 7, "ends too early"),
        ("", 1, "ends too early"),
        ("pos in []", 9, "unexpected ']'"),
        ("(pos == 1", 10, "ends too early"),
        ("pos == 1)", 9, "unexpected ')'"),
        ("pos == 1 pos == 2", 10, "unexpected 'pos'"),
        ("score > 1e999", 9, "too large"),
        ("pos == 9223372036854775808", 8, "too large"),
        ("clinvar_sig == 'a\0b'", 16, "no database takes"),
        ("clinvar_sig == '\ud800'", 16, "no database takes"),
        ("(" * 51 + "is_lof" + ")" * 51, 51, "parentheses"),
        ("is_lof" + " " * 10_000, 10_000, "10,000 are the limit"),
    ],
)
def test_what_is_refused_and_where(text: str, position: int, says: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        parse(text, COLUMNS)
    assert refused.value.position == position
    assert says in str(refused.value)


ATTACKS = [
    "pos == 1; DROP TABLE genomics.variants",
    "pos == 1; select 1",
    "pos == 1 -- comment",
    "pos == 1 /* comment */",
    "pos == 1 UNION SELECT * FROM genomics.samples",
    "1 == 1",
    "pos == pos' OR '1'='1",
    "' OR ''=''",
    "clinvar_sig == 'a' OR 1=1",
    "pg_sleep(10) is null",
    "pos == (SELECT 1)",
    "pos == 1::text",
    "pos == $1",
    "pos == %s",
    "%(name)s == 1",
    "{} == 1",
    "pos in [SELECT 1]",
    "pos in (1, 2)",
    '"pos" == 1',
    "`pos` == 1",
    "gnomad.af.x == 1",
    "genomics.variants.pos == 1",
    "samples.external_id == 'S1'",
    "sample_id == 'S1'",
    "current_user == 'postgres'",
    "pos == 1 \\; select 1",
    "pos == 0x10",
    "pos == E'\\\\'",
    "clinvar_sig == $$a$$",
    "clinvar_sig == 'a' || 'b'",
    "clinvar_sig ~ 'a'",
    "pos == 1\0",
    "\ufeffpos == 1",
    "pos\u00a0== 1",
    "ｐｏｓ == 1",
    "pos == ١",
]


@pytest.mark.parametrize("text", ATTACKS)
def test_an_attack_is_an_error(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse(text, COLUMNS)


def check_pieces(expression: Expression) -> None:
    """Every piece is a word that this module wrote, a known column, or a bound value."""
    for piece in sql_pieces(expression):
        assert (
            piece in SQL_WORDS
            if isinstance(piece, str)
            else isinstance(piece, Parameter) or piece in COLUMNS.all
        )
    assert columns_of(expression) <= set(COLUMNS.all)  # fmt: skip


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
integers = st.integers(-(2**63) + 1, 2**63 - 1)
numbers = integers | st.floats(allow_nan=False, allow_infinity=False)
number_columns = st.sampled_from([POS, QUAL, AF, OTHER_AF, SCORE])


@st.composite
def memberships(draw: st.DrawFn) -> Membership:
    column = draw(st.sampled_from(COLUMNS.all))
    values = {"text": texts, "boolean": st.booleans()}.get(column.kind, numbers)
    return Membership(column, tuple(draw(st.lists(values, min_size=1, max_size=4))), draw(st.booleans()))


conditions = st.one_of(
    st.builds(Comparison, number_columns, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), numbers | number_columns),
    st.builds(Comparison, texts, st.sampled_from(["==", "!="]), st.just(SIG)),
    memberships(),
    st.builds(
        Likeness, st.just(SIG), texts.filter(lambda t: (len(t) - len(t.rstrip("\\"))) % 2 == 0), st.booleans()
    ),
    st.builds(Range, number_columns, numbers, numbers | number_columns, st.booleans()),
    st.builds(Nullness, st.sampled_from(COLUMNS.all), st.booleans()),
    st.builds(Truth, st.just(LOF) | st.booleans()),
)  # fmt: skip


def _several(
    kind: type[And] | type[Or], inner: st.SearchStrategy[Expression]
) -> st.SearchStrategy[Expression]:
    members = st.lists(inner.filter(lambda e: not isinstance(e, kind)), min_size=2, max_size=3)
    return members.map(lambda of: kind(tuple(of)))  # fmt: skip


expressions = st.recursive(
    conditions,
    lambda inner: st.one_of(
        inner.filter(lambda e: not isinstance(e, Not)).map(Not), _several(And, inner), _several(Or, inner)
    ),
    max_leaves=8,
)


@given(expressions)
@settings(max_examples=80, deadline=None)
def test_every_tree_is_written_and_read_again(expression: Expression) -> None:
    assert parse(render(expression), COLUMNS) == expression
    check_pieces(expression)


FRAGMENTS = [
    "pos", "gnomad.af", "clinvar_sig", "is_lof", "==", "<", ">=", "!=", "=", "&&", "||", "and", "OR", "not", "!", "in",
    "[", "]", "(", ")", ",", "like", "between", "is", "null", "true", "1", "-2.5e3", "'a'", "''", '"b"', "'--'", ";",
    "--", "/*", "drop table x", "'; select 1 --'", "\\", "%s", "{}", "$1", "::", "select",
]  # fmt: skip


@given(st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=12).map(" ".join))
@settings(max_examples=300, deadline=None)
def test_whatever_is_accepted_never_puts_its_text_into_sql(text: str) -> None:
    try:
        expression = parse(text, COLUMNS)
    except ExpressionError:
        return
    check_pieces(expression)
    assert parse(render(expression), COLUMNS) == expression
