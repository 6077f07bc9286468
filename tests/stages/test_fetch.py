"""make fetch: the choice of series, on the real index too, and the real client against an S3 server on the loopback."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import yaml
from made import as_a_user
from test_make_masks import PROGRAM
from test_public_data import CRLM, assert_measured, write_classes

from analysis_lib.core.archive_params import FetchParams
from analysis_lib.core.parameters import load_params
from analysis_lib.core.project import Project
from analysis_lib.stages import StageError
from analysis_lib.stages.fetch import _Commons, choose_series, fetch
from analysis_lib.stages.masks import segment_patients
from analysis_lib.stages.measure import measure_patients

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-fetch" / "bin" / "python"
PATIENT, PREFIX = "CRLM-CT-1006", "idc-open-data/379cdaec-5a2b-47c2-ad49-ab0a3f60c72d"  # of its CT, as the index has it
CLINICAL = "idc-open-metadata/bigquery_export/idc_v25_clinical/colorectal_liver_metastases_clinical"


def series(*rows: tuple) -> pd.DataFrame:
    columns = ["PatientID", "StudyDate", "SeriesDescription", "instanceCount", "SeriesInstanceUID", "Modality"]
    return pd.DataFrame([(*row, "CT")[:6] for row in rows], columns=columns)


INDEX = series(
    ("A", "2001-01-02", "Recon 2: PRE LIVER", 40, "1.1"),
    ("A", "2001-01-02", "pre liver thin", 80, "1.2"),
    ("A", "2001-01-02", "VENOUS", 90, "1.3"),
    ("A", "2002-01-02", "PRE", 99, "1.4"),
    ("B", "2001-01-02", None, 40, "2.2"),
    ("B", "2001-01-02", None, 40, "2.1"),
    ("C", "2001-01-02", "VENOUS", 40, "3.1"),
    ("C", "2001-01-01", "PRE", 1, "3.2", "SEG"),  # an older study without CT
)


@pytest.mark.parametrize(
    ("settings", "uids", "without"),
    [
        ({}, ["1.3", "2.1", "3.1"], []),
        ({"series": ["pre"]}, ["1.2"], ["B", "C"]),
        ({"series": ["venous", "PRE"]}, ["1.3", "3.1"], ["B"]),
        ({"series": ["PRE", "venous"]}, ["1.2", "3.1"], ["B"]),
        ({"study": "last", "series": ["PRE"]}, ["1.4"], ["B", "C"]),
        ({"patients": ["C", "A"]}, ["1.3", "3.1"], []),
        ({"modality": "SEG"}, ["3.2"], ["A", "B"]),
    ],
)
def test_one_series_a_patient_or_the_reason_why_not(settings, uids, without):
    for index in (INDEX, INDEX.sample(frac=1, random_state=1)):
        chosen, left_out = choose_series(index, FetchParams(collection="some", **settings))
        assert chosen["SeriesInstanceUID"].tolist() == uids
        assert left_out["patient_id"].tolist() == without and all(left_out["reason"].str.startswith("no "))


def test_a_patient_whom_the_collection_has_not():
    with pytest.raises(StageError, match="has no Aa; did you mean 'A'"):
        choose_series(INDEX, FetchParams(collection="some", patients=["Aa"]))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "name either"),
        ({"collection": "a", "zenodo": "https://zenodo.org/records/1"}, "name either"),
        ({"zenodo": "https://zenodo.org/1"}, "pattern"),
        ({"zenodo": "https://zenodo.org/records/1", "ct_name": ".*"}, "patient"),
        ({"zenodo": "https://zenodo.org/records/1", "ct_name": "("}, "regular expression"),
    ],
)
def test_a_source_that_cannot_be_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        FetchParams(**settings)


def project_with(folder: Path, study: str, **fetch_settings) -> Project:
    """A project whose study's section ``fetch`` has these settings, and the client's environment."""
    shutil.copytree(ROOT / "params", folder / "params", dirs_exist_ok=True)
    path = folder / "params" / f"{study}.yaml"
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    given["fetch"] = given["fetch"] | fetch_settings
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    for name in ("tools", ".venv-fetch"):
        (folder / name).symlink_to(ROOT / name)
    return Project(folder)


# ---- the Imaging Data Commons --------------------------------------------------------------------------------

with_client = pytest.mark.skipif(not PYTHON.is_file(), reason="no .venv-fetch (make fetch builds it)")


@pytest.mark.slow
@with_client
def test_the_choice_on_the_real_index():
    """Numbers of docs/public_data.md, at version 25 of the index."""
    with _Commons(ROOT) as commons:
        found = {}
        for study in ("public_hcc_tace", "public_crlm"):
            settings = load_params(study).fetch
            chosen, left_out = choose_series(
                pd.DataFrame(commons.ask("series", collection=settings.collection)["series"]), settings
            )
            assert chosen["PatientID"].is_unique
            found[study] = (len(chosen), len(left_out), round(chosen["series_size_MB"].sum() / 1000, 1))
        assert found == {"public_hcc_tace": (91, 14, 3.5), "public_crlm": (197, 0, 9.3)}
        answer = commons.ask("series", collection="hcc_tace")
        assert not answer["series"] and "hcc_tace_seg" in answer["known"]
        with pytest.raises(StageError, match="the client of the Imaging Data Commons failed: KeyError"):
            commons.ask("nothing")


@pytest.fixture
def server(real_ct, tmp_path):
    """An S3 server with the CT of one patient and a clinical table; its address and its log of objects."""
    table = tmp_path / "clinical"
    table.mkdir()
    pd.DataFrame([CRLM | {"dicom_patient_id": PATIENT, "patient_id": "7"}]).to_parquet(table / "000.parquet")
    log = tmp_path / "sent.log"
    log.touch()
    command = [PYTHON, ROOT / "tests/stages/s3_server.py", "0", log, "0.1"]
    command += [f"{PREFIX}={real_ct / 'ct'}", f"{CLINICAL}={table}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}", log
        process.kill()


def quiet_since(log: Path) -> list[str]:
    """Lines of the log when it has stopped growing."""
    sizes = [-1]
    while (size := log.stat().st_size) != sizes[-1]:
        sizes.append(size)
        time.sleep(2)
    return log.read_text().splitlines()


@pytest.mark.slow
@with_client
def test_a_killed_download_goes_on_and_ends_whole(server, real_ct, tmp_path):
    address, log = server
    project = project_with(tmp_path, "public_crlm", patients=[PATIENT])
    data = project.root / "data" / "public_crlm"
    run = "import sys; from pathlib import Path; from analysis_lib.core.project import Project; "
    run += "from analysis_lib.ui.command_line import main; "
    run += f"sys.exit(main(['fetch', '--study', 'public_crlm'], Project(Path({str(tmp_path)!r}))))"
    home = tmp_path / "home"  # where the client keeps its index of clinical tables, which is fetched from elsewhere
    index = home / "idc_index_data" / "25.0.5" / "clinical_index.parquet"
    index.parent.mkdir(parents=True)
    pd.DataFrame({"collection_id": ["some"]}).to_parquet(index)
    environment = as_a_user() | {"S3_ENDPOINT_URL": address, "XDG_DATA_HOME": str(home), "PYTHONPATH": str(ROOT)}
    begun = subprocess.Popen([sys.executable, "-c", run], env=environment, start_new_session=True)
    while len(log.read_text().splitlines()) < 15:
        assert begun.poll() is None
        time.sleep(0.05)
    os.killpg(begun.pid, signal.SIGKILL)
    begun.wait()
    first = quiet_since(log)
    truth = {path.name: path.read_bytes() for path in (real_ct / "ct").iterdir()}
    arrived = {p.name for p in (data / ".fetching").rglob("*.dcm") if p.read_bytes() == truth[p.name]}
    assert 0 < len(arrived) < len(truth) and not (data / "ct").exists()

    done = subprocess.run([sys.executable, "-c", run], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 CT series" in done.stdout and "clinical table" in done.stdout
    folder = data / "ct" / PATIENT
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == truth
    second = {Path(line).name for line in quiet_since(log)[len(first) :]}
    assert second & truth.keys() == truth.keys() - arrived  # nothing twice
    row = pd.read_csv(data / "fetched.csv").iloc[0]
    assert row[["patient_id", "licence", "images", "bytes"]].tolist() == [PATIENT, "CC BY 4.0", 51, 26876490]
    listed = "".join(f"{hashlib.sha256(truth[name]).hexdigest()}  {name}\n" for name in sorted(truth))
    assert row["sha256"] == hashlib.sha256(listed.encode()).hexdigest()
    assert not (data / ".fetching").exists()
    study = project.study("public_crlm")
    assert pd.read_parquet(study.clinical_file)["patient_id"].tolist() == [PATIENT]

    # The three commands: masks by a stand-in for the segmenter, then the study's own measures.
    (tmp_path / "requirements").symlink_to(ROOT / "requirements")
    program = tmp_path / "TotalSegmentator"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    (tmp_path / "plan.json").write_text(json.dumps({PATIENT.split("-")[-1]: {}}))
    write_classes(tmp_path / "classes", real_ct)
    assert segment_patients(study, "TotalSegmentator", quiet=True)[1] == 0
    measure_patients(study, quiet=True)
    assert_measured(study.measured().iloc[0], real_ct)

    # Nothing again, a damaged folder again, and one patient whose files do not come does not harm the other.
    before = quiet_since(log)
    (folder / "1-01.dcm").write_bytes(b"cut short")
    path = tmp_path / "params" / "public_crlm.yaml"
    path.write_text(path.read_text().replace(f"- {PATIENT}", f"- {PATIENT}\n  - CRLM-CT-1007"))
    done = subprocess.run([sys.executable, "-c", run], env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "1 of 2 CT series did not arrive, for example CRLM-CT-1007" in done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == truth
    again = quiet_since(log)
    assert len(again) > len(before)
    path.write_text(path.read_text().replace("  - CRLM-CT-1007\n", ""))
    done = subprocess.run([sys.executable, "-c", run], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and quiet_since(log) == again


# A stand-in for the client: answers from index.json, and copies folders of series, some of them not whole.
CLIENT = f"""#!{sys.executable} -SE
import json, os, shutil, sys
here = {{here!r}}
for line in sys.stdin:
    question = json.loads(line)
    plan = json.load(open(os.path.join(here, "plan.json")))
    print(line, file=open(os.path.join(here, "asked.log"), "a"), end="")
    answer = {{{{}}}}
    if question["ask"] == plan.get("dies"):
        sys.exit(1)
    if question["ask"] == plan.get("fails"):
        answer = {{{{"error": "OSError: no network"}}}}
    elif question["ask"] == "series":
        found = plan["index"] if question["collection"] == "some" else []
        answer = {{{{"series": found, "version": "v1", "known": ["some", "other"]}}}}
    elif question["ask"] == "download":
        for uid in question["uids"]:
            folder = os.path.join(question["folder"], uid)
            os.makedirs(folder, exist_ok=True)
            for k in range(1 if uid in plan.get("short", []) else 2):
                with open(os.path.join(folder, f"{{{{k}}}}.dcm"), "w") as file:
                    file.write(uid * 10)
    else:
        shutil.copy(os.path.join(here, "table.parquet"), question["path"])
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def commons(tmp_path):
    """A study of patients A, B and C, whose two files each a stand-in for the client has; and its plan."""
    shutil.copytree(ROOT / "params", tmp_path / "params")
    lines = "base: defaults\nfetch: {collection: some, series: [PRE], clinical_table: t}\n"
    lines += "clinical: {file: t.parquet, columns: {patient_id: Who}}\n"
    (tmp_path / "params" / "some.yaml").write_text(lines)
    python = tmp_path / ".venv-fetch" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(CLIENT.format(here=str(tmp_path)))
    python.chmod(0o755)
    pd.DataFrame({"Who": ["A"]}).to_parquet(tmp_path / "table.parquet")
    index = series(*((name, "2001-01-02", f"{word} LIVER", 2, f"{k}.{word}") for word in ("PRE", "POST")
                     for k, name in enumerate("ABC")))  # fmt: skip
    about = {"series_size_MB": (index["SeriesInstanceUID"].str.len() * 20 / 1e6), "source_DOI": "10.1/2"}
    index = index.assign(**about, license_short_name="CC BY 4.0").to_dict("records")

    def plan(**faults) -> Project:
        (tmp_path / "plan.json").write_text(json.dumps({"index": index, **faults}))
        return Project(tmp_path)

    return plan


