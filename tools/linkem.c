/*
 * linkem: a link between two network interfaces, emulated in user space (AF_PACKET). One process per link.
 *
 * usage: linkem IF_A IF_B [name=value ...]
 *
 * Values for A->B and B->A may differ: rate=50,10. One value serves both.
 *   rate=MBIT      bottleneck rate in Mbit/s, 0 = none (default 0)
 *   delay=MS       one-way propagation delay, after the bottleneck (default 0)
 *   jitter=MS      standard deviation of a normally distributed addition to the delay (default 0). The sum is never
 *                  negative, which raises its mean a little where the jitter is not small against the delay
 *   order=keep     jitter never lets a frame overtake the one before it, as a queue with a rate does (default)
 *   order=free     each frame travels for itself: large jitter reorders a lot
 *   queue=SIZE     tail-drop queue before the bottleneck: "100ms" at the link's rate, or bytes (default 100ms)
 *   loss=PERCENT   random loss after the bottleneck: a lost frame has used the link's rate (default 0)
 *   burst=FRAMES   mean number of frames lost in a row at that same loss (Gilbert-Elliott; default 1 = independent)
 *   seed=N         seed of loss and jitter; two separate sequences, so that jitter leaves the losses as they are
 *   overhead=BYTES counted per frame against the rate, beside the Ethernet frame itself (default 0)
 *   nat=1          A is behind a NAT at its end of the link: source ports of IPv4 UDP and TCP are mapped; see SIGRTMIN
 *   tick=US        pause after a round of work; bounds the processor time used (default 50; 0 is 0.1 ms more exact)
 *
 *   SIGUSR1 link down (passes nothing, frames under way are lost)    SIGUSR2 link up
 *   SIGRTMIN the NAT forgets its ports: what A sends next comes from new ones, what B sends to the old ones is dropped
 *   SIGHUP statistics to standard error                              SIGTERM, SIGINT statistics, and exit
 *
 * Switch the offloads of the interfaces' other ends off (ethtool -K IF gso off gro off tso off tx off): with them, frames
 * arrive here without checksums or as 64 KB pieces. Frames above 9100 bytes are dropped, and told of.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <math.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FRAME_BYTES_MAX = 9100, BATCH = 64, FRAMES_MAX = 1 << 16, SOCKET_BYTES = 64 << 20 };
#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull

typedef struct frame {
  uint64_t due_ns, number;
  struct frame *next_free;
  uint32_t bytes;
  bool is_translated;
  unsigned char data[FRAME_BYTES_MAX];
} frame;

typedef struct {
  uint64_t rx, rx_bytes, tx, tx_bytes, queue_drops, losses, down_drops, too_big, nat_drops, overtakings;
  uint64_t late_ns, late_ns_max, queue_bytes_max;
} counters;

typedef struct {
  uint64_t done_ns;
  uint32_t bytes;
} queued;

/* One direction of the link. */
typedef struct {
  char name[2 * IFNAMSIZ + 4];
  int in, out;
  double mbit, loss, burst, jitter_ns;
  uint64_t delay_ns, queue_bytes_max, queue_ns_max;
  bool is_outbound, keeps_order, is_losing;
  uint64_t loss_random, jitter_random;
  /* The bottleneck: what waits for it or is being serialized. */
  queued *queue;
  uint32_t queue_head, queue_tail;
  uint64_t queue_bytes, idle_at_ns;
  /* Under way: a heap by time, then by number. */
  frame **heap;
  uint32_t heap_count;
  uint64_t last_due_ns, next_number, newest_sent;
  frame *free_frames;
  counters count;
} direction;

/* Ports of hosts behind the NAT, and the ports that the world sees; 0 = none. */
static struct {
  bool on;
  uint16_t outside_of[65536], inside_of[65536], next;
} nat = {.next = 20000};

static volatile sig_atomic_t is_down, must_stop, must_report, must_rebind;

static void on_signal(int number) {
  if (number == SIGUSR1) is_down = 1;
  else if (number == SIGUSR2) is_down = 0;
  else if (number == SIGHUP) must_report = 1;
  else if (number == SIGRTMIN) must_rebind = 1;
  else must_stop = 1;
}

