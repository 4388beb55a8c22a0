/* Plain VCF text lines to Arrow columns.
 *
 * The contract is docs/variants.md; record.py is the reference that says the same thing in Python. This file
 * takes the lines that ordinary callers and annotators write and declines every line that is rare or wrong, so
 * that there is one place (record.py) for the odd rules and for the words of the errors. A declined line leaves
 * no trace in the columns or the tallies.
 *
 * What belongs here: bytes in, columns out. What does not: files, headers, statistics, error messages.
 *
 * Reading order: Text and buffers, the plan (what the header says), the columns, then one line from left to
 * right (alleles, INFO, consequences, genotypes), then the Python types.
 *
 * All state of a scan lives in `Scan`, on the caller's stack, so one Scanner may serve several threads.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* ---------------------------------------------------------------------------------------------- text, buffers */

typedef struct {
    const char *at;
    size_t n;
} Text;

typedef enum { TAKEN, DECLINED, NO_MEMORY } Verdict;

#define TRY(step)                      \
    do {                               \
        Verdict verdict_ = (step);     \
        if (verdict_ != TAKEN)         \
            return verdict_;           \
    } while (0)

#define NEED(allocated)                \
    do {                               \
        if (!(allocated))              \
            return NO_MEMORY;          \
    } while (0)

static inline Text
text_of(const char *at, const char *end)
{
    Text t = {at, (size_t)(end - at)};
    return t;
}

static inline int
text_is(Text t, const char *word, size_t n)
{
    return t.n == n && (n == 0 || memcmp(t.at, word, n) == 0);
}

#define TEXT_IS(t, literal) text_is((t), "" literal, sizeof(literal) - 1)
#define STARTS_WITH(t, literal) ((t).n >= sizeof(literal) - 1 && memcmp((t).at, literal, sizeof(literal) - 1) == 0)

static inline int
text_equal(Text a, Text b)
{
    return text_is(a, b.at, b.n);
}

static inline int
is_dot(Text t)
{
    return t.n == 1 && t.at[0] == '.';
}

static inline int
is_missing_text(Text t)
{
    return t.n == 0 || is_dot(t);
}

static inline int
is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

/* The first `sign` in [at, end), or end. */
static inline const char *
find(const char *at, const char *end, char sign)
{
    const char *found = memchr(at, sign, (size_t)(end - at));
    return found ? found : end;
}

/* The same for pieces of a few characters, where calling memchr costs more than looking. */
static inline const char *
find_near(const char *at, const char *end, char sign)
{
    for (int i = 0; i < 16; i++, at++)
        if (at == end || *at == sign)
            return at;
    return find(at, end, sign);
}

static size_t
count_sign(Text t, char sign)
{
    size_t n = 0;
    for (size_t i = 0; i < t.n; i++)
        n += t.at[i] == sign;
    return n;
}

/* Item `wanted` (from 0) of a comma list; the caller knows that there are as many. */
static Text
list_item(Text list, size_t wanted)
{
    const char *at = list.at, *end = list.at + list.n;
    while (wanted--)
        at = find_near(at, end, ',') + 1;
    return text_of(at, find_near(at, end, ','));
}

typedef struct {
    char *data;
    size_t n, capacity;
} Bytes;

/* Makes room in an array; `pointer` is the address of the pointer to it, copied since its type is any. */
static int
grow(void *pointer, size_t *capacity, size_t needed, size_t item)
{
    void *old, *grown;
    size_t wanted = *capacity + *capacity / 2;
    if (wanted < needed)
        wanted = needed;
    if (wanted < 64)
        wanted = 64;
    if (wanted > (size_t)PTRDIFF_MAX / item)
        return 0;
    memcpy(&old, pointer, sizeof old);
    grown = realloc(old, wanted * item);
    if (!grown)
        return 0;
    memcpy(pointer, &grown, sizeof grown);
    *capacity = wanted;
    return 1;
}

static inline int
bytes_room(Bytes *b, size_t more)
{
    if (b->capacity - b->n >= more)
        return 1;
    if (more > (size_t)PTRDIFF_MAX - b->n)
        return 0;
    return grow(&b->data, &b->capacity, b->n + more, 1);
}

static inline char *
put(char *to, const char *from, size_t n)
{
    memcpy(to, from, n);
    return to + n;
}

#define PUT(to, literal) put((to), "" literal, sizeof(literal) - 1)

/* Text between quotes; at most 2 n + 2 bytes. Lines with control or non-ASCII characters never come here. */
static char *
put_json_text(char *to, Text t, int may_need_escape)
{
    *to++ = '"';
    if (!may_need_escape) {
        to = put(to, t.at, t.n);
    }
    else {
        for (size_t i = 0; i < t.n; i++) {
            if (t.at[i] == '"' || t.at[i] == '\\')
                *to++ = '\\';
            *to++ = t.at[i];
        }
    }
    *to++ = '"';
    return to;
}

/* ------------------------------------------------------------------------------------------------- hash of names */

typedef struct {
    Text name;
    uint32_t hash;
    int32_t value;
} NameSlot;

typedef struct {
    NameSlot *slots;
    uint32_t mask;
} Names;

static uint32_t
hash_name(Text t)
{
    const uint64_t factor = 0x9E3779B97F4A7C15u;
    const char *at = t.at;
    size_t n = t.n;
    uint64_t h = n * factor;
    while (n >= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        h = (h ^ word) * factor;
        h ^= h >> 32;
        at += 8;
        n -= 8;
    }
    uint64_t word = 0;
    while (n--)
        word = word << 8 | (unsigned char)*at++;
    h = (h ^ word) * factor;
    return (uint32_t)(h >> 32);
}

/* The value of a name, or -1. */
static inline int32_t
names_get(const Names *names, Text name)
{
    uint32_t hash = hash_name(name);
    for (uint32_t i = hash & names->mask;; i = (i + 1) & names->mask) {
        const NameSlot *slot = &names->slots[i];
        if (slot->value < 0)
            return -1;
        if (slot->hash == hash && text_equal(slot->name, name))
            return slot->value;
    }
}

static int
names_init(Names *names, size_t count)
{
    size_t size = 8;
    while (size < 2 * count + 2)
        size *= 2;
    if (size > (size_t)1 << 30)
        return 0;
    names->slots = calloc(size, sizeof *names->slots);
    if (!names->slots)
        return 0;
    names->mask = (uint32_t)(size - 1);
    for (size_t i = 0; i < size; i++)
        names->slots[i].value = -1;
    return 1;
}

/* Keeps a copy of the name. Adding a name that is there already changes nothing. */
static int
names_add(Names *names, Text name, int32_t value)
{
    if (names_get(names, name) >= 0)
        return 1;
    char *copy = malloc(name.n ? name.n : 1);
    if (!copy)
        return 0;
    memcpy(copy, name.at, name.n);
    uint32_t hash = hash_name(name);
    uint32_t i = hash & names->mask;
    while (names->slots[i].value >= 0)
        i = (i + 1) & names->mask;
    names->slots[i] = (NameSlot){{copy, name.n}, hash, value};
    return 1;
}

static void
names_free(Names *names)
{
    if (names->slots)
        for (size_t i = 0; i <= names->mask; i++)
            if (names->slots[i].value >= 0)
                free((char *)names->slots[i].name.at);
    free(names->slots);
    names->slots = NULL;
}

/* ------------------------------------------------------------------------------------------------------ the plan */

typedef enum { NUMBER_NONE, NUMBER_ONE, NUMBER_ALT, NUMBER_ALLELE, NUMBER_GENOTYPE, NUMBER_LIST } Number;
typedef enum { TYPE_TEXT, TYPE_INTEGER, TYPE_FLOAT } Type;
typedef enum { ROLE_NONE, ROLE_END, ROLE_SVLEN, ROLE_CLINVAR_SIG, ROLE_CLINVAR_REVIEW, ROLE_CANDIDATE } Role;
enum { CSQ, ANN, BCSQ, N_TAGS };

static const char *const TAG_NAMES[N_TAGS] = {"CSQ", "ANN", "BCSQ"};

/* The numeric annotation columns and, in order of trust, the INFO keys that may fill them. */
enum { AF_GNOMAD, AF_GNOMAD_POPMAX, AF_1KG, CADD_PHRED, N_NUMERIC };
enum { N_CANDIDATES = 15 };
static const struct {
    const char *name;
    int column;
} CANDIDATES[N_CANDIDATES] = {
    {"gnomAD_AF", AF_GNOMAD},
    {"gnomad_AF", AF_GNOMAD},
    {"AF_gnomad", AF_GNOMAD},
    {"gnomADg_AF", AF_GNOMAD},
    {"gnomADe_AF", AF_GNOMAD},
    {"gnomAD_AF_popmax", AF_GNOMAD_POPMAX},
    {"gnomad_AF_popmax", AF_GNOMAD_POPMAX},
    {"AF_popmax", AF_GNOMAD_POPMAX},
    {"AF_grpmax", AF_GNOMAD_POPMAX},
    {"AF_1kg", AF_1KG},
    {"1000G_AF", AF_1KG},
    {"KG_AF", AF_1KG},
    {"AF_1KG", AF_1KG},
    {"CADD_PHRED", CADD_PHRED},
    {"CADD_phred", CADD_PHRED},
};

typedef struct {
    Text json; /* `"NAME":`, owned */
    uint8_t declared;
    uint8_t odd; /* a name that only the reference takes */
    uint8_t number;
    uint8_t type;
    uint8_t role;
    int8_t candidate;
    int8_t tag; /* CSQ, ANN or BCSQ where the header declares its format, else -1 */
} InfoKey;

enum {
    SLOT_ALLELE,
    SLOT_ALLELE_NUM,
    SLOT_CONSEQUENCE,
    SLOT_IMPACT,
    SLOT_SYMBOL,
    SLOT_GENE,
    SLOT_FEATURE,
    SLOT_HGVS_C,
    SLOT_HGVS_P,
    SLOT_PICK,
    SLOT_CANONICAL,
    N_SLOTS
};

static const char *const SLOT_NAMES[2][N_SLOTS] = {
    {"Allele", "ALLELE_NUM", "Consequence", "IMPACT", "SYMBOL", "Gene", "Feature", "HGVSc", "HGVSp", "PICK",
     "CANONICAL"},
    {"Allele", NULL, "Annotation", "Annotation_Impact", "Gene_Name", "Gene_ID", "Feature_ID", "HGVS.c", "HGVS.p",
     "PICK", "CANONICAL"},
};

enum { MOST_FIELDS = 1024 };

typedef struct {
    uint8_t usable;
    size_t n_fields;
    int slot[N_SLOTS]; /* place of the field in an entry, or -1 */
} EntryFormat;

typedef struct {
    int32_t rank;
    uint8_t coding, lof;
    uint8_t n_impact;
    char impact[20]; /* as wide as the column */
} Term;

typedef struct {
    int human, left_align, genotypes, declared_info_only;
    size_t n_samples;
    Names info_names;
    InfoKey *info_keys;
    size_t n_info_keys;
    EntryFormat format[N_TAGS];
    Names filters;
    Names contigs;
    int64_t *contig_lengths;
    Names terms;
    Term *term;
    int32_t unknown_rank; /* of a term that is in no table: the least severe */
} Plan;

static void
plan_free(Plan *plan)
{
    for (size_t i = 0; i < plan->n_info_keys; i++)
        free((char *)plan->info_keys[i].json.at);
    free(plan->info_keys);
    free(plan->contig_lengths);
    free(plan->term);
    names_free(&plan->info_names);
    names_free(&plan->filters);
    names_free(&plan->contigs);
    names_free(&plan->terms);
    memset(plan, 0, sizeof *plan);
}

/* ----------------------------------------------------------------------------------------------------- the columns */

enum {
    COLUMN_CHROM,
    COLUMN_REF,
    COLUMN_ALT,
    COLUMN_VARIANT_TYPE,
    COLUMN_RS_ID,
    COLUMN_GENE,
    COLUMN_TRANSCRIPT,
    COLUMN_HGVS_C,
    COLUMN_HGVS_P,
    COLUMN_CONSEQUENCE,
    COLUMN_IMPACT,
    COLUMN_CLINVAR_SIG,
    COLUMN_CLINVAR_REVIEW,
    COLUMN_INFO,
    COLUMN_VEP,
    N_TEXT_COLUMNS
};

static const char *const TEXT_COLUMN_NAMES[N_TEXT_COLUMNS] = {
    "chrom", "ref", "alt", "variant_type", "rs_id", "gene", "transcript", "hgvs_c", "hgvs_p", "consequence", "impact",
    "clinvar_sig", "clinvar_review", "info", "vep_annotations",
};

/* qual, then the numeric annotation columns in the order of their enum. */
enum { REAL_QUAL, REAL_NUMERIC, N_REAL_COLUMNS = REAL_NUMERIC + N_NUMERIC };
static const char *const REAL_COLUMN_NAMES[N_REAL_COLUMNS] = {
    "qual", "af_gnomad", "af_gnomad_popmax", "af_1kg", "cadd_phred",
};

enum { GT_CALLED, GT_ALLELES, GT_ALT, GT_HET, GT_HOM, GT_D_HET, GT_D_HOM, GT_D_OTHER, N_COUNT_COLUMNS };
static const char *const COUNT_COLUMN_NAMES[N_COUNT_COLUMNS] = {
    "gt_called", "gt_alleles", "gt_alt", "gt_het", "gt_hom", "gt_d_het", "gt_d_hom", "gt_d_other",
};

