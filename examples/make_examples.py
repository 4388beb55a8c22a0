"""Makes the bundled examples anew, the same bytes each time: `python examples/make_examples.py`.

All of it is synthetic: the genes are real names, the variants, people and frequencies are not.
"""

from __future__ import annotations

import random
from pathlib import Path

INBOX = Path(__file__).parent / "inbox" / "vcf"

CHROMOSOME_LENGTHS = {
    "chr1": 248956422, "chr2": 242193529, "chr3": 198295559, "chr4": 190214555, "chr5": 181538259,
    "chr6": 170805979, "chr7": 159345973, "chr8": 145138636, "chr9": 138394717, "chr10": 133797422,
    "chr11": 135086622, "chr12": 133275309, "chr13": 114364328, "chr14": 107043718, "chr15": 101991189,
    "chr16": 90338345, "chr17": 83257441, "chr18": 80373285, "chr19": 58617616, "chr20": 64444167,
    "chr21": 46709983, "chr22": 50818468, "chrX": 156040895, "chrY": 57227415, "chrM": 16569,
}  # fmt: skip

GENES = {
    "BRCA1": ("chr17", 43044295, 43125364), "BRCA2": ("chr13", 32315086, 32400268), "TP53": ("chr17", 7661779, 7687538),
    "CFTR": ("chr7", 117287120, 117715971), "LDLR": ("chr19", 11089463, 11133820), "MLH1": ("chr3", 36993226, 37050896),
    "PAH": ("chr12", 102836889, 102958441), "HBB": ("chr11", 5225464, 5227071), "DMD": ("chrX", 31097677, 33339609),
    "FBN1": ("chr15", 48408313, 48645721), "MYH7": ("chr14", 23412740, 23435660), "PKD1": ("chr16", 2088708, 2135898),
    "RET": ("chr10", 43077069, 43130351), "APOB": ("chr2", 21001429, 21044073), "GBA1": ("chr1", 155234452, 155244699),
}  # fmt: skip

CSQ_FIELDS = "Allele|Consequence|IMPACT|SYMBOL|Gene|Feature_type|Feature|BIOTYPE|EXON|HGVSc|HGVSp|Existing_variation|CANONICAL"
CONSEQUENCES = [
    ("intron_variant", "MODIFIER", 55), ("synonymous_variant", "LOW", 12), ("missense_variant", "MODERATE", 16),
    ("3_prime_UTR_variant", "MODIFIER", 6), ("5_prime_UTR_variant", "MODIFIER", 3),
    ("splice_region_variant&intron_variant", "LOW", 3), ("stop_gained", "HIGH", 2), ("splice_donor_variant", "HIGH", 1),
]  # fmt: skip
INDEL_CONSEQUENCES = [("intron_variant", "MODIFIER", 70), ("frameshift_variant", "HIGH", 18),
                      ("inframe_deletion", "MODERATE", 12)]  # fmt: skip


def header(samples: list[str], info: list[str]) -> list[str]:
    """Header lines of a GRCh38 file."""
    contigs = [
        f"##contig=<ID={name},length={length},assembly=GRCh38>" for name, length in CHROMOSOME_LENGTHS.items()
    ]
    formats = [
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
        '##FORMAT=<ID=AD,Number=R,Type=Integer,Description="Allelic depths">',
        '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Read depth">',
        '##FORMAT=<ID=GQ,Number=1,Type=Integer,Description="Genotype quality">',
    ]
    columns = [
        "#CHROM",
        "POS",
        "ID",
        "REF",
        "ALT",
        "QUAL",
        "FILTER",
        "INFO",
        *(["FORMAT", *samples] if samples else []),
    ]
    return [
        "##fileformat=VCFv4.3",
        "##source=synthetic example",
        "##reference=GRCh38",
        '##FILTER=<ID=PASS,Description="All filters passed">',
        '##FILTER=<ID=LowQual,Description="Low quality">',
        *contigs,
        *info,
        *(formats if samples else []),
        "\t".join(columns),
    ]


def transition(base: str) -> str:
    """A<->G, C<->T."""
    return {"A": "G", "G": "A", "C": "T", "T": "C"}[base]


def csq(draw: random.Random, gene: str, ref: str, alt: str, rs_id: str) -> str:
    """One to three transcripts of a gene, in VEP's notation."""
    allele = alt if len(ref) == len(alt) else (alt[1:] or "-")
    table = CONSEQUENCES if len(ref) == len(alt) else INDEL_CONSEQUENCES
    number = sum(map(ord, gene))
    entries = []
    for transcript in range(draw.randint(1, 3)):
        term, impact, _ = draw.choices(table, [weight for *_, weight in table])[0]
        feature = f"ENST{number:08d}{transcript:03d}.{transcript + 2}"
        codon = draw.randint(2, 900)
        coding = impact in ("HIGH", "MODERATE") or term == "synonymous_variant"
        protein = (
            f"ENSP{number:08d}{transcript:03d}.2:p.Arg{codon}{draw.choice(['Trp', 'Ter', 'His', 'Gly'])}"
        )
        entries.append(
            f"{allele}|{term}|{impact}|{gene}|ENSG{number:011d}|Transcript|{feature}|protein_coding|"
            f"{draw.randint(1, 24)}/24|{feature}:c.{codon * 3}{ref[0]}>{allele}|{protein if coding else ''}|"
            f"{rs_id if rs_id != '.' else ''}|{'YES' if transcript == 0 else ''}"
        )
    return ",".join(entries)


