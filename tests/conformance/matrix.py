"""The tables of the README that this harness writes: which clients ran, and the pass rates of the drivers' own suites."""
import pathlib
import re

README = pathlib.Path(__file__).parent.parent.parent / "README.md"


def about(path):
    """What a scenario does: its first comment."""
    for line in path.read_text().splitlines():
        found = re.match(r'(?:"""|//!?|#(?!!)|/\*\*)\s*(.+?)\s*(?:"""|\*/)?$', line)
        if found:
            text = found[1].rstrip(".").replace("|", "\\|")
            return text.split(": ", 1)[1] if re.match(r"[\w. -]{1,24}: ", text) else text
    raise SystemExit(f"{path} does not say what it does")


def update(marker, lines):
    """Puts lines between `<!-- marker -->` and `<!-- /marker -->`."""
    before = README.read_text()
    pattern = re.compile(rf"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)", re.S)
    if not pattern.search(before):
        raise SystemExit(f"the README has no place for {marker}")
    README.write_text(pattern.sub(lambda found: found[1] + "\n".join(lines) + "\n" + found[2], before))


def clients(results):
    lines = ["| client | version | what runs | statements | as on PostgreSQL |", "|---|---|---|---|---|"]
    for row in results:
        outcome = "yes" if row["passed"] else "**no**"
        lines.append(f"| {row['client']} | {row['version']} | {row['about']} | {row['statements']} | {outcome} |")
    update("clients", lines)


def suites(results):
    lines = ["| suite | version | tests that count | of them pass | not counted: large objects, two-phase commit, XML, text search, geometry, functions of users |",
             "|---|---|---|---|---|"]
    for row in results:
        rate = f"{row['passed'] / max(row['counted'], 1):.1%}"
        lines.append(f"| {row['suite']} | {row['version']} | {row['counted']} | {row['passed']} ({rate}) | {row['outside']} |")
    update("suites", lines)
