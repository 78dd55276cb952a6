# %% [markdown]
# # Texture compared with real electron microscopy
#
# The reference is 71 patches around synapses of mouse somatosensory cortex (Kasthuri et al. 2015, cutout AC3),
# resampled to voxels of 8x8x40 nm.
# `paper/reference/kasthuri_ac3.json` holds their statistics, not their pixels; `make real` measures them again.

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from pipeline import artefacts, glue, reference
from pipeline.stats import texture

study = glue.study("analysis/realism.py")
if not study.simulated:
    display(Markdown("**The patches of this edition are real, so this page compares two real volumes.**"))
synapses = study.read(study.build.patches / "index.parquet")["synapse_id"]
voxel_nm = study.read(study.build.patches / "manifest.json")["voxel_nm"]
kasthuri = reference.load(artefacts.REPOSITORY / "paper/reference/kasthuri_ac3.json").tissues["kasthuri_ac3"]
real = kasthuri.texture.model_dump()
ours = texture.summary(study.patches(synapses), voxel_nm)
if ours["level"] != real["level"] or ours["frequency_per_um"] != real["frequency_per_um"]:
    raise glue.StudyError("the reference has other quantiles or bands than this edition: run `make real` again")

# %% [markdown]
# ## Grey levels
#
# Quantiles over all pixels; 0 is black and 255 is white.

# %%
quantiles = pd.DataFrame({"level": ours["level"], "ours": ours["grey_level"], "real": real["grey_level"]})
quantiles["relative_difference"] = quantiles["ours"] / quantiles["real"] - 1
quantiles

# %% [markdown]
# ## Radial power spectrum
#
# The strength of image detail at each spatial frequency, averaged over directions and patches.
# Pixels of 8 nm resolve up to 62.5 cycles per µm; a vesicle of 40 nm contributes between about 10 and 25.

# %%
spectrum = pd.DataFrame({"frequency_per_um": ours["frequency_per_um"], "ours": ours["power"], "real": real["power"]})
spectrum = spectrum.dropna(ignore_index=True)  # small patches do not contain the lowest frequencies
spectrum["relative_difference"] = spectrum["ours"] / spectrum["real"] - 1
spectrum

# %% [markdown]
# ## The largest difference
#
# Relative to the real value, over all quantiles and all bands.

# %%
grey = quantiles.loc[quantiles["relative_difference"].abs().idxmax()]
band = spectrum.loc[spectrum["relative_difference"].abs().idxmax()]
where = {
    "grey": f"the {glue.percent(grey['level']).text} quantile of the grey level",
    "band": f"the spectral power near {glue.number(band['frequency_per_um'], 1).text} cycles per µm",
}
largest = max(("grey", "band"), key=lambda which: abs({"grey": grey, "band": band}[which]["relative_difference"]))
difference = {"grey": grey, "band": band}[largest]["relative_difference"]
values = {
    "n_patches": glue.count(ours["n_patches"]),
    "n_real_patches": glue.count(real["n_patches"]),
    "largest_grey_difference": glue.percent(grey["relative_difference"]),
    "largest_grey_difference_in": glue.text(where["grey"]),
    "largest_power_difference": glue.percent(band["relative_difference"]),
    "largest_power_difference_in": glue.text(where["band"]),
    "largest_difference": glue.percent(difference),
    "largest_difference_in": glue.text(where[largest]),
    "median_grey": glue.number(np.interp(0.5, ours["level"], ours["grey_level"]), 0),
    "median_real_grey": glue.number(np.interp(0.5, real["level"], real["grey_level"]), 0),
}
study.save(values, quantiles=quantiles, spectrum=spectrum)
