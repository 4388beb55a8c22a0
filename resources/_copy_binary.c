/* Rows of PostgreSQL's COPY BINARY format from the buffers of Arrow columns.
 *
 * The twin of `_encode_in_python` in copy_binary.py: the same columns give the same bytes. A column is a tuple
 * (kind, width, length, offset, validity, offsets, values, extra, children), see `Lane` there. Every offset is checked
 * against its buffer, so that a malformed array is an error and never a read outside of it.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <string.h>

enum { NULLS, FIXED, RAW, BOOL, BYTES, LIST, RANGE };

enum { IS_NULL = -1, IS_CORRUPT = -2, IS_TOO_LONG = -3 };

/* The server refuses a field that does not fit one allocation. */
#define LONGEST_FIELD 0x3FFFFFFF

typedef struct Lane {
    int kind;
    int width; /* bytes of a value (FIXED, RAW) or of an offset (BYTES, LIST) */
    int64_t length, offset;
    const uint8_t *validity, *offsets, *values;
    int64_t n_values; /* bytes of `values` */
    uint32_t extra;   /* BYTES: 1 puts a version byte before the value; LIST: OID of the element type */
    int n_children;
    struct Lane *children[2];
    int n_views;
    Py_buffer views[3];
} Lane;

static inline uint8_t *put16(uint8_t *out, uint16_t value) {
    value = __builtin_bswap16(value);
    memcpy(out, &value, 2);
    return out + 2;
}

static inline uint8_t *put32(uint8_t *out, uint32_t value) {
    value = __builtin_bswap32(value);
    memcpy(out, &value, 4);
    return out + 4;
}

static inline uint8_t *put64(uint8_t *out, uint64_t value) {
    value = __builtin_bswap64(value);
    memcpy(out, &value, 8);
    return out + 8;
}

static inline int is_valid(const Lane *lane, int64_t i) {
    if (!lane->validity) return 1;
    i += lane->offset;
    return lane->validity[i >> 3] >> (i & 7) & 1;
}

static inline int64_t offset_at(const Lane *lane, int64_t i) {
    i += lane->offset;
    if (lane->width == 4) {
        int32_t value;
        memcpy(&value, lane->offsets + 4 * i, 4);
        return value;
    }
    int64_t value;
    memcpy(&value, lane->offsets + 8 * i, 8);
    return value;
}

static inline int64_t int64_at(const Lane *lane, int64_t i) {
    int64_t value;
    memcpy(&value, lane->values + 8 * (i + lane->offset), 8);
    return value;
}

/* Bytes of the value after its length word, or IS_NULL, IS_CORRUPT, IS_TOO_LONG. */
static int64_t field_size(const Lane *lane, int64_t i) {
    if (lane->kind == NULLS || !is_valid(lane, i)) return IS_NULL;
    switch (lane->kind) {
    case FIXED:
    case RAW:
        return lane->width;
    case BOOL:
        return 1;
    case BYTES: {
        int64_t start = offset_at(lane, i), end = offset_at(lane, i + 1);
        if (start < 0 || end < start || end > lane->n_values) return IS_CORRUPT;
        int64_t size = end - start + lane->extra;
        return size > LONGEST_FIELD ? IS_TOO_LONG : size;
    }
    case LIST: {
        const Lane *child = lane->children[0];
        int64_t start = offset_at(lane, i), end = offset_at(lane, i + 1);
        if (start < 0 || end < start || end > child->length) return IS_CORRUPT;
        if (start == end) return 12;
        int64_t size = 20;
        for (int64_t j = start; j < end; j++) {
            int64_t element = field_size(child, j);
            if (element < IS_NULL) return element;
            size += 4 + (element > 0 ? element : 0);
            if (size > LONGEST_FIELD) return IS_TOO_LONG;
        }
        return size;
    }
    default: { /* RANGE */
        const Lane *lower = lane->children[0], *upper = lane->children[1];
        int has_lower = is_valid(lower, i), has_upper = is_valid(upper, i);
        if (has_lower && has_upper && int64_at(lower, i) == int64_at(upper, i)) return 1;
        return 1 + 12 * has_lower + 12 * has_upper;
    }
    }
}

