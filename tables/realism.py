"""Grey-level quantiles and spectral power compared with real electron microscopy."""

import pandas as pd

from pipeline import glue

study = glue.study("tables/realism.py")
values = study.values("realism")
columns = {"ours": study.data_phrase.capitalize(), "real": "Real"}

quantiles = study.rows("realism", "quantiles").assign(
    name=lambda rows: [f"grey level, {glue.percent(level).text} quantile" for level in rows["level"]]
)
spectrum = study.rows("realism", "spectrum").assign(
    name=lambda rows: [f"power near {glue.number(f, 1).text} cycles/µm" for f in rows["frequency_per_um"]]
)
tables = []
for statistics, write in ((quantiles, glue.count), (spectrum, glue.significant)):
    table = pd.DataFrame({"Statistic": statistics["name"]})
    for column, title in columns.items():
        table[title] = [write(value).text for value in statistics[column]]
    table["Relative difference"] = [glue.percent(value).text for value in statistics["relative_difference"]]
    tables.append(table)

study.save_table(
    pd.concat(tables),
    f"""Texture of {study.data_phrase} ({values["n_patches"].text} patches) compared with real electron microscopy
    ({values["n_real_patches"].text} patches of mouse somatosensory cortex, Kasthuri et al. 2015, cutout AC3), in
    pixels of 8 nm.
    Power: squared grey levels times µm², averaged over directions in bands around the frequency.
    Differences are relative to the real value; the largest is {values["largest_difference"].text}.""",
)
