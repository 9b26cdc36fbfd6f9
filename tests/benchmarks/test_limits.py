"""The table of limits: which stage takes how much longer than it must."""

from benchmarks.limits import table

LIMITS = {
    "copy_bytes_s": 10e9,
    "product_flop_s": 400e9,
    "precision": "bfloat16",
    "files_s": 0.05,
    "flop": 1.0e12,
    "volume_bytes": 160e6,
    "label_bytes": 80e6,
}


def test_ratios_are_of_what_the_machine_can_do() -> None:
    stages = {
        "start": 1.5,
        "reading series": 0.5,
        "loading the model": 0.1,
        "segmenting on CPU (2 cores)": 5.048,
        "telling left from right": 0.4,
        "closing holes": 0.32,
        "removing specks": 0.16,
        "measuring": 0.48,
        "writing ct_labels.nii.gz": 0.16,
    }
    rows = [
        [cell.strip() for cell in row.split("|")[1:-1]]
        for row in table(LIMITS, stages, 1.2).splitlines()[2:]
    ]
    found = {row[0]: (row[2], row[3], row[4]) for row in rows}
    assert found["start of Python, imports"] == ("1.20 s", "1.50 s", "1.2")
    assert found["reading the DICOM folder"] == ("0.05 s", "0.50 s", "10.0")
    assert found["network, with resampling there and back"] == ("2.52 s", "5.05 s", "2.0")
    assert found["closing holes"] == ("0.02 s", "0.32 s", "20.0")
    assert found["loading the model"] == ("", "0.10 s", "")