/* Writes the length word and the value; sizes were checked by `field_size`. */
static uint8_t *put_field(const Lane *lane, int64_t i, uint8_t *out) {
    if (lane->kind == NULLS || !is_valid(lane, i)) return put32(out, 0xFFFFFFFF);
    switch (lane->kind) {
    case FIXED: {
        const uint8_t *value = lane->values + (i + lane->offset) * lane->width;
        out = put32(out, (uint32_t)lane->width);
        if (lane->width == 4) {
            uint32_t word;
            memcpy(&word, value, 4);
            return put32(out, word);
        }
        if (lane->width == 8) {
            uint64_t word;
            memcpy(&word, value, 8);
            return put64(out, word);
        }
        uint16_t word;
        memcpy(&word, value, 2);
        return put16(out, word);
    }
    case RAW:
        out = put32(out, (uint32_t)lane->width);
        memcpy(out, lane->values + (i + lane->offset) * lane->width, (size_t)lane->width);
        return out + lane->width;
    case BOOL: {
        int64_t bit = i + lane->offset;
        out = put32(out, 1);
        *out = lane->values[bit >> 3] >> (bit & 7) & 1;
        return out + 1;
    }
    case BYTES: {
        int64_t start = offset_at(lane, i), size = offset_at(lane, i + 1) - start;
        out = put32(out, (uint32_t)(size + lane->extra));
        if (lane->extra) *out++ = 1;
        if (size) memcpy(out, lane->values + start, (size_t)size);
        return out + size;
    }
    case LIST: {
        const Lane *child = lane->children[0];
        int64_t start = offset_at(lane, i), end = offset_at(lane, i + 1);
        uint8_t *length = out, *flags;
        out = put32(out + 4, start < end); /* dimensions */
        flags = out;
        out = put32(out + 4, lane->extra);
        if (start < end) {
            out = put32(out, (uint32_t)(end - start));
            out = put32(out, 1); /* lower bound */
        }
        uint32_t has_null = 0;
        for (int64_t j = start; j < end; j++) {
            if (child->kind == NULLS || !is_valid(child, j)) has_null = 1;
            out = put_field(child, j, out);
        }
        put32(flags, has_null);
        put32(length, (uint32_t)(out - length - 4));
        return out;
    }
    default: { /* RANGE */
        const Lane *lower = lane->children[0], *upper = lane->children[1];
        int has_lower = is_valid(lower, i), has_upper = is_valid(upper, i);
        if (has_lower && has_upper && int64_at(lower, i) == int64_at(upper, i)) {
            out = put32(out, 1);
            *out = 0x01; /* empty */
            return out + 1;
        }
        out = put32(out, (uint32_t)(1 + 12 * has_lower + 12 * has_upper));
        *out++ = (uint8_t)((has_lower ? 0x02 : 0x08) | (has_upper ? 0 : 0x10)); /* [lower, or none; upper), or none */
        if (has_lower) out = put64(put32(out, 8), (uint64_t)int64_at(lower, i));
        if (has_upper) out = put64(put32(out, 8), (uint64_t)int64_at(upper, i));
        return out;
    }
    }
}

static void free_lane(Lane *lane) {
    if (!lane) return;
    for (int i = 0; i < lane->n_views; i++) PyBuffer_Release(&lane->views[i]);
    for (int i = 0; i < lane->n_children; i++) free_lane(lane->children[i]);
    PyMem_Free(lane);
}

/* Holds a buffer of at least `needed` bytes; None stands for no buffer. */
static int hold(Lane *lane, PyObject *object, int64_t needed, const char *what, const uint8_t **bytes, int64_t *size) {
    if (object == Py_None) {
        if (needed) PyErr_Format(PyExc_ValueError, "malformed Arrow array: it has no %s", what);
        return needed ? -1 : 0;
    }
    Py_buffer *view = &lane->views[lane->n_views];
    if (PyObject_GetBuffer(object, view, PyBUF_SIMPLE) < 0) return -1;
    lane->n_views++;
    if (view->len < needed) {
        PyErr_Format(PyExc_ValueError, "malformed Arrow array: its %s is too short", what);
        return -1;
    }
    *bytes = view->buf;
    if (size) *size = view->len;
    return 0;
}