def downloaded(root: Path) -> list[str]:
    asked = map(json.loads, (root / "asked.log").read_text().splitlines())
    return [uid for question in asked if question["ask"] == "download" for uid in question["uids"]]


def test_who_did_not_arrive_is_said_and_fetched_alone_the_next_time(commons):
    project = commons(short=["1.PRE"])
    study, root = project.study("some"), project.root
    with pytest.raises(StageError, match=r"1 of 3 CT series did not arrive, for example B: fewer than 2 files"):
        fetch(study, quiet=True)
    assert sorted(path.name for path in (study.data / "ct").iterdir()) == ["A", "C"]
    assert pd.read_parquet(study.clinical_file)["Who"].tolist() == ["A"]
    commons()
    text = fetch(study, quiet=True)
    assert "3 of 3 CT series of some (index v1) are there" in text and "make masks STUDY=some" in text
    assert downloaded(root) == ["0.PRE", "1.PRE", "2.PRE", "1.PRE"]
    written = (study.data / "fetched.csv").stat().st_mtime_ns
    fetch(study, quiet=True)
    assert len(downloaded(root)) == 4 and (study.data / "fetched.csv").stat().st_mtime_ns == written


def test_another_choice_replaces_the_series_even_after_a_broken_run(commons):
    project = commons(short=["1.PRE"])
    study = project.study("some")
    with pytest.raises(StageError):
        fetch(study, quiet=True)
    commons()
    path = project.params_dir / "some.yaml"
    path.write_text(path.read_text().replace("[PRE]", "[POST]"))
    fetch(study := project.study("some"), quiet=True)
    assert {p.read_text()[:6] for p in (study.data / "ct").rglob("*.dcm")} == {"0.POST", "1.POST", "2.POST"}
    rows = pd.read_csv(study.data / "fetched.csv")
    assert rows["series"].tolist() == ["0.POST", "1.POST", "2.POST"]
    assert sorted(p.name for p in (study.data / "ct").iterdir()) == ["A", "B", "C"]
    assert not (study.data / ".fetching").exists()


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ({"fails": "series"}, "client of the Imaging Data Commons failed: OSError: no network"),
        ({"dies": "download"}, "client of the Imaging Data Commons failed: it ended"),
        ({"collection": "s0me"}, "has no s0me; did you mean 'some'"),
        ({"python": False}, "is not installed; run it by make fetch"),
    ],
)
def test_a_client_that_cannot_answer_says_why(commons, faults, said):
    project = commons(**faults)
    study = project.study("some")
    if name := faults.get("collection"):
        settings = study.params.fetch.model_copy(update={"collection": name})
        study = type(study)(study.params.model_copy(update={"fetch": settings}), project)
    if "python" in faults:
        (project.root / ".venv-fetch/bin/python").unlink()
    with pytest.raises(StageError, match=said):
        fetch(study, quiet=True)


