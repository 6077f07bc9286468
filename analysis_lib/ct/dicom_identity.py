"""Whether a DICOM header says who the patient is."""

from __future__ import annotations

import pydicom

PSEUDONYMS = ("PatientName", "PatientID")  # filled with a study's own code once identity was removed
IDENTITY_TAGS = (
    *PSEUDONYMS,
    "PatientBirthDate",
    "PatientBirthName",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "PatientMotherBirthName",
    "AccessionNumber",
    "InstitutionName",
    "InstitutionAddress",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy",
    "OperatorsName",
    "RequestingPhysician",
)


def carries_identity(header: pydicom.Dataset) -> bool:
    """Whether a name, birth date, number or place that can be traced to a person is in the header.

    Name and ID count only where the header does not say that identity was removed: then they are the
    study's own code. Over-warning is meant: a hospital number alone traces a patient too.
    """
    removed = str(header.get("PatientIdentityRemoved") or "").upper() == "YES"
    for keyword in IDENTITY_TAGS:
        if removed and keyword in PSEUDONYMS:
            continue
        if str(header.get(keyword) or "").strip(" ^"):
            return True
    return False