static void fail(const char *what) {
  fprintf(stderr, "linkem: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* ---- chance ---- */

static double uniform(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return (double)(*state >> 11) / 9007199254740992.0;
}

/* Standard normal, by Marsaglia's polar method. */
static double normal(uint64_t *state) {
  for (;;) {
    double u = 2 * uniform(state) - 1, v = 2 * uniform(state) - 1, s = u * u + v * v;
    if (s > 0 && s < 1) return u * sqrt(-2 * log(s) / s);
  }
}

static bool is_lost(direction *d) {
  if (d->loss <= 0) return false;
  if (d->burst <= 1) return uniform(&d->loss_random) < d->loss;
  double change = d->is_losing ? 1 / d->burst : d->loss / (1 - d->loss) / d->burst;
  if (uniform(&d->loss_random) < change) d->is_losing = !d->is_losing;
  return d->is_losing;
}

/* ---- frames under way ---- */

static bool is_before(const frame *a, const frame *b) {
  return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->number < b->number;
}

static void heap_push(direction *d, frame *added) {
  uint32_t at = d->heap_count++;
  while (at > 0) {
    uint32_t parent = (at - 1) / 2;
    if (!is_before(added, d->heap[parent])) break;
    d->heap[at] = d->heap[parent];
    at = parent;
  }
  d->heap[at] = added;
}

static frame *heap_pop(direction *d) {
  frame *first = d->heap[0], *moved = d->heap[--d->heap_count];
  uint32_t at = 0, child;
  while ((child = 2 * at + 1) < d->heap_count) {
    if (child + 1 < d->heap_count && is_before(d->heap[child + 1], d->heap[child])) child++;
    if (!is_before(d->heap[child], moved)) break;
    d->heap[at] = d->heap[child];
    at = child;
  }
  d->heap[at] = moved;
  return first;
}

static frame *take_frame(direction *d) {
  frame *taken = d->free_frames;
  if (taken != NULL) d->free_frames = taken->next_free;
  else if ((taken = malloc(sizeof *taken)) == NULL) fail("memory");
  return taken;
}

static void give_frame(direction *d, frame *given) {
  given->next_free = d->free_frames;
  d->free_frames = given;
}

/* ---- the NAT ---- */

/* Replaces a port and repairs the checksum of the transport header (RFC 1624). */
static void replace_port(unsigned char *port, unsigned char *checksum, uint16_t value) {
  uint32_t before = (uint32_t)port[0] << 8 | port[1], sum = (uint32_t)checksum[0] << 8 | checksum[1];
  port[0] = (unsigned char)(value >> 8);
  port[1] = (unsigned char)value;
  sum = (~sum & 0xffff) + (~before & 0xffff) + value;
  sum = (sum & 0xffff) + (sum >> 16);
  sum = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
  checksum[0] = (unsigned char)(sum >> 8);
  checksum[1] = (unsigned char)sum;
}

static uint16_t outside_port(uint16_t inside) {
  if (nat.outside_of[inside] == 0) {
    do nat.next = nat.next >= 60000 ? 20001 : (uint16_t)(nat.next + 1);
    while (nat.inside_of[nat.next] != 0);
    nat.outside_of[inside] = nat.next;
    nat.inside_of[nat.next] = inside;
  }
  return nat.outside_of[inside];
}

static void rebind(void) {
  memset(nat.outside_of, 0, sizeof nat.outside_of);
  memset(nat.inside_of, 0, sizeof nat.inside_of);
}

/* False = no mapping lets this frame in. Anything but whole IPv4 UDP and TCP passes as it is. */
static bool translate(unsigned char *data, uint32_t bytes, bool is_outbound) {
  unsigned char *ip = data + ETHER_HDR_LEN;
  if (bytes < ETHER_HDR_LEN + 20 || data[12] != 0x08 || data[13] != 0x00 || ip[0] >> 4 != 4) return true;
  uint32_t header = (ip[0] & 15u) * 4, protocol = ip[9], checksum_at = protocol == 6 ? 16 : 6;
  bool is_fragment = (ip[6] & 0x3f) != 0 || ip[7] != 0;
  if ((protocol != 6 && protocol != 17) || is_fragment) return true;
  if (bytes < ETHER_HDR_LEN + header + (protocol == 6 ? 20 : 8)) return true;
  unsigned char *transport = ip + header, *port = transport + (is_outbound ? 0 : 2), *checksum = transport + checksum_at;
  uint16_t before = (uint16_t)(port[0] << 8 | port[1]);
  uint16_t after = is_outbound ? outside_port(before) : nat.inside_of[before];
  if (after == 0) return false;
  bool has_checksum = protocol == 6 || checksum[0] != 0 || checksum[1] != 0;
  unsigned char unused[2] = {0, 0};
  replace_port(port, has_checksum ? checksum : unused, after);
  return true;
}

/* ---- in: bottleneck, queue, loss ---- */

static void leave_queue(direction *d, uint64_t now) {
  while (d->queue_head != d->queue_tail) {
    queued *first = &d->queue[d->queue_head % FRAMES_MAX];
    if (first->done_ns > now) return;
    d->queue_bytes -= first->bytes;
    d->queue_head++;
  }
}

static bool is_queue_full(const direction *d, uint32_t bytes, uint64_t now) {
  if (d->queue_tail - d->queue_head >= FRAMES_MAX || d->heap_count >= FRAMES_MAX) return true;
  if (d->mbit <= 0 || d->queue_head == d->queue_tail) return false;
  if (d->queue_bytes_max > 0 && d->queue_bytes + bytes > d->queue_bytes_max) return true;
  return d->queue_ns_max > 0 && d->idle_at_ns > now + d->queue_ns_max;
}

static void accept_frame(direction *d, const unsigned char *data, uint32_t bytes, uint32_t overhead, uint64_t now) {
  d->count.rx++;
  d->count.rx_bytes += bytes;
  if (bytes > FRAME_BYTES_MAX) {
    if (d->count.too_big++ == 0) fprintf(stderr, "linkem: %u-byte frame on %s: switch offloads off\n", bytes, d->name);
    return;
  }
  if (is_down) {
    d->count.down_drops++;
    return;
  }
  uint32_t weight = bytes + overhead;
  leave_queue(d, now);
  if (is_queue_full(d, weight, now)) {
    d->count.queue_drops++;
    return;
  }
  uint64_t start = d->idle_at_ns > now ? d->idle_at_ns : now;
  uint64_t done = d->mbit > 0 ? start + (uint64_t)(weight * 8e3 / d->mbit) : now;
  d->idle_at_ns = done;
  d->queue[d->queue_tail++ % FRAMES_MAX] = (queued){done, weight};
  d->queue_bytes += weight;
  if (d->queue_bytes > d->count.queue_bytes_max) d->count.queue_bytes_max = d->queue_bytes;
  double delay = (double)d->delay_ns + (d->jitter_ns > 0 ? d->jitter_ns * normal(&d->jitter_random) : 0);
  uint64_t due = done + (delay > 0 ? (uint64_t)delay : 0);
  if (d->keeps_order && due < d->last_due_ns) due = d->last_due_ns;
  d->last_due_ns = due;
  if (is_lost(d)) {
    d->count.losses++;
    return;
  }
  frame *f = take_frame(d);
  memcpy(f->data, data, bytes);
  f->bytes = bytes;
  f->is_translated = false;
  f->due_ns = due;
  f->number = ++d->next_number;
  heap_push(d, f);
}

static bool receive(direction *d, uint32_t overhead) {
  static unsigned char buffers[BATCH][FRAME_BYTES_MAX];
  struct mmsghdr messages[BATCH];
  struct iovec parts[BATCH];
  memset(messages, 0, sizeof messages);
  for (int i = 0; i < BATCH; i++) {
    parts[i] = (struct iovec){buffers[i], FRAME_BYTES_MAX};
    messages[i].msg_hdr.msg_iov = &parts[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  int count = recvmmsg(d->in, messages, BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
  uint64_t now = now_ns();
  for (int i = 0; i < count; i++) {
    uint32_t bytes = messages[i].msg_len;
    if (nat.on && d->is_outbound && bytes <= FRAME_BYTES_MAX) translate(buffers[i], bytes, true);
    accept_frame(d, buffers[i], bytes, overhead, now);
  }
  return count > 0;
}

/* ---- out ---- */

static void count_sent(direction *d, const frame *f, uint64_t now) {
  uint64_t late = now - f->due_ns;
  d->count.tx++;
  d->count.tx_bytes += f->bytes;
  d->count.late_ns += late;
  if (late > d->count.late_ns_max) d->count.late_ns_max = late;
  if (f->number < d->newest_sent) d->count.overtakings++;
  else d->newest_sent = f->number;
}

/* Sends what is due. True if there was anything. */
static bool deliver(direction *d) {
  bool did = false;
  uint64_t now = now_ns();
  while (d->heap_count > 0 && d->heap[0]->due_ns <= now) {
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    frame *frames[BATCH];
    int count = 0;
    while (count < BATCH && d->heap_count > 0 && d->heap[0]->due_ns <= now) {
      frame *f = heap_pop(d);
      bool is_unmapped = nat.on && !d->is_outbound && !f->is_translated && !translate(f->data, f->bytes, false);
      if (is_down || is_unmapped) {
        if (is_down) d->count.down_drops++;
        else d->count.nat_drops++;
        give_frame(d, f);
        continue;
      }
      f->is_translated = true;
      frames[count] = f;
      parts[count] = (struct iovec){f->data, f->bytes};
      memset(&messages[count], 0, sizeof messages[count]);
      messages[count].msg_hdr.msg_iov = &parts[count];
      messages[count++].msg_hdr.msg_iovlen = 1;
    }
    if (count == 0) continue;
    int sent = sendmmsg(d->out, messages, (unsigned)count, 0);
    bool is_full = sent < 0 && (errno == EAGAIN || errno == ENOBUFS);
    if (sent < 0 && !is_full && errno != ENETDOWN) fprintf(stderr, "linkem: send on %s: %s\n", d->name, strerror(errno));
    if (sent < 0) sent = is_full ? 0 : 1; /* a frame that cannot be sent at all is given up */
    for (int i = 0; i < sent; i++) {
      count_sent(d, frames[i], now);
      give_frame(d, frames[i]);
    }
    for (int i = sent; i < count; i++) heap_push(d, frames[i]);
    did = did || sent > 0;
    if (is_full) break;
  }
  return did;
}

static void report(direction *d) {
  const counters *c = &d->count;
  leave_queue(d, now_ns());
  fprintf(stderr,
          "linkem %s: in %lu frames %lu bytes, out %lu frames %lu bytes, dropped: queue %lu loss %lu down %lu nat %lu "
          "too big %lu; queue now %lu bytes, longest %lu bytes, overtakings %lu, late by %.1f us on average, %.1f us at most\n",
          d->name, c->rx, c->rx_bytes, c->tx, c->tx_bytes, c->queue_drops, c->losses, c->down_drops, c->nat_drops,
          c->too_big, d->queue_bytes, c->queue_bytes_max, c->overtakings, c->tx > 0 ? (double)c->late_ns / 1e3 / (double)c->tx : 0,
          (double)c->late_ns_max / 1e3);
}

/* ---- start ---- */

static int open_interface(const char *name) {
  struct sockaddr_ll address = {
      .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(name)};
  if (address.sll_ifindex == 0) fail(name);
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), bytes = SOCKET_BYTES, on = 1;
  if (fd < 0) fail("packet socket (needs root)");
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
  setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on);
  setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) fail(name);
  struct packet_mreq promiscuous = {.mr_ifindex = address.sll_ifindex, .mr_type = PACKET_MR_PROMISC};
  setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof promiscuous);
  return fd;
}

static void bad_option(const char *option) {
  fprintf(stderr, "linkem: bad option \"%s\"; see the head of linkem.c\n", option);
  exit(2);
}

static double number(const char *option, const char *text, char **end) {
  double value = strtod(text, end);
  if (*end == text || !(value >= 0)) bad_option(option);
  return value;
}

/* A value with nothing after it. */
static double plain(const char *option, const char *text) {
  char *end;
  double value = number(option, text, &end);
  if (*end != 0) bad_option(option);
  return value;
}

static bool set_of_direction(direction *d, const char *name, const char *value) {
  char *end;
  if (!strcmp(name, "rate")) d->mbit = plain(name, value);
  else if (!strcmp(name, "delay")) d->delay_ns = (uint64_t)(plain(name, value) * NS_PER_MS);
  else if (!strcmp(name, "jitter")) d->jitter_ns = plain(name, value) * NS_PER_MS;
  else if (!strcmp(name, "loss")) {
    d->loss = plain(name, value) / 100;
    if (d->loss >= 1) bad_option(name);
  } else if (!strcmp(name, "burst")) d->burst = plain(name, value);
  else if (!strcmp(name, "queue")) {
    double size = number(name, value, &end);
    bool is_time = !strcmp(end, "ms");
    if (!is_time && *end != 0) bad_option(name);
    d->queue_ns_max = is_time ? (uint64_t)(size * NS_PER_MS) : 0;
    d->queue_bytes_max = is_time ? 0 : (uint64_t)size;
  } else return false;
  return true;
}

typedef struct {
  uint64_t seed;
  uint32_t overhead;
  uint64_t tick_ns;
} settings;

static void read_option(char *option, direction *directions, settings *s) {
  char *value = strchr(option, '=');
  if (value == NULL) bad_option(option);
  *value++ = 0;
  if (!strcmp(option, "seed")) s->seed = strtoull(value, NULL, 10);
  else if (!strcmp(option, "overhead")) s->overhead = (uint32_t)plain(option, value);
  else if (!strcmp(option, "tick")) s->tick_ns = (uint64_t)(plain(option, value) * 1e3);
  else if (!strcmp(option, "nat")) nat.on = plain(option, value) != 0;
  else if (!strcmp(option, "order")) {
    if (strcmp(value, "keep") && strcmp(value, "free")) bad_option(option);
    directions[0].keeps_order = directions[1].keeps_order = !strcmp(value, "keep");
  } else {
    char *back = strchr(value, ',');
    if (back != NULL) *back++ = 0;
    if (!set_of_direction(&directions[0], option, value)) bad_option(option);
    set_of_direction(&directions[1], option, back == NULL ? value : back);
  }
}

static void prepare(direction *d, const char *from, const char *to, uint64_t seed) {
  snprintf(d->name, sizeof d->name, "%s->%s", from, to);
  d->queue = calloc(FRAMES_MAX, sizeof *d->queue);
  d->heap = calloc(FRAMES_MAX, sizeof *d->heap);
  if (d->queue == NULL || d->heap == NULL) fail("memory");
  d->loss_random = seed * 0x9E3779B97F4A7C15ull | 1;
  d->jitter_random = d->loss_random * 0xD1342543DE82EF95ull | 1;
  for (int i = 0; i < 16; i++) uniform(&d->loss_random), uniform(&d->jitter_random);
}

static void sleep_until_due(const direction *directions, const int *sockets, uint64_t tick_ns, bool did_work) {
  uint64_t now = now_ns(), wake = now + 100 * NS_PER_MS;
  if (did_work) {
    struct timespec pause = {0, (long)tick_ns};
    if (tick_ns > 0) nanosleep(&pause, NULL);
    return;
  }
  for (int i = 0; i < 2; i++) {
    const direction *d = &directions[i];
    if (d->heap_count > 0 && d->heap[0]->due_ns < wake) wake = d->heap[0]->due_ns;
  }
  if (wake <= now) return;
  struct pollfd polled[2] = {{sockets[0], POLLIN, 0}, {sockets[1], POLLIN, 0}};
  struct timespec wait = {(time_t)((wake - now) / NS_PER_S), (long)((wake - now) % NS_PER_S)};
  ppoll(polled, 2, &wait, NULL);
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: linkem IF_A IF_B [rate= delay= jitter= order= queue= loss= burst= seed= overhead= nat= tick=]\n");
    return 2;
  }
  static direction directions[2];
  settings s = {.seed = 1, .tick_ns = 50000};
  for (int i = 0; i < 2; i++) {
    directions[i].queue_ns_max = 100 * NS_PER_MS;
    directions[i].burst = 1;
    directions[i].keeps_order = true;
  }
  for (int i = 3; i < argc; i++) read_option(argv[i], directions, &s);
  int sockets[2] = {open_interface(argv[1]), open_interface(argv[2])};
  for (int i = 0; i < 2; i++) {
    directions[i].is_outbound = i == 0;
    directions[i].in = sockets[i];
    directions[i].out = sockets[1 - i];
    prepare(&directions[i], argv[1 + i], argv[2 - i], s.seed * 2 + (uint64_t)i + 1);
  }
  int signals[] = {SIGUSR1, SIGUSR2, SIGHUP, SIGTERM, SIGINT, SIGRTMIN};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) signal(signals[i], on_signal);
  prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  struct sched_param priority = {.sched_priority = 10};
  if (sched_setscheduler(0, SCHED_FIFO, &priority) != 0) fprintf(stderr, "linkem: no real-time priority, goes on\n");
  fprintf(stderr, "linkem %s - %s up\n", argv[1], argv[2]);
  while (!must_stop) {
    bool did_work = false;
    for (int i = 0; i < 2; i++) did_work |= receive(&directions[i], s.overhead);
    for (int i = 0; i < 2; i++) did_work |= deliver(&directions[i]);
    if (must_rebind) must_rebind = 0, rebind();
    if (must_report) must_report = 0, report(&directions[0]), report(&directions[1]);
    sleep_until_due(directions, sockets, s.tick_ns, did_work);
  }
  report(&directions[0]);
  report(&directions[1]);
  return 0;
}