def test_images_come_without_the_clinical_table_and_that_is_said(commons):
    project = commons(fails="clinical")
    study = project.study("some")
    text = fetch(study, quiet=True)
    assert (
        "3 of 3 CT" in text and "no clinical table: the client" in text and "put it into data/some as t.parquet" in text
    )
    assert not list(study.data.glob("*.parquet"))
    commons()
    assert "clinical table t: data/some/t.parquet" in fetch(study, quiet=True)


# ---- Zenodo ----------------------------------------------------------------------------------------------------


class Zenodo(http.server.BaseHTTPRequestHandler):
    """A record with its files; ``cut``: bytes after which a connection breaks off, once a file."""

    files: dict[str, bytes]
    cut: dict[str, int]
    sent: list[tuple[str, int]]

    def do_GET(self):  # noqa: N802  the name that the class asks for
        name = Path(self.path).name
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        if name == "7":
            listed = [
                {
                    "key": key,
                    "size": len(content),
                    "checksum": f"md5:{hashlib.md5(content).hexdigest()}",
                    "links": {"self": f"http://127.0.0.1:{self.server.server_port}/files/{key}"},
                }
                for key, content in self.files.items()
            ]
            body = json.dumps(
                {"files": listed, "doi": "10.5281/zenodo.7", "metadata": {"license": {"id": "cc-by-4.0"}}}
            )
            content = body.encode()
        else:
            content = self.files[name][start:]
            self.sent.append((name, start))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.cut.pop(name, len(content))])

    def log_message(self, *_):
        pass


