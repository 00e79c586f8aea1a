"""Which lines are a table's, and what a page of tables may cost."""

from proxmox_graph_mail.graph.page import STYLE, block
from proxmox_graph_mail.graph.tables import MOST, PROSE, TABLE, kinds


def test_one_run_of_blanks_makes_no_table() -> None:
    """`key  value` on neighbouring lines is prose that happens to be aligned."""
    assert kinds(["name:  rpool", "state:  ONLINE", "errors  none"]) == [PROSE] * 3


def test_a_row_with_one_run_beside_a_table_is_its_row() -> None:
    """So is one that is set in and no wider."""
    assert kinds(["NAME  STATE  READ", "tank  ONLINE  0", "  spares", "  sdf  AVAIL", "errors: none"]) == [TABLE] * 4 + [PROSE]


def test_a_text_of_tables_and_prose_in_turn_costs_no_more_than_its_blocks() -> None:
    """Each block has a style of its own: their number is bounded, and nothing is left out."""
    text = "\n".join(f"a{n}  b  c\nd  e  f\nprose {n}" for n in range(2000))
    page = block(text)
    assert page.count("<pre") <= MOST + 2
    assert len(page) < len(text) + (MOST + 2) * (len(STYLE) + 40)
    assert page.count("prose 1999") == 1