def call(draw: random.Random, alleles: tuple[int, ...], joined: str = "/") -> str:
    """A GT:AD:DP:GQ call; alleles of () is missing."""
    if not alleles:
        return "./.:0,0:0:."
    depth = draw.randint(18, 62)
    alt_reads = round(depth * sum(alleles) / len(alleles))
    return f"{joined.join(map(str, alleles))}:{depth - alt_reads},{alt_reads}:{depth}:{draw.randint(40, 99)}"


def trio() -> list[str]:
    """A mother, a father and their daughter, annotated by VEP; inheritance is consistent."""
    draw = random.Random(20260)  # noqa: S311 - made-up data, not secrets
    info = [
        '##INFO=<ID=AC,Number=A,Type=Integer,Description="Allele count">',
        '##INFO=<ID=AF,Number=A,Type=Float,Description="Allele frequency">',
        '##INFO=<ID=AN,Number=1,Type=Integer,Description="Allele number">',
        '##INFO=<ID=DP,Number=1,Type=Integer,Description="Depth">',
        '##INFO=<ID=gnomAD_AF,Number=A,Type=Float,Description="Population frequency (synthetic)">',
        '##INFO=<ID=CADD_PHRED,Number=1,Type=Float,Description="CADD (synthetic)">',
        '##INFO=<ID=CLNSIG,Number=.,Type=String,Description="Clinical significance (synthetic)">',
        '##VEP="v112" time="2026-01-01 00:00:00" cache="homo_sapiens/112_GRCh38"',
        f'##INFO=<ID=CSQ,Number=.,Type=String,Description="Consequence annotations from Ensembl VEP. Format: {CSQ_FIELDS}">',
    ]
    lines = header(["mother", "father", "daughter"], info)
    order = list(CHROMOSOME_LENGTHS)
    sites = sorted(
        (
            (chrom, draw.randint(first, last), gene)
            for gene, (chrom, first, last) in GENES.items()
            for _ in range(60)
        ),
        key=lambda site: (order.index(site[0]), site[1]),
    )
    for chrom, pos, gene in sites:
        ref = draw.choice("ACGT")
        kind = draw.random()
        if kind < 0.88:
            alt = (
                transition(ref)
                if draw.random() < 0.68
                else draw.choice([b for b in "ACGT" if b not in (ref, transition(ref))])
            )
        elif kind < 0.94:
            alt, ref = ref, ref + "".join(draw.choices("ACGT", k=draw.randint(1, 6)))
        else:
            alt = ref + "".join(draw.choices("ACGT", k=draw.randint(1, 6)))
        mother, father = (tuple(sorted(draw.choices([0, 1], [0.55, 0.45], k=2))) for _ in range(2))
        if chrom == "chrX":
            father = (draw.randint(0, 1),)
        daughter = (draw.choice(mother), draw.choice(father))
        people = [mother, father, daughter]
        if not any(map(sum, people)):
            people[0] = (0, 1)
        copies, total = sum(map(sum, people)), sum(map(len, people))
        rs_id = f"rs{draw.randint(10**6, 10**9)}" if draw.random() < 0.7 else "."
        quality = draw.uniform(20, 2000)
        fields = [f"AC={copies}", f"AF={copies / total:.3f}", f"AN={total}", f"DP={draw.randint(60, 180)}",
                  f"gnomAD_AF={draw.random() ** 5:.4g}", f"CADD_PHRED={draw.uniform(0, 35):.1f}"]  # fmt: skip
        if draw.random() < 0.05:
            fields.append(
                "CLNSIG=" + draw.choice(["Benign", "Likely_benign", "Uncertain_significance", "Pathogenic"])
            )
        fields.append("CSQ=" + csq(draw, gene, ref, alt, rs_id))
        calls = [call(draw, p) if draw.random() > 0.02 else call(draw, ()) for p in people[:2]]
        calls.append(call(draw, people[2], "|"))
        lines.append(
            "\t".join(
                [
                    chrom,
                    str(pos),
                    rs_id,
                    ref,
                    alt,
                    f"{quality:.1f}",
                    "PASS" if quality > 60 else "LowQual",
                    ";".join(fields),
                    "GT:AD:DP:GQ",
                    *calls,
                ]
            )
        )
    return lines


