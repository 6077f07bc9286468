"""What make fetch asks the Imaging Data Commons: a question a line in, an answer a line out, both JSON.

Run by the Python of .venv-fetch, which has idc-index and nothing of this study. S3_ENDPOINT_URL, as s5cmd has it, names
another server with the same buckets.
"""

import json
import logging
import os
import signal
import sys

import psutil
from idc_index import IDCClient
from idc_index import index as idc

COLUMNS = ["PatientID", "StudyDate", "SeriesInstanceUID", "SeriesDescription", "Modality", "instanceCount"]
COLUMNS += ["series_size_MB", "source_DOI", "license_short_name"]


def series(client, collection):
    """Every series of a collection as its authors gave it, without what others derived."""
    table = client.index[client.index["collection_id"] == collection]
    rows = table.loc[table["analysis_result_id"].isna(), COLUMNS].to_json(orient="records")
    known = [] if len(table) else sorted(client.get_collections())
    return {"series": json.loads(rows), "version": client.idc_version, "known": known}


def download(client, uids, folder):
    """Series into ``folder``/<SeriesInstanceUID>; what lies there whole is not fetched again."""
    client.download_dicom_series(
        uids,
        downloadDir=folder,
        dirTemplate="%SeriesInstanceUID",
        quiet=True,
        show_progress_bar=False,
        use_s5cmd_sync=True,
    )
    return {}


def clinical(client, table, path, patient_id):
    """A clinical table as Parquet; PatientID of the images gets the heading asked for."""
    client.fetch_index("clinical_index")
    found = client.get_clinical_table(table)
    if found is None:
        raise LookupError(f"the Imaging Data Commons has no clinical table {table}")
    if "dicom_patient_id" in found:
        other = [name for name in found if name.casefold() == patient_id.casefold()]
        found = found.drop(columns=other).rename(columns={"dicom_patient_id": patient_id})
    found.to_parquet(path, index=False)
    return {}


def stop(*_):
    """End with the s5cmd that is running, which would go on alone."""
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(130)


def main():
    """Answer until there are no more questions; what the client prints goes to standard error."""
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    answers, sys.stdout = sys.stdout, sys.stderr
    logging.getLogger("idc_index").setLevel(logging.WARNING)
    idc.aws_endpoint_url = os.environ.get("S3_ENDPOINT_URL", idc.aws_endpoint_url)
    client = IDCClient.client()
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = {"series": series, "download": download, "clinical": clinical}[question.pop("ask")](
                client, **question
            )
        except Exception as error:  # told to who asked, who goes on
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