@pytest.fixture
def record(tmp_path):
    """A record of two archives and a table, like WAW-TACE's, and its server."""
    files = {"clinical.xlsx": b"table"}
    for number, patients in (("1", "35 42"), ("2", "7")):
        path = tmp_path / f"ct_scans_{number}.zip"
        with zipfile.ZipFile(path, "w") as packed:
            for patient in patients.split():
                for phase in "02":
                    packed.writestr(f"scans/{patient}/{patient}_{phase}_scan.nii.gz", f"{patient} {phase}" * 9)
            packed.writestr("scans/readme.txt", "text")
        files[path.name] = path.read_bytes()
    handler = type("Handler", (Zenodo,), {"files": files, "cut": {}, "sent": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/records/7", handler
        server.shutdown()


@pytest.fixture
def study(record, tmp_path):
    (tmp_path / "params").mkdir()
    for name in ("defaults", "public_waw_tace"):
        shutil.copy(ROOT / "params" / f"{name}.yaml", tmp_path / "params")
    path = tmp_path / "params" / "public_waw_tace.yaml"
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    given["fetch"]["zenodo"], given["clinical"]["file"] = record[0], "clinical.xlsx"
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    return Project(tmp_path).study("public_waw_tace")


def test_a_record_of_zenodo_is_fetched_and_goes_on_where_it_broke_off(record, study):
    _, handler = record
    handler.cut["ct_scans_1.zip"] = 100
    with pytest.raises(StageError, match=r"ct_scans_1.zip broke off; the same command fetches the rest"):
        fetch(study, quiet=True)
    assert "3 CT of" in fetch(study, quiet=True)
    assert [sent for sent in handler.sent if sent[0] == "ct_scans_1.zip"] == [
        ("ct_scans_1.zip", 0),
        ("ct_scans_1.zip", 100),
    ]
    ct = study.data / "ct"
    assert {path.name: path.read_text() for path in ct.iterdir()} == {
        f"{patient}.nii.gz": f"{patient} 0" * 9 for patient in ("35", "42", "7")
    }
    assert study.clinical_file.read_bytes() == b"table"
    rows = pd.read_csv(study.data / "fetched.csv", dtype={"patient_id": str})
    assert rows["patient_id"].tolist() == ["35", "42", "7"] and set(rows["licence"]) == {"cc-by-4.0"}
    sent = len(handler.sent)
    fetch(study, quiet=True)
    assert len(handler.sent) == sent and not list((study.data / ".fetching").glob("*.zip"))
    (ct / "42.nii.gz").unlink()  # its archive alone is needed again
    fetch(study, quiet=True)
    assert {name for name, _ in handler.sent[sent:]} == {"ct_scans_1.zip"} and (ct / "42.nii.gz").is_file()


@pytest.mark.parametrize("fault", ["checksum", "no such archive", "no such name", "nobody there"])
def test_what_a_record_cannot_give_is_said(fault, record, study, monkeypatch):
    _, handler = record
    settings = study.params.fetch
    said = {"no such archive": "fetch.archives: the record has no scans", "no such name": "fetch.ct_name: no file in"}
    changed = {"no such archive": {"archives": "scans*"}, "no such name": {"ct_name": "(?P<patient>x)"}}
    changed["nobody there"] = {"zenodo": "http://127.0.0.1:9/records/7"}
    if fault == "checksum":
        whole, lying = handler.files["ct_scans_1.zip"], "0" * 32
        monkeypatch.setattr(
            hashlib, "md5", lambda content: hashlib.new("md5", content + (lying.encode() * (content == whole)))
        )
    params = study.params.model_copy(update={"fetch": settings.model_copy(update=changed.get(fault, {}))})
    with pytest.raises(
        StageError, match=said.get(fault, "arrived damaged" if fault == "checksum" else "cannot be read")
    ):
        fetch(type(study)(params, study.project), quiet=True)


def test_a_study_without_a_collection_says_what_to_do(tmp_path):
    study = Project(tmp_path).study
    shutil.copytree(ROOT / "params", tmp_path / "params")
    with pytest.raises(StageError, match=r"names no public collection; add a section fetch"):
        fetch(study("site.example"), quiet=True)
    (tmp_path / "params" / "other.yaml").write_text("base: public_crlm\ndata_dir: data/public_crlm\n")
    with pytest.raises(StageError, match="reads the data of another"):
        fetch(study("other"), quiet=True)
