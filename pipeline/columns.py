"""Names of columns that several tables of the contract share."""

#: Position of a synapse, XYZ, nanometres: the lower corner of the voxel that holds it.
CENTER_NM = ["center_x_nm", "center_y_nm", "center_z_nm"]

#: The two partners of a cleft by their segments' ids, uint64; 0 = none, or unknown.
PARTNER_SEGMENTS = ["pre_segment_id", "post_segment_id"]

#: The class that a `label` stands for.
CLASS_OF_LABEL = {1: "excitatory", 0: "inhibitory"}