static Lane *new_lane(PyObject *tuple) {
    PyObject *validity, *offsets, *values, *children;
    unsigned long extra;
    long long length, offset;
    Lane *lane = PyMem_Calloc(1, sizeof(Lane));
    if (!lane) return (Lane *)PyErr_NoMemory();
    if (!PyArg_ParseTuple(tuple, "iiLLOOOkO!", &lane->kind, &lane->width, &length, &offset, &validity, &offsets, &values,
                          &extra, &PyTuple_Type, &children))
        goto fail;
    lane->length = length;
    lane->offset = offset;
    lane->extra = (uint32_t)extra;
    if (length < 0 || offset < 0 || length > INT64_MAX / 32 - offset || lane->width < 0 || lane->width > 4096) {
        PyErr_SetString(PyExc_ValueError, "malformed Arrow array: its length or offset is out of range");
        goto fail;
    }
    if (lane->kind < NULLS || lane->kind > RANGE || (lane->kind == FIXED && lane->width != 2 && lane->width != 4 && lane->width != 8) ||
        ((lane->kind == BYTES || lane->kind == LIST) && lane->width != 4 && lane->width != 8) ||
        (lane->kind == BYTES && lane->extra > 1)) {
        PyErr_SetString(PyExc_ValueError, "no such kind of column");
        goto fail;
    }
    int64_t end = lane->length ? lane->offset + lane->length : 0, needed = 0;
    if (validity != Py_None && hold(lane, validity, (end + 7) / 8, "validity bitmap", &lane->validity, NULL) < 0) goto fail;
    if (lane->kind == FIXED || lane->kind == RAW) needed = end * lane->width;
    if (lane->kind == BOOL) needed = (end + 7) / 8;
    if (hold(lane, values, needed, "values", &lane->values, &lane->n_values) < 0) goto fail;
    needed = (lane->kind == BYTES || lane->kind == LIST) && end ? (end + 1) * lane->width : 0;
    if (hold(lane, offsets, needed, "offsets", &lane->offsets, NULL) < 0) goto fail;
    Py_ssize_t n_children = PyTuple_Size(children), expected = lane->kind == LIST ? 1 : lane->kind == RANGE ? 2 : 0;
    if (n_children != expected) {
        PyErr_SetString(PyExc_ValueError, "a column has the wrong number of children");
        goto fail;
    }
    for (Py_ssize_t i = 0; i < n_children; i++) {
        Lane *child = new_lane(PyTuple_GetItem(children, i));
        if (!child) goto fail;
        lane->children[lane->n_children++] = child;
        if (lane->kind == RANGE && (child->kind != FIXED || child->width != 8 || child->length < lane->length)) {
            PyErr_SetString(PyExc_ValueError, "a range needs two int64 bounds for each row");
            goto fail;
        }
    }
    return lane;
fail:
    free_lane(lane);
    return NULL;
}

static PyObject *encode(PyObject *self, PyObject *args) {
    (void)self;
    long long n_rows;
    PyObject *tuples, *result = NULL;
    if (!PyArg_ParseTuple(args, "LO!", &n_rows, &PyTuple_Type, &tuples)) return NULL;
    int n_columns = (int)PyTuple_Size(tuples), n_lanes = 0;
    if (n_columns > 1600) return PyErr_Format(PyExc_ValueError, "PostgreSQL has at most 1600 columns, not %d", n_columns);
    Lane **lanes = PyMem_Calloc(n_columns ? (size_t)n_columns : 1, sizeof(Lane *));
    if (!lanes) return PyErr_NoMemory();
    for (; n_lanes < n_columns; n_lanes++) {
        lanes[n_lanes] = new_lane(PyTuple_GetItem(tuples, n_lanes));
        if (!lanes[n_lanes]) goto done;
        if (lanes[n_lanes]->length < n_rows) {
            PyErr_Format(PyExc_ValueError, "column %d is shorter than the batch", n_lanes);
            n_lanes++;
            goto done;
        }
    }

    int64_t total = n_rows * (2 + 4 * (int64_t)n_columns), wrong = 0, row = 0;
    int column = 0;
    Py_BEGIN_ALLOW_THREADS
    for (column = 0; column < n_columns; column++) {
        for (row = 0; row < n_rows; row++) {
            int64_t size = field_size(lanes[column], row);
            if (size < IS_NULL) {
                wrong = size;
                break;
            }
            if (size > 0) total += size;
        }
        if (wrong) break;
    }
    Py_END_ALLOW_THREADS
    if (wrong == IS_CORRUPT) {
        PyErr_Format(PyExc_ValueError, "malformed Arrow array: column %d, row %lld points outside of its values", column, (long long)row);
        goto done;
    }
    if (wrong == IS_TOO_LONG) {
        PyErr_Format(PyExc_OverflowError, "column %d, row %lld: a value of more than 1 GB", column, (long long)row);
        goto done;
    }

    result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)total);
    if (!result) goto done;
    uint8_t *out = (uint8_t *)PyBytes_AsString(result);
    Py_BEGIN_ALLOW_THREADS
    for (row = 0; row < n_rows; row++) {
        out = put16(out, (uint16_t)n_columns);
        for (column = 0; column < n_columns; column++) out = put_field(lanes[column], row, out);
    }
    Py_END_ALLOW_THREADS
done:
    for (int i = 0; i < n_lanes; i++) free_lane(lanes[i]);
    PyMem_Free(lanes);
    return result;
}

static PyMethodDef methods[] = {
    {"encode", encode, METH_VARARGS, "encode(n_rows, columns) -> bytes: rows of COPY BINARY, without header and trailer."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_copy_binary", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__copy_binary(void) { return PyModule_Create(&module); }
