//! The socket class that JavaScript sees.
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;

use napi::bindgen_prelude::*;
use napi_derive::napi;
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::{Code, closed, error, fail};
use crate::slab::{Bytes, Words};
use crate::udp::address::{ADDRESS_WORDS, read_local, read_remote, write_local, write_remote};
use crate::udp::poll::Poll;
use crate::udp::reuseport;
use crate::udp::send::{Sender, Sent, Train};

/// Words per received slot: offset, length, stride, ECN, then the address.
const SLOT_WORDS: usize = 4 + ADDRESS_WORDS;
/// A slot takes the longest datagram, hence every coalesced train.
const SLOT_BYTES: usize = 65_536;
const SLOTS_MAX: usize = 32;
const BUFFER_WANTED: usize = 8 << 20;
const BUFFER_ENOUGH: usize = 4 << 20;

#[napi(object, object_to_js = false)]
pub struct NativeSocketOptions {
    /// IPv4 or IPv6 address, with `%interface` or `%index` for link-local ones.
    pub address: String,
    pub port: u16,
    pub interface_name: Option<String>,
    pub reuse_address: bool,
    /// Collect ICMP errors for `takeError`.
    pub report_errors: bool,
    /// Share the address with other sockets of the same user that ask for it, too.
    pub reuse_port: bool,
    /// Use a duplicate of this open socket instead of binding one; `address`, `port` and `interface_name` do not count.
    pub descriptor: Option<i32>,
}

#[napi(object, object_from_js = false)]
pub struct NativeSocketInfo {
    pub address: String,
    pub port: u16,
    pub receive_buffer_bytes: u32,
    pub send_buffer_bytes: u32,
    pub gro: bool,
    pub may_fragment: bool,
    /// How `interfaceName` was honoured: `device`, `unicast-if` or empty.
    pub bound_by: String,
}

#[napi]
pub struct NativeUdpSocket {
    socket: Option<Socket>,
    state: UdpSocketState,
    sender: Sender,
    poll: Option<Poll>,
    bound_by: &'static str,
}

#[napi]
impl NativeUdpSocket {
    #[napi(constructor)]
    pub fn open(options: NativeSocketOptions) -> Result<Self, Code> {
        let (socket, bound_by) = match options.descriptor {
            Some(descriptor) => (reuseport::duplicate(descriptor)?, ""),
            None => create(&options)?,
        };
        let state = UdpSocketState::new(UdpSockRef::from(&socket)).map_err(|problem| cannot_use(&problem))?;
        forgo_timestamps(&socket);
        enlarge_buffers(&socket);
        if options.descriptor.is_none() {
            let address = parse_address(&options.address, options.port)?;
            let what = format!("cannot open UDP {address}");
            socket.bind(&address.into()).map_err(|problem| explain_open(&what, &problem))?;
        }
        if options.report_errors {
            state.enable_transport_errors(UdpSockRef::from(&socket)).map_err(|problem| cannot_use(&problem))?;
        }
        let reports_errors = options.report_errors;
        let sender = Sender { segments_max: state.max_gso_segments(), offload_failed: false, reports_errors };
        Ok(Self { socket: Some(socket), state, sender, poll: None, bound_by })
    }

    /// Number of the descriptor, for `descriptor` of another socket in this process.
    #[napi]
    pub fn descriptor(&self) -> Result<i32, Code> {
        Ok(self.get()?.as_raw_fd())
    }

    /// Attaches a classic BPF program that picks one of the sockets sharing this address; two words an instruction.
    /// Returns 0, or the errno with which the system refused.
    #[napi]
    pub fn attach_steering(&self, program: Words) -> Result<i32, Code> {
        reuseport::attach(self.get()?, program.0)
    }

    /// Whether datagrams are reported by the callback of `start`; sending goes on in any case.
    #[napi]
    pub fn set_readable_wanted(&self, wanted: bool) {
        if let Some(poll) = &self.poll {
            poll.set_readable(wanted);
        }
    }