typedef struct {
    uint8_t *valid; /* Arrow's bitmap */
    int32_t *offsets;
    Bytes data;
} TextColumn;

typedef struct {
    uint8_t *valid;
    float *value;
} RealColumn;

enum { BLOB_GT, BLOB_DP, BLOB_GQ, N_BLOBS };
static const char *const BLOB_NAMES[N_BLOBS] = {"gt", "dp", "gq"};

typedef struct {
    uint8_t *valid;
    Bytes data;
} BlobColumn;

typedef struct {
    size_t rows, capacity;
    TextColumn text[N_TEXT_COLUMNS];
    RealColumn real[N_REAL_COLUMNS];
    int64_t *pos, *end_pos;
    uint8_t *is_coding, *is_lof;
    uint8_t *counts_valid; /* one bitmap: the eight columns are null together */
    int32_t *count[N_COUNT_COLUMNS];
    uint8_t *filter_valid;
    int32_t *filter_offsets; /* into the items */
    int32_t *item_offsets;   /* into item_data */
    size_t item_capacity;
    Bytes item_data;
    BlobColumn blob[N_BLOBS]; /* only in genotypes() */
} Columns;

static inline void
set_bit(uint8_t *bits, size_t i, int on)
{
    uint8_t mask = (uint8_t)(1u << (i & 7));
    bits[i >> 3] = (uint8_t)(on ? bits[i >> 3] | mask : bits[i >> 3] & ~mask);
}

static int
resize(void *pointer, size_t count, size_t item)
{
    void *old, *grown;
    memcpy(&old, pointer, sizeof old);
    grown = realloc(old, count * item);
    if (!grown)
        return 0;
    memcpy(pointer, &grown, sizeof grown);
    return 1;
}

/* Bitmaps grow zeroed, so that a byte whose bits are partly unused holds nothing undefined. */
static int
resize_bits(uint8_t **bits, size_t old_rows, size_t rows)
{
    size_t before = *bits ? (old_rows + 7) / 8 : 0, after = (rows + 7) / 8;
    if (!resize(bits, after, 1))
        return 0;
    memset(*bits + before, 0, after - before);
    return 1;
}

static int
columns_room(Columns *c, size_t more, int for_genotypes)
{
    if (c->capacity - c->rows >= more)
        return 1;
    size_t old = c->capacity, rows = old + old / 2;
    if (rows < c->rows + more)
        rows = c->rows + more;
    if (rows < 256)
        rows = 256;
    if (rows >= INT32_MAX)
        return 0;
    int ok = resize(&c->pos, rows, 8);
    for (int i = 0; i < N_TEXT_COLUMNS; i++) {
        TextColumn *t = &c->text[i];
        if (for_genotypes && i > COLUMN_ALT)
            break;
        ok = ok && resize_bits(&t->valid, old, rows) && resize(&t->offsets, rows + 1, 4);
        if (ok && old == 0)
            t->offsets[0] = 0;
    }
    if (for_genotypes) {
        for (int i = 0; i < N_BLOBS; i++)
            ok = ok && resize_bits(&c->blob[i].valid, old, rows);
        if (ok)
            c->capacity = rows;
        return ok;
    }
    for (int i = 0; i < N_REAL_COLUMNS; i++)
        ok = ok && resize_bits(&c->real[i].valid, old, rows) && resize(&c->real[i].value, rows, 4);
    ok = ok && resize(&c->end_pos, rows, 8) && resize_bits(&c->is_coding, old, rows) &&
         resize_bits(&c->is_lof, old, rows) && resize_bits(&c->counts_valid, old, rows);
    for (int i = 0; i < N_COUNT_COLUMNS; i++)
        ok = ok && resize(&c->count[i], rows, 4);
    ok = ok && resize_bits(&c->filter_valid, old, rows) && resize(&c->filter_offsets, rows + 1, 4);
    if (!ok)
        return 0;
    if (old == 0)
        c->filter_offsets[0] = 0;
    c->capacity = rows;
    return 1;
}

static void
columns_free(Columns *c)
{
    for (int i = 0; i < N_TEXT_COLUMNS; i++) {
        free(c->text[i].valid);
        free(c->text[i].offsets);
        free(c->text[i].data.data);
    }
    for (int i = 0; i < N_REAL_COLUMNS; i++) {
        free(c->real[i].valid);
        free(c->real[i].value);
    }
    for (int i = 0; i < N_COUNT_COLUMNS; i++)
        free(c->count[i]);
    for (int i = 0; i < N_BLOBS; i++) {
        free(c->blob[i].valid);
        free(c->blob[i].data.data);
    }
    free(c->pos);
    free(c->end_pos);
    free(c->is_coding);
    free(c->is_lof);
    free(c->counts_valid);
    free(c->filter_valid);
    free(c->filter_offsets);
    free(c->item_offsets);
    free(c->item_data.data);
    memset(c, 0, sizeof *c);
}

/* Back to `rows` rows: what a declined line had begun is forgotten. */
static void
columns_rewind(Columns *c, size_t rows, int for_genotypes)
{
    c->rows = rows;
    if (!c->capacity)
        return;
    for (int i = 0; i <= (for_genotypes ? COLUMN_ALT : N_TEXT_COLUMNS - 1); i++)
        c->text[i].data.n = (size_t)c->text[i].offsets[rows];
    if (!for_genotypes && c->item_offsets)
        c->item_data.n = (size_t)c->item_offsets[c->filter_offsets[rows]];
}

/* Arrow's utf8 has 32-bit offsets: a line that would pass them is left to the caller. */
static inline Verdict
text_end(TextColumn *column, size_t row, int valid)
{
    if (column->data.n > INT32_MAX)
        return DECLINED;
    column->offsets[row + 1] = (int32_t)column->data.n;
    set_bit(column->valid, row, valid);
    return TAKEN;
}

static inline Verdict
text_put(TextColumn *column, size_t row, Text t)
{
    NEED(bytes_room(&column->data, t.n));
    memcpy(column->data.data + column->data.n, t.at, t.n);
    column->data.n += t.n;
    return text_end(column, row, 1);
}

static inline void
text_null(TextColumn *column, size_t row)
{
    column->offsets[row + 1] = (int32_t)column->data.n;
    set_bit(column->valid, row, 0);
}

static inline void
real_put(RealColumn *column, size_t row, double value, int valid)
{
    column->value[row] = valid ? (float)value : 0;
    set_bit(column->valid, row, valid);
}

/* -------------------------------------------------------------------------------------------- the state of a scan */

enum {
    NOTE_CRLF,
    NOTE_WRONG_COUNT,
    NOTE_WRONG_TYPE,
    NOTE_REPEATED,
    NOTE_UNDECLARED_INFO,
    NOTE_UNDECLARED_FILTER,
    NOTE_UNDECLARED_CONTIG,
    NOTE_FIELD_COUNT,
    NOTE_NO_ALLELE,
    NOTE_CUT,
    NOTE_CONTIG,
    N_NOTES
};

static const char *const NOTE_NAMES[N_NOTES] = {
    "crlf_line_ends",
    "info_wrong_count",
    "info_wrong_type",
    "info_repeated_key",
    "undeclared_info",
    "undeclared_filter",
    "undeclared_contig",
    "annotation_wrong_field_count",
    "annotation_without_allele",
    "cut_to_column_width",
    "contig_not_standard",
};

/* As many lines of each reason are named. */
enum { MOST_EXAMPLES = 5 };

typedef enum { KIND_SNP, KIND_MNP, KIND_INDEL, KIND_STAR, KIND_NON_REF, KIND_BND, KIND_SV, N_KINDS } Kind;
static const char *const KIND_NAMES[N_KINDS] = {"snp", "mnp", "indel", "star", "non_ref", "bnd", "sv"};

typedef struct {
    Text written;      /* as the file has it */
    Text ref, alt;     /* after the trim */
    Text annotator;    /* the name that VEP gives it */
    int64_t pos, end;
    Kind kind;
    int trimmed;
} Allele;

typedef struct {
    const InfoKey *key; /* NULL: not declared and of no use to a column */
    Text name, value;
    size_t items; /* comma-separated values */
    uint8_t has_value, wrong_type;
} InfoEntry;

/* Which ALTs an annotation entry belongs to. */
typedef enum { OWNER_ALL, OWNER_NAMED, OWNER_WRITTEN, OWNER_NUMBERED, OWNER_NONE } Owner;

typedef struct {
    Text whole;
    Text allele;
    int32_t allele_number; /* from 1, where `owner` says so */
    int32_t rank;          /* INT32_MAX: no consequence */
    uint8_t owner, pick, canonical;
} Annotation;

typedef struct {
    Annotation *entry;
    size_t n, capacity;
    int present;
} AnnotationList;

typedef struct {
    int32_t first, second; /* allele numbers, -1 missing */
    uint8_t ploidy, phased;
} Call;

typedef struct {
    int32_t diploid_het, diploid_hom, haploid;
} AlleleCount;

typedef struct {
    size_t row_before, start, end, line;
} Declined;

typedef struct {
    const Plan *plan;
    int for_genotypes;
    PyThreadState *thread;
    Columns columns;

    size_t lines, records, skipped_no_alternate;
    int64_t noted[N_NOTES], line_noted[N_NOTES];
    int line_skipped;
    size_t example[N_NOTES + 1][MOST_EXAMPLES]; /* lines of each note, then those of the skipped records */
    size_t n_examples[N_NOTES + 1];
    Declined *declined;
    size_t n_declined, declined_capacity;

    /* the line at hand */
    int may_need_escape;
    Text chrom, pos_text, id, ref, alt_text, qual_text, filter, info, format, samples;
    int64_t pos;
    Allele *allele;
    size_t n_alleles, allele_capacity;
    InfoEntry *entry;
    size_t n_entries, entry_capacity;
    uint32_t *seen; /* for each INFO key of the plan: the line that had it last */
    uint32_t seen_mark;
    AnnotationList annotations[N_TAGS];
    Text candidate[N_CANDIDATES];
    Text svlen, clinvar_sig, clinvar_review;
    int64_t end_value; /* INFO END, or -1 */
    AlleleCount *allele_count;
    size_t allele_count_capacity;
    int32_t called, diploid, haploid;
    Call *calls;
    uint8_t *depths, *qualities;

    /* the last contig and FORMAT: files are sorted and FORMAT hardly changes */
    Text last_chrom, last_chrom_name;
    int64_t last_chrom_length;
    int last_chrom_undeclared, last_chrom_not_standard;
    Text last_format;
    int gt_place, dp_place, gq_place;
} Scan;

static void
scan_free(Scan *s)
{
    columns_free(&s->columns);
    free(s->declined);
    free(s->allele);
    free(s->entry);
    free(s->seen);
    for (int i = 0; i < N_TAGS; i++)
        free(s->annotations[i].entry);
    free(s->allele_count);
    free(s->calls);
    free(s->depths);
    free(s->qualities);
}

/* ------------------------------------------------------------------------------------------------------- numbers */

/* Digits only, no leading zero but in 0 itself, at most 12 of them; -1 otherwise. */
static int64_t
read_natural(Text t)
{
    if (t.n == 0 || t.n > 12 || (t.n > 1 && t.at[0] == '0'))
        return -1;
    int64_t value = 0;
    for (size_t i = 0; i < t.n; i++) {
        if (!is_digit(t.at[i]))
            return -1;
        value = value * 10 + (t.at[i] - '0');
    }
    return value;
}

typedef struct {
    uint64_t digits; /* the first 19 significant ones */
    int n_digits, exponent, negative, integer;
} Decimal;

enum { LONGEST_NUMBER = 64, LARGEST_EXPONENT = 200 };

/* A whole text by JSON's grammar of numbers, short enough to be finite as a double. */
static inline int
read_decimal(Text t, Decimal *d)
{
    const char *at = t.at, *end = t.at + t.n;
    if (t.n == 0 || t.n > LONGEST_NUMBER)
        return 0;
    uint64_t digits = 0;
    int n = 0, exponent = 0;
    d->negative = *at == '-';
    at += d->negative;
    if (at == end || !is_digit(*at))
        return 0;
    if (*at == '0' && at + 1 < end && is_digit(at[1]))
        return 0;
    d->integer = 1;
    int fraction = 0;
    for (; at < end; at++) {
        if (*at == '.') {
            if (fraction || at + 1 == end || !is_digit(at[1]))
                return 0;
            fraction = 1;
            d->integer = 0;
            continue;
        }
        if (!is_digit(*at))
            break;
        if (n < 19) {
            digits = digits * 10 + (uint64_t)(*at - '0');
            n += digits != 0;
            exponent -= fraction;
        }
        else {
            n++;
            exponent += !fraction;
        }
    }
    if (at < end) {
        if (*at != 'e' && *at != 'E')
            return 0;
        d->integer = 0;
        at++;
        int sign = 1, value = 0;
        if (at < end && (*at == '-' || *at == '+'))
            sign = *at++ == '-' ? -1 : 1;
        if (at == end || end - at > 3)
            return 0;
        for (; at < end; at++) {
            if (!is_digit(*at))
                return 0;
            value = value * 10 + (*at - '0');
        }
        if (value > LARGEST_EXPONENT)
            return 0;
        exponent += sign * value;
    }
    d->digits = digits;
    d->n_digits = n;
    d->exponent = exponent;
    return 1;
}

