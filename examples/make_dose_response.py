"""Makes the bundled dose-response example anew, the same bytes each time: `python examples/make_dose_response.py`.

All of it is synthetic. `planted_bmds.tsv`, beside the inbox, tells which benchmark dose was planted in which probe: the
dose at which the true curve has moved by 1.349 of the true standard deviations.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

EXAMPLES = Path(__file__).parent
INBOX = EXAMPLES / "inbox"

DOSES = [0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]
REPLICATES = 5
BMR_FACTOR = 1.349
# On the log2 scale.
LARGEST_CHANGE = 6.0
GENES = 240

PATHWAYS = {
    "XENOBIOTIC_METABOLISM": "Xenobiotic metabolism (synthetic)",
    "OXIDATIVE_STRESS": "Response to oxidative stress (synthetic)",
    "P53_SIGNALING": "p53 signalling (synthetic)",
    "LIPID_BIOSYNTHESIS": "Lipid biosynthesis (synthetic)",
    "UNFOLDED_PROTEIN": "Unfolded protein response (synthetic)",
    "CELL_CYCLE": "Cell cycle (synthetic)",
    "INFLAMMATION": "Inflammatory response (synthetic)",
    "BILE_ACIDS": "Bile acid metabolism (synthetic)",
}
# Where the benchmark doses of a pathway's responsive genes lie, and how many of its genes respond.
POTENCY = {
    "XENOBIOTIC_METABOLISM": (0.8, 0.9),
    "OXIDATIVE_STRESS": (3.0, 0.8),
    "P53_SIGNALING": (8.0, 0.7),
    "LIPID_BIOSYNTHESIS": (12.0, 0.5),
    "UNFOLDED_PROTEIN": (25.0, 0.5),
}

Curve = Callable[[float], float]


def planted_curve(draw: random.Random, bmd: float, change: float) -> tuple[str, Curve]:
    """A curve from 0 whose value at the BMD is `change`; its shape is one of the models that are fitted.

    What would rise beyond all that a cell can do at the highest dose saturates.
    """
    shape, power = draw.choice(["hill", "linear", "power"]), draw.uniform(1.3, 2.0)
    if shape == "linear" and abs(change) * DOSES[-1] / bmd <= LARGEST_CHANGE:
        return shape, lambda dose: change * dose / bmd
    if shape == "power" and abs(change) * (DOSES[-1] / bmd) ** power <= LARGEST_CHANGE:
        return shape, lambda dose: change * (dose / bmd) ** power
    top, slope = change * draw.uniform(4.0, 8.0), draw.uniform(2.0, 3.0)
    half = bmd * ((top - change) / change) ** (1 / slope)
    return "hill", lambda dose: top * dose**slope / (half**slope + dose**slope)


def main(seed: int = 97) -> None:
    """Write the matrix, its sidecar, the platform, the gene sets and the planted doses."""
    draw = random.Random(seed)  # noqa: S311 - made-up data, not secrets
    genes = [f"SYN{number:03d}" for number in range(1, GENES + 1)]
    order = draw.sample(genes, GENES)
    members = {name: sorted(order[i * 24 : (i + 1) * 24]) for i, name in enumerate(PATHWAYS)}
    doses = [dose for dose in DOSES for _ in range(REPLICATES)]
    columns = draw.sample(range(len(doses)), len(doses))
    lines = ["Synthetic log2 intensities; every number was drawn, none was measured."]
    lines.append("\t".join(["SampleID", *(f"well_{i + 1:02d}" for i in range(len(doses)))]))
    lines.append("\t".join(["Dose", *(f"{doses[i]:g}" for i in columns)]))
    planted, probe_map = ["probe_id\tshape\tbmd"], ["Array Probe\tCategory Component"]
    for name, own in members.items():
        potency, share = POTENCY.get(name, (30.0, 0.0))
        for gene in own:
            responds = draw.random() < share
            for number in range(1, 3 if draw.random() < 0.25 else 2):
                probe = f"{gene}_{number}"
                probe_map.append(f"{probe}\t{gene}")
                base, deviation = draw.uniform(6, 11), draw.uniform(0.12, 0.3)
                curve: Curve = lambda _: 0.0  # noqa: E731
                if responds:
                    bmd = potency * math.exp(draw.gauss(0, 0.4))
                    direction = draw.choice([-1.0, 1.0])
                    shape, rise = planted_curve(draw, bmd, direction * BMR_FACTOR * deviation)
                    planted.append(f"{probe}\t{shape}\t{bmd:.6g}")
                    curve = rise
                values = [base + curve(doses[i]) + draw.gauss(0, deviation) for i in columns]
                lines.append("\t".join([probe, *(f"{value:.4f}" for value in values)]))
    # What real platforms have too: a probe at the floor, a control probe, and one that no gene is known for.
    lines.append("\t".join(["FLOOR_1", *["3.3219"] * len(doses)]))
    lines.append("\t".join(["AFFX-control", *(f"{8 + draw.gauss(0, 0.1):.4f}" for _ in doses)]))
    lines.append("\t".join(["UNMAPPED_1", *(f"{7 + draw.gauss(0, 0.2):.4f}" for _ in doses)]))
    write("bmd/synthetic/hepatocytes.txt", lines)
    write(
        "bmd/synthetic/hepatocytes.yaml",
        [
            "log_transformation: BASE2",
            "chip: synthetic_panel",
            "prefilter: {method: anova, p_value_cutoff: 0.05, use_multiple_testing_correction: true, fold_change: 1.2}",
            "models: [hill, power, linear, exp5]",
            "bmr: {type: sd, factor: 1.349}",
            "gene_sets: synthetic_pathways",
            "model_averaging: true",
        ],
    )
    write("bmd_platforms/synthetic_panel.txt", probe_map)
    write(
        "bmd_platforms/synthetic_panel.yaml", ["version: '1'", "chip_name: Synthetic panel", "species: none"]
    )
    write(
        "bmd_gene_sets/synthetic_pathways.gmt",
        ["\t".join([name, PATHWAYS[name], *own]) for name, own in members.items()],
    )
    write("bmd_gene_sets/synthetic_pathways.yaml", ["version: '1'", "category_type: PATHWAY"])
    (EXAMPLES / "planted_bmds.tsv").write_text("\n".join(planted) + "\n")


def write(name: str, lines: list[str]) -> None:
    """Write a file of the inbox."""
    path = INBOX / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
