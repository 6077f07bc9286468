"""make site: report, executed notebooks and documentation as one static site, every link of which is checked.

nbconvert, which JupyterLab brings, renders notebooks and Markdown, and one template frames them: no Node, no second
tool chain in the lock, no request to elsewhere. The pages can be put on any server, or opened from the disk.
"""

from __future__ import annotations

import re
import shutil
from html import unescape
from pathlib import Path, PurePosixPath
from posixpath import normpath

from jinja2 import Environment
from markupsafe import Markup, escape

from analysis_lib.common.errors import StudyError
from analysis_lib.common.files import write_text
from analysis_lib.core.artefacts import ALL_NOTEBOOKS
from analysis_lib.core.project import Study
from analysis_lib.review.guard import Patients
from analysis_lib.review.pages import STYLE, markdown_piece, notebook_piece
from analysis_lib.review.record import read_run
from analysis_lib.review.report import render
from analysis_lib.review.verdict import verdict_of

TEMPLATE = Path(__file__).with_name("site.html.j2")
LINK = re.compile(r'(<a\b[^>]*?)\s(href)="([^"]*)"([^>]*>)(.*?)</a>|(<img\b[^>]*?\ssrc)="([^"]*)"', re.DOTALL)
HEADING = re.compile(r"<h([1-6])[^>]*>(.*?)</h\1>", re.DOTALL)
ELSEWHERE = re.compile(r"^(https?:|data:|mailto:)")


class SiteError(StudyError):
    """The site cannot be written; the message says why and what to do."""


def write_site(study: Study) -> Path:
    """Write ``build/<study>/site``; returns its first page. SiteError without a finished run or for a dead link."""
    run = read_run(study)
    if run is None:
        raise SiteError(f"study '{study.name}' has not been run; {study.command}")
    root, folder = study.project.root, study.build / "site"
    shutil.rmtree(folder, ignore_errors=True)
    guard = Patients(study)
    documents = {PurePosixPath("README.md"): "documents/README.html"}
    for path in sorted((root / "docs").glob("**/*.md")):
        name = PurePosixPath(path.relative_to(root).as_posix())
        documents[name] = f"documents/{name.with_suffix('.html')}"
    ran = [name for name in ALL_NOTEBOOKS if study.executed(name).is_file()]
    contents = [("The run", [("index.html", "The verdict"), ("report.html", "Report")])]
    contents.append(("Notebooks", [(f"notebooks/{name}.html", name) for name in ran]))
    contents.append(("Documentation", [(page, _name(name)) for name, page in documents.items()]))
    pages = {
        f"notebooks/{n}.html": (n, notebook_piece(study.executed(n), lambda t: bool(guard.seen_in(t)))) for n in ran
    }
    for name, page in documents.items():
        text = markdown_piece((root / name).read_text(encoding="utf-8"))
        pages[page] = (name.stem, _with_ids(_relinked(text, name, documents, root, folder)))
    said = "".join(f"<li>{escape(sentence)}</li>" for sentence in verdict_of(study))
    first = f'<h1>{escape(study.params.title)}</h1><ol>{said}</ol><p><a href="report.html">The report</a></p>'
    pages["index.html"] = ("The verdict", first)
    template = Environment(autoescape=True, trim_blocks=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    for page, (title, body) in pages.items():
        up = "../" * page.count("/")
        write_text(
            folder / page,
            template.render(
                title=f"{title} - {study.params.title}", body=Markup(body), contents=contents, up=up, page=page,
                note=study.note, style=Markup(STYLE),
            ),
        )  # fmt: skip
    write_text(folder / "report.html", render(study, run))
    if dead := dead_links(folder):
        raise SiteError(
            f"links of the site that lead nowhere: {'; '.join(dead[:10])}; mend them where they are written"
        )
    return folder / "index.html"


def _name(document: PurePosixPath) -> str:
    """What a document is called: its file's name, or the folder's whose first page it is."""
    return document.parent.name if document.stem == "README" and document.parent.name else document.stem


def _relinked(text: str, source: PurePosixPath, documents: dict[PurePosixPath, str], root: Path, folder: Path) -> str:
    """A document's links to other documents as links of the site, its pictures copied, links to other files as text."""
    here = PurePosixPath(documents[source]).parent

    def new(found: re.Match) -> str:
        opening, _, target, rest, words, image, picture = found.groups()
        if image:
            if ELSEWHERE.match(picture):
                return found[0]
            place = normpath(source.parent / picture)
            if (root / place).is_file():
                (folder / "documents" / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / place, folder / "documents" / place)
            return f'{image}="{picture}"'
        if ELSEWHERE.match(target) or target.startswith("#"):
            return found[0]
        path, _, anchor = target.partition("#")
        place = normpath(source.parent / path)
        page = documents.get(PurePosixPath(place))
        if page is None:
            return f"<span>{words}</span>" if (root / place).exists() else found[0]
        up = "../" * (len(here.parts))
        return f'{opening} href="{up}{page}{"#" + anchor if anchor else ""}"{rest}{words}</a>'

    return LINK.sub(new, text)


def _with_ids(text: str) -> str:
    """Headings with the anchors that the documents' own links use, as a Git host makes them."""
    seen: dict[str, int] = {}

    def new(found: re.Match) -> str:
        words = unescape(re.sub(r"<[^>]*>", "", found[2])).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        seen[anchor] = seen.get(anchor, -1) + 1
        anchor += f"-{seen[anchor]}" if seen[anchor] else ""
        return f'<h{found[1]} id="{anchor}">{found[2]}</h{found[1]}>'

    return HEADING.sub(new, text)


def dead_links(folder: Path) -> list[str]:
    """Links and pictures of the pages below a folder that lead to no file or no place in one, as 'page: link'."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.html"))}
    ids = {path: set(re.findall(r'\sid="([^"]+)"', text)) for path, text in texts.items()}
    dead = []
    for path, text in texts.items():
        for target in re.findall(r'\s(?:href|src)="([^"]*)"', text):
            if ELSEWHERE.match(target):
                continue
            name, _, anchor = unescape(target).partition("#")
            there = (path.parent / name).resolve() if name else path
            if not there.is_file() or (anchor and there in ids and anchor not in ids[there]):
                dead.append(f"{path.relative_to(folder).as_posix()}: {target}")
    return dead