def structural() -> list[str]:
    """Structural variants of one tumour: deletions, a duplication, an inversion, breakends."""
    info = [
        '##INFO=<ID=SVTYPE,Number=1,Type=String,Description="Type of structural variant">',
        '##INFO=<ID=END,Number=1,Type=Integer,Description="Last base">',
        '##INFO=<ID=SVLEN,Number=A,Type=Integer,Description="Length">',
        '##INFO=<ID=MATEID,Number=.,Type=String,Description="Mate of a breakend">',
    ]
    rows = [
        ("chr3", 37000000, "del_mlh1", "A", "<DEL>", "SVTYPE=DEL;END=37024999;SVLEN=-24999"),
        ("chr7", 55019017, "dup_egfr", "G", "<DUP>", "SVTYPE=DUP;END=55211628;SVLEN=192611"),
        ("chr9", 130713900, "bnd_abl1", "C", "C]chr22:23290413]", "SVTYPE=BND;MATEID=bnd_bcr"),
        ("chr17", 43070900, "inv_brca1", "T", "<INV>", "SVTYPE=INV;END=43099900;SVLEN=29000"),
        ("chr22", 23290413, "bnd_bcr", "A", "A]chr9:130713900]", "SVTYPE=BND;MATEID=bnd_abl1"),
        ("chrX", 31800000, "del_dmd", "C", "<DEL>", "SVTYPE=DEL;END=32100000;SVLEN=-300000"),
    ]
    body = [f"{c}\t{p}\t{i}\t{r}\t{a}\t800\tPASS\t{f}\tGT:DP:GQ\t0/1:42:99" for c, p, i, r, a, f in rows]
    return [*header(["tumour"], info), *body]


def panel() -> list[str]:
    """A small sites-only panel with mitochondrial and decoy contigs."""
    draw = random.Random(7)  # noqa: S311
    info = [
        '##INFO=<ID=AF,Number=A,Type=Float,Description="Allele frequency">',
        '##INFO=<ID=CLNSIG,Number=.,Type=String,Description="Clinical significance (synthetic)">',
        '##INFO=<ID=CLNREVSTAT,Number=.,Type=String,Description="Review status (synthetic)">',
    ]
    sites = sorted(draw.sample(range(100, 16000), 20))
    rows = []
    for gene_chrom in ("chr11", "chr17"):
        for pos in sorted(draw.sample(range(5_000_000, 44_000_000), 40)):
            ref = draw.choice("ACGT")
            alts = [transition(ref)] if draw.random() < 0.85 else [b for b in "ACGT" if b != ref][:2]
            frequencies = ",".join(f"{draw.random() ** 3:.4f}" for _ in alts)
            rows.append(f"{gene_chrom}\t{pos}\trs{draw.randint(10**6, 10**8)}\t{ref}\t{','.join(alts)}\t.\tPASS\tAF={frequencies}"
                        + (";CLNSIG=Pathogenic;CLNREVSTAT=criteria_provided" if draw.random() < 0.1 else ""))  # fmt: skip
    for pos in sites:
        ref = draw.choice("ACGT")
        rows.append(f"MT\t{pos}\t.\t{ref}\t{transition(ref)}\t.\tPASS\tAF={draw.random() ** 3:.4f}")
    rows.append("HLA-A*01:01:01:01\t120\t.\tG\tA\t.\tPASS\tAF=0.1")
    return [*header([], info), *rows]


PEDIGREE = """#family\tindividual\tfather\tmother\tsex\tphenotype
FAM1\tmother\t0\t0\t2\t1
FAM1\tfather\t0\t0\t1\t1
FAM1\tdaughter\tfather\tmother\t2\t2
"""


DOSE_RESPONSE = """\
log_transformation: BASE2
prefilter: {method: anova, p_value_cutoff: 0.01, fold_change: 1.5}
models: [hill, power, linear, poly2, exp3, exp5]
bmr: {type: sd, factor: 1.349}
model_averaging: true
"""


def dose_response() -> list[str]:
    """An expression matrix of 160 probes, half of them with planted curves."""
    from genomics_assets.bmd.planted import planted_experiment

    experiment = planted_experiment(160, replicates=8, seed=20261)
    doses = [f"{dose:g}" for dose in experiment.sample_doses]
    samples = [f"S{i + 1:03d}" for i in range(len(doses))]
    rows = [
        [probe, *(f"{value:.4f}" for value in values)]
        for probe, values in zip(experiment.probe_ids, experiment.responses, strict=True)
    ]
    return ["\t".join(cells) for cells in [["SampleID", *samples], ["Dose", *doses], *rows]]


def main() -> None:
    """Write the examples."""
    INBOX.mkdir(parents=True, exist_ok=True)
    for name, lines in (("trio", trio()), ("structural", structural()), ("panel", panel())):
        (INBOX / f"{name}.vcf").write_text("\n".join(lines) + "\n")
    (INBOX / "trio.ped").write_text(PEDIGREE)
    (INBOX / "panel.yaml").write_text("reference_genome: GRCh38\n")
    project = INBOX.parent / "bmd" / "synthetic"
    project.mkdir(parents=True, exist_ok=True)
    (project / "planted_curves.txt").write_text("\n".join(dose_response()) + "\n")
    (project / "planted_curves.yaml").write_text(DOSE_RESPONSE)


if __name__ == "__main__":
    main()
