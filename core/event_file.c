#include "core/event_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/checksum.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/memory.h"

enum { NAME_BYTES = 128, WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };
#define CRC_MASK      0xa282ead8u
#define NAME_BEGIN    "events.out.tfevents."
#define FILE_VERSION  "brain.Event:2"
#define SESSION_START 1
#define DTYPE_STRING  7

struct event_file {
    int fd;
    char path[FILE_PATH_MAX];
    struct buffer event, record; /* scratch */
};

/* ---- protobuf by hand ---- */

static enum status put_varint(struct buffer *out, uint64_t value)
{
    uint8_t bytes[10];
    size_t count = 0;
    for (; value >= 0x80; value >>= 7)
        bytes[count++] = (uint8_t)(value | 0x80);
    bytes[count++] = (uint8_t)value;
    return buffer_append(out, bytes, count);
}

static enum status put_key(struct buffer *out, uint32_t field, uint32_t wire)
{
    return put_varint(out, (uint64_t)field << 3 | wire);
}

static enum status put_number(struct buffer *out, uint32_t field, uint64_t value)
{
    TRY(put_key(out, field, WIRE_VARINT));
    return put_varint(out, value);
}

static enum status put_double(struct buffer *out, uint32_t field, double value)
{
    TRY(put_key(out, field, WIRE_64));
    return buffer_append(out, &value, sizeof value);
}

static enum status put_bytes(struct buffer *out, uint32_t field, const void *bytes, size_t size)
{
    TRY(put_key(out, field, WIRE_BYTES));
    TRY(put_varint(out, size));
    return buffer_append(out, bytes, size);
}

static enum status put_text(struct buffer *out, uint32_t field, const char *text)
{
    return put_bytes(out, field, text, strlen(text));
}

static enum status put_doubles(struct buffer *out, uint32_t field, const double *values,
                               size_t count)
{
    return put_bytes(out, field, values, count * sizeof *values);
}

/* ---- Summary: repeated Value value = 1 {tag 1, simple_value 2, histo 5, tensor 8, metadata 9} ---- */

enum status event_scalar(struct buffer *summary, const char *tag, double value)
{
    struct buffer one;
    float narrow = (float)value;
    buffer_init(&one, 0);
    enum status status = put_text(&one, 1, tag);
    if (status == STATUS_OK)
        status = put_key(&one, 2, WIRE_32);
    if (status == STATUS_OK)
        status = buffer_append(&one, &narrow, sizeof narrow);
    if (status == STATUS_OK)
        status = put_bytes(summary, 1, one.bytes, one.size);
    buffer_free(&one);
    return status;
}

/* HistogramProto {min 1, max 2, num 3, sum 4, sum_squares 5, packed bucket_limit 6, packed bucket 7} */
static enum status put_histogram(struct buffer *out, const double *edges, const double *counts,
                                 size_t bins)
{
    double number = 0, sum = 0, squares = 0, least = edges[0], most = edges[bins];
    for (size_t i = 0; i < bins; i++) {
        double middle = (edges[i] + edges[i + 1]) / 2;
        if (number == 0 && counts[i] > 0)
            least = edges[i];
        if (counts[i] > 0)
            most = edges[i + 1];
        number += counts[i];
        sum += counts[i] * middle;
        squares += counts[i] * middle * middle;
    }
    TRY(put_double(out, 1, least));
    TRY(put_double(out, 2, most));
    TRY(put_double(out, 3, number));
    TRY(put_double(out, 4, sum));
    TRY(put_double(out, 5, squares));
    TRY(put_doubles(out, 6, edges + 1, bins));
    return put_doubles(out, 7, counts, bins);
}

enum status event_histogram(struct buffer *summary, const char *tag, const double *edges,
                            const double *counts, size_t bins)
{
    struct buffer one, histogram;
    buffer_init(&one, 0);
    buffer_init(&histogram, 0);
    enum status status = put_histogram(&histogram, edges, counts, bins);
    if (status == STATUS_OK)
        status = put_text(&one, 1, tag);
    if (status == STATUS_OK)
        status = put_bytes(&one, 5, histogram.bytes, histogram.size);
    if (status == STATUS_OK)
        status = put_bytes(summary, 1, one.bytes, one.size);
    buffer_free(&one);
    buffer_free(&histogram);
    return status;
}