    #[napi]
    pub fn info(&self) -> Result<NativeSocketInfo, Code> {
        let socket = self.get()?;
        let local = socket.local_addr().ok().and_then(|address| address.as_socket());
        let local = local.ok_or_else(|| error("ERR_SOCKET", "the socket has no local address"))?;
        Ok(NativeSocketInfo {
            address: local.ip().to_string(),
            port: local.port(),
            receive_buffer_bytes: socket.recv_buffer_size().unwrap_or(0) as u32,
            send_buffer_bytes: socket.send_buffer_size().unwrap_or(0) as u32,
            gro: self.state.gro_segments() > 1,
            may_fragment: self.state.may_fragment(),
            bound_by: self.bound_by.to_owned(),
        })
    }

    /// Receives into 64 KiB slots of `slab`; `meta` gets 20 words per slot. Returns filled slots, 0 when nothing waits.
    #[napi]
    pub fn receive(&self, slab: Bytes, meta: Words) -> Result<u32, Code> {
        let socket = self.get()?;
        let slots = (slab.0.len() / SLOT_BYTES).min(meta.0.len() / SLOT_WORDS).min(SLOTS_MAX);
        if slots == 0 || meta.overlaps(&slab) {
            return fail(
                "ERR_RANGE",
                format!("receive needs {SLOT_BYTES} bytes and {SLOT_WORDS} separate words a slot"),
            );
        }
        let mut buffers: [IoSliceMut<'_>; SLOTS_MAX] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
        for (buffer, chunk) in buffers.iter_mut().zip(slab.0.chunks_exact_mut(SLOT_BYTES)) {
            *buffer = IoSliceMut::new(chunk);
        }
        let mut received = [RecvMeta::default(); SLOTS_MAX];
        let count = match self.state.recv(UdpSockRef::from(socket), &mut buffers[..slots], &mut received[..slots]) {
            Ok(count) => count,
            // An ICMP error of some earlier datagram, or nothing there: in both cases there is nothing to hand over.
            Err(_) => return Ok(0),
        };
        for (index, (words, info)) in meta.0.chunks_exact_mut(SLOT_WORDS).zip(&received[..count]).enumerate() {
            words[0] = (index * SLOT_BYTES) as i32;
            words[1] = info.len as i32;
            words[2] = info.stride as i32;
            words[3] = info.ecn.map_or(0, |ecn| ecn as i32);
            write_remote(&mut words[4..], info.addr);
            write_local(&mut words[4..], info.dst_ip, info.interface_index);
        }
        Ok(count as u32)
    }

    /// errno of the oldest ICMP error not yet taken, 0 when there is none. Take all of them at each readiness.
    #[napi]
    pub fn take_error(&self) -> Result<i32, Code> {
        let reported = self.state.recv_transport_error(UdpSockRef::from(self.get()?));
        Ok(reported.ok().flatten().map_or(0, |problem| problem.raw_errno))
    }

    /// Returns the bytes taken (fewer than `length` = the kernel's queue is full) or a negative errno: dropped.
    #[napi]
    pub fn send(
        &mut self,
        slab: Bytes,
        offset: u32,
        length: u32,
        segment_size: u32,
        ecn: u32,
        address: Words,
    ) -> Result<i32, Code> {
        let bytes = slab.0.get(offset as usize..offset as usize + length as usize);
        let (Some(bytes), Some(remote)) = (bytes, read_remote(address.0)) else {
            return fail("ERR_RANGE", format!("cannot send [{offset}, +{length}]: outside of the slab, or no address"));
        };
        if segment_size == 0 || bytes.is_empty() {
            return fail("ERR_RANGE", "a train needs at least one byte and a segment size");
        }
        let Some(socket) = &self.socket else {
            return Err(closed("UDP socket"));
        };
        let segment = segment_size as usize;
        let train = Train { bytes, segment, remote, local: read_local(address.0), ecn: ecn as u8 };
        Ok(match self.sender.send(socket, &self.state, &train) {
            Sent::Bytes(count) => count as i32,
            Sent::Dropped(errno) => -errno,
        })
    }

    /// Segments that one `send` may carry with offload; 1 = no offload.
    #[napi]
    pub fn segments_max(&self) -> u32 {
        self.sender.segments_max as u32
    }

    /// Whether offload was given up at run time because device or kernel refused it.
    #[napi]
    pub fn offload_failed(&self) -> bool {
        self.sender.offload_failed
    }

    /// Calls `callback(writable)` from the event loop when the socket is readable or, if wanted, writable.
    #[napi]
    pub fn start(&mut self, env: &Env, callback: Unknown) -> Result<(), Code> {
        if self.poll.is_some() {
            return fail("ERR_SOCKET", "this UDP socket is being watched already");
        }
        let descriptor = self.get()?.as_raw_fd();
        // SAFETY: `callback` is a value of `env`, on whose thread we are; `close` ends the watch before the socket.
        match unsafe { Poll::start(env.raw(), callback.raw(), descriptor) } {
            Ok(poll) => self.poll = Some(poll),
            Err(problem) => return fail("ERR_SOCKET", format!("cannot watch the UDP socket: {problem}")),
        }
        Ok(())
    }

    #[napi]
    pub fn set_writable_wanted(&self, wanted: bool) {
        if let Some(poll) = &self.poll {
            poll.set_writable(wanted);
        }
    }

    #[napi]
    pub fn close(&mut self) {
        if let Some(poll) = self.poll.take() {
            poll.close();
        }
        self.socket = None;
    }

    fn get(&self) -> Result<&Socket, Code> {
        self.socket.as_ref().ok_or_else(|| closed("UDP socket"))
    }
}

impl Drop for NativeUdpSocket {
    fn drop(&mut self) {
        self.close();
    }
}

/// A fresh socket, not bound yet, and how its interface was honoured.
fn create(options: &NativeSocketOptions) -> Result<(Socket, &'static str), Code> {
    let address = parse_address(&options.address, options.port)?;
    let what = format!("cannot open UDP {address}");
    let broken = |problem: io::Error| explain_open(&what, &problem);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP)).map_err(broken)?;
    if address.is_ipv6() {
        socket.set_only_v6(true).map_err(broken)?;
    }
    if options.reuse_address {
        socket.set_reuse_address(true).map_err(broken)?;
    }
    if options.reuse_port {
        reuseport::share_address(&socket)?;
    }
    let bound_by = match &options.interface_name {
        None => "",
        Some(name) => bind_interface(&socket, address.is_ipv4(), name)?,
    };
    Ok((socket, bound_by))
}