/* The double nearest to the text, as Python's float() gives it. */
static Verdict
read_real(Scan *s, Text t, double *value)
{
    static const double POWER[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    Decimal d;
    if (!read_decimal(t, &d))
        return DECLINED;
    if (d.n_digits <= 15 && d.exponent >= -22 && d.exponent <= 22) {
        /* both factors are exact doubles, so one rounding remains (Clinger 1990) */
        double v = (double)d.digits;
        v = d.exponent < 0 ? v / POWER[-d.exponent] : v * POWER[d.exponent];
        *value = d.negative ? -v : v;
    }
    else {
        char copy[LONGEST_NUMBER + 1];
        memcpy(copy, t.at, t.n);
        copy[t.n] = 0;
        /* Python's own conversion needs the interpreter; such long numbers are rare in the columns read here */
        PyEval_RestoreThread(s->thread);
        *value = PyOS_string_to_double(copy, NULL, NULL);
        int failed = PyErr_Occurred() != NULL;
        PyErr_Clear();
        s->thread = PyEval_SaveThread();
        if (failed)
            return DECLINED;
    }
    return fabs(*value) <= FLT_MAX ? TAKEN : DECLINED;
}

static int
is_nan_text(Text t)
{
    return t.n == 3 && (t.at[0] | 32) == 'n' && (t.at[1] | 32) == 'a' && (t.at[2] | 32) == 'n';
}

/* ------------------------------------------------------------------------------------------------ contig and alleles */

static const char *const HUMAN_NAMES[] = {
    "chr1",  "chr2",  "chr3",  "chr4",  "chr5",  "chr6",  "chr7",  "chr8",  "chr9",  "chr10", "chr11", "chr12", "chr13",
    "chr14", "chr15", "chr16", "chr17", "chr18", "chr19", "chr20", "chr21", "chr22", "chrX",  "chrY",  "chrM",
};

/* The canonical name of a human chromosome, or NULL. */
static const char *
human_name(Text name)
{
    const char *at = name.at;
    size_t n = name.n;
    if (n > 3 && (at[0] | 32) == 'c' && (at[1] | 32) == 'h' && (at[2] | 32) == 'r') {
        at += 3;
        n -= 3;
    }
    if (n == 2 && at[0] == 'M' && at[1] == 'T')
        return HUMAN_NAMES[24];
    if (n == 1 && at[0] == 'X')
        return HUMAN_NAMES[22];
    if (n == 1 && at[0] == 'Y')
        return HUMAN_NAMES[23];
    if (n == 1 && at[0] == 'M')
        return HUMAN_NAMES[24];
    if (n > 2)
        return NULL;
    Text digits = {at, n};
    int64_t number = read_natural(digits);
    return number >= 1 && number <= 22 ? HUMAN_NAMES[number - 1] : NULL;
}

enum { LONGEST_CONTIG_NAME = 80 };

static Verdict
read_contig(Scan *s)
{
    if (!text_equal(s->chrom, s->last_chrom)) {
        if (s->chrom.n == 0 || s->chrom.n > LONGEST_CONTIG_NAME)
            return DECLINED;
        const char *canonical = s->plan->human ? human_name(s->chrom) : NULL;
        int32_t declared = names_get(&s->plan->contigs, s->chrom);
        s->last_chrom = s->chrom;
        s->last_chrom_name = canonical ? text_of(canonical, canonical + strlen(canonical)) : s->chrom;
        s->last_chrom_length = declared < 0 ? -1 : s->plan->contig_lengths[declared];
        s->last_chrom_undeclared = declared < 0;
        s->last_chrom_not_standard = s->plan->human && !canonical;
    }
    s->line_noted[NOTE_UNDECLARED_CONTIG] = s->last_chrom_undeclared;
    s->line_noted[NOTE_CONTIG] = s->last_chrom_not_standard;
    s->pos = read_natural(s->pos_text);
    if (s->pos < 1 || (s->last_chrom_length >= 0 && s->pos > s->last_chrom_length))
        return DECLINED;
    return TAKEN;
}

static inline int
is_base(char c)
{
    /* ACGTN and the IUPAC letters RYSWKMBDHV */
    const uint32_t letters = 1u << ('A' - 'A') | 1u << ('C' - 'A') | 1u << ('G' - 'A') | 1u << ('T' - 'A') |
                             1u << ('N' - 'A') | 1u << ('R' - 'A') | 1u << ('Y' - 'A') | 1u << ('S' - 'A') |
                             1u << ('W' - 'A') | 1u << ('K' - 'A') | 1u << ('M' - 'A') | 1u << ('B' - 'A') |
                             1u << ('D' - 'A') | 1u << ('H' - 'A') | 1u << ('V' - 'A');
    unsigned char place = (unsigned char)(c - 'A');
    return place < 26 && (letters >> place & 1);
}

static int
all_bases(Text t)
{
    for (size_t i = 0; i < t.n; i++)
        if (!is_base(t.at[i]))
            return 0;
    return t.n > 0;
}

static int
is_word(Text t, const char *also)
{
    for (size_t i = 0; i < t.n; i++) {
        char c = t.at[i];
        if (!is_digit(c) && !((c | 32) >= 'a' && (c | 32) <= 'z') && !strchr(also, c))
            return 0;
    }
    return t.n > 0;
}

/* The mate of a breakend, `contig:position`. */
static int
is_mate(Text t)
{
    size_t colon = t.n;
    while (colon > 0 && t.at[colon - 1] != ':')
        colon--;
    if (colon == 0)
        return 0;
    Text contig = {t.at, colon - 1}, position = {t.at + colon, t.n - colon};
    return is_word(contig, "_.-") && read_natural(position) >= 0;
}

/* `bases[mate[`, `bases]mate]`, `[mate[bases`, `]mate]bases`, `.bases` and `bases.`; nothing else. */
static int
is_breakend(Text t)
{
    char first = t.at[0], last = t.at[t.n - 1];
    if (first == '.' || last == '.') {
        Text bases = {t.at + (first == '.'), t.n - 1};
        return all_bases(bases);
    }
    if (first == '[' || first == ']') {
        const char *close = find(t.at + 1, t.at + t.n, first);
        if (close == t.at + t.n)
            return 0;
        return is_mate(text_of(t.at + 1, close)) && all_bases(text_of(close + 1, t.at + t.n));
    }
    if (last == '[' || last == ']') {
        const char *open = find(t.at, t.at + t.n - 1, last);
        if (open == t.at + t.n - 1)
            return 0;
        return all_bases(text_of(t.at, open)) && is_mate(text_of(open + 1, t.at + t.n - 1));
    }
    return 0;
}

static int
is_plain(Kind kind)
{
    return kind == KIND_SNP || kind == KIND_MNP || kind == KIND_INDEL;
}

static void
trim(Allele *a)
{
    while (a->ref.n > 1 && a->alt.n > 1 && a->ref.at[a->ref.n - 1] == a->alt.at[a->alt.n - 1]) {
        a->ref.n--;
        a->alt.n--;
    }
    while (a->ref.n > 1 && a->alt.n > 1 && a->ref.at[0] == a->alt.at[0]) {
        a->ref.at++;
        a->alt.at++;
        a->ref.n--;
        a->alt.n--;
        a->pos++;
    }
}

static Verdict
read_allele(Scan *s, Text written)
{
    if (s->n_alleles == s->allele_capacity)
        NEED(grow(&s->allele, &s->allele_capacity, s->n_alleles + 1, sizeof *s->allele));
    Allele *a = &s->allele[s->n_alleles++];
    *a = (Allele){.written = written, .ref = s->ref, .alt = written, .annotator = written, .pos = s->pos};
    if (written.n == 0)
        return DECLINED;
    if (all_bases(written)) {
        if (s->plan->left_align && s->ref.n != written.n)
            return DECLINED;
        trim(a);
        a->trimmed = a->ref.n != s->ref.n;
        a->kind = a->ref.n != a->alt.n ? KIND_INDEL : a->ref.n == 1 ? KIND_SNP : KIND_MNP;
        return TAKEN;
    }
    if (TEXT_IS(written, "*")) {
        a->kind = KIND_STAR;
        return TAKEN;
    }
    if (written.at[0] == '<') {
        if (TEXT_IS(written, "<*>") || TEXT_IS(written, "<NON_REF>")) {
            a->kind = KIND_NON_REF;
            return TAKEN;
        }
        Text name = {written.at + 1, written.n - 1};
        if (name.n < 2 || name.at[name.n - 1] != '>')
            return DECLINED;
        name.n--;
        a->kind = KIND_SV;
        return is_word(name, "_:-.*") ? TAKEN : DECLINED;
    }
    a->kind = KIND_BND;
    return written.n > 1 && is_breakend(written) ? TAKEN : DECLINED;
}

/* VEP's rule (docs/variants.md, section 6); only needed where several ALTs share the entries. */
static void
name_for_annotator(Scan *s)
{
    int lengths_differ = 0, first_shared = 1;
    for (size_t i = 0; i < s->n_alleles; i++) {
        Text alt = s->allele[i].written;
        lengths_differ |= alt.n != s->ref.n;
        first_shared &= s->allele[i].kind == KIND_STAR || alt.at[0] == s->ref.at[0];
    }
    if (!lengths_differ || !first_shared)
        return;
    for (size_t i = 0; i < s->n_alleles; i++) {
        Allele *a = &s->allele[i];
        if (a->kind == KIND_STAR)
            continue;
        a->annotator = a->written.n > 1 ? text_of(a->written.at + 1, a->written.at + a->written.n)
                                        : (Text){"-", 1};
    }
}

static Verdict
read_alleles(Scan *s)
{
    s->n_alleles = 0;
    if (!all_bases(s->ref))
        return DECLINED;
    if (is_dot(s->alt_text))
        return TAKEN;
    const char *at = s->alt_text.at, *end = at + s->alt_text.n;
    for (;;) {
        const char *comma = find_near(at, end, ',');
        TRY(read_allele(s, text_of(at, comma)));
        if (comma == end)
            return TAKEN;
        at = comma + 1;
    }
}

static int
names_a_span(Text symbolic)
{
    Text name = {symbolic.at + 1, symbolic.n - 1};
    return STARTS_WITH(name, "DEL") || STARTS_WITH(name, "DUP") || STARTS_WITH(name, "INV") || STARTS_WITH(name, "CNV");
}

static Verdict
find_end(Scan *s, Allele *a, size_t which)
{
    a->end = a->pos + (int64_t)a->ref.n - 1;
    if (is_plain(a->kind))
        return TAKEN;
    if (s->end_value >= 0) {
        a->end = s->end_value;
        return TAKEN;
    }
    if (a->kind == KIND_SV && STARTS_WITH(a->alt, "<INS"))
        a->end = a->pos;
    if (a->kind != KIND_SV || !names_a_span(a->alt) || !s->svlen.at)
        return TAKEN;
    if (count_sign(s->svlen, ',') + 1 != s->n_alleles)
        return DECLINED;
    Text length = list_item(s->svlen, which);
    if (length.n && length.at[0] == '-')
        length = text_of(length.at + 1, length.at + length.n);
    int64_t span = read_natural(length);
    if (span < 0)
        return DECLINED;
    a->end = a->pos + span;
    return TAKEN;
}

/* ----------------------------------------------------------------------------------------------------------- INFO */

static Verdict
add_undeclared(Scan *s, InfoEntry *entry)
{
    enum { MOST_UNDECLARED = 64 };
    size_t before = (size_t)s->line_noted[NOTE_UNDECLARED_INFO];
    if (before >= MOST_UNDECLARED || TEXT_IS(entry->name, "_orig"))
        return DECLINED;
    if (!entry->key) {
        for (size_t i = 0; i + 1 < s->n_entries; i++) {
            if (!s->entry[i].key && text_equal(s->entry[i].name, entry->name)) {
                s->n_entries--;
                s->line_noted[NOTE_REPEATED]++;
                return TAKEN;
            }
        }
    }
    s->line_noted[NOTE_UNDECLARED_INFO]++;
    return TAKEN;
}

static Verdict
read_role(Scan *s, const InfoEntry *entry)
{
    switch (entry->key->role) {
    case ROLE_NONE:
        return TAKEN;
    case ROLE_END:
        s->end_value = entry->has_value ? read_natural(entry->value) : -1;
        return s->end_value >= s->pos ? TAKEN : DECLINED;
    case ROLE_SVLEN:
        s->svlen = entry->value;
        break;
    case ROLE_CLINVAR_SIG:
        s->clinvar_sig = is_dot(entry->value) ? (Text){NULL, 0} : entry->value;
        break;
    case ROLE_CLINVAR_REVIEW:
        s->clinvar_review = is_dot(entry->value) ? (Text){NULL, 0} : entry->value;
        break;
    default:
        s->candidate[entry->key->candidate] = entry->value;
    }
    return entry->has_value ? TAKEN : DECLINED;
}

static Verdict read_annotations(Scan *s, int tag, Text value);

static Verdict
read_info_entry(Scan *s, Text name, Text value, int has_value)
{
    if (name.n == 0)
        return DECLINED;
    if (s->n_entries == s->entry_capacity)
        NEED(grow(&s->entry, &s->entry_capacity, s->n_entries + 1, sizeof *s->entry));
    InfoEntry *entry = &s->entry[s->n_entries++];
    int32_t known = names_get(&s->plan->info_names, name);
    *entry = (InfoEntry){.key = known < 0 ? NULL : &s->plan->info_keys[known],
                         .name = name,
                         .value = value,
                         .has_value = has_value != 0};
    if (s->plan->declared_info_only && (known < 0 || !entry->key->declared)) {
        s->n_entries--;
        return TAKEN;
    }
    if (known < 0)
        return add_undeclared(s, entry);
    if (entry->key->odd)
        return DECLINED;
    if (s->seen[known] == s->seen_mark) {
        s->n_entries--;
        s->line_noted[NOTE_REPEATED]++;
        return TAKEN;
    }
    s->seen[known] = s->seen_mark;
    if (entry->key->tag >= 0) {
        s->n_entries--;
        return is_missing_text(value) ? TAKEN : read_annotations(s, entry->key->tag, value);
    }
    if (!entry->key->declared)
        TRY(add_undeclared(s, entry));
    return read_role(s, entry);
}

static Verdict
read_info(Scan *s)
{
    s->n_entries = 0;
    s->end_value = -1;
    s->svlen = s->clinvar_sig = s->clinvar_review = (Text){NULL, 0};
    memset(s->candidate, 0, sizeof s->candidate);
    for (int i = 0; i < N_TAGS; i++) {
        s->annotations[i].n = 0;
        s->annotations[i].present = 0;
    }
    if (++s->seen_mark == 0) {
        memset(s->seen, 0, (s->plan->n_info_keys + 1) * sizeof *s->seen);
        s->seen_mark = 1;
    }
    const char *at = s->info.at, *end = at + s->info.n;
    for (;;) {
        const char *equals = at, *stop;
        while (equals < end && *equals != '=' && *equals != ';')
            equals++;
        int has_value = equals < end && *equals == '=';
        stop = has_value ? find_near(equals + 1, end, ';') : equals;
        Text value = {NULL, 0};
        if (has_value)
            value = text_of(equals + 1, stop);
        Text item = text_of(at, stop);
        if (!is_missing_text(item))
            TRY(read_info_entry(s, text_of(at, equals), value, has_value));
        if (stop == end)
            return TAKEN;
        at = stop + 1;
    }
}

/* Whether a value that is no strict number is no number by VCF's wider grammar either, as its first letter shows.
   NaN and infinities begin with the letters left out here. */
static int
is_surely_text(Text t)
{
    char c = t.at[0];
    return !is_digit(c) && !memchr("+-.nNiI", c, 7);
}

/* One value by its declared type. The buffer has room for twice the value and 8 bytes. */
static Verdict
put_typed(Scan *s, char **to, Text value, InfoEntry *entry)
{
    int type = entry->key->type;
    if (is_missing_text(value)) {
        *to = PUT(*to, "null");
        return TAKEN;
    }
    if (type == TYPE_TEXT) {
        *to = put_json_text(*to, value, s->may_need_escape);
        return TAKEN;
    }
    Decimal d;
    int number = read_decimal(value, &d);
    if (number && (type == TYPE_FLOAT || d.integer)) {
        *to = put(*to, value.at, value.n);
        return TAKEN;
    }
    if (is_nan_text(value)) {
        *to = PUT(*to, "null");
        return TAKEN;
    }
    if (!number && !is_surely_text(value))
        return DECLINED;
    entry->wrong_type = 1;
    *to = put_json_text(*to, value, s->may_need_escape);
    return TAKEN;
}

static Verdict
put_list(Scan *s, char **to, InfoEntry *entry)
{
    const char *at = entry->value.at, *end = at + entry->value.n;
    *(*to)++ = '[';
    for (;;) {
        const char *comma = find_near(at, end, ',');
        TRY(put_typed(s, to, text_of(at, comma), entry));
        if (comma == end)
            break;
        *(*to)++ = ',';
        at = comma + 1;
    }
    *(*to)++ = ']';
    return TAKEN;
}

/* A Number=G list shows three of its values; the others must be judged too, for a wrong one counts. */
static Verdict
judge_list(Scan *s, char *scratch, InfoEntry *entry)
{
    return put_list(s, &scratch, entry);
}

static Verdict
put_chosen(Scan *s, char **to, InfoEntry *entry, const size_t *chosen, int n)
{
    *(*to)++ = '[';
    for (int i = 0; i < n; i++) {
        if (i)
            *(*to)++ = ',';
        TRY(put_typed(s, to, list_item(entry->value, chosen[i]), entry));
    }
    *(*to)++ = ']';
    return TAKEN;
}

static size_t
expected_items(int number, size_t alts)
{
    switch (number) {
    case NUMBER_ALT:
        return alts;
    case NUMBER_ALLELE:
        return alts + 1;
    case NUMBER_GENOTYPE:
        return (alts + 1) * (alts + 2) / 2;
    default:
        return 0;
    }
}

static Verdict
put_value(Scan *s, char **to, InfoEntry *entry, size_t which)
{
    const InfoKey *key = entry->key;
    if (!entry->has_value) {
        *to = PUT(*to, "true");
        return TAKEN;
    }
    if (is_missing_text(entry->value)) {
        *to = PUT(*to, "null");
        return TAKEN;
    }
    if (!key || !key->declared || key->number == NUMBER_NONE) {
        *to = put_json_text(*to, entry->value, s->may_need_escape);
        return TAKEN;
    }
    if (key->number == NUMBER_ONE)
        return put_typed(s, to, entry->value, entry);
    size_t expected = expected_items(key->number, s->n_alleles);
    if (entry->items != expected)
        return put_list(s, to, entry);
    if (key->number == NUMBER_ALT)
        return put_typed(s, to, list_item(entry->value, which), entry);
    if (key->number == NUMBER_ALLELE) {
        size_t chosen[2] = {0, which + 1};
        return put_chosen(s, to, entry, chosen, 2);
    }
    /* genotype j/k (j <= k) is number k (k + 1) / 2 + j */
    size_t k = which + 1, row = k * (k + 1) / 2, chosen[3] = {0, row, row + k};
    if (which == 0)
        TRY(judge_list(s, *to, entry));
    return put_chosen(s, to, entry, chosen, 3);
}

/* What was odd about a value, once for the record, when its last ALT has been written. */
static void
note_value(Scan *s, const InfoEntry *entry)
{
    s->line_noted[NOTE_WRONG_TYPE] += entry->wrong_type;
    if (!entry->key || !entry->key->declared || is_missing_text(entry->value))
        return;
    size_t expected = expected_items(entry->key->number, s->n_alleles);
    s->line_noted[NOTE_WRONG_COUNT] += expected != 0 && entry->items != expected;
}

static size_t
value_bound(Text value)
{
    /* `.,` becomes `null,`, `x,` becomes `"x",`, a quote becomes two bytes */
    return 5 * value.n + 16;
}

static Verdict
emit_info(Scan *s, size_t row, size_t which)
{
    TextColumn *column = &s->columns.text[COLUMN_INFO];
    Bytes *data = &column->data;
    const Allele *a = &s->allele[which];
    NEED(bytes_room(data, 1));
    data->data[data->n++] = '{';
    for (size_t i = 0; i < s->n_entries; i++) {
        InfoEntry *entry = &s->entry[i];
        size_t name = entry->key ? entry->key->json.n : 2 * entry->name.n + 3;
        NEED(bytes_room(data, name + value_bound(entry->value) + 1));
        char *to = data->data + data->n;
        if (i)
            *to++ = ',';
        if (entry->key)
            to = put(to, entry->key->json.at, entry->key->json.n);
        else {
            to = put_json_text(to, entry->name, s->may_need_escape);
            *to++ = ':';
        }
        if (which == 0 && entry->has_value)
            entry->items = count_sign(entry->value, ',') + 1;
        TRY(put_value(s, &to, entry, which));
        data->n = (size_t)(to - data->data);
        if (which + 1 == s->n_alleles)
            note_value(s, entry);
    }
    size_t orig = s->n_alleles > 1 || a->trimmed ? s->pos_text.n + s->ref.n + 2 * s->alt_text.n + 32 : 1;
    NEED(bytes_room(data, orig));
    char *to = data->data + data->n;
    if (orig > 1) {
        if (s->n_entries)
            *to++ = ',';
        to = PUT(to, "\"_orig\":\"");
        to = put(to, s->pos_text.at, s->pos_text.n);
        *to++ = ':';
        to = put(to, s->ref.at, s->ref.n);
        *to++ = ':';
        to = put(to, s->alt_text.at, s->alt_text.n);
        *to++ = '"';
    }
    *to++ = '}';
    data->n = (size_t)(to - data->data);
    return text_end(column, row, 1);
}

static Verdict
emit_numeric(Scan *s, size_t row, size_t which)
{
    RealColumn *columns = &s->columns.real[REAL_NUMERIC];
    for (int i = 0; i < N_NUMERIC; i++)
        real_put(&columns[i], row, 0, 0);
    for (int i = N_CANDIDATES - 1; i >= 0; i--) {
        Text value = s->candidate[i];
        if (!value.at)
            continue;
        size_t items = count_sign(value, ',') + 1;
        if (items > 1) {
            if (items != s->n_alleles)
                continue;
            value = list_item(value, which);
        }
        if (is_missing_text(value) || is_nan_text(value))
            continue;
        double number;
        TRY(read_real(s, value, &number));
        /* from the last candidate to the first, so that the first one stays */
        real_put(&columns[CANDIDATES[i].column], row, number, 1);
    }
    return TAKEN;
}

/* -------------------------------------------------------------------------------------------------- consequences */

/* Places of the bars in an entry; -1 when there are more than `most`. */
static int
split_bars(Text entry, uint32_t *bar, int most)
{
    const char *at = entry.at;
    size_t i = 0, n = entry.n;
    int found = 0;
#if defined(__SSE2__)
    const __m128i sign = _mm_set1_epi8('|');
    for (; i + 16 <= n; i += 16) {
        __m128i block = _mm_loadu_si128((const __m128i *)(const void *)(at + i));
        unsigned hits = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(block, sign));
        while (hits) {
            if (found == most)
                return -1;
            bar[found++] = (uint32_t)(i + (size_t)__builtin_ctz(hits));
            hits &= hits - 1;
        }
    }
#endif
    for (; i < n; i++) {
        if (at[i] != '|')
            continue;
        if (found == most)
            return -1;
        bar[found++] = (uint32_t)i;
    }
    return found;
}

