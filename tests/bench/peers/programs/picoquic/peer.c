/* picoquic as server and client of the benchmark, on picoquic's own packet loop: ROLE name=value ..., answers are JSON lines. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "picoquic.h"
#include "picoquic_packet_loop.h"
#include "picoquic_utils.h"
#include "picosocks.h"

#define ALPN "perf"
#define ECHO UINT64_MAX
#define ENDLESS (1ull << 50)
#define MESSAGE 100
#define STREAM_WINDOW (16u << 20)
#define CONNECTION_WINDOW (32u << 20)
#define STREAMS_MAX 20000
#define SOCKET_BUFFER (2 << 20)
/* As picoquicdemo sets it when GSO is used. */
#define SEND_LENGTH_MAX 65535

static int argument_count;
static char **arguments;
static const uint8_t chunk[65536];

static const char *text(const char *name, const char *otherwise)
{
    size_t length = strlen(name);
    for (int i = 2; i < argument_count; i++) {
        if (strncmp(arguments[i], name, length) == 0 && arguments[i][length] == '=') return arguments[i] + length + 1;
    }
    if (otherwise == NULL) {
        fprintf(stderr, "%s= is missing\n", name);
        exit(2);
    }
    return otherwise;
}

static double number(const char *name)
{
    return atof(text(name, NULL));
}

static double now_us(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1e6 + at.tv_nsec / 1e3;
}