fn cannot_use(problem: &io::Error) -> Error<Code> {
    error("ERR_SOCKET", format!("the UDP socket cannot be used: {problem}"))
}

fn parse_address(address: &str, port: u16) -> Result<SocketAddr, Code> {
    let (ip, zone) = address.split_once('%').unwrap_or((address, ""));
    let parsed = match ip.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) if zone.is_empty() => Some(SocketAddr::new(ip.into(), port)),
        Ok(IpAddr::V6(ip)) => scope_id(zone.to_owned()).map(|scope| SocketAddrV6::new(ip, port, 0, scope).into()),
        _ => None,
    };
    parsed.ok_or_else(|| {
        error("ERR_ADDRESS", format!("'{address}' is not an IPv4 or IPv6 address of this machine; use one of its own"))
    })
}

/// The address that the kernel would send from to a remote one; nothing is sent. Absent when there is no route.
#[napi]
pub fn local_address_for(address: String, port: u16) -> Option<String> {
    let remote = parse_address(&address, port).ok()?;
    let socket = Socket::new(Domain::for_address(remote), Type::DGRAM, Some(Protocol::UDP)).ok()?;
    socket.connect(&remote.into()).ok()?;
    Some(socket.local_addr().ok()?.as_socket()?.ip().to_string())
}