static inline Text
entry_field(Text entry, const uint32_t *bar, int n_bars, int place)
{
    if (place < 0 || place > n_bars)
        return (Text){NULL, 0};
    size_t start = place ? bar[place - 1] + 1 : 0, end = place < n_bars ? bar[place] : entry.n;
    return text_of(entry.at + start, entry.at + end);
}

/* What follows from the terms of a consequence. */
typedef struct {
    int32_t rank; /* of the most severe; INT32_MAX without a consequence */
    const Term *term; /* the most severe; NULL where it is in no table */
    int coding, lof;
} Severity;

static Severity
judge(const Plan *plan, Text consequence)
{
    Severity found = {.rank = INT32_MAX};
    const char *at = consequence.at, *end = at + consequence.n;
    if (at == end)
        return found;
    for (;;) {
        const char *stop = at;
        while (stop < end && *stop != '&')
            stop++;
        int32_t known = names_get(&plan->terms, text_of(at, stop));
        const Term *term = known < 0 ? NULL : &plan->term[known];
        int32_t rank = term ? term->rank : plan->unknown_rank;
        if (rank < found.rank) {
            found.rank = rank;
            found.term = term;
        }
        if (term) {
            found.coding |= term->coding;
            found.lof |= term->lof;
        }
        if (stop == end)
            return found;
        at = stop + 1;
    }
}

static int
has_lower_case(Text t)
{
    for (size_t i = 0; i < t.n; i++)
        if (t.at[i] >= 'a' && t.at[i] <= 'z')
            return 1;
    return 0;
}

/* Where several ALTs share the entries: by ALLELE_NUM, by the annotator's name, by the ALT as written. */
static Verdict
find_owner(Scan *s, int tag, Annotation *entry, Text number)
{
    if (s->plan->format[tag].slot[SLOT_ALLELE_NUM] >= 0) {
        int64_t value = read_natural(number);
        if (value < 1 || value > (int64_t)s->n_alleles)
            return DECLINED;
        entry->owner = OWNER_NUMBERED;
        entry->allele_number = (int32_t)value;
        return TAKEN;
    }
    if (s->plan->format[tag].slot[SLOT_ALLELE] < 0)
        return TAKEN;
    if (!entry->allele.at || has_lower_case(entry->allele))
        return DECLINED;
    entry->owner = OWNER_NONE;
    for (size_t i = 0; i < s->n_alleles; i++) {
        if (tag == CSQ && text_equal(entry->allele, s->allele[i].annotator)) {
            entry->owner = OWNER_NAMED;
            return TAKEN;
        }
        if (text_equal(entry->allele, s->allele[i].written))
            entry->owner = OWNER_WRITTEN;
    }
    s->line_noted[NOTE_NO_ALLELE] += entry->owner == OWNER_NONE;
    return TAKEN;
}