static void say(const char *line)
{
    puts(line);
    fflush(stdout);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

typedef struct {
    double *values;
    size_t count, room;
} list;

static void add(list *times, double value)
{
    if (times->count == times->room) {
        times->room = times->room ? 2 * times->room : 1024;
        times->values = realloc(times->values, times->room * sizeof(double));
        if (times->values == NULL) abort();
    }
    times->values[times->count++] = value;
}

static double percentile(list *times, double share)
{
    if (times->count == 0) return 0;
    qsort(times->values, times->count, sizeof(double), by_value);
    return times->values[(size_t)((times->count - 1) * share + 0.5)];
}

/* ---- Server: eight bytes say how many bytes to answer with once the request has ended; all ones ask for an echo. ---- */

typedef struct {
    uint64_t count, left;
    int head;
} served;

static void provide(uint8_t *context, size_t space, uint64_t *left)
{
    size_t length = *left < space ? (size_t)*left : space;
    int is_fin = length == *left;
    uint8_t *buffer = picoquic_provide_stream_data_buffer(context, length, is_fin, !is_fin);
    if (buffer != NULL) memcpy(buffer, chunk, length < sizeof(chunk) ? length : sizeof(chunk));
    *left -= length;
}

static int server_callback(picoquic_cnx_t *cnx, uint64_t id, uint8_t *bytes, size_t length, picoquic_call_back_event_t event,
    void *context, void *stream_context)
{
    served *stream = stream_context;
    (void)context;
    switch (event) {
    case picoquic_callback_stream_data:
    case picoquic_callback_stream_fin:
        if (stream == NULL) {
            stream = calloc(1, sizeof(served));
            if (stream == NULL) return -1;
            picoquic_set_app_stream_ctx(cnx, id, stream);
        }
        for (; length > 0 && stream->head < 8; stream->head++, bytes++, length--) {
            stream->count = (stream->count << 8) | *bytes;
        }
        if (stream->head == 8 && stream->count == ECHO) {
            return picoquic_add_to_stream_with_ctx(cnx, id, bytes, length, event == picoquic_callback_stream_fin, stream);
        }
        if (event != picoquic_callback_stream_fin) return 0;
        stream->left = stream->count;
        if (stream->left == 0) return picoquic_add_to_stream_with_ctx(cnx, id, NULL, 0, 1, stream);
        return picoquic_mark_active_stream(cnx, id, 1, stream);
    case picoquic_callback_prepare_to_send:
        provide(bytes, length, &stream->left);
        return 0;
    case picoquic_callback_stop_sending:
        picoquic_reset_stream(cnx, id, 0);
        return 0;
    case picoquic_callback_stream_released:
        free(stream);
        return 0;
    default:
        return 0;
    }
}

/* ---- Client ---- */

typedef struct st_connection connection;

typedef struct {
    connection *owner;
    int is_echo, is_pump;
    uint64_t received, pumped;
} stream_state;

struct st_connection {
    picoquic_cnx_t *cnx;
    double began_us, connected_us;
    int is_ready, is_closed, is_resumed;
    stream_state echo;
};

static picoquic_quic_t *quic;
static struct sockaddr_storage server;
static const char *what;
static double warmup_us, seconds_us, work_us, warm_us, end_us, sent_us;
static uint64_t total_bytes, warm_bytes, done, resumed, early;
static unsigned int concurrency, open_requests, streams_left, rotation, ended_streams;
static connection *connections;
static int connection_count, connected_count, is_working, is_reported, is_warm;
static int steps[8], step_count, step_at;
static uint64_t echo_left;
static list times, connected_times;
static int failed;

static void start_request(connection *c, uint64_t upload, uint64_t download);

static stream_state *open_stream(connection *c, uint64_t *id)
{
    stream_state *stream = calloc(1, sizeof(stream_state));
    if (stream == NULL) abort();
    stream->owner = c;
    *id = picoquic_get_next_local_stream_id(c->cnx, 0);
    return stream;
}

static void put_head(uint8_t *message, uint64_t count)
{
    for (int i = 0; i < 8; i++) message[i] = (uint8_t)(count >> (56 - 8 * i));
}

static void start_request(connection *c, uint64_t upload, uint64_t download)
{
    uint8_t message[8 + MESSAGE] = { 0 };
    uint64_t id;
    stream_state *stream = open_stream(c, &id);
    put_head(message, download);
    failed |= picoquic_add_to_stream_with_ctx(c->cnx, id, message, 8 + upload, 1, stream);
}

static uint64_t echo_id;

static void send_echo(connection *c, int with_head, size_t length)
{
    uint8_t message[8 + MESSAGE];
    memset(message, 5, sizeof(message));
    put_head(message, ECHO);
    failed |= with_head ? picoquic_add_to_stream_with_ctx(c->cnx, echo_id, message, 8 + length, 0, &c->echo)
                        : picoquic_add_to_stream_with_ctx(c->cnx, echo_id, message + 8, length, 0, &c->echo);
    echo_left = length;
    sent_us = now_us();
}

static int client_callback(picoquic_cnx_t *, uint64_t, uint8_t *, size_t, picoquic_call_back_event_t, void *, void *);

static void start_connection(connection *c)
{
    memset(c, 0, sizeof(*c));
    c->began_us = now_us();
    c->cnx = picoquic_create_cnx(quic, picoquic_null_connection_id, picoquic_null_connection_id, (struct sockaddr *)&server,
        picoquic_current_time(), 0, "localhost", ALPN, 1);
    if (c->cnx == NULL) abort();
    picoquic_set_callback(c->cnx, client_callback, c);
    failed |= picoquic_start_client_cnx(c->cnx);
    if (strcmp(what, "handshakes") == 0 && strcmp(text("mode", "full"), "early") == 0 && picoquic_is_0rtt_available(c->cnx)) {
        c->connected_us = now_us();
        early++;
        start_request(c, 0, 1);
    }
}

static void result(const char *format, double a, double b, double c)
{
    char line[256];
    is_reported = 1;
    snprintf(line, sizeof(line), format, a, b, c);
    say(line);
}

static void begin_work(void)
{
    is_working = 1;
    work_us = now_us();
    warm_us = work_us + warmup_us;
    end_us = warm_us + seconds_us;
    if (strcmp(what, "bulk") == 0) {
        int is_upload = strcmp(text("direction", NULL), "up") == 0;
        say("{\"event\":\"ready\"}");
        for (streams_left = (unsigned int)number("streams"); streams_left > 0; streams_left--) {
            if (!is_upload) {
                start_request(&connections[0], 0, ENDLESS);
                continue;
            }
            uint8_t head[8];
            uint64_t id;
            stream_state *stream = open_stream(&connections[0], &id);
            stream->is_pump = 1;
            put_head(head, 0);
            failed |= picoquic_add_to_stream_with_ctx(connections[0].cnx, id, head, 8, 0, stream);
            failed |= picoquic_mark_active_stream(connections[0].cnx, id, 1, stream);
        }
    } else if (strcmp(what, "requests") == 0 || strcmp(what, "scale") == 0) {
        end_us = work_us + seconds_us;
        say("{\"event\":\"ready\"}");
        for (; open_requests < concurrency; open_requests++) {
            start_request(&connections[rotation++ % connection_count], MESSAGE - 8, MESSAGE);
        }
    } else if (strcmp(what, "pingpong") == 0) {
        echo_id = picoquic_get_next_local_stream_id(connections[0].cnx, 0);
        connections[0].echo.owner = &connections[0];
        connections[0].echo.is_echo = 1;
        send_echo(&connections[0], 1, MESSAGE);
        if (strcmp(text("load", NULL), "1") == 0) start_request(&connections[0], 0, ENDLESS);
    }
}

static void on_echo(connection *c, size_t length)
{
    double at = now_us();
    echo_left -= length < echo_left ? length : echo_left;
    if (echo_left > 0) return;
    if (is_warm) add(&times, at - sent_us);
    if (!is_warm && at >= warm_us) {
        is_warm = 1;
        say("{\"event\":\"ready\"}");
    }
    if (at < end_us) {
        send_echo(c, 0, MESSAGE);
    } else if (!is_reported) {
        result("{\"event\":\"result\",\"count\":%.0f,\"p50Us\":%f,\"p99Us\":%f}", (double)times.count, percentile(&times, 0.5),
            percentile(&times, 0.99));
    }
}

static int is_handshakes(void)
{
    return strcmp(what, "handshakes") == 0;
}

static void on_answer(connection *c, uint64_t received)
{
    double at = now_us();
    if (is_handshakes()) {
        if (is_working) {
            add(&times, at - c->began_us);
            add(&connected_times, c->connected_us - c->began_us);
            resumed += picoquic_tls_is_psk_handshake(c->cnx) != 0;
        }
        picoquic_close(c->cnx, 0);
        return;
    }
    if (strcmp(what, "requests") == 0 || strcmp(what, "scale") == 0) {
        if (received != MESSAGE) failed = 1;
        done++;
        if (at < end_us) {
            start_request(&connections[rotation++ % connection_count], MESSAGE - 8, MESSAGE);
        } else if (--open_requests == 0) {
            result("{\"event\":\"result\",\"count\":%.0f,\"seconds\":%f,\"unused\":%f}", (double)done, (at - work_us) / 1e6, 0);
        }
    } else if (strcmp(what, "bulk") == 0) {
        ended_streams++;
    } else if (strcmp(what, "idle") == 0) {
        connected_count++;
    }
}

static void on_closed(connection *c)
{
    if (c->is_closed) return;
    c->is_closed = 1;
    if (!is_handshakes() && !is_reported) failed = 1;
}

static int client_callback(picoquic_cnx_t *cnx, uint64_t id, uint8_t *bytes, size_t length, picoquic_call_back_event_t event,
    void *context, void *stream_context)
{
    connection *c = context;
    stream_state *stream = stream_context;
    switch (event) {
    case picoquic_callback_almost_ready:
    case picoquic_callback_ready:
        if (c->is_ready || event == picoquic_callback_almost_ready) return 0;
        c->is_ready = 1;
        if (c->connected_us == 0) {
            c->connected_us = now_us();
            if (is_handshakes() || strcmp(what, "idle") == 0) start_request(c, 0, 1);
            else if (step_count == 0) connected_count++;
        }
        return 0;
    case picoquic_callback_stream_data:
    case picoquic_callback_stream_fin:
        if (stream == NULL) return 0;
        if (stream->is_echo) {
            on_echo(c, length);
            return 0;
        }
        if (step_count > 0 && strcmp(what, "streams") == 0) {
            connected_count += length > 0;
            return 0;
        }
        stream->received += length;
        total_bytes += strcmp(what, "bulk") == 0 ? length : 0;
        if (event == picoquic_callback_stream_fin) on_answer(c, stream->received);
        return 0;
    case picoquic_callback_prepare_to_send: {
        int is_over = now_us() >= end_us;
        uint8_t *buffer = picoquic_provide_stream_data_buffer(bytes, is_over ? 0 : length, is_over, !is_over);
        if (buffer != NULL && !is_over) {
            memcpy(buffer, chunk, length < sizeof(chunk) ? length : sizeof(chunk));
            total_bytes += length;
        }
        return 0;
    }
    case picoquic_callback_stream_released:
        if (stream != NULL && !stream->is_echo) free(stream);
        return 0;
    case picoquic_callback_close:
    case picoquic_callback_application_close:
    case picoquic_callback_stateless_reset:
        on_closed(c);
        return 0;
    default:
        (void)cnx;
        (void)id;
        return 0;
    }
}

static void advance_handshakes(double at)
{
    if (!is_working) {
        /* The first connection brings the ticket. */
        if (!connections[0].is_closed && picoquic_get_cnx_state(connections[0].cnx) < picoquic_state_disconnected) return;
        if (at < connections[0].connected_us + 100e3) return;
        is_working = 1;
        work_us = at;
        end_us = at + seconds_us;
        say("{\"event\":\"ready\"}");
        for (unsigned int i = 0; i < concurrency; i++) start_connection(&connections[i]);
        return;
    }
    unsigned int over = 0;
    for (unsigned int i = 0; i < concurrency; i++) {
        connection *c = &connections[i];
        if (c->cnx != NULL && picoquic_get_cnx_state(c->cnx) >= picoquic_state_disconnecting) {
            c->is_closed = 1;
            c->cnx = NULL;
        }
        if (c->cnx != NULL) continue;
        if (at < end_us) start_connection(c);
        else over++;
    }
    if (over == concurrency && !is_reported) {
        printf("{\"event\":\"result\",\"mode\":\"%s\",\"count\":%zu,\"seconds\":%f,\"resumed\":%llu,\"early\":%llu,"
               "\"connectedP50Us\":%f,\"answeredP50Us\":%f}\n",
            text("mode", NULL), times.count, (at - work_us) / 1e6, (unsigned long long)resumed, (unsigned long long)early,
            percentile(&connected_times, 0.5), percentile(&times, 0.5));
        fflush(stdout);
        is_reported = 1;
    }
}

static volatile sig_atomic_t has_looked;

static void on_signal(int signal)
{
    (void)signal;
    has_looked = 1;
}

static void open_idle_stream(connection *c)
{
    uint8_t message[9] = { 0 };
    uint64_t id;
    stream_state *stream = open_stream(c, &id);
    put_head(message, ECHO);
    failed |= picoquic_add_to_stream_with_ctx(c->cnx, id, message, sizeof(message), 0, stream);
}

/* Opens connections, or streams of one, one at a time up to each step, and waits there until the runner has looked. */
static void advance_idle(int is_streams)
{
    static int is_waiting;
    if (is_waiting) {
        if (!has_looked) return;
        is_waiting = has_looked = 0;
        step_at++;
    }
    if (step_at >= step_count || connected_count < connection_count) return;
    if (is_streams && !connections[0].is_ready) return;
    if (connection_count < steps[step_at]) {
        if (is_streams) open_idle_stream(&connections[0]);
        else start_connection(&connections[connection_count]);
        connection_count++;
        return;
    }
    is_waiting = 1;
    printf("{\"event\":\"step%d\"}\n", steps[step_at]);
    fflush(stdout);
}

static void advance(void)
{
    double at = now_us();
    if (failed) {
        fprintf(stderr, "a call of picoquic failed, or a connection ended early\n");
        exit(1);
    }
    if (is_handshakes()) {
        advance_handshakes(at);
        return;
    }
    if (step_count > 0) {
        advance_idle(strcmp(what, "streams") == 0);
        return;
    }
    if (!is_working) {
        if (connected_count < connection_count) return;
        if (connection_count < (int)(strcmp(what, "scale") == 0 ? number("connections") : 1)) {
            start_connection(&connections[connection_count++]);
            return;
        }
        begin_work();
        return;
    }
    if (strcmp(what, "bulk") == 0 && !is_reported) {
        if (!is_warm && at >= warm_us) {
            is_warm = 1;
            warm_us = at;
            warm_bytes = total_bytes;
        }
        int is_upload = strcmp(text("direction", NULL), "up") == 0;
        if (at >= end_us && (!is_upload || ended_streams == (unsigned int)number("streams"))) {
            result("{\"event\":\"result\",\"bytes\":%.0f,\"seconds\":%f,\"totalBytes\":%.0f}", (double)(total_bytes - warm_bytes),
                (at - warm_us) / 1e6, (double)total_bytes);
        }
    }
}

static int loop_callback(picoquic_quic_t *q, picoquic_packet_loop_cb_enum mode, void *context, void *argument)
{
    int is_server = context != NULL;
    (void)q;
    if (mode == picoquic_packet_loop_ready) {
        if (!is_server) ((picoquic_packet_loop_options_t *)argument)->do_time_check = 1;
        else printf("{\"event\":\"listening\",\"port\":%d}\n", ((picoquic_packet_loop_param_t *)context)->local_port);
        fflush(stdout);
        return 0;
    }
    if (is_server) return 0;
    if (mode == picoquic_packet_loop_time_check) {
        packet_loop_time_check_arg_t *check = argument;
        if (check->delta_t > 5000) check->delta_t = 5000;
    }
    if (mode == picoquic_packet_loop_after_receive || mode == picoquic_packet_loop_after_send
        || mode == picoquic_packet_loop_time_check) {
        advance();
    }
    return 0;
}

static void set_windows(void)
{
    picoquic_set_default_tp_value(quic, 0x04, CONNECTION_WINDOW);
    picoquic_set_default_tp_value(quic, 0x05, STREAM_WINDOW);
    picoquic_set_default_tp_value(quic, 0x06, STREAM_WINDOW);
    picoquic_set_default_tp_value(quic, 0x08, STREAMS_MAX);
    picoquic_set_default_idle_timeout(quic, 120000);
    picoquic_register_all_congestion_control_algorithms();
    picoquic_set_default_congestion_algorithm_by_name(quic, "cubic");
}

int main(int count, char **words)
{
    argument_count = count;
    arguments = words;
    if (count < 2) {
        fprintf(stderr, "usage: server|client name=value ...\n");
        return 2;
    }
    int is_server = strcmp(words[1], "server") == 0;
    signal(SIGUSR2, on_signal);
    uint64_t now = picoquic_current_time();
    if (is_server) {
        quic = picoquic_create(20000, text("certificate", NULL), text("key", NULL), NULL, ALPN, server_callback, NULL, NULL, NULL,
            NULL, now, NULL, NULL, NULL, 0);
    } else {
        what = text("case", NULL);
        /* Tickets are kept only when there is a file for them. */
        static char tickets[4096];
        int keeps = strcmp(text("mode", "full"), "full") != 0;
        snprintf(tickets, sizeof(tickets), "%s.tickets-%d", text("ca", NULL), (int)getpid());
        quic = picoquic_create(20000, NULL, NULL, text("ca", NULL), ALPN, NULL, NULL, NULL, NULL, NULL, now, NULL,
            keeps ? tickets : NULL, NULL, 0);
    }
    if (quic == NULL) {
        fprintf(stderr, "picoquic could not be set up\n");
        return 1;
    }
    set_windows();
    picoquic_packet_loop_param_t parameters = { 0 };
    parameters.local_af = AF_INET;
    parameters.socket_buffer_size = SOCKET_BUFFER;
    parameters.send_length_max = SEND_LENGTH_MAX;
    if (is_server) {
        /* The loop does not tell which port it was given when asked for any: a free one is found first. */
        int probe = socket(AF_INET, SOCK_DGRAM, 0);
        struct sockaddr_in free_address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t length = sizeof(free_address);
        if (probe < 0 || bind(probe, (struct sockaddr *)&free_address, length) != 0
            || getsockname(probe, (struct sockaddr *)&free_address, &length) != 0) {
            perror("free port");
            return 1;
        }
        close(probe);
        parameters.local_port = ntohs(free_address.sin_port);
    } else {
        struct sockaddr_in *to = (struct sockaddr_in *)&server;
        to->sin_family = AF_INET;
        to->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        to->sin_port = htons((uint16_t)number("port"));
        seconds_us = number("seconds") * 1e6;
        if (strcmp(what, "idle") == 0 || strcmp(what, "streams") == 0) {
            char list[128];
            snprintf(list, sizeof(list), "%s", text("steps", NULL));
            for (char *rest = list, *word; step_count < 8 && (word = strsep(&rest, ",")) != NULL;) steps[step_count++] = atoi(word);
        }
        warmup_us = atof(text("warmup", "0")) * 1e6;
        concurrency = (unsigned int)atof(text("concurrency", "1"));
        connections = calloc(20001, sizeof(connection));
        if (connections == NULL) abort();
        if (strcmp(what, "idle") != 0) {
            start_connection(&connections[0]);
            connection_count = strcmp(what, "streams") == 0 ? 0 : 1;
        }
    }
    struct sockaddr_in *bound = (struct sockaddr_in *)&parameters.local_addr[0];
    bound->sin_family = AF_INET;
    bound->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    picoquic_network_thread_ctx_t thread = { 0 };
    thread.quic = quic;
    thread.param = &parameters;
    thread.loop_callback = loop_callback;
    thread.loop_callback_ctx = is_server ? &parameters : NULL;
    picoquic_packet_loop_v3(&thread);
    return thread.return_code == 0 ? 0 : 1;
}