/// Index of an interface given by name or number; 0 for an empty zone.
#[napi]
pub fn scope_id(zone: String) -> Option<u32> {
    if zone.is_empty() {
        return Some(0);
    }
    zone.parse().ok().or_else(|| interface_index(&zone))
}

fn interface_index(name: &str) -> Option<u32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: a NUL-terminated string is read.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

fn bind_interface(socket: &Socket, is_ipv4: bool, name: &str) -> Result<&'static str, Code> {
    let Some(index) = interface_index(name) else {
        return fail("ERR_INTERFACE", format!("no network interface is called '{name}'; see `ip link`"));
    };
    #[cfg(target_os = "linux")]
    if socket.bind_device(Some(name.as_bytes())).is_ok() {
        return Ok("device");
    }
    // Without CAP_NET_RAW, older kernels refuse SO_BINDTODEVICE; this steers at least what we send.
    match set_unicast_interface(socket, is_ipv4, index) {
        Ok(()) => Ok("unicast-if"),
        Err(problem) => fail(
            "ERR_INTERFACE",
            format!("cannot bind to interface '{name}': {problem}; run with CAP_NET_RAW or bind to its address"),
        ),
    }
}

#[cfg(target_os = "linux")]
fn set_unicast_interface(socket: &Socket, is_ipv4: bool, index: u32) -> io::Result<()> {
    let (level, option) =
        if is_ipv4 { (libc::IPPROTO_IP, libc::IP_UNICAST_IF) } else { (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_IF) };
    set_option(socket, level, option, index.to_be() as libc::c_int)
}

#[cfg(not(target_os = "linux"))]
fn set_unicast_interface(socket: &Socket, is_ipv4: bool, index: u32) -> io::Result<()> {
    let index = std::num::NonZeroU32::new(index);
    if is_ipv4 { socket.bind_device_by_index_v4(index) } else { socket.bind_device_by_index_v6(index) }
}

/// quinn-udp asks for receive times, which we do not use. With GRO and IP_PKTINFO they leave no room for ECN in its
/// buffer of control messages, and they cost time for every packet.
fn forgo_timestamps(socket: &Socket) {
    #[cfg(target_os = "linux")]
    let _ = set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 0);
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

fn enlarge_buffers(socket: &Socket) {
    // A system limit may cut these down; small buffers cost speed, nothing else.
    let _ = socket.set_recv_buffer_size(BUFFER_WANTED);
    let _ = socket.set_send_buffer_size(BUFFER_WANTED);
    #[cfg(target_os = "linux")]
    {
        if socket.recv_buffer_size().is_ok_and(|bytes| bytes < BUFFER_ENOUGH) {
            let _ = set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER_ENOUGH as libc::c_int);
        }
        if socket.send_buffer_size().is_ok_and(|bytes| bytes < BUFFER_ENOUGH) {
            let _ = set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, BUFFER_ENOUGH as libc::c_int);
        }
    }
}

#[cfg(target_os = "linux")]
fn set_option(socket: &Socket, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option value is a live local of the size given.
    let status =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(&value).cast(), size) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn explain_open(what: &str, problem: &io::Error) -> Error<Code> {
    match problem.raw_os_error() {
        Some(libc::EADDRINUSE) => error(
            "ERR_PORT_IN_USE",
            format!("{what}: the port is in use; stop the other program or choose another port"),
        ),
        Some(libc::EACCES) => error(
            "ERR_PERMISSION",
            format!("{what}: permission denied; use a port above 1023 or grant CAP_NET_BIND_SERVICE"),
        ),
        Some(libc::EADDRNOTAVAIL) => error(
            "ERR_ADDRESS",
            format!("{what}: this machine does not have that address; use one of its own, or 0.0.0.0 or ::"),
        ),
        Some(libc::EAFNOSUPPORT) => {
            error("ERR_ADDRESS", format!("{what}: this machine has no such address family; use the other one"))
        }
        _ => error("ERR_SOCKET", format!("{what}: {problem}")),
    }
}