static Verdict
read_annotation(Scan *s, int tag, Text whole)
{
    const EntryFormat *format = &s->plan->format[tag];
    uint32_t bar[MOST_FIELDS];
    AnnotationList *list = &s->annotations[tag];
    int n_bars = split_bars(whole, bar, MOST_FIELDS);
    if (whole.n == 0 || n_bars < 0)
        return DECLINED;
    if (list->n == list->capacity)
        NEED(grow(&list->entry, &list->capacity, list->n + 1, sizeof *list->entry));
    Annotation *entry = &list->entry[list->n++];
    *entry = (Annotation){.whole = whole, .rank = INT32_MAX};
    entry->allele = entry_field(whole, bar, n_bars, format->slot[SLOT_ALLELE]);
    int whole_entry = (size_t)n_bars + 1 == format->n_fields;
    if (s->n_alleles > 1)
        TRY(find_owner(s, tag, entry,
                       entry_field(whole, bar, n_bars, whole_entry ? format->slot[SLOT_ALLELE_NUM] : -1)));
    if (!whole_entry) {
        s->line_noted[NOTE_FIELD_COUNT]++;
        return TAKEN;
    }
    entry->rank = judge(s->plan, entry_field(whole, bar, n_bars, format->slot[SLOT_CONSEQUENCE])).rank;
    Text pick = entry_field(whole, bar, n_bars, format->slot[SLOT_PICK]);
    Text canonical = entry_field(whole, bar, n_bars, format->slot[SLOT_CANONICAL]);
    entry->pick = TEXT_IS(pick, "1") ? 1 : 0;
    entry->canonical = TEXT_IS(canonical, "YES") ? 1 : 0;
    return TAKEN;
}

static Verdict
read_annotations(Scan *s, int tag, Text value)
{
    if (!s->plan->format[tag].usable)
        return DECLINED;
    if (s->n_alleles > 1)
        for (size_t i = 0; i < s->n_alleles; i++)
            if (s->allele[i].kind == KIND_SV || s->allele[i].kind == KIND_BND)
                return DECLINED; /* VEP has names of its own for these */
    s->annotations[tag].present = 1;
    const char *at = value.at, *end = at + value.n;
    for (;;) {
        const char *comma = find(at, end, ',');
        TRY(read_annotation(s, tag, text_of(at, comma)));
        if (comma == end)
            return TAKEN;
        at = comma + 1;
    }
}

static inline int
belongs(const Scan *s, const Annotation *entry, size_t which)
{
    switch (entry->owner) {
    case OWNER_ALL:
        return 1;
    case OWNER_NAMED:
        return text_equal(entry->allele, s->allele[which].annotator);
    case OWNER_WRITTEN:
        return text_equal(entry->allele, s->allele[which].written);
    case OWNER_NUMBERED:
        return (size_t)entry->allele_number == which + 1;
    default:
        return 0;
    }
}

static const Annotation *
pick_annotation(const Scan *s, int tag, size_t which)
{
    const AnnotationList *list = &s->annotations[tag];
    const Annotation *best = NULL;
    for (size_t i = 0; i < list->n; i++) {
        const Annotation *entry = &list->entry[i];
        if (entry->rank == INT32_MAX || (best && entry->rank > best->rank) || !belongs(s, entry, which))
            continue;
        if (!best || entry->rank < best->rank || entry->pick > best->pick ||
            (entry->pick == best->pick && entry->canonical > best->canonical))
            best = entry;
    }
    return best;
}

/* Text in a VARCHAR(width): what is longer ends in an ellipsis. */
static Verdict
put_cut(Scan *s, int column, size_t row, Text t, size_t width)
{
    TextColumn *c = &s->columns.text[column];
    if (t.n == 0) {
        text_null(c, row);
        return TAKEN;
    }
    if (t.n <= width)
        return text_put(c, row, t);
    s->line_noted[NOTE_CUT]++;
    NEED(bytes_room(&c->data, width + 2));
    char *to = c->data.data + c->data.n;
    to = put(to, t.at, width - 1);
    to = PUT(to, "\xE2\x80\xA6");
    c->data.n = (size_t)(to - c->data.data);
    return text_end(c, row, 1);
}

/* The leading whole terms that fit into VARCHAR(100). */
static Verdict
put_consequence(Scan *s, size_t row, Text t)
{
    enum { WIDTH = 100 };
    if (t.n > WIDTH) {
        size_t n = WIDTH;
        while (n && t.at[n] != '&')
            n--;
        if (n == 0)
            return DECLINED;
        t.n = n;
        s->line_noted[NOTE_CUT]++;
    }
    return text_put(&s->columns.text[COLUMN_CONSEQUENCE], row, t);
}

static Verdict
emit_pick(Scan *s, size_t row, size_t which)
{
    static const int PICKED[] = {COLUMN_GENE,   COLUMN_TRANSCRIPT,  COLUMN_HGVS_C,
                                 COLUMN_HGVS_P, COLUMN_CONSEQUENCE, COLUMN_IMPACT};
    Columns *c = &s->columns;
    const Annotation *best = NULL;
    int tag = CSQ;
    for (; tag <= ANN; tag++)
        if ((best = pick_annotation(s, tag, which)))
            break;
    if (!best) {
        for (size_t i = 0; i < sizeof PICKED / sizeof *PICKED; i++)
            text_null(&c->text[PICKED[i]], row);
        set_bit(c->is_coding, row, 0);
        set_bit(c->is_lof, row, 0);
        return TAKEN;
    }
    const EntryFormat *format = &s->plan->format[tag];
    uint32_t bar[MOST_FIELDS];
    int n_bars = split_bars(best->whole, bar, MOST_FIELDS);
    Text field[N_SLOTS];
    for (int i = 0; i < N_SLOTS; i++)
        field[i] = entry_field(best->whole, bar, n_bars, format->slot[i]);
    Severity severity = judge(s->plan, field[SLOT_CONSEQUENCE]);
    set_bit(c->is_coding, row, severity.coding);
    set_bit(c->is_lof, row, severity.lof);
    if (format->slot[SLOT_IMPACT] < 0 && severity.term)
        field[SLOT_IMPACT] = (Text){severity.term->impact, severity.term->n_impact};
    if (field[SLOT_IMPACT].n > 20)
        return DECLINED;
    TRY(put_cut(s, COLUMN_GENE, row, field[SLOT_SYMBOL].n ? field[SLOT_SYMBOL] : field[SLOT_GENE], 100));
    TRY(put_cut(s, COLUMN_TRANSCRIPT, row, field[SLOT_FEATURE], 255));
    TRY(put_cut(s, COLUMN_HGVS_C, row, field[SLOT_HGVS_C], 255));
    TRY(put_cut(s, COLUMN_HGVS_P, row, field[SLOT_HGVS_P], 255));
    TRY(put_cut(s, COLUMN_IMPACT, row, field[SLOT_IMPACT], 20));
    return put_consequence(s, row, field[SLOT_CONSEQUENCE]);
}

/* `{"CSQ":["entry",…],"ANN":[…]}` with the entries of this ALT. */
static Verdict
emit_annotations(Scan *s, size_t row, size_t which)
{
    TextColumn *column = &s->columns.text[COLUMN_VEP];
    Bytes *data = &column->data;
    int tags = 0;
    for (int tag = 0; tag <= ANN; tag++) {
        const AnnotationList *list = &s->annotations[tag];
        int entries = 0;
        for (size_t i = 0; i < list->n; i++) {
            const Annotation *entry = &list->entry[i];
            if (!belongs(s, entry, which))
                continue;
            NEED(bytes_room(data, 2 * entry->whole.n + 16));
            char *to = data->data + data->n;
            if (!entries++) {
                *to++ = tags++ ? ',' : '{';
                *to++ = '"';
                to = put(to, TAG_NAMES[tag], 3);
                to = PUT(to, "\":[");
            }
            else
                *to++ = ',';
            to = put_json_text(to, entry->whole, s->may_need_escape);
            data->n = (size_t)(to - data->data);
        }
        if (entries) {
            NEED(bytes_room(data, 1));
            data->data[data->n++] = ']';
        }
    }
    if (!tags) {
        text_null(column, row);
        return TAKEN;
    }
    NEED(bytes_room(data, 1));
    data->data[data->n++] = '}';
    return text_end(column, row, 1);
}

/* ----------------------------------------------------------------------------------------------------- genotypes */

static int
place_in_format(Text format, const char *name)
{
    const char *at = format.at, *end = at + format.n;
    for (int place = 0;; place++) {
        const char *colon = find(at, end, ':');
        if (text_is(text_of(at, colon), name, 2))
            return place;
        if (colon == end)
            return -1;
        at = colon + 1;
    }
}

static void
read_format(Scan *s)
{
    if (text_equal(s->format, s->last_format))
        return;
    s->last_format = s->format;
    s->gt_place = place_in_format(s->format, "GT");
    s->dp_place = place_in_format(s->format, "DP");
    s->gq_place = place_in_format(s->format, "GQ");
}

/* One allele number or `.`; the place after it, or NULL. */
static inline const char *
read_allele_number(const char *at, const char *end, size_t most, int32_t *number)
{
    if (at == end)
        return NULL;
    if (*at == '.') {
        *number = -1;
        return at + 1;
    }
    if (!is_digit(*at) || (*at == '0' && at + 1 < end && is_digit(at[1])))
        return NULL;
    size_t value = 0;
    const char *stop = at + 8 < end ? at + 8 : end;
    while (at < stop && is_digit(*at))
        value = value * 10 + (size_t)(*at++ - '0');
    if (value > most)
        return NULL;
    *number = (int32_t)value;
    return at;
}

/* A call of one or two alleles that fills the text. */
static inline int
read_call(Text gt, size_t most, Call *call)
{
    const char *at = gt.at, *end = at + gt.n;
    call->phased = 0;
    call->ploidy = 1;
    call->second = -1;
    at = read_allele_number(at, end, most, &call->first);
    if (!at)
        return 0;
    if (at == end)
        return 1;
    if (*at != '/' && *at != '|')
        return 0;
    call->phased = *at == '|';
    call->ploidy = 2;
    at = read_allele_number(at + 1, end, most, &call->second);
    return at == end;
}

static inline int
is_missing(const Call *call)
{
    return call->first < 0 || (call->ploidy == 2 && call->second < 0);
}

static inline void
count_call(Scan *s, const Call *call)
{
    if (is_missing(call))
        return;
    s->called++;
    if (call->ploidy == 1) {
        s->haploid++;
        s->allele_count[call->first].haploid++;
    }
    else if (call->first == call->second) {
        s->diploid++;
        s->allele_count[call->first].diploid_hom++;
    }
    else {
        s->diploid++;
        s->allele_count[call->first].diploid_het++;
        s->allele_count[call->second].diploid_het++;
    }
}

/* The field at `place` of a sample; a missing one at the end is `.`. */
static inline Text
sample_field(Text sample, int place)
{
    const char *at = sample.at, *end = at + sample.n;
    while (place--) {
        at = find(at, end, ':');
        if (at == end)
            return (Text){".", 1};
        at++;
    }
    return text_of(at, find_near(at, end, ':'));
}

static Verdict
read_depth(Text t, uint8_t *to)
{
    int64_t value = is_dot(t) ? 65535 : read_natural(t);
    if (value < 0)
        return DECLINED;
    if (value > 65534 && !is_dot(t))
        value = 65534;
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
    return TAKEN;
}

static Verdict
read_quality(Text t, uint8_t *to)
{
    const char *end = t.at + t.n, *point = find_near(t.at, end, '.');
    int64_t value = is_dot(t) ? 255 : read_natural(text_of(t.at, point));
    if (value < 0)
        return DECLINED;
    if (point < end && t.n > 1) {
        if (end - point > 10)
            return DECLINED;
        for (const char *at = point + 1; at < end; at++)
            if (!is_digit(*at))
                return DECLINED;
        value += point + 1 < end && point[1] >= '5';
    }
    *to = (uint8_t)(value > 254 && !is_dot(t) ? 254 : value);
    return TAKEN;
}

static Verdict
prepare_counts(Scan *s)
{
    size_t n = s->n_alleles + 1;
    if (n > s->allele_count_capacity)
        NEED(grow(&s->allele_count, &s->allele_count_capacity, n, sizeof *s->allele_count));
    memset(s->allele_count, 0, n * sizeof *s->allele_count);
    s->called = s->diploid = s->haploid = 0;
    return TAKEN;
}

/* The columns of a record whose genotypes are not read. */
static Verdict
count_samples(const Scan *s)
{
    return count_sign(s->samples, '\t') + 1 == s->plan->n_samples ? TAKEN : DECLINED;
}

/* Each sample's call; counts the columns too. */
static Verdict
read_samples(Scan *s)
{
    const char *at = s->samples.at, *end = at + s->samples.n;
    size_t n = s->plan->n_samples;
    TRY(prepare_counts(s));
    for (size_t i = 0; i < n; i++) {
        const char *tab = find(at, end, '\t');
        if ((tab == end) != (i + 1 == n))
            return DECLINED;
        Text sample = text_of(at, tab);
        if (s->gt_place >= 0) {
            Call call;
            if (!read_call(sample_field(sample, s->gt_place), s->n_alleles, &call))
                return DECLINED;
            count_call(s, &call);
            if (s->for_genotypes) {
                s->calls[i] = call;
                if (s->dp_place >= 0)
                    TRY(read_depth(sample_field(sample, s->dp_place), s->depths + 2 * i));
                if (s->gq_place >= 0)
                    TRY(read_quality(sample_field(sample, s->gq_place), s->qualities + i));
            }
        }
        at = tab + 1;
    }
    return TAKEN;
}

