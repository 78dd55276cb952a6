"""`synapses.csv`: what is read, and what is said about files that cannot be."""

import numpy as np
import pandas as pd
import pytest

from pipeline import space
from pipeline.cohort import CohortError, folder

FRAME = space.VoxelFrame((6.0, 6.0, 30.0))
HEADER = "synapse_id,x_vx,y_vx,z_vx,cell_type,axon_id,dendrite_id,on_spine,psd_size,quality\n"
ROWS = ["7,10,20,40,excitatory,1,5,True,100,ok\n", "3,11,21,41,inhibitory,2,5,false,90,doubtful\n"]


def write(path, text, encoding="utf-8"):
    file = path / "synapses.csv"
    file.write_bytes(text.encode(encoding))
    return file


def test_columns_become_the_cohorts_schema(tmp_path):
    synapses = folder.read(write(tmp_path, HEADER + "".join(ROWS)), FRAME)
    expected = pd.DataFrame(
        {
            "synapse_id": [3, 7],
            "pre_neuron_id": [2, 1],
            "post_neuron_id": [5, 5],
            "center_x_nm": [66.0, 60.0],
            "center_y_nm": [126.0, 120.0],
            "center_z_nm": [1230.0, 1200.0],
            "size": pd.array([90, 100], dtype="Int64"),
            "label": pd.array([0, 1], dtype="Int64"),
            "on_spine": pd.array([False, True], dtype="boolean"),
            "quality": ["doubtful", "ok"],
        }
    )
    pd.testing.assert_frame_equal(synapses, expected)
    np.testing.assert_array_equal(FRAME.to_vx(synapses[["center_x_nm", "center_y_nm", "center_z_nm"]])[0], [11, 21, 41])


def test_bare_positions_are_enough_to_predict(tmp_path, caplog):
    lines = [
        "\ufeffsynapse_id, x_vx,y_vx,z_vx,comment",
        "864691135000000001,-1,2,3,a",
        "",
        '864691135000000000,4,5,6,"b, c"',
    ]
    text = "\r\n".join(lines)
    synapses = folder.read(write(tmp_path, text), FRAME)
    assert synapses["synapse_id"].tolist() == [864691135000000000, 864691135000000001]
    assert synapses["pre_neuron_id"].tolist() == synapses["synapse_id"].tolist()
    assert synapses["label"].isna().all()
    assert synapses["size"].isna().all()
    assert (synapses["post_neuron_id"] == 0).all()
    assert synapses["center_x_nm"].tolist() == [24.0, -6.0]
    assert "no axon_id: every synapse counts as a neuron of its own" in caplog.text


def test_missing_labels_stay_missing(tmp_path):
    synapses = folder.read(write(tmp_path, HEADER + ROWS[0] + ROWS[1].replace("inhibitory", "")), FRAME)
    assert synapses["label"].tolist() == [pd.NA, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"synapses.csv is empty; its first row must name the columns \['synapse_id', 'x_vx'"),
        (HEADER, "synapses.csv has a header but no synapses"),
        (
            "synapse_id,x,y,z_vx\n1,2,3,4\n",
            r"lacks the columns \['x_vx', 'y_vx'\]; its first row names \['synapse_id', 'x'",
        ),
        ("synapse_id;x_vx;y_vx;z_vx\n1;2;3;4\n", r"lacks the columns .* names \['synapse_id;x_vx;y_vx;z_vx'\]"),
        ("synapse_id,x_vx,x_vx,y_vx,z_vx\n1,2,2,3,4\n", "row 1 names a column twice"),
        (HEADER + ROWS[0] + ROWS[1].replace("21", "21.5"), "row 3, column y_vx: '21.5' is not an integer$"),
        (HEADER + "\n" + ROWS[0].replace("40", ""), "row 3, column z_vx: '' is not an integer"),
        (HEADER + ROWS[0].replace("10", "1e2") + ROWS[1].replace("11", "nan"), r"row 2, .*: '1e2' .* \(and 1 more\)"),
        (HEADER + ROWS[0] + ROWS[1] + ROWS[0], "row 4, column synapse_id: '7' occurs more than once"),
        (HEADER + ROWS[0].replace("7", "s7", 1), "row 2, column synapse_id: 's7' is not an integer"),
        (HEADER + ROWS[0].replace("7", "9" * 19, 1), "synapse_id: '9999999999999999999' does not fit into 64 bits"),
        (HEADER + ROWS[0].replace("excitatory", "pyramidal"), "column cell_type: 'pyramidal' is none of excitatory"),
        (HEADER + ROWS[0].replace("True", "spine"), "row 2, column on_spine: 'spine' is none of true, false"),
        (HEADER + ROWS[0] + ROWS[1].replace(",2,5", ",1,5"), "row 2, column axon_id: '1' has both cell types"),
        (HEADER + ROWS[0] + "3,11,21\n", "row 3 has 3 cells where the header names 10"),
        (HEADER + '1,2,3,4,"excitatory,1,5,True,100,ok\n', "row 2: unexpected end of data"),
    ],
)
def test_an_error_names_its_place(tmp_path, text, message):
    with pytest.raises(CohortError, match=message) as error:
        folder.read(write(tmp_path, text), FRAME)
    assert str(tmp_path / "synapses.csv") in str(error.value)


def test_other_encodings_are_refused(tmp_path):
    with pytest.raises(CohortError, match=r"is not UTF-8 text \(byte 0\); save it as CSV, UTF-8"):
        folder.read(write(tmp_path, HEADER + ROWS[0], encoding="utf-16"), FRAME)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(CohortError, match="synapses.csv does not exist"):
        folder.read(tmp_path / "synapses.csv", FRAME)


def test_real_synapses_are_read_as_published(real_data):
    path = real_data / "kasthuri_ac3" / "synapses.csv"
    synapses, published = folder.read(path, FRAME), pd.read_csv(path).sort_values("synapse_id")
    assert synapses["label"].value_counts().to_dict() == {1: 66, 0: 5}
    assert synapses["pre_neuron_id"].nunique() == 44
    np.testing.assert_array_equal(synapses["center_z_nm"], published["z_vx"] * 30.0)