/* TensorProto {dtype 1, tensor_shape 2 {dim 2 {size 1}}, string_val 8} with metadata {plugin_data 1 {plugin_name 1}} */
static enum status put_text_value(struct buffer *one, struct buffer *part, const char *tag,
                                  const char *text)
{
    static const uint8_t shape_of_one[] = {0x12, 0x02, 0x08, 0x01};
    static const uint8_t plugin_text[] = {0x0a, 0x06, 0x0a, 0x04, 't', 'e', 'x', 't'};
    TRY(put_number(part, 1, DTYPE_STRING));
    TRY(put_bytes(part, 2, shape_of_one, sizeof shape_of_one));
    TRY(put_text(part, 8, text));
    TRY(put_text(one, 1, tag));
    TRY(put_bytes(one, 8, part->bytes, part->size));
    return put_bytes(one, 9, plugin_text, sizeof plugin_text);
}

enum status event_text(struct buffer *summary, const char *tag, const char *text)
{
    struct buffer one, part;
    buffer_init(&one, 0);
    buffer_init(&part, 0);
    enum status status = put_text_value(&one, &part, tag, text);
    if (status == STATUS_OK)
        status = put_bytes(summary, 1, one.bytes, one.size);
    buffer_free(&one);
    buffer_free(&part);
    return status;
}

/* ---- records ---- */

static uint32_t masked_crc(const void *bytes, size_t size)
{
    uint32_t crc = crc32c(0, bytes, size);
    return ((crc >> 15) | (crc << 17)) + CRC_MASK;
}

static enum status write_record(struct event_file *file)
{
    uint64_t size = file->event.size;
    uint32_t size_crc = masked_crc(&size, sizeof size),
             crc = masked_crc(file->event.bytes, file->event.size);
    buffer_clear(&file->record);
    TRY(buffer_append(&file->record, &size, sizeof size));
    TRY(buffer_append(&file->record, &size_crc, sizeof size_crc));
    TRY(buffer_append(&file->record, file->event.bytes, file->event.size));
    TRY(buffer_append(&file->record, &crc, sizeof crc));
    return file_append_all(file->fd, file->record.bytes, file->record.size, file->path);
}

static enum status begin_event(struct event_file *file, double wall_s, uint64_t step)
{
    buffer_clear(&file->event);
    TRY(put_double(&file->event, 1, wall_s));
    return put_number(&file->event, 2, step);
}

enum status event_file_write(struct event_file *file, double wall_s, uint64_t step,
                             const struct buffer *summary)
{
    TRY(begin_event(file, wall_s, step));
    TRY(put_bytes(&file->event, 5, summary->bytes, summary->size));
    return write_record(file);
}

static enum status write_head(struct event_file *file, uint64_t first_step)
{
    static const uint8_t start[] = {0x08, SESSION_START};
    double wall_s = (double)clock_wall_ns() / 1e9;
    TRY(begin_event(file, wall_s, 0));
    TRY(put_text(&file->event, 3, FILE_VERSION));
    TRY(write_record(file));
    TRY(begin_event(file, wall_s, first_step));
    TRY(put_bytes(&file->event, 7, start, sizeof start));
    return write_record(file);
}

/* Readers take files in the order of their names: seconds later than every file that is there. */
static int64_t seconds_after(const char *folder)
{
    int64_t seconds = clock_wall_ns() / CLOCK_NS_PER_S;
    DIR *list = opendir(folder);
    const struct dirent *entry;
    while (list != NULL && (entry = readdir(list)) != NULL) {
        int64_t at;
        if (sscanf(entry->d_name, NAME_BEGIN "%" SCNd64 ".", &at) == 1 && at >= seconds)
            seconds = at + 1;
    }
    if (list != NULL)
        closedir(list);
    return seconds;
}

enum status event_file_open(struct event_file **out, const char *folder, uint64_t first_step)
{
    char host[NAME_BYTES] = "localhost";
    TRY(file_make_dirs(folder));
    struct event_file *file = memory_alloc(sizeof *file);
    if (file == NULL)
        return FAIL(STATUS_NO_MEMORY, "event file");
    file->fd = -1;
    buffer_init(&file->event, 0);
    buffer_init(&file->record, 0);
    if (gethostname(host, sizeof host - 1) != 0)
        snprintf(host, sizeof host, "localhost");
    enum status status = file_path(file->path, "%s/" NAME_BEGIN "%010" PRId64 ".%s", folder,
                                   seconds_after(folder), host);
    if (status == STATUS_OK) {
        file->fd = open(file->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
        if (file->fd < 0)
            status = FAIL(STATUS_IO, "%s cannot be made: %s", file->path, strerror(errno));
    }
    if (status == STATUS_OK)
        status = write_head(file, first_step);
    if (status != STATUS_OK)
        event_file_close(&file);
    *out = file;
    return status;
}

void event_file_close(struct event_file **pointer)
{
    struct event_file *file = *pointer;
    if (file == NULL)
        return;
    if (file->fd >= 0)
        close(file->fd);
    buffer_free(&file->event);
    buffer_free(&file->record);
    memory_free(file);
    *pointer = NULL;
}