static void
emit_counts(Scan *s, size_t row, size_t which)
{
    Columns *c = &s->columns;
    int known = s->plan->n_samples > 0 && s->plan->genotypes && s->gt_place >= 0;
    set_bit(c->counts_valid, row, known);
    if (!known) {
        for (int i = 0; i < N_COUNT_COLUMNS; i++)
            c->count[i][row] = 0;
        return;
    }
    const AlleleCount *n = &s->allele_count[which + 1];
    c->count[GT_CALLED][row] = s->called;
    c->count[GT_ALLELES][row] = 2 * s->diploid + s->haploid;
    c->count[GT_ALT][row] = 2 * n->diploid_hom + n->diploid_het + n->haploid;
    c->count[GT_HET][row] = n->diploid_het;
    c->count[GT_HOM][row] = n->diploid_hom + n->haploid;
    c->count[GT_D_HET][row] = n->diploid_het;
    c->count[GT_D_HOM][row] = n->diploid_hom;
    c->count[GT_D_OTHER][row] = s->diploid - n->diploid_hom - n->diploid_het;
}

static inline uint8_t
pack_call(const Call *call, int32_t alt)
{
    int copies = (call->first == alt) + (call->second == alt);
    int ploidy = is_missing(call) ? 0 : call->ploidy;
    int other = (call->first > 0 && call->first != alt) || (call->second > 0 && call->second != alt);
    return (uint8_t)(copies | ploidy << 3 | call->phased << 6 | other << 7);
}

static Verdict
emit_packed(Scan *s, size_t row, size_t which)
{
    size_t n = s->plan->n_samples;
    size_t width[N_BLOBS] = {n, 2 * n, n};
    int present[N_BLOBS] = {1, s->dp_place >= 0, s->gq_place >= 0};
    for (int i = 0; i < N_BLOBS; i++) {
        BlobColumn *b = &s->columns.blob[i];
        b->data.n = row * width[i];
        NEED(bytes_room(&b->data, width[i]));
        uint8_t *to = (uint8_t *)b->data.data + b->data.n;
        set_bit(b->valid, row, present[i]);
        if (!present[i])
            memset(to, 0, width[i]);
        else if (i == BLOB_GT)
            for (size_t k = 0; k < n; k++)
                to[k] = pack_call(&s->calls[k], (int32_t)which + 1);
        else
            memcpy(to, i == BLOB_DP ? s->depths : s->qualities, width[i]);
        b->data.n += width[i];
    }
    return TAKEN;
}

/* ------------------------------------------------------------------------------------------------------ one line */

/* False where the line holds bytes that need the reference: control characters or non-ASCII. */
static int
is_plain_text(Scan *s, Text line)
{
    unsigned char high = 0, control = 0, escape = 0;
    for (size_t i = 0; i < line.n; i++) {
        unsigned char c = (unsigned char)line.at[i];
        high |= c;
        control |= (unsigned char)((c < 32) & (c != '\t'));
        escape |= (unsigned char)((c == '"') | (c == '\\'));
    }
    s->may_need_escape = escape;
    return !(high & 0x80) && !control;
}

static Verdict
split_line(Scan *s, Text line)
{
    Text *const field[8] = {&s->chrom,     &s->pos_text, &s->id,     &s->ref,
                            &s->alt_text,  &s->qual_text, &s->filter, &s->info};
    const char *at = line.at, *end = at + line.n;
    for (int i = 0; i < 7; i++) {
        const char *tab = find_near(at, end, '\t');
        if (tab == end)
            return DECLINED;
        *field[i] = text_of(at, tab);
        at = tab + 1;
    }
    const char *tab = find(at, end, '\t');
    s->info = text_of(at, tab);
    s->format = s->samples = (Text){NULL, 0};
    if (tab == end)
        return s->plan->n_samples ? DECLINED : TAKEN;
    at = tab + 1;
    tab = find(at, end, '\t');
    if ((tab == end) != (s->plan->n_samples == 0))
        return DECLINED;
    if (tab == end)
        return TAKEN; /* FORMAT without samples says nothing */
    s->format = text_of(at, tab);
    s->samples = text_of(tab + 1, end);
    return TAKEN;
}

/* The ID that the rs_id column shows; DECLINED for a list with holes. */
static Verdict
read_id(const Scan *s, Text *shown)
{
    *shown = (Text){NULL, 0};
    if (is_dot(s->id))
        return TAKEN;
    const char *at = s->id.at, *end = at + s->id.n;
    for (;;) {
        const char *stop = find_near(at, end, ';');
        Text id = text_of(at, stop);
        if (id.n == 0 || is_dot(id))
            return DECLINED;
        int digits = id.n > 2 && id.at[0] == 'r' && id.at[1] == 's';
        for (size_t i = 2; digits && i < id.n; i++)
            digits = is_digit(id.at[i]);
        if (digits) {
            *shown = id;
            return TAKEN;
        }
        if (!shown->at)
            *shown = id;
        if (stop == end)
            return TAKEN;
        at = stop + 1;
    }
}

static Verdict
check_filters(Scan *s)
{
    if (is_dot(s->filter) || TEXT_IS(s->filter, "PASS"))
        return TAKEN;
    const char *at = s->filter.at, *end = at + s->filter.n;
    for (;;) {
        const char *stop = find_near(at, end, ';');
        Text name = text_of(at, stop);
        if (name.n == 0 || is_dot(name))
            return DECLINED;
        if (!TEXT_IS(name, "PASS") && names_get(&s->plan->filters, name) < 0)
            s->line_noted[NOTE_UNDECLARED_FILTER] = 1;
        if (stop == end)
            return TAKEN;
        at = stop + 1;
    }
}

static Verdict
emit_filter(Scan *s, size_t row)
{
    Columns *c = &s->columns;
    size_t item = (size_t)c->filter_offsets[row];
    const char *at = s->filter.at, *end = at + s->filter.n;
    int present = !is_dot(s->filter);
    set_bit(c->filter_valid, row, present);
    while (present) {
        const char *stop = find_near(at, end, ';');
        size_t n = (size_t)(stop - at);
        if (item + 2 > c->item_capacity) {
            NEED(grow(&c->item_offsets, &c->item_capacity, item + 2, 4));
            if (item == 0)
                c->item_offsets[0] = 0;
        }
        NEED(bytes_room(&c->item_data, n));
        if (c->item_data.n + n > INT32_MAX || item + 1 > INT32_MAX)
            return DECLINED;
        memcpy(c->item_data.data + c->item_data.n, at, n);
        c->item_data.n += n;
        c->item_offsets[++item] = (int32_t)c->item_data.n;
        if (stop == end)
            break;
        at = stop + 1;
    }
    c->filter_offsets[row + 1] = (int32_t)item;
    return TAKEN;
}

static Verdict
emit_row(Scan *s, size_t which, Text id, double qual)
{
    Columns *c = &s->columns;
    size_t row = c->rows;
    Allele *a = &s->allele[which];
    TRY(text_put(&c->text[COLUMN_CHROM], row, s->last_chrom_name));
    TRY(text_put(&c->text[COLUMN_REF], row, a->ref));
    TRY(text_put(&c->text[COLUMN_ALT], row, a->alt));
    c->pos[row] = a->pos;
    if (s->for_genotypes) {
        TRY(emit_packed(s, row, which));
        c->rows++;
        return TAKEN;
    }
    TRY(find_end(s, a, which));
    c->end_pos[row] = a->end;
    const char *kind = KIND_NAMES[a->kind];
    TRY(text_put(&c->text[COLUMN_VARIANT_TYPE], row, text_of(kind, kind + strlen(kind))));
    if (id.at)
        TRY(text_put(&c->text[COLUMN_RS_ID], row, id));
    else
        text_null(&c->text[COLUMN_RS_ID], row);
    real_put(&c->real[REAL_QUAL], row, qual, !isnan(qual));
    TRY(emit_filter(s, row));
    TRY(emit_pick(s, row, which));
    TRY(emit_numeric(s, row, which));
    int64_t cuts = s->line_noted[NOTE_CUT];
    TRY(put_cut(s, COLUMN_CLINVAR_SIG, row, s->clinvar_sig, 100));
    TRY(put_cut(s, COLUMN_CLINVAR_REVIEW, row, s->clinvar_review, 50));
    if (which)
        s->line_noted[NOTE_CUT] = cuts; /* the record's own text, counted with its first ALT */
    TRY(emit_info(s, row, which));
    TRY(emit_annotations(s, row, which));
    emit_counts(s, row, which);
    c->rows++;
    return TAKEN;
}

/* A bound on what one line may unfold into, so that 32-bit offsets and memory hold; see text_end too. */
static int
unfolds_too_far(const Scan *s, Text line)
{
    const size_t most = (size_t)1 << 28;
    return s->n_alleles > 1 && line.n > most / s->n_alleles;
}

/* ALT is `.`: nothing varies, so nothing more of the line is read and nothing else is counted. */
static Verdict
skip_line(Scan *s)
{
    int64_t crlf = s->line_noted[NOTE_CRLF];
    if (s->plan->n_samples)
        TRY(count_samples(s));
    memset(s->line_noted, 0, sizeof s->line_noted);
    s->line_noted[NOTE_CRLF] = crlf;
    s->line_skipped = 1;
    return TAKEN;
}

static Verdict
take_rows(Scan *s, double qual)
{
    Text id;
    if (s->n_alleles > 1)
        name_for_annotator(s);
    TRY(read_id(s, &id));
    TRY(check_filters(s));
    if (!s->for_genotypes)
        TRY(read_info(s));
    if (s->plan->n_samples && (s->plan->genotypes || s->for_genotypes)) {
        read_format(s);
        TRY(read_samples(s));
    }
    else if (s->plan->n_samples)
        TRY(count_samples(s));
    if (s->for_genotypes && (s->plan->n_samples == 0 || s->gt_place < 0))
        return TAKEN;
    NEED(columns_room(&s->columns, s->n_alleles, s->for_genotypes));
    for (size_t i = 0; i < s->n_alleles; i++)
        TRY(emit_row(s, i, id, qual));
    return TAKEN;
}

static Verdict
take_line(Scan *s, Text line)
{
    double qual = NAN;
    if (line.at[line.n - 1] == '\r') {
        line.n--;
        s->line_noted[NOTE_CRLF] = 1;
    }
    if (line.n == 0 || line.at[0] == '#' || !is_plain_text(s, line))
        return DECLINED;
    TRY(split_line(s, line));
    TRY(read_contig(s));
    TRY(read_alleles(s));
    if (unfolds_too_far(s, line))
        return DECLINED;
    if (!is_dot(s->qual_text))
        TRY(read_real(s, s->qual_text, &qual));
    return s->n_alleles ? take_rows(s, qual) : skip_line(s);
}

static int
decline(Scan *s, size_t start, size_t end)
{
    if (s->n_declined == s->declined_capacity &&
        !grow(&s->declined, &s->declined_capacity, s->n_declined + 1, sizeof *s->declined))
        return 0;
    s->declined[s->n_declined++] = (Declined){s->columns.rows, start, end, s->lines};
    return 1;
}

static int
scan_begin(Scan *s, size_t chunk)
{
    const Plan *plan = s->plan;
    s->seen = calloc(plan->n_info_keys + 1, sizeof *s->seen);
    s->gt_place = s->dp_place = s->gq_place = -1;
    int ok = s->seen != NULL;
    if (s->for_genotypes) {
        size_t n = plan->n_samples ? plan->n_samples : 1;
        s->calls = calloc(n, sizeof *s->calls);
        s->depths = calloc(n, 2);
        s->qualities = calloc(n, 1);
        ok = ok && s->calls && s->depths && s->qualities;
    }
    else if (ok && chunk) {
        ok = bytes_room(&s->columns.text[COLUMN_INFO].data, chunk / 2);
        if (ok && (plan->format[CSQ].usable || plan->format[ANN].usable))
            ok = bytes_room(&s->columns.text[COLUMN_VEP].data, chunk);
    }
    /* one row at least, so that every buffer exists */
    return ok && columns_room(&s->columns, 1 + chunk / 256, s->for_genotypes);
}

static void
keep_example(Scan *s, int reason)
{
    if (s->n_examples[reason] < MOST_EXAMPLES)
        s->example[reason][s->n_examples[reason]++] = s->lines;
}

/* A line that was taken goes into the totals. */
static void
count_line(Scan *s)
{
    s->records++;
    if (s->line_skipped) {
        s->skipped_no_alternate++;
        keep_example(s, N_NOTES);
    }
    for (int i = 0; i < N_NOTES; i++) {
        if (s->line_noted[i] == 0)
            continue;
        s->noted[i] += s->line_noted[i];
        keep_example(s, i);
    }
}

/* False when memory ran out. */
static int
scan_chunk(Scan *s, Text chunk)
{
    const char *at = chunk.at, *end = at + chunk.n;
    if (!scan_begin(s, chunk.n))
        return 0;
    for (; at < end; s->lines++) {
        const char *stop = find(at, end, '\n');
        if (stop > at) {
            size_t rows = s->columns.rows;
            memset(s->line_noted, 0, sizeof s->line_noted);
            s->line_skipped = 0;
            Verdict verdict = take_line(s, text_of(at, stop));
            if (verdict == NO_MEMORY)
                return 0;
            if (verdict == DECLINED) {
                columns_rewind(&s->columns, rows, s->for_genotypes);
                if (!decline(s, (size_t)(at - chunk.at), (size_t)(stop - chunk.at)))
                    return 0;
            }
            else {
                count_line(s);
            }
        }
        at = stop == end ? end : stop + 1;
    }
    return 1;
}

/* --------------------------------------------------------------------------------------- memory handed to Python */

