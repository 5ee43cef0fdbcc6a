//! The limits of the machine: UDP with offload, the AEAD alone, and both together without a protocol.

mod arguments;

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use arguments::{Arguments, Outcome};
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState, BATCH_SIZE};
use ring::aead::{quic, Aad, LessSafeKey, Nonce, UnboundKey, AES_128_GCM};

const SEGMENT: usize = 1452;
const HEADER: usize = 13;
const TAG: usize = 16;
const PAYLOAD: usize = SEGMENT - HEADER - TAG;
const SLOT: usize = 65_536;
/// Bytes under way at most: well below what a socket buffers, so that nothing is lost.
const WINDOW: u64 = 2 << 20;
const CREDIT_EVERY: u64 = 256 << 10;
const STALL: Duration = Duration::from_millis(50);

fn main() -> Outcome<()> {
    let arguments = Arguments::parse()?;
    match arguments.role.as_str() {
        "server" => serve(),
        "client" => match arguments.text("case")? {
            "aead" => aead(arguments.number("seconds")?),
            "udp" => send(&arguments, false),
            "sealed" => send(&arguments, true),
            other => Err(format!("there is no case {other}").into()),
        },
        other => Err(format!("there is no role {other}").into()),
    }
}

/// One direction's keys; the same on both sides, for nobody's secrets pass.
struct Keys {
    packet: LessSafeKey,
    header: quic::HeaderProtectionKey,
}

impl Keys {
    fn new() -> Self {
        let fixed = [0x2a; 16];
        Self {
            packet: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &fixed).expect("16 bytes")),
            header: quic::HeaderProtectionKey::new(&quic::AES_128, &fixed).expect("16 bytes"),
        }
    }

    fn nonce(number: u32) -> Nonce {
        let mut bytes = [9; 12];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        Nonce::assume_unique_for_key(bytes)
    }

    /// Writes a short header, copies the payload in, seals and protects.
    fn seal(&self, packet: &mut [u8], number: u32, payload: &[u8]) {
        packet[0] = 0x43;
        packet[9..HEADER].copy_from_slice(&number.to_be_bytes());
        packet[HEADER..HEADER + PAYLOAD].copy_from_slice(payload);
        let (header, rest) = packet.split_at_mut(HEADER);
        let (body, tag) = rest.split_at_mut(PAYLOAD);
        let sealed = self.packet.seal_in_place_separate_tag(Self::nonce(number), Aad::from(&*header), body);
        tag.copy_from_slice(sealed.expect("short enough").as_ref());
        self.mask(packet);
    }

    fn mask(&self, packet: &mut [u8]) {
        let mask = self.header.new_mask(&packet[HEADER..HEADER + 16]).expect("16 bytes");
        packet[0] ^= mask[0] & 0x1f;
        for (byte, mask) in packet[9..HEADER].iter_mut().zip(&mask[1..]) {
            *byte ^= mask;
        }
    }

    /// The payload, or nothing when it was tampered with.
    fn open<'a>(&self, packet: &'a mut [u8]) -> Option<&'a [u8]> {
        if packet.len() < HEADER + TAG {
            return None;
        }
        self.mask(packet);
        let (header, body) = packet.split_at_mut(HEADER);
        let number = u32::from_be_bytes(header[9..].try_into().ok()?);
        self.packet.open_in_place(Self::nonce(number), Aad::from(&*header), body).ok().map(|opened| &*opened)
    }
}

/// Seals and opens on one core, without a socket.
fn aead(seconds: f64) -> Outcome<()> {
    println!("{{\"event\":\"ready\"}}");
    let keys = Keys::new();
    let payload = vec![7; PAYLOAD];
    let mut packets = vec![0; 48 * SEGMENT];
    let mut number = 0_u32;
    let (mut sealing, mut opening, mut count) = (Duration::ZERO, Duration::ZERO, 0_u64);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < end {
        let began = Instant::now();
        for packet in packets.chunks_exact_mut(SEGMENT) {
            keys.seal(packet, number, &payload);
            number = number.wrapping_add(1);
        }
        let sealed = Instant::now();
        for packet in packets.chunks_exact_mut(SEGMENT) {
            keys.open(packet).ok_or("a packet did not open")?;
        }
        sealing += sealed - began;
        opening += sealed.elapsed();
        count += 48;
    }
    let bytes = count * PAYLOAD as u64;
    println!(
        "{{\"event\":\"result\",\"bytes\":{bytes},\"seconds\":{},\"openSeconds\":{},\"totalBytes\":{bytes}}}",
        sealing.as_secs_f64(),
        opening.as_secs_f64()
    );
    pause();
    Ok(())
}

/// The runner ends the process once it has read its CPU time.
fn pause() {
    unsafe { libc::pause() };
}

fn wait(socket: &UdpSocket, limit: Duration) -> bool {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    unsafe { libc::poll(&mut poll, 1, limit.as_millis() as i32) > 0 }
}

struct Io {
    socket: UdpSocket,
    state: UdpSocketState,
    slots: Vec<u8>,
}

