"""picoquic's C interface, as far as the peer needs it, out of the shared library inside the PyPI package aiopquic."""

import ctypes
import glob
import os
import socket
import struct
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_ubyte, c_uint32, c_uint64, c_void_p

# picoquic_call_back_event_t
DATA, FIN, RESET, STOP_SENDING = 0, 1, 2, 3
CLOSES = {4: "stateless reset", 5: "connection close", 6: "application close"}
READY = 10
PATHS = {20: "available", 21: "suspended", 22: "deleted"}

DISCONNECTED = 19  # picoquic_state_disconnected
STATUS = {"available": 0, "backup": 1}  # picoquic_path_status_enum
TP_MAX_PATH_ID = 0x3E
RTLD_LAZY = 1


class ConnectionId(ctypes.Structure):
    _fields_ = [("id", c_ubyte * 20), ("length", c_ubyte)]


class Quality(ctypes.Structure):
    """picoquic_path_quality_t"""

    _fields_ = [
        (name, c_uint64)
        for name in (
            "receive_rate pacing_rate cwin rtt rtt_sample rtt_variant rtt_min rtt_max sent lost timer_losses"
            " spurious_losses max_spurious_rtt max_reorder_delay max_reorder_gap bytes_in_transit bytes_sent"
            " bytes_received"
        ).split()
    ]


class Address(ctypes.Structure):
    """sockaddr_storage; `of` and `pair` translate from and to (IP, port)."""

    _fields_ = [("data", c_ubyte * 128)]

    @staticmethod
    def of(pair):
        host, port = pair
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        packed = socket.inet_pton(family, host)
        head = struct.pack("=H", family) + struct.pack("!H", port)
        raw = head + (bytes(4) if family == socket.AF_INET6 else b"") + packed
        address = Address()
        ctypes.memmove(address.data, raw, len(raw))
        return address

    def pair(self):
        raw = bytes(self.data[:28])
        (family,) = struct.unpack_from("=H", raw)
        (port,) = struct.unpack_from("!H", raw, 2)
        if family == socket.AF_INET:
            return socket.inet_ntop(family, raw[4:8]), port
        if family == socket.AF_INET6:
            return socket.inet_ntop(family, raw[8:24]), port
        return None


Callback = ctypes.CFUNCTYPE(c_int, c_void_p, c_uint64, c_void_p, c_size_t, c_int, c_void_p, c_void_p)

_SIGNATURES = {
    "picoquic_create": (
        c_void_p,
        [c_uint32, c_char_p, c_char_p, c_char_p, c_char_p, Callback, c_void_p, c_void_p, c_void_p, c_char_p]
        + [c_uint64, c_void_p, c_char_p, c_char_p, c_size_t],
    ),
    "picoquic_free": (None, [c_void_p]),
    "picoquic_current_time": (c_uint64, []),
    "picoquic_create_client_cnx": (
        c_void_p,
        [c_void_p, POINTER(Address), c_uint64, c_uint32, c_char_p, c_char_p, Callback, c_void_p],
    ),
    "picoquic_incoming_packet_ex": (
        c_int,
        [c_void_p, c_char_p, c_size_t, POINTER(Address), POINTER(Address), c_int, c_ubyte, POINTER(c_void_p), c_uint64],
    ),
    "picoquic_prepare_next_packet_ex": (
        c_int,
        [c_void_p, c_uint64, c_void_p, c_size_t, POINTER(c_size_t), POINTER(Address), POINTER(Address), POINTER(c_int)]
        + [POINTER(ConnectionId), POINTER(c_void_p), c_void_p],
    ),
    "picoquic_get_next_wake_delay": (c_int64, [c_void_p, c_uint64, c_int64]),
    "picoquic_add_to_stream": (c_int, [c_void_p, c_uint64, c_char_p, c_size_t, c_int]),
    "picoquic_get_next_local_stream_id": (c_uint64, [c_void_p, c_int]),
    "picoquic_get_cnx_state": (c_int, [c_void_p]),
    "picoquic_close": (c_int, [c_void_p, c_uint64]),
    "picoquic_probe_new_path": (c_int, [c_void_p, POINTER(Address), POINTER(Address), c_uint64]),
    "picoquic_abandon_path": (c_int, [c_void_p, c_uint64, c_uint64, c_uint64]),
    "picoquic_set_path_status": (c_int, [c_void_p, c_uint64, c_int]),
    "picoquic_refresh_path_connection_id": (c_int, [c_void_p, c_uint64]),
    "picoquic_start_key_rotation": (c_int, [c_void_p]),
    "picoquic_get_path_quality": (c_int, [c_void_p, c_uint64, POINTER(Quality)]),
    "picoquic_set_default_multipath_option": (None, [c_void_p, c_int]),
    "picoquic_set_default_tp_value": (c_int, [c_void_p, c_uint64, c_uint64]),
    "picoquic_enable_path_callbacks_default": (None, [c_void_p, c_int]),
    "picoquic_disable_port_blocking": (None, [c_void_p, c_int]),
    "picoquic_set_qlog": (c_int, [c_void_p, c_char_p]),
    "picoquic_set_log_level": (None, [c_void_p, c_int]),
    "picoquic_set_default_congestion_algorithm_by_name": (None, [c_void_p, c_char_p]),
    "picoquic_register_all_congestion_control_algorithms": (None, []),
}


def load(folder):
    """The library below `folder`, where the wheel was unpacked. It is a Python extension; its C symbols are exported."""
    # Its own OpenSSL first: the system's may be older.
    for name in ("libcrypto", "libssl"):
        for path in glob.glob(os.path.join(folder, "aiopquic.libs", name + "*")):
            ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    found = glob.glob(os.path.join(folder, "aiopquic", "_binding", "_transport*.so"))
    if len(found) != 1:
        raise SystemExit(f"{folder}: no picoquic library in it; delete the folder and run again")
    library = ctypes.CDLL(found[0], mode=RTLD_LAZY)
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def version(folder):
    """Version of the package and commit of picoquic in it."""
    facts = {}
    with open(os.path.join(folder, "aiopquic", "_build_info.py"), encoding="utf-8") as file:
        exec(file.read(), facts)  # assignments of strings
    package = os.path.basename(glob.glob(os.path.join(folder, "aiopquic-*.dist-info"))[0]).split("-")[1].removesuffix(".dist")
    return f"{facts['PICOQUIC_VERSION']} ({facts['PICOQUIC_SHA'][:8]}, aiopquic {package})"