/* Owns one column's memory; read through the buffer protocol, so that Arrow takes it without a copy. */
typedef struct {
    PyObject_HEAD
    void *data;
    Py_ssize_t n;
} ColumnMemory;

static int
memory_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    static char nothing[1];
    ColumnMemory *memory = (ColumnMemory *)self;
    return PyBuffer_FillInfo(view, self, memory->n ? memory->data : nothing, memory->n, 1, flags);
}

static void
memory_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    free(((ColumnMemory *)self)->data);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot memory_slots[] = {
    {Py_tp_doc, (void *)"Memory of one column, read through the buffer protocol."},
    {Py_tp_dealloc, memory_dealloc},
    {Py_bf_getbuffer, memory_getbuffer},
    {0, NULL},
};

static PyType_Spec memory_spec = {
    .name = "genomics_assets.variants._text_scanner.ColumnMemory",
    .basicsize = sizeof(ColumnMemory),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = memory_slots,
};

typedef struct {
    PyTypeObject *memory_type;
} ModuleState;

/* A memoryview that owns *data, which becomes NULL. */
static PyObject *
hand_out(ModuleState *state, void *pointer, size_t n)
{
    void *data;
    memcpy(&data, pointer, sizeof data);
    ColumnMemory *memory = PyObject_New(ColumnMemory, state->memory_type);
    if (!memory)
        return NULL;
    memory->data = data;
    memory->n = (Py_ssize_t)n;
    data = NULL;
    memcpy(pointer, &data, sizeof data);
    PyObject *view = PyMemoryView_FromObject((PyObject *)memory);
    Py_DECREF(memory);
    return view;
}

/* None where every row has a value. */
static PyObject *
hand_out_bitmap(ModuleState *state, uint8_t **bits, size_t rows)
{
    size_t whole = rows / 8, i = 0;
    while (i < whole && (*bits)[i] == 0xFF)
        i++;
    unsigned rest = (1u << (rows % 8)) - 1;
    if (i == whole && (rest == 0 || ((*bits)[whole] & rest) == rest))
        Py_RETURN_NONE;
    return hand_out(state, bits, (rows + 7) / 8);
}

/* Steals the three parts; any of them may be NULL with an error set. */
static int
add_column(PyObject *columns, const char *name, PyObject *valid, PyObject *offsets, PyObject *data)
{
    int failed = 1;
    if (valid && offsets && data) {
        PyObject *parts = PyTuple_Pack(3, valid, offsets, data);
        failed = !parts || PyDict_SetItemString(columns, name, parts) < 0;
        Py_XDECREF(parts);
    }
    Py_XDECREF(valid);
    Py_XDECREF(offsets);
    Py_XDECREF(data);
    return failed ? -1 : 0;
}

static PyObject *
new_none(void)
{
    return Py_NewRef(Py_None);
}

static int
add_text_columns(ModuleState *state, PyObject *columns, Columns *c, int last)
{
    for (int i = 0; i <= last; i++) {
        TextColumn *t = &c->text[i];
        if (add_column(columns, TEXT_COLUMN_NAMES[i], hand_out_bitmap(state, &t->valid, c->rows),
                       hand_out(state, &t->offsets, 4 * (c->rows + 1)), hand_out(state, &t->data.data, t->data.n)) < 0)
            return -1;
    }
    return add_column(columns, "pos", new_none(), new_none(), hand_out(state, &c->pos, 8 * c->rows));
}

static int
add_filter(ModuleState *state, PyObject *columns, Columns *c)
{
    size_t items = (size_t)c->filter_offsets[c->rows];
    if (!c->item_offsets) {
        c->item_offsets = calloc(1, 4);
        if (!c->item_offsets) {
            PyErr_NoMemory();
            return -1;
        }
    }
    if (add_column(columns, "filter", hand_out_bitmap(state, &c->filter_valid, c->rows),
                   hand_out(state, &c->filter_offsets, 4 * (c->rows + 1)), PyBytes_FromStringAndSize(NULL, 0)) < 0)
        return -1;
    return add_column(columns, "filter.item", new_none(), hand_out(state, &c->item_offsets, 4 * (items + 1)),
                      hand_out(state, &c->item_data.data, c->item_data.n));
}

static int
add_counts(ModuleState *state, PyObject *columns, Columns *c)
{
    PyObject *valid = hand_out_bitmap(state, &c->counts_valid, c->rows);
    int failed = !valid;
    for (int i = 0; i < N_COUNT_COLUMNS && !failed; i++)
        failed = add_column(columns, COUNT_COLUMN_NAMES[i], Py_NewRef(valid), new_none(),
                            hand_out(state, &c->count[i], 4 * c->rows)) < 0;
    Py_XDECREF(valid);
    return failed ? -1 : 0;
}

static int
add_columns(ModuleState *state, PyObject *columns, Columns *c)
{
    if (add_text_columns(state, columns, c, N_TEXT_COLUMNS - 1) < 0)
        return -1;
    for (int i = 0; i < N_REAL_COLUMNS; i++)
        if (add_column(columns, REAL_COLUMN_NAMES[i], hand_out_bitmap(state, &c->real[i].valid, c->rows), new_none(),
                       hand_out(state, &c->real[i].value, 4 * c->rows)) < 0)
            return -1;
    size_t bits = (c->rows + 7) / 8;
    if (add_column(columns, "end_pos", new_none(), new_none(), hand_out(state, &c->end_pos, 8 * c->rows)) < 0 ||
        add_column(columns, "is_coding", new_none(), new_none(), hand_out(state, &c->is_coding, bits)) < 0 ||
        add_column(columns, "is_lof", new_none(), new_none(), hand_out(state, &c->is_lof, bits)) < 0)
        return -1;
    return add_filter(state, columns, c) < 0 || add_counts(state, columns, c) < 0 ? -1 : 0;
}

static int
add_packed(ModuleState *state, PyObject *columns, Columns *c)
{
    if (add_text_columns(state, columns, c, COLUMN_ALT) < 0)
        return -1;
    for (int i = 0; i < N_BLOBS; i++) {
        BlobColumn *b = &c->blob[i];
        if (add_column(columns, BLOB_NAMES[i], hand_out_bitmap(state, &b->valid, c->rows), new_none(),
                       hand_out(state, &b->data.data, b->data.n)) < 0)
            return -1;
    }
    return 0;
}

