"""Findings that cannot be kept are an error of ours, one that a panel can show."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_covseg.domain.errors import ResourceError
from napari_covseg.plugin.findings import Findings, write_findings


@pytest.mark.parametrize("found", [Findings(labels=Path("scan_labels.nii.gz")), Findings()])
def test_a_folder_that_is_none(tmp_path, found):
    (tmp_path / "findings").write_text("a file")
    with pytest.raises(ResourceError, match="the folder of findings cannot be written to"):
        write_findings(tmp_path / "findings" / "abc.json", found)