impl Io {
    fn new() -> Outcome<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), 4 << 20);
        let _ = state.set_send_buffer_size(UdpSockRef::from(&socket), 4 << 20);
        Ok(Self { socket, state, slots: vec![0; SLOT * BATCH_SIZE] })
    }

    fn receive(&mut self, mut visit: impl FnMut(&mut [u8], &RecvMeta)) {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let mut slots: Vec<IoSliceMut> = self.slots.chunks_exact_mut(SLOT).map(IoSliceMut::new).collect();
        let count = self.state.recv(UdpSockRef::from(&self.socket), &mut slots, &mut metas).unwrap_or(0);
        drop(slots);
        for (slot, meta) in self.slots.chunks_exact_mut(SLOT).zip(&metas[..count]) {
            visit(&mut slot[..meta.len], meta);
        }
    }

    fn send(&self, destination: SocketAddr, contents: &[u8], segment_size: Option<usize>) -> Outcome<()> {
        let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
        loop {
            match self.state.try_send(UdpSockRef::from(&self.socket), &transmit) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let mut poll =
                        libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
                    unsafe { libc::poll(&mut poll, 1, 100) };
                }
                other => return Ok(other?),
            }
        }
    }
}

/// Counts what arrives, opening it when its first byte says that it is sealed, and grants credit as it goes.
fn serve() -> Outcome<()> {
    let mut io = Io::new()?;
    println!("{{\"event\":\"listening\",\"port\":{}}}", io.socket.local_addr()?.port());
    let keys = Keys::new();
    let mut sink = vec![0; 1 << 20];
    let (mut total, mut granted, mut at) = (0_u64, 0_u64, 0);
    let mut is_sealed = false;
    loop {
        wait(&io.socket, Duration::from_secs(60));
        let mut back = None;
        io.receive(|bytes, meta| {
            if bytes.len() == 1 {
                is_sealed = bytes[0] == 1;
                (total, granted) = (0, 0);
                back = Some(meta.addr);
                return;
            }
            for segment in bytes.chunks_mut(meta.stride.max(1)) {
                let length = segment.len() as u64;
                if is_sealed {
                    let Some(payload) = keys.open(segment) else { continue };
                    if at + payload.len() > sink.len() {
                        at = 0;
                    }
                    sink[at..at + payload.len()].copy_from_slice(payload);
                    at += payload.len();
                }
                total += length;
            }
            if total - granted >= CREDIT_EVERY {
                back = Some(meta.addr);
            }
        });
        if let Some(address) = back {
            granted = total;
            io.send(address, &total.to_be_bytes(), None)?;
        }
    }
}

fn send(arguments: &Arguments, is_sealed: bool) -> Outcome<()> {
    let server = SocketAddr::from(([127, 0, 0, 1], arguments.number("port")? as u16));
    let mut io = Io::new()?;
    io.send(server, &[u8::from(is_sealed)], None)?;
    wait(&io.socket, Duration::from_secs(1));
    io.receive(|_, _| {});
    println!("{{\"event\":\"ready\"}}");
    let keys = Keys::new();
    let source = vec![7; 1 << 20];
    let segments = io.state.max_gso_segments().min(65_507 / SEGMENT);
    let mut train = vec![0; segments * SEGMENT];
    let (mut sent, mut credited, mut number, mut from) = (0_u64, 0_u64, 0_u32, 0);
    let started = Instant::now();
    let warm_end = started + Duration::from_secs_f64(arguments.number("warmup")?);
    let end = warm_end + Duration::from_secs_f64(arguments.number("seconds")?);
    let mut warm = None;
    let mut lost = 0_u64;
    let mut heard = Instant::now();
    while Instant::now() < end {
        if warm.is_none() && Instant::now() >= warm_end {
            warm = Some((credited, Instant::now()));
        }
        if sent - lost - credited >= WINDOW {
            if wait(&io.socket, Duration::from_millis(5)) {
                heard = Instant::now();
            } else if heard.elapsed() > STALL {
                // What has not arrived by now is lost: this is no protocol.
                lost = sent - credited;
                heard = Instant::now();
            }
            io.receive(|bytes, _| {
                if let Ok(total) = bytes.try_into().map(u64::from_be_bytes) {
                    credited = credited.max(total);
                }
            });
            continue;
        }
        if is_sealed {
            for packet in train.chunks_exact_mut(SEGMENT) {
                if from + PAYLOAD > source.len() {
                    from = 0;
                }
                keys.seal(packet, number, &source[from..from + PAYLOAD]);
                number = number.wrapping_add(1);
                from += PAYLOAD;
            }
        }
        io.send(server, &train, Some(SEGMENT))?;
        sent += train.len() as u64;
    }
    let (warm_bytes, warm_at) = warm.unwrap_or((0, started));
    let share = if is_sealed { PAYLOAD as f64 / SEGMENT as f64 } else { 1.0 };
    println!(
        "{{\"event\":\"result\",\"bytes\":{},\"seconds\":{},\"totalBytes\":{},\"lostBytes\":{lost}}}",
        ((credited - warm_bytes) as f64 * share) as u64,
        warm_at.elapsed().as_secs_f64(),
        (sent as f64 * share) as u64
    );
    pause();
    Ok(())
}