static PyObject *
declined_list(const Scan *s)
{
    PyObject *list = PyList_New((Py_ssize_t)s->n_declined);
    for (size_t i = 0; list && i < s->n_declined; i++) {
        const Declined *d = &s->declined[i];
        PyObject *item = Py_BuildValue("nnnn", (Py_ssize_t)d->row_before, (Py_ssize_t)d->start, (Py_ssize_t)d->end,
                                       (Py_ssize_t)d->line);
        if (!item)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    return list;
}

static int
add_item(PyObject *dict, const char *reason, PyObject *value)
{
    PyObject *key = PyBytes_FromString(reason);
    int failed = !key || !value || PyDict_SetItem(dict, key, value) < 0;
    Py_XDECREF(key);
    Py_XDECREF(value);
    return failed ? -1 : 0;
}

/* How often a reason came up, and its first lines. */
static int
add_reason(const Scan *s, int reason, const char *name, int64_t count, PyObject *counts, PyObject *examples)
{
    if (count == 0)
        return 0;
    PyObject *lines = PyList_New((Py_ssize_t)s->n_examples[reason]);
    for (size_t i = 0; lines && i < s->n_examples[reason]; i++) {
        PyObject *line = PyLong_FromSize_t(s->example[reason][i]);
        if (line)
            PyList_SET_ITEM(lines, (Py_ssize_t)i, line);
        else
            Py_CLEAR(lines);
    }
    if (add_item(examples, name, lines) < 0)
        return -1;
    return add_item(counts, name, PyLong_FromLongLong(count));
}

static PyObject *
scan_result(ModuleState *state, Scan *s)
{
    PyObject *columns = PyDict_New(), *tally = PyDict_New(), *skipped = PyDict_New(), *examples = PyDict_New();
    PyObject *declined = declined_list(s), *result = NULL;
    Py_ssize_t rows = (Py_ssize_t)s->columns.rows;
    int failed = !columns || !tally || !skipped || !examples || !declined;
    if (!failed)
        failed = (s->for_genotypes ? add_packed : add_columns)(state, columns, &s->columns) < 0;
    for (int i = 0; i < N_NOTES && !failed; i++)
        failed = add_reason(s, i, NOTE_NAMES[i], s->noted[i], tally, examples) < 0;
    if (!failed)
        failed = add_reason(s, N_NOTES, "no_alternate_allele", (int64_t)s->skipped_no_alternate, skipped, examples) < 0;
    if (!failed)
        result = Py_BuildValue("{s:n,s:O,s:O,s:n,s:n,s:O,s:O,s:O}", "rows", rows, "columns", columns, "declined",
                               declined, "records", (Py_ssize_t)s->records, "lines", (Py_ssize_t)s->lines, "tally",
                               tally, "skipped", skipped, "examples", examples);
    Py_XDECREF(columns);
    Py_XDECREF(tally);
    Py_XDECREF(skipped);
    Py_XDECREF(examples);
    Py_XDECREF(declined);
    return result;
}

/* ------------------------------------------------------------------------------------------- the plan from Python */

static int
get_flag(PyObject *plan, const char *key, int *flag)
{
    PyObject *value = PyDict_GetItemString(plan, key);
    if (!value) {
        PyErr_Format(PyExc_KeyError, "the plan lacks '%s'", key);
        return -1;
    }
    *flag = PyObject_IsTrue(value);
    return *flag < 0 ? -1 : 0;
}

static PyObject *
get_container(PyObject *plan, const char *key)
{
    PyObject *value = PyDict_GetItemString(plan, key);
    if (!value)
        PyErr_Format(PyExc_KeyError, "the plan lacks '%s'", key);
    return value;
}

static int
get_text(PyObject *value, Text *t)
{
    char *at;
    Py_ssize_t n;
    if (PyBytes_AsStringAndSize(value, &at, &n) < 0)
        return -1;
    *t = (Text){at, (size_t)n};
    return 0;
}

/* Calls `add(plan, key, value)` for each item of plan[name], which is a dict. */
static int
each_item(Plan *plan, PyObject *source, const char *name, int (*add)(Plan *, Text, PyObject *))
{
    PyObject *dict = get_container(source, name), *key, *value;
    Py_ssize_t i = 0;
    if (!dict)
        return -1;
    if (!PyDict_Check(dict)) {
        PyErr_Format(PyExc_TypeError, "plan['%s'] must be a dict", name);
        return -1;
    }
    while (PyDict_Next(dict, &i, &key, &value)) {
        Text t;
        if (get_text(key, &t) < 0 || add(plan, t, value) < 0)
            return -1;
    }
    return 0;
}

static int
no_memory(void)
{
    PyErr_NoMemory();
    return -1;
}

static int
info_key_add(Plan *plan, Text name, InfoKey key)
{
    char *json = malloc(2 * name.n + 3);
    if (!json)
        return no_memory();
    char *end = put_json_text(json, name, 1);
    *end++ = ':';
    key.json = text_of(json, end);
    plan->info_keys[plan->n_info_keys] = key;
    if (!names_add(&plan->info_names, name, (int32_t)plan->n_info_keys++))
        return no_memory();
    return 0;
}

static void
give_role(InfoKey *key, Text name)
{
    key->candidate = -1;
    key->role = TEXT_IS(name, "END")          ? ROLE_END
                : TEXT_IS(name, "SVLEN")      ? ROLE_SVLEN
                : TEXT_IS(name, "CLNSIG")     ? ROLE_CLINVAR_SIG
                : TEXT_IS(name, "CLNREVSTAT") ? ROLE_CLINVAR_REVIEW
                                              : ROLE_NONE;
    for (int i = 0; i < N_CANDIDATES; i++) {
        if (text_is(name, CANDIDATES[i].name, strlen(CANDIDATES[i].name))) {
            key->role = ROLE_CANDIDATE;
            key->candidate = (int8_t)i;
        }
    }
}

static int
add_info_definition(Plan *plan, Text name, PyObject *definition)
{
    Text number, type;
    if (!PyTuple_Check(definition) || PyTuple_GET_SIZE(definition) != 2) {
        PyErr_SetString(PyExc_TypeError, "plan['info'] needs (number, type) for each key");
        return -1;
    }
    if (get_text(PyTuple_GET_ITEM(definition, 0), &number) < 0 || get_text(PyTuple_GET_ITEM(definition, 1), &type) < 0)
        return -1;
    InfoKey key = {.declared = 1, .tag = -1};
    give_role(&key, name);
    key.number = TEXT_IS(number, "0") || TEXT_IS(type, "Flag") ? NUMBER_NONE
                 : TEXT_IS(number, "1") ? NUMBER_ONE
                 : TEXT_IS(number, "A") ? NUMBER_ALT
                 : TEXT_IS(number, "R") ? NUMBER_ALLELE
                 : TEXT_IS(number, "G") ? NUMBER_GENOTYPE
                                        : NUMBER_LIST;
    key.type = TEXT_IS(type, "Integer") ? TYPE_INTEGER : TEXT_IS(type, "Float") ? TYPE_FLOAT : TYPE_TEXT;
    key.odd = TEXT_IS(name, "_orig") ? 1 : 0;
    for (size_t i = 0; i < name.n; i++)
        key.odd |= (unsigned char)name.at[i] < 33 || (unsigned char)name.at[i] > 126;
    return info_key_add(plan, name, key);
}

static int
build_info_keys(Plan *plan, PyObject *source)
{
    PyObject *info = get_container(source, "info");
    if (!info)
        return -1;
    Py_ssize_t n = PyObject_Length(info);
    if (n < 0)
        return -1;
    PyObject *annotation = get_container(source, "annotation");
    Py_ssize_t n_annotations = annotation ? PyObject_Length(annotation) : -1;
    if (n_annotations < 0)
        return -1;
    size_t most = (size_t)n + N_CANDIDATES + 4 + (size_t)n_annotations;
    plan->info_keys = calloc(most, sizeof *plan->info_keys);
    if (!plan->info_keys || !names_init(&plan->info_names, most))
        return no_memory();
    if (each_item(plan, source, "info", add_info_definition) < 0)
        return -1;
    /* keys that fill a column do so undeclared too */
    static const char *const OTHERS[] = {"END", "SVLEN", "CLNSIG", "CLNREVSTAT"};
    for (int i = 0; i < N_CANDIDATES + 4; i++) {
        const char *word = i < N_CANDIDATES ? CANDIDATES[i].name : OTHERS[i - N_CANDIDATES];
        Text name = {word, strlen(word)};
        InfoKey key = {.tag = -1};
        give_role(&key, name);
        if (names_get(&plan->info_names, name) < 0 && info_key_add(plan, name, key) < 0)
            return -1;
    }
    return 0;
}

static int
slot_of(PyObject *fields, const char *name)
{
    for (Py_ssize_t i = 0; name && i < PyList_GET_SIZE(fields); i++) {
        Text field;
        if (get_text(PyList_GET_ITEM(fields, i), &field) < 0)
            return -2;
        if (text_is(field, name, strlen(name)))
            return (int)i;
    }
    return -1;
}

static int
add_format(Plan *plan, Text tag_name, PyObject *fields)
{
    int tag = 0;
    while (tag < N_TAGS && !text_is(tag_name, TAG_NAMES[tag], strlen(TAG_NAMES[tag])))
        tag++;
    if (!PyList_Check(fields)) {
        PyErr_SetString(PyExc_TypeError, "plan['annotation'] holds a list of field names for each key");
        return -1;
    }
    int32_t known = names_get(&plan->info_names, tag_name);
    if (known < 0) {
        InfoKey key = {.tag = -1};
        give_role(&key, tag_name);
        known = (int32_t)plan->n_info_keys;
        if (info_key_add(plan, tag_name, key) < 0)
            return -1;
    }
    if (tag == N_TAGS) {
        plan->info_keys[known].odd = 1; /* an annotator that only the reference knows */
        return 0;
    }
    plan->info_keys[known].tag = (int8_t)tag;
    plan->info_keys[known].odd = 0;
    EntryFormat *format = &plan->format[tag];
    format->n_fields = (size_t)PyList_GET_SIZE(fields);
    format->usable = tag != BCSQ && format->n_fields > 0 && format->n_fields <= MOST_FIELDS;
    for (int i = 0; i < N_SLOTS && tag != BCSQ; i++) {
        format->slot[i] = slot_of(fields, SLOT_NAMES[tag][i]);
        if (format->slot[i] == -2)
            return -1;
    }
    if (tag != BCSQ && format->slot[SLOT_CONSEQUENCE] < 0)
        format->usable = 0;
    return 0;
}

static int
add_contig(Plan *plan, Text name, PyObject *length)
{
    size_t n = 0;
    for (size_t i = 0; i <= plan->contigs.mask; i++)
        n += plan->contigs.slots[i].value >= 0;
    plan->contig_lengths[n] = PyLong_AsLongLong(length);
    if (plan->contig_lengths[n] == -1 && PyErr_Occurred())
        return -1;
    return names_add(&plan->contigs, name, (int32_t)n) ? 0 : no_memory();
}

static int
build_contigs(Plan *plan, PyObject *source)
{
    PyObject *contigs = get_container(source, "contigs");
    Py_ssize_t n = contigs ? PyObject_Length(contigs) : -1;
    if (n < 0)
        return -1;
    plan->contig_lengths = calloc((size_t)n + 1, sizeof *plan->contig_lengths);
    if (!plan->contig_lengths || !names_init(&plan->contigs, (size_t)n))
        return no_memory();
    return each_item(plan, source, "contigs", add_contig);
}

static int
build_filters(Plan *plan, PyObject *source)
{
    PyObject *filters = get_container(source, "filters");
    Py_ssize_t n = filters ? PyObject_Length(filters) : -1;
    PyObject *name, *each = n < 0 ? NULL : PyObject_GetIter(filters);
    int failed = 0;
    if (!each)
        return -1;
    if (!names_init(&plan->filters, (size_t)n)) {
        Py_DECREF(each);
        return no_memory();
    }
    while (!failed && (name = PyIter_Next(each))) {
        Text t;
        if (get_text(name, &t) < 0)
            failed = 1;
        else if (!names_add(&plan->filters, t, 0))
            failed = no_memory() < 0;
        Py_DECREF(name);
    }
    Py_DECREF(each);
    return failed || PyErr_Occurred() ? -1 : 0;
}

static int
build_terms(Plan *plan, PyObject *source)
{
    PyObject *severity = get_container(source, "severity"), *coding = get_container(source, "coding"),
             *lof = get_container(source, "lof"), *key, *value;
    if (!severity || !coding || !lof)
        return -1;
    if (!PyDict_Check(severity) || !PyAnySet_Check(coding) || !PyAnySet_Check(lof)) {
        PyErr_SetString(PyExc_TypeError, "plan['severity'] is a dict, plan['coding'] and plan['lof'] are sets");
        return -1;
    }
    size_t n = (size_t)PyDict_GET_SIZE(severity);
    plan->term = calloc(n + 1, sizeof *plan->term);
    if (!plan->term || !names_init(&plan->terms, n))
        return no_memory();
    Py_ssize_t i = 0;
    for (int32_t k = 0; PyDict_Next(severity, &i, &key, &value); k++) {
        Text name;
        int in_coding = PySet_Contains(coding, key), in_lof = PySet_Contains(lof, key);
        if (get_text(key, &name) < 0 || in_coding < 0 || in_lof < 0)
            return -1;
        if (!PyTuple_Check(value) || PyTuple_GET_SIZE(value) != 2) {
            PyErr_SetString(PyExc_TypeError, "plan['severity'] needs (rank, impact) for each term");
            return -1;
        }
        long rank = PyLong_AsLong(PyTuple_GET_ITEM(value, 0));
        if (rank == -1 && PyErr_Occurred())
            return -1;
        if (rank < 0 || rank >= INT32_MAX) {
            PyErr_SetString(PyExc_ValueError, "a rank in plan['severity'] is out of range");
            return -1;
        }
        if (rank >= plan->unknown_rank)
            plan->unknown_rank = (int32_t)rank + 1;
        Text impact;
        if (get_text(PyTuple_GET_ITEM(value, 1), &impact) < 0)
            return -1;
        Term *term = &plan->term[k];
        if (impact.n > sizeof term->impact) {
            PyErr_SetString(PyExc_ValueError, "an impact in plan['severity'] is longer than its column");
            return -1;
        }
        *term = (Term){(int32_t)rank, (uint8_t)in_coding, (uint8_t)in_lof, (uint8_t)impact.n, ""};
        memcpy(term->impact, impact.at, impact.n);
        if (!names_add(&plan->terms, name, k))
            return no_memory();
    }
    return 0;
}

static int
plan_build(Plan *plan, PyObject *source)
{
    PyObject *samples = get_container(source, "n_samples");
    if (!samples)
        return -1;
    Py_ssize_t n = PyNumber_AsSsize_t(samples, PyExc_OverflowError);
    if (n == -1 && PyErr_Occurred())
        return -1;
    if (n < 0 || n > INT32_MAX / 4) {
        PyErr_SetString(PyExc_ValueError, "plan['n_samples'] is out of range");
        return -1;
    }
    plan->n_samples = (size_t)n;
    if (get_flag(source, "genome_human", &plan->human) < 0 || get_flag(source, "left_align", &plan->left_align) < 0 ||
        get_flag(source, "genotypes", &plan->genotypes) < 0 ||
        get_flag(source, "declared_info_only", &plan->declared_info_only) < 0)
        return -1;
    if (build_info_keys(plan, source) < 0 || each_item(plan, source, "annotation", add_format) < 0)
        return -1;
    return build_filters(plan, source) < 0 || build_contigs(plan, source) < 0 || build_terms(plan, source) < 0 ? -1 : 0;
}

/* --------------------------------------------------------------------------------------------------- the Scanner */

typedef struct {
    PyObject_HEAD
    Plan plan;
} Scanner;

static PyObject *
scanner_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"plan", NULL};
    PyObject *source;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!:Scanner", names, &PyDict_Type, &source))
        return NULL;
    Scanner *self = (Scanner *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    memset(&self->plan, 0, sizeof self->plan);
    if (plan_build(&self->plan, source) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void
scanner_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    plan_free(&((Scanner *)self)->plan);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
run_scan(PyObject *self, PyTypeObject *defining, PyObject *const *args, Py_ssize_t n_args, PyObject *names,
         int for_genotypes)
{
    ModuleState *state = PyType_GetModuleState(defining);
    Py_buffer view;
    if (!state)
        return NULL;
    if (n_args != 1 || (names && PyTuple_GET_SIZE(names))) {
        PyErr_SetString(PyExc_TypeError, "one argument is needed: the bytes of whole lines");
        return NULL;
    }
    if (PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) < 0)
        return NULL;
    if (view.len > INT32_MAX) {
        PyBuffer_Release(&view);
        PyErr_SetString(PyExc_OverflowError, "a chunk of text must be shorter than 2 GiB");
        return NULL;
    }
    Scan s;
    memset(&s, 0, sizeof s);
    s.plan = &((Scanner *)self)->plan;
    s.for_genotypes = for_genotypes;
    Text chunk = {view.buf, (size_t)view.len};
    s.thread = PyEval_SaveThread();
    int ok = scan_chunk(&s, chunk);
    PyEval_RestoreThread(s.thread);
    PyObject *result = ok ? scan_result(state, &s) : PyErr_NoMemory();
    scan_free(&s);
    PyBuffer_Release(&view);
    return result;
}

static PyObject *
scanner_scan(PyObject *self, PyTypeObject *defining, PyObject *const *args, Py_ssize_t n_args, PyObject *names)
{
    return run_scan(self, defining, args, n_args, names, 0);
}

static PyObject *
scanner_genotypes(PyObject *self, PyTypeObject *defining, PyObject *const *args, Py_ssize_t n_args, PyObject *names)
{
    return run_scan(self, defining, args, n_args, names, 1);
}

PyDoc_STRVAR(scan_doc,
             "scan(chunk) -> dict\n--\n\n"
             "Columns of the variants stream for the whole lines in `chunk`.\n\n"
             "`columns` maps a name to (validity, offsets, data) in Arrow's layout, None where a part is not needed.\n"
             "`declined` lists (rows before, start, end, line index) of the lines that the reference must take.\n"
             "`rows`, `records` and `lines` are counts; `tally` and `skipped` map a reason to a count, `examples` to\n"
             "the first line indices where it came up.");

PyDoc_STRVAR(genotypes_doc,
             "genotypes(chunk) -> dict\n--\n\n"
             "Columns of the genotype store for the whole lines in `chunk`: chrom, pos, ref, alt and, of fixed width\n"
             "for each row, gt (a byte for each sample), dp (two bytes) and gq (one). The rest is as in `scan`.");

static PyMethodDef scanner_methods[] = {
    {"scan", (PyCFunction)(void (*)(void))scanner_scan, METH_METHOD | METH_FASTCALL | METH_KEYWORDS, scan_doc},
    {"genotypes", (PyCFunction)(void (*)(void))scanner_genotypes, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     genotypes_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(scanner_doc, "Scanner(plan)\n--\n\nReads the plain lines of one VCF; `plan` says what its header declares.");

static PyType_Slot scanner_slots[] = {
    {Py_tp_doc, (void *)scanner_doc},
    {Py_tp_new, scanner_new},
    {Py_tp_dealloc, scanner_dealloc},
    {Py_tp_methods, scanner_methods},
    {0, NULL},
};

static PyType_Spec scanner_spec = {
    .name = "genomics_assets.variants._text_scanner.Scanner",
    .basicsize = sizeof(Scanner),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = scanner_slots,
};

static int
module_exec(PyObject *module)
{
    ModuleState *state = PyModule_GetState(module);
    state->memory_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &memory_spec, NULL);
    if (!state->memory_type)
        return -1;
    PyObject *scanner = PyType_FromModuleAndSpec(module, &scanner_spec, NULL);
    int failed = !scanner || PyModule_AddType(module, (PyTypeObject *)scanner) < 0;
    Py_XDECREF(scanner);
    return failed ? -1 : 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    ModuleState *state = PyModule_GetState(module);
    Py_VISIT(state->memory_type);
    return 0;
}

static int
module_clear(PyObject *module)
{
    ModuleState *state = PyModule_GetState(module);
    Py_CLEAR(state->memory_type);
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_text_scanner",
    .m_doc = "Plain VCF text lines to Arrow columns; see docs/variants.md.",
    .m_size = sizeof(ModuleState),
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
};

PyMODINIT_FUNC
PyInit__text_scanner(void)
{
    return PyModuleDef_Init(&module_definition);
}
