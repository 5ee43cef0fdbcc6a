//! Sends a train of equal segments: one `sendmsg` with GSO where it works, one per segment where not.
use std::io;
use std::net::{IpAddr, SocketAddr};

#[cfg(not(target_os = "linux"))]
use quinn_udp::UdpSockRef;
use quinn_udp::{EcnCodepoint, Transmit, UdpSocketState};
use socket2::Socket;

/// One train to one destination.
pub struct Train<'a> {
    pub bytes: &'a [u8],
    pub segment: usize,
    pub remote: SocketAddr,
    pub local: Option<IpAddr>,
    pub ecn: u8,
}

/// What became of a train.
pub enum Sent {
    /// This many bytes were taken; fewer than offered when the kernel's queue filled up.
    Bytes(usize),
    /// Dropped by the kernel, with errno.
    Dropped(i32),
}

pub struct Sender {
    /// Segments per call, 1 once offload has turned out not to work.
    pub segments_max: usize,
    /// Segments were sent one by one because the kernel or the device refused an offloaded train.
    pub offload_failed: bool,
    /// The socket reports ICMP errors: `sendmsg` may then return the error of an earlier datagram instead of sending.
    pub reports_errors: bool,
}

impl Sender {
    pub fn send(&mut self, socket: &Socket, state: &UdpSocketState, train: &Train<'_>) -> Sent {
        let count = train.bytes.len().div_ceil(train.segment);
        if count > 1 && count <= self.segments_max {
            match self.send_once(socket, state, train, train.bytes) {
                Ok(()) => return Sent::Bytes(train.bytes.len()),
                Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => return Sent::Bytes(0),
                // Any other refusal may be about the offload: the segments alone will tell.
                Err(_) => {}
            }
        }
        let mut done = 0;
        let mut dropped = None;
        let mut sent = 0;
        for segment in train.bytes.chunks(train.segment) {
            match self.send_once(socket, state, train, segment) {
                Ok(()) => sent += 1,
                Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => return Sent::Bytes(done),
                Err(problem) => dropped = Some(problem.raw_os_error().unwrap_or(libc::EIO)),
            }
            done += segment.len();
        }
        if count > 1 && count <= self.segments_max && sent == count {
            // All of them passed alone: it was the offload.
            self.segments_max = 1;
            self.offload_failed = true;
        }
        match dropped {
            Some(errno) if sent == 0 => Sent::Dropped(errno),
            _ => Sent::Bytes(train.bytes.len()),
        }
    }

    fn send_once(&self, socket: &Socket, state: &UdpSocketState, train: &Train<'_>, bytes: &[u8]) -> io::Result<()> {
        match send_message(socket, state, train, bytes) {
            Err(problem) if self.reports_errors && problem.kind() != io::ErrorKind::WouldBlock => {
                send_message(socket, state, train, bytes)
            }
            outcome => outcome,
        }
    }
}

fn transmit<'a>(train: &Train<'_>, bytes: &'a [u8]) -> Transmit<'a> {
    Transmit {
        destination: train.remote,
        ecn: EcnCodepoint::from_bits(train.ecn),
        contents: bytes,
        segment_size: Some(train.segment),
        src_ip: train.local,
    }
}

#[cfg(not(target_os = "linux"))]
fn send_message(socket: &Socket, state: &UdpSocketState, train: &Train<'_>, bytes: &[u8]) -> io::Result<()> {
    state.try_send(UdpSockRef::from(socket), &transmit(train, bytes))
}

/// quinn-udp takes every EINVAL for a missing offload and then drops ECN and GSO for good, but a source address that
/// has just left the machine is EINVAL too, and that happens whenever a link goes. Hence our own call here.
#[cfg(target_os = "linux")]
fn send_message(socket: &Socket, _state: &UdpSocketState, train: &Train<'_>, bytes: &[u8]) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let transmit = transmit(train, bytes);
    let name = socket2::SockAddr::from(transmit.destination);
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = Control { bytes: [0; 128], used: 0 };
    let traffic_class = libc::c_int::from(train.ecn);
    match transmit.destination {
        SocketAddr::V4(_) => control.push(libc::IPPROTO_IP, libc::IP_TOS, traffic_class),
        SocketAddr::V6(_) => control.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, traffic_class),
    }
    if train.segment < bytes.len() {
        control.push(libc::SOL_UDP, libc::UDP_SEGMENT, train.segment as u16);
    }
    match train.local {
        None => {}
        Some(IpAddr::V4(ip)) => {
            let address = libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
            let info =
                libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: libc::in_addr { s_addr: 0 } };
            control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some(IpAddr::V6(ip)) => {
            let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 };
            control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
    }
    // SAFETY: a msghdr of zeroes is valid; its pointers are to locals that outlive the call, and sendmsg changes none.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_name = name.as_ptr().cast_mut().cast();
        message.msg_namelen = name.len();
        message.msg_iov = &mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.bytes.as_mut_ptr().cast();
        message.msg_controllen = control.used as _;
        loop {
            if libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_NOSIGNAL) >= 0 {
                return Ok(());
            }
            let problem = io::Error::last_os_error();
            if problem.kind() != io::ErrorKind::Interrupted {
                return Err(problem);
            }
        }
    }
}

/// Control messages, aligned as the kernel wants them.
#[cfg(target_os = "linux")]
#[repr(C, align(8))]
struct Control {
    bytes: [u8; 128],
    used: usize,
}

#[cfg(target_os = "linux")]
impl Control {
    fn push<T>(&mut self, level: libc::c_int, kind: libc::c_int, value: T) {
        let size = size_of::<T>() as libc::c_uint;
        // SAFETY: CMSG_SPACE of all messages pushed above is below 128, the assertion holds us to it; the place is
        // aligned because `bytes` is and CMSG_SPACE is a multiple of the alignment.
        unsafe {
            let space = libc::CMSG_SPACE(size) as usize;
            assert!(self.used + space <= self.bytes.len(), "control messages outgrew their buffer");
            let header = self.bytes.as_mut_ptr().add(self.used).cast::<libc::cmsghdr>();
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            (*header).cmsg_len = libc::CMSG_LEN(size) as _;
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
            self.used += space;
        }
    }
}
