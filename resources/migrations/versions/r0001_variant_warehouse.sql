-- The seed's columns come first and hold exactly; what follows "additions" is ours, additive and nullable.

CREATE TABLE genomics.warehouse (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    genome   text NOT NULL CHECK (genome IN ('human', 'other')),
    made_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE genomics.warehouse IS 'What this warehouse was made for; one row, chosen once.';

CREATE TABLE genomics.variants (
    variant_id       bigint GENERATED ALWAYS AS IDENTITY,
    chrom            $chromosome_type$ NOT NULL,
    pos_range        int8range NOT NULL,
    pos              bigint NOT NULL,
    end_pos          bigint,
    ref              text NOT NULL,
    alt              text NOT NULL,
    qual             real,
    filter           text[],
    variant_type     varchar(20),
    rs_id            text,
    gene             varchar(100),
    transcript       varchar(255),
    hgvs_c           varchar(255),
    hgvs_p           varchar(255),
    consequence      varchar(100),
    impact           varchar(20),
    is_coding        boolean DEFAULT false,
    is_lof           boolean DEFAULT false,
    af_gnomad        real,
    af_gnomad_popmax real,
    af_1kg           real,
    cadd_phred       real,
    clinvar_sig      varchar(100),
    clinvar_review   varchar(50),
    info             jsonb DEFAULT '{}'::jsonb,
    vep_annotations  jsonb,
    sample_id        varchar(255),
    load_batch_id    uuid NOT NULL,
    created_at       timestamptz DEFAULT CURRENT_TIMESTAMP,
    -- additions
    call_rate        real,
    n_het            integer,
    n_hom_alt        integer,
    aaf              real,
    hwe_p            real,
    PRIMARY KEY (chrom, variant_id)
) PARTITION BY LIST (chrom);
COMMENT ON TABLE genomics.variants IS 'One row for each ALT allele of each loaded file.';
COMMENT ON COLUMN genomics.variants.chrom IS 'chr1 … chr22, chrX, chrY, chrM; other contigs under their own name';
COMMENT ON COLUMN genomics.variants.pos_range IS 'Bases that the variant spans, 1-based, upper bound exclusive';
COMMENT ON COLUMN genomics.variants.pos IS 'First base, 1-based, after trimming and left-alignment';
COMMENT ON COLUMN genomics.variants.end_pos IS 'Last base, 1-based, inclusive';
COMMENT ON COLUMN genomics.variants.ref IS 'Reference allele, upper case, never empty';
COMMENT ON COLUMN genomics.variants.alt IS 'Alternate allele; symbolic alleles and breakends as written';
COMMENT ON COLUMN genomics.variants.qual IS 'Phred-scaled quality; NULL where missing';
COMMENT ON COLUMN genomics.variants.filter IS '{PASS}, or the filters that failed; NULL where not applied';
COMMENT ON COLUMN genomics.variants.variant_type IS 'snp, mnp, indel, sv, bnd, star or non_ref';
COMMENT ON COLUMN genomics.variants.gene IS 'Gene symbol of the most severe transcript consequence';
COMMENT ON COLUMN genomics.variants.consequence IS 'Sequence Ontology terms of the most severe transcript';
COMMENT ON COLUMN genomics.variants.info IS 'INFO as typed JSON, per-allele fields resolved to this allele';
COMMENT ON COLUMN genomics.variants.vep_annotations IS 'Every annotation entry of this allele, as written, by INFO key; see genomics.transcript_consequences';
COMMENT ON COLUMN genomics.variants.sample_id IS 'samples.external_id, for a file that belongs to one sample';
COMMENT ON COLUMN genomics.variants.load_batch_id IS 'The load that brought this row: variant_load_audit.load_batch_id';
COMMENT ON COLUMN genomics.variants.call_rate IS 'Samples with a whole call / samples';
COMMENT ON COLUMN genomics.variants.n_het IS 'Samples with some but not all alleles equal to ALT';
COMMENT ON COLUMN genomics.variants.n_hom_alt IS 'Samples with all alleles equal to ALT, haploid calls included';
COMMENT ON COLUMN genomics.variants.aaf IS 'Frequency of ALT among called alleles';
COMMENT ON COLUMN genomics.variants.hwe_p IS 'Exact Hardy-Weinberg p value over diploid calls';

-- Index set "standard": kept during loads, cost independent of the size of the table.
-- By position alone: an allele may be longer than an index entry, and few rows share a position.
CREATE INDEX variants_pos_idx ON genomics.variants (pos);
CREATE INDEX variants_long_idx ON genomics.variants USING gist (pos_range) WHERE end_pos - pos >= 1000;
CREATE INDEX variants_gene_idx ON genomics.variants (gene, impact) WHERE gene IS NOT NULL;
CREATE INDEX variants_rs_id_idx ON genomics.variants USING hash (rs_id) WHERE rs_id IS NOT NULL;
CREATE INDEX variants_clinvar_idx ON genomics.variants (clinvar_sig, gene) WHERE clinvar_sig IS NOT NULL;
CREATE INDEX variants_sample_idx ON genomics.variants (sample_id) WHERE sample_id IS NOT NULL;
CREATE INDEX variants_severe_idx ON genomics.variants (consequence) WHERE impact IN ('HIGH', 'MODERATE');
CREATE INDEX variants_batch_idx ON genomics.variants USING brin (load_batch_id) WITH (pages_per_range = 32);

CREATE FUNCTION genomics.variants_overlapping(region_chrom text, first_base bigint, last_base bigint)
RETURNS SETOF genomics.variants LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT * FROM genomics.variants
    WHERE chrom = region_chrom AND pos BETWEEN first_base - 999 AND last_base
      AND end_pos - pos < 1000 AND pos_range && int8range(first_base, last_base, '[]')
    UNION ALL
    SELECT * FROM genomics.variants
    WHERE chrom = region_chrom AND end_pos - pos >= 1000 AND pos_range && int8range(first_base, last_base, '[]')
$$;
COMMENT ON FUNCTION genomics.variants_overlapping IS
    'Variants that overlap a region (1-based, inclusive), long deletions and structural variants included, by the standard indexes.';

CREATE TABLE genomics.variant_load_audit (
    audit_id               bigserial PRIMARY KEY,
    load_batch_id          uuid NOT NULL UNIQUE,
    vcf_file_path          text NOT NULL,
    vcf_file_hash          char(64) NOT NULL,
    vcf_file_size          bigint,
    load_started_at        timestamptz DEFAULT now(),
    load_completed_at      timestamptz,
    reference_genome       varchar(20) NOT NULL,
    vep_version            varchar(20),
    snpeff_version         varchar(20),
    clinvar_version        date,
    gnomad_version         varchar(20),
    total_variants_in_file bigint,
    variants_loaded        bigint,
    variants_skipped       bigint,
    samples_count          integer,
    status                 varchar(20) CHECK (status IN ('started', 'completed', 'failed', 'rolled_back')),
    loaded_by              varchar(100),
    error_message          text,
    is_reload              boolean DEFAULT false,
    previous_load_id       uuid,
    -- additions
    partition_key          text,
    content_hash           char(64),
    load_settings          jsonb,
    skipped_reasons        jsonb,
    noted                  jsonb,
    annotation_fields      jsonb,
    run_id                 text,
    superseded_by          uuid
);
CREATE INDEX variant_load_audit_file_idx ON genomics.variant_load_audit (vcf_file_hash);
CREATE INDEX variant_load_audit_content_idx ON genomics.variant_load_audit (content_hash) WHERE status = 'completed';
CREATE INDEX variant_load_audit_partition_idx ON genomics.variant_load_audit (partition_key, audit_id);
CREATE INDEX variant_load_audit_open_idx ON genomics.variant_load_audit (audit_id) WHERE status = 'started';
COMMENT ON TABLE genomics.variant_load_audit IS 'One row for each attempt to load a file.';
COMMENT ON COLUMN genomics.variant_load_audit.vcf_file_hash IS 'SHA-256 of the file as dropped';
COMMENT ON COLUMN genomics.variant_load_audit.content_hash IS 'SHA-256 of the decompressed bytes: the same records compressed anew are known again';
COMMENT ON COLUMN genomics.variant_load_audit.superseded_by IS 'The load that replaced this one; its rows are gone';
COMMENT ON COLUMN genomics.variant_load_audit.total_variants_in_file IS 'ALT alleles plus skipped records';

CREATE TABLE genomics.current_loads (
    partition_key text PRIMARY KEY,
    load_batch_id uuid NOT NULL REFERENCES genomics.variant_load_audit (load_batch_id),
    file_hash     char(64) NOT NULL
);
CREATE INDEX current_loads_batch_idx ON genomics.current_loads (load_batch_id);
COMMENT ON TABLE genomics.current_loads IS 'The load whose rows stand for a dropped file; two files with the same content share one.';

CREATE FUNCTION genomics.superseded_loads(of_partition text, by_load uuid) RETURNS SETOF uuid LANGUAGE sql STABLE AS $$
    SELECT load_batch_id FROM genomics.variant_load_audit
    WHERE superseded_by IS NOT NULL AND (partition_key = of_partition OR superseded_by = by_load)
$$;
COMMENT ON FUNCTION genomics.superseded_loads IS 'Loads whose rows a partition no longer stands for.';

CREATE TABLE genomics.vcf_files (
    partition_key     text PRIMARY KEY,
    file_path         text NOT NULL,
    fingerprint       text NOT NULL,
    file_hash         char(64) NOT NULL,
    file_size         bigint NOT NULL,
    container         text NOT NULL,
    file_format       text NOT NULL,
    reference_genome  varchar(20),
    contigs           integer NOT NULL,
    samples_count     integer NOT NULL,
    annotation_fields jsonb NOT NULL,
    tools             jsonb NOT NULL,
    seen_at           timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE genomics.vcf_files IS 'What was dropped: one row for each file, as its header tells.';

CREATE TABLE genomics.samples (
    sample_id   integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    external_id varchar(255) NOT NULL UNIQUE,
    family_id   varchar(100),
    sex         smallint CHECK (sex IN (0, 1, 2)),
    phenotype   smallint DEFAULT 0,
    metadata    jsonb DEFAULT '{}'::jsonb,
    created_at  timestamptz DEFAULT now()
);
CREATE INDEX samples_family_idx ON genomics.samples (family_id) WHERE family_id IS NOT NULL;

CREATE TABLE genomics.load_samples (
    load_batch_id uuid NOT NULL,
    ordinal       integer NOT NULL,
    sample_id     integer NOT NULL REFERENCES genomics.samples (sample_id),
    PRIMARY KEY (load_batch_id, ordinal)
);
CREATE INDEX load_samples_sample_idx ON genomics.load_samples (sample_id);
COMMENT ON TABLE genomics.load_samples IS 'Which column of a file, counted from 0, is which sample.';

CREATE TABLE genomics.sample_conflicts (
    load_batch_id uuid NOT NULL,
    external_id   varchar(255) NOT NULL,
    field         text NOT NULL,
    known_value   text NOT NULL,
    file_value    text NOT NULL,
    seen_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (load_batch_id, external_id, field)
);
COMMENT ON TABLE genomics.sample_conflicts IS 'Where a pedigree file contradicts what is known; the known value stays.';

CREATE TABLE genomics.genotypes (
    chrom         $chromosome_type$ NOT NULL,
    pos           bigint NOT NULL,
    ref           text NOT NULL,
    alt           text NOT NULL,
    load_batch_id uuid NOT NULL,
    gt            bytea NOT NULL,
    dp            bytea,
    gq            bytea
);
CREATE INDEX genotypes_region_idx ON genomics.genotypes (chrom, pos);
CREATE INDEX genotypes_batch_idx ON genomics.genotypes USING brin (load_batch_id) WITH (pages_per_range = 32);
COMMENT ON TABLE genomics.genotypes IS 'Calls packed per variant, one byte a sample in the order of load_samples; read through genomics.sample_genotypes.';

CREATE VIEW genomics.sample_genotypes AS
SELECT g.chrom, g.pos, g.ref, g.alt, g.load_batch_id, s.sample_id, s.external_id,
       CASE WHEN c.ploidy = 0 THEN NULL ELSE c.code & 7 END AS alt_copies,
       c.ploidy, (c.code & 64) <> 0 AS phased, (c.code & 128) <> 0 AS other_allele,
       CASE WHEN g.dp IS NULL OR d.depth = 65535 THEN NULL ELSE d.depth END AS dp,
       CASE WHEN g.gq IS NULL OR get_byte(g.gq, l.ordinal) = 255 THEN NULL ELSE get_byte(g.gq, l.ordinal) END AS gq
FROM genomics.genotypes AS g
JOIN genomics.load_samples AS l USING (load_batch_id)
JOIN genomics.samples AS s USING (sample_id)
CROSS JOIN LATERAL (SELECT get_byte(g.gt, l.ordinal) AS code, (get_byte(g.gt, l.ordinal) >> 3) & 7 AS ploidy) AS c
CROSS JOIN LATERAL (SELECT get_byte(g.dp, 2 * l.ordinal) * 256 + get_byte(g.dp, 2 * l.ordinal + 1) AS depth) AS d
WHERE EXISTS (SELECT FROM genomics.current_loads AS c WHERE c.load_batch_id = g.load_batch_id);
COMMENT ON VIEW genomics.sample_genotypes IS 'One row for each sample and variant: copies of ALT (NULL when missing), ploidy, phase, depth, genotype quality.';

CREATE VIEW genomics.transcript_consequences AS
SELECT v.chrom, v.pos, v.ref, v.alt, v.variant_id, v.load_batch_id, source.key AS source, entry.ordinality AS entry,
       coalesce(f.fields ->> 'Consequence', f.fields ->> 'Annotation', f.fields ->> 'consequence',
                f.fields ->> 'Effect') AS consequence,
       coalesce(f.fields ->> 'IMPACT', f.fields ->> 'Annotation_Impact', f.fields ->> 'Effect_Impact') AS impact,
       coalesce(f.fields ->> 'SYMBOL', f.fields ->> 'Gene_Name', f.fields ->> 'gene') AS gene,
       coalesce(f.fields ->> 'Feature', f.fields ->> 'Feature_ID', f.fields ->> 'transcript',
                f.fields ->> 'Transcript_ID', f.fields ->> 'Transcript') AS transcript,
       coalesce(f.fields ->> 'HGVSc', f.fields ->> 'HGVS.c') AS hgvs_c,
       coalesce(f.fields ->> 'HGVSp', f.fields ->> 'HGVS.p') AS hgvs_p,
       f.fields
FROM genomics.variants AS v
JOIN genomics.variant_load_audit AS a USING (load_batch_id)
CROSS JOIN LATERAL jsonb_each(v.vep_annotations) AS source
CROSS JOIN LATERAL jsonb_array_elements_text(source.value) WITH ORDINALITY AS entry
CROSS JOIN LATERAL (
    SELECT jsonb_object_agg(name.value, part.value) AS fields
    FROM jsonb_array_elements_text(a.annotation_fields -> source.key) WITH ORDINALITY AS name
    JOIN unnest(string_to_array(entry.value, '|')) WITH ORDINALITY AS part (value, ordinality) USING (ordinality)
    WHERE part.value <> ''
) AS f;
COMMENT ON VIEW genomics.transcript_consequences IS 'One row for each annotation entry (transcript) of a variant, its fields by the names of the file''s header.';

CREATE TABLE genomics.variant_summary (
    load_batch_id uuid NOT NULL,
    chrom         text NOT NULL,
    variant_type  varchar(20) NOT NULL,
    variants      bigint NOT NULL,
    transitions   bigint NOT NULL,
    transversions bigint NOT NULL,
    passed        bigint NOT NULL,
    coding        bigint NOT NULL,
    lof           bigint NOT NULL,
    het_calls     bigint,
    hom_alt_calls bigint,
    mean_qual     real,
    PRIMARY KEY (load_batch_id, chrom, variant_type)
);

CREATE TABLE genomics.annotation_sources (
    source_id     serial PRIMARY KEY,
    name          varchar(100) NOT NULL UNIQUE,
    source_type   varchar(50),
    version       varchar(50),
    vcf_path      text,
    field_config  jsonb NOT NULL,
    loaded_at     timestamptz DEFAULT now(),
    variant_count bigint DEFAULT 0
);

CREATE FUNCTION genomics.create_annotation_table(source_name text, fields jsonb) RETURNS regclass LANGUAGE plpgsql AS $$
DECLARE
    field jsonb;
    columns text := '';
BEGIN
    IF source_name !~ '^[a-zA-Z_][a-zA-Z0-9_]{0,57}$' THEN
        RAISE EXCEPTION 'annotation source name % is not letters, digits and underscores, at most 58', quote_literal(source_name);
    END IF;
    FOR field IN SELECT * FROM jsonb_array_elements(fields) LOOP
        IF coalesce(field ->> 'alias', '') !~ '^[a-zA-Z_][a-zA-Z0-9_]{0,62}$' OR lower(field ->> 'alias') IN ('chrom', 'pos', 'ref', 'alt') THEN
            RAISE EXCEPTION 'annotation field alias % is not a usable column name', quote_nullable(field ->> 'alias');
        END IF;
        IF coalesce(lower(field ->> 'type'), '') NOT IN ('integer', 'bigint', 'real', 'double precision', 'text', 'boolean') THEN
            RAISE EXCEPTION 'annotation field type % is none of integer, bigint, real, double precision, text, boolean', quote_nullable(field ->> 'type');
        END IF;
        columns := columns || format(', %I %s', field ->> 'alias', lower(field ->> 'type'));
    END LOOP;
    EXECUTE format('CREATE TABLE genomics.%I (chrom $chromosome_type$, pos bigint, ref text, alt text%s, PRIMARY KEY (chrom, pos, ref, alt))',
                   'anno_' || source_name, columns);
    RETURN format('genomics.%I', 'anno_' || source_name)::regclass;
END $$;
COMMENT ON FUNCTION genomics.create_annotation_table IS 'Makes anno_<source> with its key and one typed column for each field ({"alias", "type"}).';
